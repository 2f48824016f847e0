"""What several test files need."""

import gc
import os
import sys

import pytest
from hypothesis import settings

from schedule import files
from tests import ROOT
from tests.compiling import COMPILED, compile_all
from tests.formats import require_refused, require_valid

# Compiled code checks its indices here, and in what tests run in a shell. What is compiled with
# and without that must not mix, and Numba doesn't tell them apart.
os.environ["NUMBA_BOUNDSCHECK"] = "1"
os.environ["NUMBA_CACHE_DIR"] = str(COMPILED)

# How long an example takes says more about the machine than about the code. Other examples are
# drawn in each run, so that fewer in each see as much in time.
settings.register_profile("schedule", deadline=None, max_examples=40)
settings.load_profile("schedule")


def pytest_sessionstart(session):
    """Workers that test side by side find everything compiled."""
    options = session.config.option
    if getattr(options, "numprocesses", None) and not options.collectonly:
        compile_all()


def pytest_collection_finish(session):
    """What is imported by now stays: collections that look at it took a tenth of the time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A worker that has nothing left takes tests from one that has: the long ones come last."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture(scope="module")
def checked_writes():
    """Every graph and schedule that is written in this process keeps to the format's schema."""
    write_bytes = files.write_bytes

    def checked(path, content):
        require_valid(content)
        write_bytes(path, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "write_bytes", checked)
        yield


@pytest.fixture
def checked_folder(tmp_path):
    """What a test leaves behind, also from other processes, is valid or can't be read."""
    yield
    require_refused(tmp_path)


@pytest.fixture(scope="session")
def shell(tmp_path_factory):
    """An environment in which the command `schedule` runs this checkout."""
    folder = tmp_path_factory.mktemp("bin")
    for name, call in (("schedule", "-m schedule"), ("python", "")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {call} "$@"\n')
        script.chmod(0o755)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    kept = ("HOME", "LANG", "SystemRoot", "NUMBA_BOUNDSCHECK", "NUMBA_CACHE_DIR")
    known = {key: os.environ[key] for key in kept if key in os.environ}
    return known | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": path}


@pytest.fixture(scope="module")
def one_thread():
    """On a busy machine torch's threads would wait for one another."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
