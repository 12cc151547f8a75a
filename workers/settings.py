"""Settings from the environment: those that all parts read, and those of the workers."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from dgl_rsis.formats import PIXEL_BUDGET
from workers.addresses import ServerAddress, secrets_of
from workers.logs import LogFormat

PREFETCHED = 2  # images; a processor prepares some three a second
DEVICE = re.compile(r"cpu|cuda(:\d+)?")
Hosts = Annotated[tuple[str, ...], NoDecode]  # a comma list, not JSON


def _models_dir() -> Path:
    """The folder `dgl-rsis/models` of the user's data (XDG)."""
    # `Path.home` would raise for a user without a home, as a container may have.
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(data) / "dgl-rsis" / "models"


def also_named(name: str, *others: str, **options: Any) -> Any:
    """A setting that label-studio-ml's own servers know by other names; ours wins.

    Args:
        name: of the setting.
        others: names of the environment that are read where the first is not set.
        options: of `Field`; without a default it is None.
    """
    given = options if "default_factory" in options else {"default": None, **options}
    return Field(validation_alias=AliasChoices(name, *others), **given)


def variables(kind: type[BaseSettings]) -> set[str]:
    """All names of the environment that settings of a kind are read from."""
    names = set[str]()
    for name, field in kind.model_fields.items():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [name]
        names |= {str(each).upper() for each in choices}
    return names


class SharedSettings(BaseSettings):
    """What the web process, the workers and the commands all read.

    Attributes:
        redis_url: `redis://…`, `rediss://…`, `unix://…` or `redis+sentinel://…`; None when `up`
            starts a server itself.
        reply_days: how long a computed reply is kept.
        label_studio_url: with the scheme, without a trailing slash; with the key, images are
            fetched from there and predictions are pushed when ready.
        label_studio_api_key: a legacy token or a personal access token.
        models_dir: folder of pulled weights; made when the first ones come.
        log_level: of the process's log.
        log_format: of the lines of servers and workers: "text" or, an object a line, "json".
        learn: take what annotators submit as examples, and use it; `adapt off` is for one project.
        refresh_seconds: how long a project must have learnt nothing before its open tasks get new
            predictions.
        max_waiting: tasks that may wait in the queue; further ones are refused, but for a few of
            people who wait themselves.
        requests_ca_bundle: file of certificate authorities to trust instead of the built-in ones.
    """

    # An empty variable is what docker compose passes for an unset one. An error about one variable
    # would else show the values of others, the password's too.
    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True, hide_input_in_errors=True)

    redis_url: str | None = Field(default=None, repr=False)  # may hold a password
    reply_days: int = Field(default=7, ge=1, le=365)
    label_studio_url: str | None = also_named("label_studio_url", "label_studio_host")
    label_studio_api_key: SecretStr | None = also_named(
        "label_studio_api_key", "label_studio_access_token"
    )
    models_dir: Path = also_named("models_dir", "model_dir", default_factory=_models_dir)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: LogFormat = "text"
    learn: bool = True
    refresh_seconds: float = Field(default=20.0, ge=0, le=3600)
    max_waiting: int = Field(default=100_000, ge=1, le=10_000_000)
    requests_ca_bundle: Path | None = None

    @property
    def verify(self) -> bool | str:
        """Whom to trust, as requests takes it: True, or a file of certificate authorities."""
        return True if self.requests_ca_bundle is None else str(self.requests_ca_bundle)

    @property
    def secrets(self) -> list[str]:
        """Whatever must not be written anywhere."""
        values = [getattr(self, name) for name in type(self).model_fields]
        hidden = [each.get_secret_value() for each in values if isinstance(each, SecretStr)]
        return hidden + (secrets_of(self.redis_url) if self.redis_url else [])

    @field_validator("redis_url")
    @classmethod
    def _check_redis(cls, value: str | None) -> str | None:
        if value is not None:
            ServerAddress.parse(value)
        return value

    @field_validator("label_studio_url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError(
                f"LABEL_STUDIO_URL (or LABEL_STUDIO_HOST) is {value!r}, without a scheme: write "
                "http://… or https://…"
            )
        return value.rstrip("/") if value else value

    @field_validator("models_dir")
    @classmethod
    def _check_models_dir(cls, value: Path) -> Path:
        if value.exists() and not value.is_dir():
            raise ValueError(f"MODELS_DIR {value} is not a folder")
        return value


