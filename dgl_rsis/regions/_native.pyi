from typing_extensions import Buffer

def flood(relief: Buffer, basins: Buffer, wanted: Buffer, rows: int, columns: int) -> None: ...
def grow(
    labels: Buffer,
    channels: Buffer,
    gradient: Buffer,
    rows: int,
    columns: int,
    leaves: int,
    apart: int,
    weight: float,
) -> tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes]: ...
