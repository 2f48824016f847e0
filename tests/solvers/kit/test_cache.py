"""The cache of compiled code is only a cache: whatever is wrong with it, the answer is right."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import schedule
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.eviction import EVICTION
from schedule.solvers.eviction.retained import RETAINED
from tests import ROOT
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

DOUBLE = """
from schedule.solvers.kit.compiled import jit

@jit
def double(a):
    for i in range(len(a)):
        a[i] += a[i]
    return a
"""
#: Doubles integers as the command line would, and says whether that was compiled before.
WORKER = """
import sys
import numpy as np
from schedule.cli.shell import show_warnings

show_warnings()
{before}
from double import double

print(double(np.arange(3)).tolist(), sum(double.stats.cache_hits.values()))
"""
COMPILED, FOUND = "[0, 2, 4] 0\n", "[0, 2, 4] 1\n"
#: Stand-ins for what happens to ordinary users, and not to root.
UNREADABLE = """
import pathlib

def refuse(path):
    raise PermissionError(13, "Permission denied", str(path))

pathlib.Path.read_bytes = refuse
"""
FULL = """
import pathlib

def refuse(path, content):
    raise OSError(28, "No space left on device")

pathlib.Path.write_bytes = refuse
"""
READ_ONLY = """
import tempfile

def refuse(dir):
    raise OSError(30, "Read-only file system")

tempfile.TemporaryFile = refuse
"""
VANISHED = """
import shutil, schedule.solvers.kit.compiled
from numba.core.caching import FunctionCache

load = FunctionCache._load_overload

def load_and_lose(self, *args):
    load(self, *args)
    shutil.rmtree(self.cache_path)

FunctionCache._load_overload = load_and_lose
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A directory with a compiled function, and the cache `kept` in it, filled."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "double.py").write_text(DOUBLE)
    assert run(folder, folder / "kept") == (COMPILED, "")
    return folder


@pytest.fixture
def kept(sources, tmp_path):
    """A copy of the cache, to be spoilt."""
    return Path(shutil.copytree(sources / "kept", tmp_path / "kept"))


def file_in(kept):
    """The file of the cache."""
    (file,) = kept.rglob("*.nbc")
    return file


def run(sources, kept, before="", options=()):
    """What a process prints that uses the function, and what it says on standard error."""
    found = subprocess.run(
        [sys.executable, *options, "-c", WORKER.format(before=before)],
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(sources), str(ROOT)]),
            "NUMBA_CACHE_DIR": "" if kept is None else str(kept),
            "XDG_CACHE_HOME": str(sources / "user"),
        },
        cwd=sources,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout, found.stderr


def left_aside(folder, why):
    """The one line on standard error."""
    return f"schedule: the cache of compiled code in {folder} is left aside: {why}\n"


def spoilt_in_the_middle(content):
    """As after a power cut: a block was never written."""
    return content[:900] + bytes(512) + content[1412:]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: bytes(len(content)),
        spoilt_in_the_middle,
    ],
    ids=["empty", "truncated", "zeros", "spoilt in the middle"],
)
def test_a_spoilt_file_is_made_anew(sources, kept, spoil):
    """It is compiled, which is said in one line; the next process finds it."""
    file = file_in(kept)
    file.write_bytes(spoil(file.read_bytes()))
    said = left_aside(file.parent, f"{file.name} is not what was written")
    assert run(sources, kept) == (COMPILED, said)
    assert run(sources, kept) == (FOUND, "")


def test_what_another_version_kept_is_replaced_without_a_word(sources, kept):
    """Nothing is wrong with the cache."""
    other = "import numba\nnumba.__version__ = 'other'"
    assert run(sources, kept, other) == (COMPILED, "")
    assert run(sources, kept, other) == (FOUND, "")
    assert run(sources, kept) == (COMPILED, "")


def test_a_file_that_cannot_be_read_or_replaced(sources, kept):
    """A directory in its place stays there."""
    file = file_in(kept)
    file.unlink()
    file.mkdir()
    said = left_aside(file.parent, f"{file.name}: Is a directory")
    for _ in range(2):
        assert run(sources, kept) == (COMPILED, said)


def test_a_file_of_another_user(sources, kept):
    """It can't be read, but be replaced where the directory is one's own."""
    file = file_in(kept)
    said = left_aside(file.parent, f"{file.name}: Permission denied")
    assert run(sources, kept, UNREADABLE) == (COMPILED, said)
    assert run(sources, kept) == (FOUND, "")


