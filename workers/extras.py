"""Which extra of this distribution brings a package that is missing, and how it is installed."""

# Package that is imported → extra; whatever else the command line may lack is of `data`.
EXTRAS = {
    "transformers": "hf",
    **dict.fromkeys(
        ("open_clip", "safetensors", "segment_anything", "spacy", "timm", "torch", "torchvision"),
        "worker",
    ),
}


def way_out(package: str | None) -> str:
    """How to install what brings a package: no index has this distribution.

    Args:
        package: as it is imported, with or without a module of it.
    """
    return installing(EXTRAS.get((package or "").partition(".")[0], "data"))


def installing(extra: str) -> str:
    """How to install an extra, from a checkout or by its wheel."""
    return (
        f"`pip install '.[{extra}]'` in a checkout of dgl-rsis, or "
        f"`pip install './FILE.whl[{extra}]'` with its wheel"
    )
