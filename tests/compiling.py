"""What is compiled, compiled before several processes test, which would each do it for itself."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys

from tests import ROOT

#: Every other part, in a process of its own: one process compiles one after the other.
_COMPILE = """
from schedule.warming import parts

for _, part in sorted(parts().items())[{}::2]:
    attempt = part.begin()
    attempt.done.wait()
    if attempt.error is not None:
        raise attempt.error
"""


#: The cache of what is compiled with checks; there is a note in it of what has been done.
COMPILED = ROOT / ".pytest_cache" / "numba"


def compile_all() -> None:
    """Compile with checks of indices, as tests do, and what they run in a shell."""
    note = COMPILED / f"compiled-{_digest()}"
    if note.exists():
        return
    env = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(COMPILED)}
    halves = [
        subprocess.Popen([sys.executable, "-c", _COMPILE.format(half)], cwd=ROOT, env=env)
        for half in (0, 1)
    ]
    for half in halves:
        if half.wait():
            raise subprocess.CalledProcessError(half.returncode, half.args)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.touch()


def _digest() -> str:
    """Of all that can be compiled, and of what compiles it."""
    rooms = (ROOT / "schedule" / "solvers", ROOT / "schedule" / "arena")
    files = sorted(file for room in rooms for file in room.rglob("*.py"))
    stamps = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    versions = [sys.version, *map(importlib.metadata.version, ("numba", "numpy"))]
    return hashlib.sha256(repr((stamps, versions)).encode()).hexdigest()[:16]


if __name__ == "__main__":
    compile_all()
