import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.addresses import ServerAddress, secrets_of, shown_url


@pytest.mark.parametrize(
    ("url", "hosts", "database"),
    [
        ("redis://queue", (("queue", 6379),), 0),
        ("rediss://queue:6380/2", (("queue", 6380),), 2),
        ("redis://[::1]:7000/1", (("::1", 7000),), 1),
        ("redis://queue?db=5", (("queue", 6379),), 5),
        ("redis+sentinel://one,two:7/masks/3", (("one", 26379), ("two", 7)), 3),
        ("unix:///run/a%20b.sock?db=1", (), 1),
    ],
)
def test_every_form(url: str, hosts: tuple[tuple[str, int], ...], database: int) -> None:
    address = ServerAddress.parse(url)
    assert (address.hosts, address.database) == (hosts, database)
    assert address.path == ("/run/a b.sock" if url.startswith("unix") else "")
    assert address.group == ("masks" if "sentinel" in url else "")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("queue:6379", "without a scheme"),
        ("http://queue", "write redis://"),
        ("redis://", "without a host"),
        ("redis://queue/first", "'first' is no number"),
        ("redis://one,two/0", "of several hosts"),
        ("redis+sentinel://one", "without the group"),
        ("redis://me:hunter22", "port is no number"),
        ("redis://queue:70000/0", "port is no number"),
        ("redis://queue?ssl_ca_certs=ca.pem", r"with \?ssl_ca_certs"),
        ("rediss://queue?ssl_cert_reqs=none", r"with \?ssl_cert_reqs"),
        ("rediss://queue?ssl_check_hostname=perhaps", "is not true or false"),
    ],
)
def test_what_is_no_address_is_refused_in_words(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        ServerAddress.parse(url)
    assert "hunter22" not in str(caught.value)


def test_logins_are_kept_apart_and_not_shown() -> None:
    url = "rediss+sentinel://me:p%40ss@one,two/masks/0?sentinel_password=other&ssl_ca_certs=/ca"
    address = ServerAddress.parse(url)
    assert address.login == {"username": "me", "password": "p@ss"}
    assert address.sentinel_login == {"password": "other"}
    assert address.tls == {"ssl_ca_certs": "/ca"}
    assert address.is_encrypted
    assert set(secrets_of(url)) == {"p%40ss", "p@ss", "other"}
    assert shown_url(url) == "rediss+sentinel://one,two/masks/0?ssl_ca_certs=/ca"
    for secret in secrets_of(url):
        assert secret not in repr(address)
    assert secrets_of("no address") == []


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_text_is_an_address_or_refused(rest: str) -> None:
    for scheme in ("redis", "rediss", "unix", "redis+sentinel", "http"):
        try:
            ServerAddress.parse(f"{scheme}://{rest}")
        except ValueError:
            continue