class ModelSettings(SharedSettings):
    """What `dgl-rsis models` needs.

    Attributes:
        dgl_rsis_models_url: where a server shows a models folder: files are fetched from there in
            place of their publishers' addresses; None for these.
        hf_token: of a Hugging Face account that accepted a model's licence; sent to that host only.
    """

    dgl_rsis_models_url: str | None = None
    hf_token: SecretStr | None = None

    @field_validator("dgl_rsis_models_url")
    @classmethod
    def _check_mirror(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError(
                f"DGL_RSIS_MODELS_URL is {value!r}, without a scheme: write http://… or https://…"
            )
        return value


class WorkerSettings(SharedSettings):
    """What a worker process needs.

    Attributes:
        model: "starter", a name of the model registry, a folder, or ARCHITECTURE:FILE.
        proposals: where masks come from: "regions", or Segment Anything as a name of the model
            registry ("sam-vit-b") or ARCHITECTURE:FILE ("vit_b:sam.pth").
        cache_mb: MiB of memory for what images cost to compute; 0 keeps nothing.
        cache_dir: folder for the same on disk; workers of one machine may share it. None: no disk.
        cache_disk_mb: MiB of that folder.
        device: "cpu" or "cuda:0".
        precision: of the products inside of a CLIP's image towers. With "bfloat16" they take half
            of the time on GPUs, and on processors with AVX-512 BF16 or AMX; model versions differ.
        prefetch: images of the next jobs that other processes prepare while the model works; None
            for `PREFETCHED` on a GPU, and for none on the processor, which the model needs itself.
        local_files_document_root: folder that `/data/local-files/?d=` may read; None refuses.
        scenes_root: folder that all hosts share, whose scenes are segmented through the queue;
            None refuses.
        allowed_image_hosts: `host` or `host:port`; exempt from the block of private addresses.
        max_image_bytes: cap of a download or a file.
        max_image_pixels: cap of height · width, checked before decoding.
        fetch_seconds: cap of the whole transfer of one image.
        metres_per_pixel: of all images whose task does not say it, as "0.3" or "30 cm"; None leaves
            it to what the files say.
    """

    model: str = "starter"
    proposals: str = "regions"
    cache_mb: int = Field(default=256, ge=0, le=1_000_000)
    cache_dir: Path | None = None
    cache_disk_mb: int = Field(default=2048, ge=1, le=100_000_000)
    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    prefetch: int | None = Field(default=None, ge=0, le=64)
    local_files_document_root: Path | None = None
    scenes_root: Path | None = None
    allowed_image_hosts: Hosts = ()
    max_image_bytes: int = Field(default=256 * 1024 * 1024, ge=1)
    max_image_pixels: int = Field(default=PIXEL_BUDGET, ge=1)
    fetch_seconds: float = Field(default=60.0, gt=0)
    metres_per_pixel: float | None = None

    @property
    def prefetched(self) -> int:
        """Images of the next jobs that are prepared meanwhile; they go through the cache."""
        if self.cache_mb == 0:
            return 0
        if self.prefetch is None:
            return 0 if self.device == "cpu" else PREFETCHED
        return self.prefetch

    @field_validator("device")
    @classmethod
    def _check_device(cls, value: str) -> str:
        if DEVICE.fullmatch(value) is None:
            raise ValueError(f"DEVICE is {value!r}: write cpu, cuda or, of several, cuda:1")
        return value

    @field_validator("allowed_image_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(host.strip().lower() for host in value.split(",") if host.strip())
        return value

    @field_validator("metres_per_pixel", mode="before")
    @classmethod
    def _parse_metres(cls, value: object) -> object:
        if value is None:
            return None
        from dgl_rsis.resolution import parse_metres  # NumPy comes with it, which few need

        return parse_metres(value)

    @field_validator("local_files_document_root", "scenes_root")
    @classmethod
    def _check_root(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None:
            return None
        name, root = str(info.field_name).upper(), value.resolve()
        if root == Path(root.anchor):
            raise ValueError(
                f"{name} is the root of the file system, which would let anybody who reaches the "
                "queue read any image: name the folder that holds the images"
            )
        if not root.is_dir():
            raise ValueError(f"{name} {value} is not a folder")
        return root
