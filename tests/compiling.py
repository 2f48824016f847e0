"""What is compiled, compiled before several processes test, which would each do it for itself.

`python -m tests.compiling schedule.solvers.eviction:EVICTION` does it for one part.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from tests import ROOT


def parts() -> Iterator[str]:
    """Every part of the compiled code, as module:name."""
    from schedule import solvers
    from schedule.solvers.kit.loading import Loading

    for found in pkgutil.walk_packages(solvers.__path__, "schedule.solvers."):
        if found.ispkg:
            for name, value in vars(importlib.import_module(found.name)).items():
                if isinstance(value, Loading):
                    yield f"{found.name}:{name}"


def compile_all(checked: Path) -> None:
    """Compile with checks of indices, as tests do, and without, as what they run in a shell does.

    Parameters
    ----------
    checked
        The cache of what is compiled with checks; there is a note in it of what has been done.
    """
    note = checked / f"compiled-{_digest()}"
    if note.exists():
        return
    plain = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    of_tests = plain | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(checked)}

    def compile_one(job: tuple[str, dict[str, str]]) -> None:
        part, environment = job
        subprocess.run(
            [sys.executable, "-m", "tests.compiling", part],
            cwd=ROOT,
            env=environment,
            check=True,
        )

    with ThreadPoolExecutor(os.cpu_count()) as processes:
        list(processes.map(compile_one, product(sorted(parts()), [of_tests, plain])))
    note.parent.mkdir(parents=True, exist_ok=True)
    note.touch()


def _digest() -> str:
    """Of all that can be compiled, and of what compiles it."""
    files = sorted((ROOT / "schedule" / "solvers").rglob("*.py"))
    stamps = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    versions = [sys.version, *map(importlib.metadata.version, ("numba", "numpy"))]
    return hashlib.sha256(repr((stamps, versions)).encode()).hexdigest()[:16]


def _compile(part: str) -> None:
    from schedule import example
    from schedule.solvers.contract import Deadline, Incumbent, Problem

    module, _, name = part.partition(":")
    loading = getattr(importlib.import_module(module), name)
    loading.wait(Incumbent(Problem(example("chain"), 5)), Deadline())


if __name__ == "__main__":
    _compile(sys.argv[1])
