"""Names of classes, however they are spelt: what two spellings share, and English plurals.

[ours] all of it. The standard library alone: the web side names classes, too.
"""

import re
import tomllib
from functools import cache
from importlib.resources import files

# Names under which a label set says "none of the others".
BACKGROUND_NAMES = frozenset(
    {
        *("background", "unlabeled", "unlabelled", "other", "clutter", "clutter background"),
        *("unknown", "unclassified", "void", "no data", "nodata"),
    }
)


def names_background(name: str) -> bool:
    """Whether a label of this name says "none of the others", however it is spelt."""
    return normal_name(name) in BACKGROUND_NAMES


def normal_name(name: str) -> str:
    """What two spellings of one class share.

    Lower case, single spaces for what else parts words ("_", "-", "/"), and the last word singular.
    """
    *compounds, last = re.sub(r"[\s_/-]+", " ", name).strip().lower().split(" ")
    return " ".join([*compounds, singular(last)])


def singular(word: str) -> str:
    """The singular of a noun in lower case by the rules of English spelling."""
    known = _plurals().get(word)
    if known is not None:
        return known
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is", "'s")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes")):
        return word[:-2]
    if word.endswith("uses") and not word.endswith("ouses"):
        return word[:-2]
    if word.endswith(("atoes", "anoes", "argoes")):
        return word[:-2]
    return word[:-1]


@cache
def _plurals() -> dict[str, str]:
    """Plural → singular, of what the rules miss; from `names.toml`."""
    data = tomllib.loads(files("dgl_rsis").joinpath("names.toml").read_text("utf-8"))
    irregular = {x: value for value, forms in data["irregular"].items() for x in forms}
    return irregular | {x: x for x in data["unchanged"]["words"]}
