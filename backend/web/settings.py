"""Settings of the web process, from the environment; upstream's names where upstream has them."""

import ipaddress
from typing import Literal, Self

from pydantic import Field, IPvAnyAddress, SecretStr, model_validator

from workers.settings import SharedSettings


class Settings(SharedSettings):
    """What the web process alone reads from the environment, beside what all parts read.

    Attributes:
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        threads: requests served at once. Most of them wait for a worker, which costs little.
        basic_auth_user: with the password, every route asks for it, /health included;
            not /webhook, which has a secret of its own.
        basic_auth_pass: see `basic_auth_user`.
        trusted_proxy: address of the proxy before this server, or "*" for whoever connects. What
            it says in X-Forwarded-For is whom wrong logins are counted for; nobody else is
            believed.
        single_task_seconds: how long the opening of one task waits for its masks.
        batch_seconds: how long a batch waits when nothing can be pushed later; Label Studio
            gives up after 100 s.
        max_body_bytes: larger requests get 413.
        workers: segment workers that `up` starts; each loads the model.
        interactive_workers: workers that `up` starts for people who wait and nobody else, so that
            a batch in work does not hold up their clicks; each loads the model once more.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=9090, ge=0, le=65535)
    threads: int = Field(default=128, ge=2, le=1024)
    basic_auth_user: str | None = None
    basic_auth_pass: SecretStr | None = None
    trusted_proxy: Literal["*"] | IPvAnyAddress | None = None
    single_task_seconds: float = Field(default=20.0, ge=0)
    batch_seconds: float = Field(default=80.0, ge=0)
    max_body_bytes: int = Field(default=134_217_728, gt=0)
    workers: int = Field(default=1, ge=1, le=64)
    interactive_workers: int = Field(default=1, ge=0, le=64)

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        """Half a login would be no login, half a Label Studio no delivery: say so at once."""
        if (self.basic_auth_user is None) != (self.basic_auth_pass is None):
            raise ValueError("set both BASIC_AUTH_USER and BASIC_AUTH_PASS, or neither")
        return self

    @property
    def warning(self) -> str:
        """What is unsafe, and the ways out; empty for nothing."""
        if self.basic_auth_user is not None or _is_loopback(self.host):
            return ""
        return (
            f"Anybody who reaches {self.host} port {self.port} can use this backend: set "
            "BASIC_AUTH_USER and BASIC_AUTH_PASS (and the same login in Label Studio), set HOST "
            "to 127.0.0.1, or keep the port from others by a firewall."
        )

    @property
    def delivers(self) -> bool:
        """Predictions can be pushed to Label Studio after the request."""
        return self.label_studio_url is not None and self.label_studio_api_key is not None

    @property
    def waiting_requests(self) -> int:
        """Requests that may wait for a worker at once; the other threads keep answering."""
        return max(1, self.threads - max(4, self.threads // 8))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
