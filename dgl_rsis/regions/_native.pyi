from typing import Any

from numpy.typing import NDArray

def flood(
    relief: NDArray[Any], basins: NDArray[Any], wanted: NDArray[Any], rows: int, columns: int
) -> None: ...
def grow(
    labels: NDArray[Any],
    channels: NDArray[Any],
    gradient: NDArray[Any],
    rows: int,
    columns: int,
    leaves: int,
    apart: int,
    weight: float,
) -> tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes]: ...
