"""Which predictions a project of Label Studio shows: those of the version that it is served.

The data manager's score column, and ordering by it, take the predictions of the project's
`model_version` alone. Connecting a backend sets that to the backend's title, so the column is
blank; with a plain version there, the label stream does not ask the backend any more. Where the
title of the backend is the version, both work: renaming a backend moves the project along.

What a person chose and this project never made is left as it is, and so is what another of our
servers on the same project made: each would undo the other's choice after all that it learnt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.studio.client import StudioClient, StudioError
from dgl_rsis.types import Json
from workers.messages import base_of, is_ours

SCORES = "so that the data manager's prediction score is that of the newest predictions"
NOT_ALLOWED = (401, 403, 404)


@dataclass(frozen=True)
class Standing:
    """What a project shows, and what it could.

    Attributes:
        shown: its `model_version`: a version of predictions, or the title of a backend.
        uses: "Use predictions to prelabel tasks" is on.
        counts: version → number of predictions.
        backends: that are connected, as Label Studio describes them.
        label_config: XML.
    """

    shown: str
    uses: bool
    counts: Mapping[str, int]
    backends: Sequence[Json]
    label_config: str = ""


@dataclass(frozen=True)
class Change:
    """What has to be set.

    Attributes:
        renamed: the backend that gets the version as its title; None for none.
        chosen: the project's `model_version` is set.
        note: what only a person may set; empty for nothing.
    """

    renamed: Json | None = None
    chosen: bool = False
    note: str = ""


def standing(studio: StudioClient, project: int) -> Standing:
    """How a project stands, in two calls.

    Raises:
        StudioError: unreachable or refused.
    """
    settings, versions = studio.project(project), studio.model_versions(project)
    counts = {str(each["model_version"]): int(each["count"]) for each in versions["static"]}
    return Standing(
        shown=str(settings.get("model_version") or ""),
        uses=bool(settings.get("show_collab_predictions")),
        counts=counts,
        backends=tuple(versions["live"] or ()),
        label_config=str(settings.get("label_config") or ""),
    )


def show(studio: StudioClient, project: int, stands: Standing, version: str) -> str:
    """Have a project show the predictions of a version, where that is ours to decide.

    Args:
        studio: Label Studio.
        project: Label Studio's id.
        stands: how it stands.
        version: one of ours, of which it has predictions.

    Returns:
        What a person has to set instead; empty for nothing.

    Raises:
        StudioError: unreachable, or it refuses for another reason than rights.
    """
    change = change_for(stands, version)
    try:
        if change.renamed is not None:
            studio.rename_backend(project, change.renamed, version)
        if change.chosen:
            studio.set_model_version(project, version)
    except StudioError as error:
        if error.status not in NOT_ALLOWED:
            raise
        return f"{by_hand(version, stands)} (Label Studio answered {error.status} to its token)"
    return change.note


def change_for(stands: Standing, version: str) -> Change:
    """What has to be set so that a project shows a version."""
    ours = [each for each in stands.backends if is_ours(each.get("model_version"))]
    if not stands.uses and not stands.shown:
        return Change(note=_switched_off(version))
    if not ours:
        if stands.shown and not is_ours(stands.shown):
            return Change(note=by_hand(version, stands))
        return Change(chosen=stands.shown != version)
    backend = ours[0] if len(ours) == 1 else _serving(version, ours, stands.shown)
    if backend is None:
        return Change(note=_several(version, ours))
    title = str(backend.get("title") or "")
    if stands.shown and stands.shown == title:  # the project moves along
        return Change(renamed=None if title == version else backend)
    if not stands.shown or (is_ours(stands.shown) and is_ours(title)):
        return Change(None if title == version else backend, chosen=stands.shown != version)
    if is_ours(stands.shown):
        return Change(chosen=stands.shown != version, note=_not_asked(title))
    return Change(note=by_hand(version, stands))


def _serving(version: str, ours: Sequence[Json], shown: str) -> Json | None:
    """Of several of ours the backend that serves a version; None where only a person can say.

    So it is where none or more than one could be it, or where another one is shown.
    """
    base = base_of(version)
    serving = [each for each in ours if base_of(each["model_version"]) == base]
    others = [each for each in ours if base_of(each["model_version"]) != base]
    for each in serving:
        if each.get("title") == shown:
            return each
    theirs = {each.get("title") for each in others if each.get("title")}
    bases = {base_of(each["model_version"]) for each in others}
    if len(serving) != 1 or shown in theirs or base_of(shown) in bases:
        return None
    return serving[0]


def by_hand(version: str, stands: Standing | None = None) -> str:
    """What to set in Label Studio by hand."""
    connected = stands is None or any(is_ours(b.get("model_version")) for b in stands.backends)
    if connected:
        return (
            f"In Label Studio, project → Settings → Model → … → Edit, write {version} as Name; "
            f"then choose {version} in Settings → Annotation → “Select which predictions or which "
            f"model you want to use”, {SCORES}"
        )
    return (
        f"In Label Studio, project → Settings → Annotation → “Select which predictions or which "
        f"model you want to use”, choose {version}, {SCORES}"
    )


def _switched_off(version: str) -> str:
    return (
        "In Label Studio, project → Settings → Annotation, turn on “Use predictions to prelabel "
        f"tasks” and choose {version}, {SCORES}"
    )


def _not_asked(title: str) -> str:
    return (
        f"The label stream shows stored predictions only, since the backend “{title}” is not "
        "chosen: to have it asked for new tasks, in Label Studio, project → Settings → Annotation "
        f"→ “Select which predictions or which model you want to use”, choose {title}"
    )


def _several(version: str, ours: Sequence[Json]) -> str:
    titles = ", ".join(f"“{each.get('title') or ''}”" for each in ours)
    return (
        f"{len(ours)} backends of DGL-RSIS are connected to the project ({titles}), and which of "
        "them it shows is yours to say: in Label Studio, project → Settings → Model, delete those "
        f"that are not wanted, or in Settings → Annotation → “Select which predictions or which "
        f"model you want to use” choose {version}, {SCORES}"
    )
