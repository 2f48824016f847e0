"""Solves of the graphs in a folder, each in a process of its own that has loaded what it needs."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from clocks import processor_time

#: Calls `child` of a benchmark with texts, and prints what it returns. By the processor's clock
#: large programs are this process's own: one that was left behind, as it didn't end in time,
#: would have HiGHS abort at the exit.
_CHILD = """
import importlib, json, os, sys
sys.path.append(sys.argv[1])
print(json.dumps(importlib.import_module(sys.argv[2]).child(*sys.argv[3:])), flush=True)
os._exit(0)
"""


def asked(benchmark: str, *given: str) -> dict[str, Any]:
    """What `child` of a benchmark returns, in a process of its own; or an `error`."""
    here = str(Path(__file__).resolve().parent)
    command = [sys.executable, "-c", _CHILD, here, benchmark, *given]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"error": "".join(done.stderr.strip().splitlines()[-1:])}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def parser_of(description: str | None, against: str) -> argparse.ArgumentParser:
    """The options of every benchmark that solves the graphs of a folder; `against` by default."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--processor-time", action="store_true", help="instead of what passes")
    parser.add_argument("--against", default=against, help="other solvers, with commas between")
    parser.add_argument("--only", nargs="*", default=[], help="beginnings of file names")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all that was measured")
    return parser


def clock_of(given: bool, threads: int) -> AbstractContextManager[None]:
    """Seconds of the processor, with so many threads side by side, where that is asked for."""
    return processor_time(threads) if given else nullcontext()


def graph_files(folders: Iterable[Path], only: Iterable[str]) -> Iterator[tuple[int, Path]]:
    """The graphs in some folders with their numbers; `only` those whose names begin so, if any."""
    beginnings = tuple(only)
    files = sorted(file for folder in folders for file in folder.glob("*.json*"))
    for at, file in enumerate(files):
        if not beginnings or file.name.startswith(beginnings):
            yield at, file


def name_of(file: Path) -> str:
    """A file's name without its ending."""
    return file.name.removesuffix(".gz").removesuffix(".json")
