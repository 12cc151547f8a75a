import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.studio.references import path_of, served
from workers.images.storages import link


def test_the_path_that_a_reference_names() -> None:
    assert path_of("data:image/png;base64,AAAA") == ""
    assert path_of("http://[broken") == ""
    assert path_of("/tasks/4/resolve/?fileuri=%25") == "%"
    assert path_of("/data/local-files/?d=x/a.png") == "x/a.png"
    assert path_of("https://example.org/x/a%20b.png?d=1") == "x/a b.png"


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("s3://bucket/x/a b%20#1.png", "x/a b%20#1.png"),
        ("azure-blob://container/a.png", "a.png"),
        ("gs://bucket", ""),
        ("https://studio/label/tasks/4/presign/?fileuri=gs%3A%2F%2Fb%2Fx%2Fa.png", "x/a.png"),
        ("/data/local-files/?d=x\\a.png", "x/a.png"),
        ("C:\\images\\x\\a.png", "images/x/a.png"),
        ("upload\\1\\a.png", "upload/1/a.png"),
    ],
)
def test_the_path_in_a_cloud_and_on_windows(reference: str, path: str) -> None:
    assert path_of(reference) == path


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda n: "/" not in n))
def test_a_file_in_a_cloud_keeps_its_name(name: str) -> None:
    reference = served("s3://bucket/tiles", name)
    assert reference == f"s3://bucket/tiles/{name}"
    assert path_of(link(reference, 7)) == f"tiles/{name}"
