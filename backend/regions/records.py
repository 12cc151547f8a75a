"""What a training set is made of: images, and what people and models marked on them.

Readers make these of Label Studio's JSON; writers know nothing else.
"""

from dataclasses import dataclass

from dgl_rsis.runs import Runs


@dataclass(frozen=True)
class Region:
    """One mask that somebody or some model marked.

    Attributes:
        id: Label Studio's id of the region; what was copied from a prediction keeps the id.
        label: one label; a region with several is several records.
        runs: the mask at the size of the image.
        kind: "brush", "bitmask", "polygon", "rectangle", "ellipse" or "vector": how it is stored.
        score: of a model, [0, 1]; None for what a person drew.
        origin: Label Studio's "manual", "prediction" or "prediction-changed".
        texts: sentences that say what it is, of a <TextArea perRegion="true">; mostly none.
    """

    id: str
    label: str
    runs: Runs
    kind: str
    score: float | None = None
    origin: str = "manual"
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """What a model marked.

    Attributes:
        id: Label Studio's id; None when it has none.
        model_version: that made it; empty when unknown.
        score: of the whole, [0, 1]; None for none.
        regions: the masks; may be empty.
        unread: how many further masks could not be read.
    """

    id: int | None
    model_version: str
    score: float | None
    regions: tuple[Region, ...]
    unread: int = 0


@dataclass(frozen=True)
class Annotation:
    """What one person submitted.

    Attributes:
        id: Label Studio's id; None when it has none.
        annotator: e-mail address or id of who did it; empty when unknown.
        updated: ISO 8601 time of the last change; empty when unknown.
        regions: the masks; empty when there is nothing to see, which is an answer, too.
        predicted: the pre-label that it started from; None when there was none.
        unread: how many further masks could not be read.
        start_known: whether it is known what it started from; else `predicted` is None.
    """

    id: int | None
    annotator: str
    updated: str
    regions: tuple[Region, ...]
    predicted: Prediction | None = None
    unread: int = 0
    start_known: bool = True


@dataclass(frozen=True)
class Place:
    """Where a tile lies: what `dgl-rsis tile` writes into a task's data.

    Attributes:
        scene: file name of the raster that it was cut from.
        crs: as "EPSG:32616" or WKT; empty when the scene has none.
        transform: a, b, c, d, e, f of the tile's own affine transform: x = a·column + b·row + c,
            y = d·column + e·row + f, from pixels to the CRS; None when the scene has none.
        window: column offset, row offset, width, height of the tile in the scene, pixels.
        scene_size: width and height of the scene, pixels.
    """

    scene: str
    crs: str
    transform: tuple[float, float, float, float, float, float] | None
    window: tuple[int, int, int, int]
    scene_size: tuple[int, int]


@dataclass(frozen=True)
class Item:
    """One task: one image and all that was marked on it.

    Attributes:
        task_id: Label Studio's id; 0 when it has none.
        image: reference as in the task's data.
        height, width: of the image, pixels.
        annotations: submitted ones, newest last; cancelled ones left out.
        predictions: stored ones, newest last.
        expression: the sentence that the task asks for; empty for none.
        place: of a tile; None for any other image.
    """

    task_id: int
    image: str
    height: int
    width: int
    annotations: tuple[Annotation, ...]
    predictions: tuple[Prediction, ...]
    expression: str = ""
    place: Place | None = None
