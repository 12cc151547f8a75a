"""This machine: weights, memory, disk, GPU, as far as a worker would run here."""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from backend.commands.doctor.findings import Finding, State
from dgl_rsis.weights.identity import STARTER
from workers.processes.memory import machine_bytes
from workers.registry import names
from workers.registry.files import RegistryError
from workers.settings import WorkerSettings

WEIGHTS, MEMORY, DISK, DEVICE = "weights", "memory", "disk", "device"
WORKER_BYTES = 1.3 * 2**30  # at its peak, with the starter weights, an image of 1024²
PIXEL_BYTES = 30  # of an image, at the peak: `workers/images/pictures.py`
LOW_DISK = 2**30


def check(settings: WorkerSettings, workers: int, folder: Path) -> Iterator[Finding]:
    """What a worker on this machine would meet.

    Args:
        settings: of workers.
        workers: how many `up` starts here.
        folder: of the data of `up`.
    """
    if find_spec("torch") is None:
        yield Finding(
            DEVICE, State.NOTE, "PyTorch is not installed: no worker can run here, only servers",
            "where masks are to be made here, install the extra `worker`",
        )  # fmt: skip
        return
    yield from _weights(settings)
    yield from _memory(settings, workers)
    yield from _disk(settings, folder)
    yield from _device(settings)


def _weights(settings: WorkerSettings) -> Iterator[Finding]:
    try:
        if names.resolve_concepts(settings.model, settings.models_dir) is None:
            found = names.resolve_clip(settings.model, settings.models_dir)
            file = Path(found.partition(":")[2] or found)
            if found != STARTER and not file.exists():
                raise RegistryError(f"MODEL is {settings.model!r}, which is no name and no file")
        if settings.proposals != "regions":
            _, file = names.resolve_sam(settings.proposals, settings.models_dir)
            if not file.exists():
                raise RegistryError(f"PROPOSALS is {settings.proposals!r}: there is no {file}")
    except RegistryError as error:
        said, _, way_out = str(error).partition(": ")
        yield Finding(WEIGHTS, State.WRONG, said, way_out or "`dgl-rsis models list` shows names")
        return
    if settings.model == STARTER:
        yield Finding(
            WEIGHTS, State.NOTE, "MODEL is starter: small weights that know thirty concepts",
            "for real work `dgl-rsis models list` and `models pull` (docs/MODELS.md)",
        )  # fmt: skip
    else:
        yield Finding(WEIGHTS, State.GOOD, f"MODEL {settings.model} is here")
    if settings.proposals != "regions":
        yield Finding(WEIGHTS, State.GOOD, f"PROPOSALS {settings.proposals} are here")


def _memory(settings: WorkerSettings, workers: int) -> Iterator[Finding]:
    total, needed = machine_bytes(), workers * WORKER_BYTES
    largest = (0.9 * total - needed) / PIXEL_BYTES
    have = f"{total / 2**30:.1f} GiB"
    if total < needed:
        yield Finding(
            MEMORY, State.WRONG, f"{have} for {workers} workers of {WORKER_BYTES / 2**30:.1f} GiB",
            "set INTERACTIVE_WORKERS=0, or give the machine more",
        )  # fmt: skip
    elif largest < settings.max_image_pixels:
        yield Finding(
            MEMORY, State.NOTE,
            f"{have}: images of more than about {largest / 1e6:.0f} megapixels will be refused, "
            f"MAX_IMAGE_PIXELS allows {settings.max_image_pixels / 1e6:.0f}",
            "tile larger images (`dgl-rsis tile`), or give the machine more memory",
        )  # fmt: skip
    else:
        yield Finding(MEMORY, State.GOOD, f"{have} for {workers} workers")


def _disk(settings: WorkerSettings, folder: Path) -> Iterator[Finding]:
    places = {"the queue's log": folder, "weights": settings.models_dir}
    if settings.cache_dir is not None:
        places["cached images"] = settings.cache_dir
    for what, place in places.items():
        path = place.absolute()
        there = next(each for each in (path, *path.parents) if each.exists())
        free = shutil.disk_usage(there).free
        if free < LOW_DISK:
            yield Finding(
                DISK, State.WRONG, f"{free / 2**20:.0f} MiB are free for {what} ({place})",
                "make room: a queue whose disk is full takes no jobs",
            )  # fmt: skip
    yield Finding(DISK, State.GOOD, f"looked at the room for {', '.join(places)}")


def _device(settings: WorkerSettings) -> Iterator[Finding]:
    import torch  # half a minute on a busy machine, and only where a worker can run

    there = torch.cuda.is_available()
    if settings.device == "cpu":
        if there:
            name = torch.cuda.get_device_name(0)
            yield Finding(DEVICE, State.NOTE, f"DEVICE is cpu, and there is a GPU ({name})",
                          "set DEVICE=cuda:0")  # fmt: skip
        else:
            yield Finding(DEVICE, State.GOOD, f"cpu, {torch.get_num_threads()} threads")
        return
    number = torch.device(settings.device).index or 0
    if not there:
        built = torch.version.cuda
        yield Finding(
            DEVICE, State.WRONG, f"DEVICE is {settings.device}, and PyTorch sees no GPU",
            f"it was built for CUDA {built}: look at the driver with nvidia-smi, in a container at "
            "the NVIDIA container toolkit" if built else
            "this PyTorch is built for processors alone: install that for CUDA, or set DEVICE=cpu",
        )  # fmt: skip
    elif number >= torch.cuda.device_count():
        yield Finding(
            DEVICE, State.WRONG,
            f"DEVICE is {settings.device}, and there are {torch.cuda.device_count()} GPUs",
            "count from 0",
        )  # fmt: skip
    else:
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        said = f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        yield Finding(DEVICE, State.GOOD, said)
