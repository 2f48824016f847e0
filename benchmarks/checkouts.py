"""One checkout of this package beside another: the same code run on both, in turn."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path


def parser_of(description: str | None, tries: str) -> argparse.ArgumentParser:
    """The options that such benchmarks share; `tries` says which of them counts."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--tries", type=int, default=2, help=f"of which the {tries} counts")
    return parser


def checkouts(options: argparse.Namespace) -> list[Path]:
    """This one, and the other one that was asked for."""
    other = [options.against.resolve()] if options.against else []
    return [Path(__file__).resolve().parents[1], *other]


def printed(checkout: Path, code: str, *arguments: str, cache: str | None = None) -> list[str]:
    """Words that the code prints, run on a checkout; with a cache of compiled code of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    environment |= {"PYTHONPATH": str(checkout)}
    if cache is not None:
        environment |= {"NUMBA_CACHE_DIR": cache}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, env=environment, cwd=checkout, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.split()
