"""Models that Hugging Face's own tools brought to this machine: read where they lie, never fetched.

Their cache is where that library's variables say, as HF_HOME.
"""

import re
from pathlib import Path

from dgl_rsis.weights.identity import CONFIG

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def cached(name: str) -> Path | None:
    """The folder of a repository's newest cached state; None where it is not cached.

    Args:
        name: "OWNER/NAME"; anything else is none.
    """
    if not REPOSITORY.fullmatch(name):
        return None
    try:
        from huggingface_hub import try_to_load_from_cache
    except ModuleNotFoundError:  # the web side alone
        return None
    found = try_to_load_from_cache(name, CONFIG)
    return Path(found).parent if isinstance(found, str) else None
