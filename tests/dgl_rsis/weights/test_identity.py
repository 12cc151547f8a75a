import hashlib
from pathlib import Path

from dgl_rsis.weights.identity import fingerprint


def test_a_file_is_known_by_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"weights")
    assert fingerprint(tmp_path / "m.pt") == hashlib.sha256(b"weights").hexdigest()
