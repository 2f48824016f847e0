"""Help fits a screen, its examples run, and shells complete what can be completed."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

import schedule
from schedule.cli import commands
from tests.formats import FILES_ARE_CHECKED
from tests.test_plugins import install

pytestmark = FILES_ARE_CHECKED

NAMES = sorted(commands.commands)
#: For what one example needs; the training step of `capture` is written as a module.
MODULE = """
import torch
from torch import nn

def factory():
    return nn.Linear(4, 4), torch.zeros(2, 4), lambda output: output.sum()
"""


def run(*args, **env):
    found = CliRunner(env=env).invoke(commands, args, prog_name="schedule")
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.stdout, found.stderr


@pytest.mark.parametrize("name", [None, *NAMES])
@pytest.mark.parametrize("columns", [80, 100])
def test_help_fits_a_screen(name, columns):
    """At most 40 lines, on a wide terminal 34; and an example of this very command."""
    status, out, _ = run(*filter(None, [name]), "--help", COLUMNS=str(columns))
    lines = out.splitlines()
    assert status == 0
    assert len(lines) <= (40 if columns == 80 or name is None else 34)
    assert max(map(len, lines)) <= columns
    example = f"  Example:  schedule {name}" if name else "    schedule replay"
    assert f"{lines[-1]} ".startswith(f"{example} ")


def example_of(name):
    """The arguments of a help's example; options that come later win."""
    line = re.fullmatch(r"Example:  schedule (.+)", commands.commands[name].epilog)[1]
    options = {option for param in commands.commands[name].params for option in param.opts}
    return shlex.split(line) + (["--time-limit", "0.5"] if "--time-limit" in options else [])


@pytest.mark.parametrize("name", NAMES)
def test_the_example_in_a_commands_help_runs(name, tmp_path, monkeypatch):
    """With files of these names there; what it says it writes is there afterwards."""
    if name == "capture" or "torch" in example_of(name):
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "training.py").write_text(MODULE)
    graph = schedule.example("unet")
    schedule.write(graph, "unet.json.gz")
    for plan, solver in [("plan", "store_all"), ("before", "store_all"), ("after", "sqrt")]:
        schedule.solve(graph, solver=solver).save(f"{plan}.json")
    args = example_of(name)
    monkeypatch.delitem(sys.modules, "training", raising=False)
    status, _, err = run(*args)
    assert status == 0, err
    if "-o" in args:
        assert (tmp_path / args[args.index("-o") + 1]).stat().st_size


# Completion


def completed(line, complete=BashComplete):
    """What a shell offers for the last word of a line."""
    *before, last = line.split(" ")
    shell = complete(commands, {}, "schedule", "_SCHEDULE_COMPLETE")
    return [(item.type, item.value) for item in shell.get_completions(before[1:], last)]


def test_commands_and_options_are_completed():
    """All that begin with what is typed."""
    assert completed("schedule sol") == [("plain", "solve"), ("plain", "solvers")]
    assert ("plain", "--budget") in completed("schedule solve g.json --bud")


@pytest.mark.parametrize("command", ["solve g.json", "compare g.json"])
def test_solvers_are_completed(command, tmp_path, monkeypatch):
    """Built-in ones and those of other packages, which aren't imported for it."""
    site = tmp_path / "site"
    install(site, "other", {"schedule.solvers": {"relax": "no_such_module:Relax"}})
    monkeypatch.syspath_prepend(site)
    found = [value for _, value in completed(f"schedule {command} --solver re")]
    assert found == ["reorder", "recompute_all", "revolve", "relax"]


def test_readers_and_backends_are_completed():
    """The built-in ones at least."""
    assert ("plain", "torch") in completed("schedule replay g.json p.json --backend to")
    assert ("plain", "json") in completed("schedule info --reader j")


@pytest.mark.parametrize(
    "line", ["info un", "verify g.json pl", "diff g.json a b", "solve g.json -o o"]
)
def test_files_are_left_to_the_shell(line):
    """The shell completes names of files itself."""
    assert completed(f"schedule {line}") == [("file", line.split(" ")[-1])]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(shell):
    """With the line of the documentation, in a real shell."""
    code = """
        eval "$(schedule completion bash)"
        COMP_WORDS=(schedule solve g.json --solver ch) COMP_CWORD=4
        _schedule_completion schedule ch --solver
        echo "${COMPREPLY[@]}"
    """
    found = subprocess.run(
        ["bash", "-c", code], env=shell, capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.split() == ["chen_greedy", "chain"]
