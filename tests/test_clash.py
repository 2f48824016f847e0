"""Beside PyPI's job scheduler, which has the same import name: whichever way round, it is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import schedule
from schedule.cli.loading import load
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

#: What stands in for the job scheduler's `schedule/__init__.py`.
THEIRS = "def every(interval=1): return interval\n"
PACKAGE = Path(schedule.__file__).parent


@pytest.fixture
def installed(tmp_path):
    """A folder of installed packages with this one in it, as `pip install` leaves it."""
    folder = tmp_path / "site-packages"
    package = folder / "schedule"
    package.mkdir(parents=True)
    for path in PACKAGE.iterdir():
        if path.name != "__pycache__":
            (package / path.name).symlink_to(path, target_is_directory=path.is_dir())
    (folder / "graph_schedule-0.1.0.dist-info").mkdir()
    return folder


def beside_theirs(folder):
    """The metadata of the job scheduler, which pip leaves whatever becomes of its files."""
    (folder / "schedule-1.2.2.dist-info").mkdir()


def replace_init(folder, text):
    """Another `__init__.py`, or none."""
    init = folder / "schedule" / "__init__.py"
    init.unlink()
    if text is not None:
        init.write_text(text)


def python(folders, code):
    """What Python says that finds packages in these folders, and in no others."""
    return subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=os.environ | {"PYTHONPATH": str(folders), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_alone_it_is_silent(installed):
    """No word where there is nothing to say; the folder itself is imported."""
    found = python(installed, "import schedule.errors; print(schedule.__file__)")
    assert found.stderr == ""
    assert found.stdout.startswith(str(installed))


def test_both_installed_this_one_last(installed):
    """Everything works, and one warning names the other, where it lies, and the way out."""
    beside_theirs(installed)
    found = python(installed, "import schedule; print(schedule.Graph)")
    assert found.returncode == 0
    assert "NameTaken: PyPI's job scheduler is installed, too" in found.stderr
    assert str(installed / "schedule-1.2.2.dist-info") in found.stderr
    assert "pip uninstall schedule" in found.stderr


def test_the_other_in_another_folder(installed, tmp_path):
    """Two folders of packages on the path: the second is hidden by the first."""
    second = tmp_path / "second" / "site-packages"
    second.mkdir(parents=True)
    beside_theirs(second)
    both = os.pathsep.join([str(installed), str(second)])
    found = python(both, "import schedule")
    assert str(second) in found.stderr
    assert "pip uninstall" not in found.stderr, "that would change nothing here"


@pytest.mark.parametrize("text", [THEIRS, None], ids=["installed last", "uninstalled"])
@pytest.mark.parametrize("name", ["schedule.errors", "schedule.torch"])
def test_a_part_of_this_package_in_the_others(installed, name, text):
    """Theirs was installed over it, or took `__init__.py` with it: no module goes on as part."""
    replace_init(installed, text)
    found = python(installed, f"import {name}")
    last = found.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "another distribution" in last
    assert "install graph-schedule again" in last


@pytest.mark.parametrize("text", [THEIRS, None], ids=["installed last", "uninstalled"])
def test_the_command_says_it_in_one_line(installed, text):
    """No traceback, and the status of misuse."""
    replace_init(installed, text)
    found = python(installed, "from schedule.cli import main")
    assert found.returncode == 2
    assert found.stderr.startswith("schedule: ")
    assert found.stderr.count("\n") == 1


def test_who_wants_the_other_is_told():
    """Its names are known; any other is just unknown."""
    with pytest.raises(AttributeError, match="'every': this is graph-schedule"):
        _ = schedule.every
    with pytest.raises(AttributeError, match=r"attribute 'never'$"):
        _ = schedule.never


def test_a_module_of_that_name_given_to_a_command(tmp_path, monkeypatch):
    """`schedule.py` can't be loaded beside the package; the message says to rename it."""
    (tmp_path / "schedule.py").write_text("def step(): ...\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(schedule.BadInput, match=r"^factory schedule:step: .* rename it$"):
        load("schedule:step", "factory")