def test_a_full_disk(sources, tmp_path):
    """Nothing is kept, and nothing is left over that the next process could take for code."""
    folder = tmp_path / "kept"
    out, err = run(sources, folder, FULL)
    (inner,) = folder.iterdir()
    assert (out, err) == (COMPILED, left_aside(inner, "No space left on device"))
    assert list(inner.iterdir()) == []
    assert run(sources, folder) == (COMPILED, "")


def test_a_read_only_directory_is_read(sources, kept):
    """Nothing is wrong with it as long as nothing has to be written."""
    assert run(sources, kept, READ_ONLY) == (FOUND, "")


def test_a_read_only_directory_without_the_code(sources, kept):
    """Each process compiles, and says so."""
    file = file_in(kept)
    file.unlink()
    said = left_aside(file.parent, "Read-only file system")
    for _ in range(2):
        assert run(sources, kept, READ_ONLY) == (COMPILED, said)


def test_where_nothing_can_be_written_what_is_beside_the_source_is_read(sources, tmp_path):
    """As in a container whose image was made with what is compiled in it."""
    image = tmp_path / "image"
    image.mkdir()
    shutil.copy2(sources / "double.py", image)
    said = left_aside(image / "__pycache__", "Read-only file system")
    assert run(image, None, READ_ONLY) == (COMPILED, said)
    assert run(image, None) == (COMPILED, "")
    assert run(image, None, READ_ONLY) == (FOUND, "")


def test_a_directory_that_cannot_be_made(sources, tmp_path):
    """A place that the user gave is not left for another."""
    (tmp_path / "file").touch()
    for _ in range(2):
        out, err = run(sources, tmp_path / "file" / "kept")
        assert out == COMPILED
        folder = re.escape(str(tmp_path / "file" / "kept"))
        assert re.fullmatch(rf"schedule: the cache .* in {folder}.* Not a directory\n", err)


def test_places_that_do_not_exist(sources, kept):
    """Numba is told of places by class; it knows none of that name."""
    told = "import os\nos.environ['NUMBA_CACHE_LOCATOR_CLASSES'] = 'Nowhere'"
    out, err = run(sources, kept, told)
    assert out == COMPILED
    assert err.startswith(left_aside(sources, "Unknown cache locator class: 'Nowhere'")[:-1])


def test_a_directory_that_vanishes(sources, kept):
    """Between reading and writing: it is made anew."""
    assert run(sources, kept, VANISHED) == (COMPILED, "")
    assert run(sources, kept) == (FOUND, "")


def test_nobody_waits_for_another_process(sources, kept):
    """One that holds a lock on every file there, and sleeps, is in nobody's way."""
    fcntl = pytest.importorskip("fcntl")
    (file_in(kept).parent / "compiled.lock").touch()
    files = [open(path, "rb+") for path in kept.rglob("*") if path.is_file()]  # noqa: SIM115
    for file in files:
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        assert run(sources, kept) == (FOUND, "")
    finally:
        for file in files:
            file.close()


def test_warnings_as_errors_make_no_error_of_it(sources, kept):
    """The function is compiled all the same."""
    file_in(kept).write_bytes(b"")
    options = ["-W", "error::UserWarning"]
    assert run(sources, kept, options=options) == (COMPILED, "")
    assert run(sources, kept, options=options) == (FOUND, "")


def test_a_solve_with_a_spoilt_cache(tmp_path, shell):
    """One function is compiled again, the plan is the same; the next process has nothing to say."""
    graph = schedule.example("unet")
    for part in (EVICTION, RETAINED):
        assert part.wait(Incumbent(Problem(graph, 0)), Deadline.after(600))
    kept, order = tmp_path / "kept", "order._choose*.nbc"
    here = Path(os.environ["NUMBA_CACHE_DIR"])
    for folder in (*here.glob("eviction_*"), *here.glob("retained_*")):
        shutil.copytree(folder, kept / folder.name)
    spoilt = list(kept.rglob(order))
    assert spoilt
    for file in spoilt:
        file.write_bytes(b"")
    schedule.write(graph, tmp_path / "unet.json")
    command = ["schedule", "solve", "unet.json", "--budget", "60%", "--solver", "greedy", "--json"]
    env = shell | {"NUMBA_CACHE_DIR": str(kept), "NUMBA_BOUNDSCHECK": "1"}
    compiled = r"(schedule: .* s of this went by waiting for code that wasn't compiled yet; .*\n)?"
    aside = r"schedule: the cache of compiled code in .* is left aside: .*\n"
    for expected in (aside + compiled, ""):
        found = subprocess.run(
            command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert found.returncode == 0
        assert re.fullmatch(expected, found.stderr)
        assert json.loads(found.stdout)["compute"] == schedule.solve(graph, "60%", "greedy").compute
