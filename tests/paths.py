"""Where tests find the project and, where there is one, the shared data; they skip without it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
PAYLOADS = ROOT.parent / "shared" / "design" / "ls-payloads"
