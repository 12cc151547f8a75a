"""What a process has loaded: statements for another Python, which ends with 1 when they fail."""

# Of the algorithm the web side may load these, which need NumPy at most.
OPEN = {
    "dgl_rsis",
    "dgl_rsis.caching",
    "dgl_rsis.formats",
    "dgl_rsis.names",
    "dgl_rsis.resolution",
    "dgl_rsis.runs",
}
OPEN |= {"dgl_rsis.types"}
OPEN |= {"dgl_rsis.weights", "dgl_rsis.weights.identity"}  # of the registry; need no library
MODELS = {"torch", "open_clip", "segment_anything", "spacy"}
SCENES = {"rasterio", "pyogrio", "shapely", "matplotlib", "pycocotools", "scipy", "skimage"}


def loads_none_of(*heavy: str, algorithm: bool = False) -> str:
    """Code that fails where one of these modules is loaded.

    Args:
        heavy: names of modules.
        algorithm: more of `dgl_rsis` may be loaded than `OPEN`.
    """
    code = f"import sys\nloaded = set(sys.modules) & {set(heavy)!r}\n"
    if not algorithm:
        code += f"loaded |= {{m for m in sys.modules if m.startswith('dgl_rsis')}} - {OPEN!r}\n"
    return code + "if loaded: sys.exit(f'loaded: {sorted(loaded)}')\n"
