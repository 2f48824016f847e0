"""What a shell expects: pipes, signals, terminals of any width, locales, help."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import product

import pytest

import schedule
from schedule.cli import commands
from schedule.cli.shell import _fitting
from schedule.display import folded
from schedule.examples import EXAMPLES
from schedule.lowering import in_order
from schedule.progress import fitted
from schedule.report.tables import FactsTable, ListTable
from tests.cli.test_cli import PIPES, SOLVE, folder, interrupt, refused, run, start  # noqa: F401
from tests.cli.test_help import completed
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED


# Standard input and output


def schedule_command(shell, *args, data=b"", **env):
    """The command in a process of its own, with something on standard input."""
    command = [sys.executable, "-m", "schedule", *args]
    return subprocess.run(command, env=shell | env, input=data, capture_output=True, timeout=60)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_graph_and_a_plan_go_through_pipes(folder, shell, pack):  # noqa: F811
    """Plain or gzipped in, a schedule file out and nothing else there, figures elsewhere."""
    graph = (folder / "chain.json").read_bytes()
    made = schedule_command(shell, "solve", "-", "--budget", "50%", "-o", "-", data=pack(graph))
    assert made.returncode == 0
    assert made.stderr.startswith(b"optimal: peak")
    assert not (folder / "-").exists()
    found = schedule_command(shell, "verify", "chain.json", "-", data=pack(made.stdout))
    assert (found.returncode, found.stderr) == (0, b"")
    assert found.stdout.startswith(b"valid")


@pytest.mark.parametrize(
    ("args", "magic"),
    [
        (["example", "chain", "-o", "-"], b'{\n  "format"'),
        (["report", "chain.json", "plan.json", "-o", "-", "--format", "html"], b"<!doctype html>"),
        (["report", "chain.json", "plan.json", "-o", "-", "--format", "trace"], b'{\n  "trace'),
        (["report", "chain.json", "plan.json", "-o", "-", "--format", "gantt"], b"<?xml"),
        (["sweep", "chain.json", "--points", "2", "--csv", "-"], b"budget,share,"),
        (["sweep", "chain.json", "--points", "2", "-o", "-"], b"<?xml"),
    ],
)
def test_whatever_is_written_can_go_to_standard_output(folder, capsysbinary, args, magic):  # noqa: F811
    """As it would stand in a file; what is said about it goes to standard error."""
    if "gantt" in args or args[-2:] == ["-o", "-"]:
        pytest.importorskip("matplotlib")
    with pytest.raises(SystemExit, match="0"):
        commands.main(args, prog_name="schedule")
    out, err = capsysbinary.readouterr()
    assert out.startswith(magic)
    assert err or args[0] == "example"
    assert not (folder / "-").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["verify", "-", "-"], "only once"),
        (["diff", "chain.json", "-", "-"], "only once"),
        (["solve", "chain.json", "--budget", "9", "-o", "-", "--json"], "can't both"),
        (["sweep", "chain.json", "--csv", "-", "-o", "-"], "only one of them"),
        (["report", "chain.json", "plan.json", "-o", "-"], "--format"),
    ],
)
def test_standard_streams_are_for_one_thing(folder, args, said):  # noqa: F811
    """Two that would mix are refused."""
    assert said in refused(folder, *args)


# Signals


def test_sigterm_is_ctrl_c(folder, shell):  # noqa: F811
    """The best so far is printed and written."""
    process = start(shell, *SOLVE, "-o", "new.json", "--json", **PIPES)
    out, err = interrupt(process, folder, signal.SIGTERM)
    assert process.returncode == 0
    assert err == "schedule: interrupted; this is the best that was found\n"
    assert json.loads(out)["interrupted"]
    assert schedule.read_schedule("new.json").schedule is not None


IMPORTING = """
import sys, time
from pathlib import Path

class Slow:
    \"\"\"Makes the import of one module slow.\"\"\"

    def find_spec(self, name, path=None, target=None):
        if name == NAME:
            Path("ready").touch()
            time.sleep(SECONDS)
            Path("slept").touch()

sys.meta_path.insert(0, Slow())
sys.argv = ["schedule", "info", "-"]  # waits for standard input
from schedule.__main__ import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["click", "numpy"])
@pytest.mark.parametrize("presses", [1, 2])
def test_imports_are_not_interrupted_but_ended(folder, shell, number, name, presses):  # noqa: F811
    """Status 130 and one line, once the import is over; at once by a second signal."""
    seconds = 0.5 if presses == 1 else 20  # which the second signal cuts short
    code = IMPORTING.replace("NAME", repr(name)).replace("SECONDS", str(seconds))
    streams = PIPES | {"stdin": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code], env=shell, text=True, **streams)
    while not (folder / "ready").exists():
        assert process.poll() is None
        time.sleep(0.01)
    for _ in range(presses):
        process.send_signal(number)
        time.sleep(0.1)
    process.wait(timeout=60)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", "schedule: interrupted\n")
    assert (folder / "slept").exists() == (presses == 1)


IGNORED = """
import signal, sys, time, weakref
from schedule.__main__ import _Interrupts

def press(*_):
    signal.raise_signal(int(sys.argv[1]))

class Last:
    def __del__(self):
        press()

_Interrupts().hear()
for kind in (Last, set):
    last = kind()
    watch = weakref.ref(last, press) if kind is set else None
    try:
        del last
        time.sleep(60)
    except KeyboardInterrupt:
        print("heard")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_destructor_is_not_lost(shell, number):
    """Nor in the callback of a weak reference: Python ignores what is raised there."""
    command = [sys.executable, "-c", IGNORED, str(int(number))]
    found = subprocess.run(command, env=shell, capture_output=True, text=True, timeout=50)
    assert (found.returncode, found.stdout, found.stderr) == (0, "heard\nheard\n", "")


# Terminals


def test_nothing_is_cut_on_a_narrow_terminal(folder, monkeypatch):  # noqa: F811
    """Whatever the width: every cell of the columns that stay, and the status stays."""
    curve = schedule.sweep(schedule.read("chain.json"), ["5", "9", "100%"])
    rows = list(curve.rows())
    for columns in (20, 30, 40, 60, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        _, out, _ = run("sweep", "chain.json", "--budgets", "5,9,100%")
        lines = out.splitlines()[3:]
        for row in rows:
            line = next(line for line in lines if line.startswith(row[0]))
            assert row[2] in line  # overhead
            assert row[-1].split()[0] in line
            words = set(line.split()) - set(" ".join(row).split())
            assert all(re.fullmatch(r"\d+\.\d\d", word) for word in words)  # other seconds
        if columns >= 40:
            assert max(map(len, lines[:5])) <= columns


def test_tables_fit_a_narrow_terminal(folder, shell):  # noqa: F811
    """Columns go or fold, whatever the table is of and its letters are written as."""
    schedule.write(schedule.example("unet"), "unet.json")
    for budget, name in (("70%", "a.json"), ("90%", "b.json")):
        assert run("solve", "unet.json", "--budget", budget, "--solver", "dtr", "-o", name)[0] == 0
    for args in (["diff", "unet.json", "a.json", "b.json"], ["solvers"], ["example"]):
        for width in ("40", "60"):
            for env in ({}, {"LC_ALL": "C"}):
                found = schedule_command(shell, *args, COLUMNS=width, **env)
                head, *lines = found.stdout.decode().splitlines()
                assert max(map(len, lines)) <= int(width)
                assert args[0] == "diff" or len(head) <= int(width)


def test_lines_of_tables_end_where_their_text_does(folder):  # noqa: F811
    """Nothing follows the last letter, in tables of facts and of rows."""
    for args in (["info", "chain.json", "--time-limit", "0"], ["solvers"], ["example"]):
        out = run(*args)[1]
        assert [line for line in out.splitlines() if line != line.rstrip()] == []


def test_a_line_of_progress_is_one_line():
    """What comes last goes where there is no room, the first part stays."""
    said = "auto: 8 s left, best +21.52 %, bound +10.55 %, gap 10.97 points"
    for room in range(1, 80):
        shown = fitted(said, room)
        assert said.startswith(shown)
        assert said.removeprefix(shown).startswith(",") or shown == said
        assert len(shown) <= room or shown == "auto: 8 s left"
        assert shown == said or len(f"{shown},{said.removeprefix(shown).split(',')[1]}") > room


def test_columns_go_in_order():
    """The spare ones, the first first, and only as many as have to."""
    from rich.console import Console

    table = ListTable(
        ("name", "one", "two", "note"), [("a", "1" * 9, "2" * 9, "b")], 2, spare=(2, 1)
    )

    def shown(width):
        console = Console(width=width, file=None)
        with console.capture() as caught:
            console.print(table, crop=False)
        return ["1" * 9 in caught.get(), "2" * 9 in caught.get()]

    assert [shown(width) for width in (40, 26, 14)] == [[True, True], [True, False], [False, False]]


@pytest.mark.parametrize("name", [1, 13, 20, 33])
def test_a_table_is_as_wide_as_there_is_room(name):
    """From its least width on no line is longer, however long names and notes are."""
    from rich.console import Console

    rows = [("n" * name, "9.99 %", "fits"), ("m", "–", "it reads what it may not read, " * 3)]
    table = ListTable(("name", "share", "note"), rows, 1)
    for width in range(min(max(name, 4), 20) + 3 + 6 + 3 + 5, 60):
        console = Console(width=width, file=None)
        with console.capture() as caught:
            console.print(table, crop=False)
        assert max(map(len, caught.get().splitlines())) <= width


class Screen(io.StringIO):
    """A terminal, as far as who writes to it asks."""

    def isatty(self):
        """Somebody looks at it."""
        return True


def test_lines_on_a_terminal_end_at_spaces(monkeypatch):
    """No word is cut, and no number from its unit; what is longer stays whole."""
    monkeypatch.setenv("COLUMNS", "20")
    message = "schedule: nope.json: there is no such file"
    assert _fitting(message, io.StringIO()) == message
    assert _fitting(message, Screen()) == "schedule: nope.json:\nthere is no such\nfile"
    line = "feasible: peak 19.11 MiB of 19.19 MiB, +33.12 % compute, in /a/rather/long/path, 0.1 s"
    for width in range(1, len(line) + 1):
        lines = folded(line, width).splitlines()
        assert " ".join(lines) == line
        assert all(len(each) <= width or each.count(" ") <= 1 for each in lines)
        assert not any(each.startswith(("MiB", "%", "s")) for each in lines)
    assert folded("\nas it is", 9) == "\nas it is"


@pytest.mark.parametrize("env", [{"LC_ALL": "C"}, {"LANG": "C", "LC_ALL": "", "LC_CTYPE": ""}])
def test_an_ascii_locale_gets_ascii(folder, shell, env):  # noqa: F811
    """Letters that look alike, and names escaped."""
    g = schedule.GraphBuilder("Netz–ä")
    g.node("ö", memory=8)
    schedule.write(g.build(), "odd.json")
    found = schedule_command(shell, "sweep", "odd.json", "--budgets", "1,8", **env)
    assert (found.returncode, found.stderr) == (0, b"")
    assert found.stdout.isascii()
    assert b"\\u" not in found.stdout
    assert b" - " in found.stdout
    found = schedule_command(shell, "info", "odd.json", "--time-limit", "0", **env)
    assert b"Netz-\\xe4" in found.stdout


def test_no_color_means_no_bold(folder, shell):  # noqa: F811
    """On a terminal, too, where labels are bold else; messages are folded there."""
    import pty

    for value, styled in (("", True), ("1", False)):
        screen, end = pty.openpty()
        env = shell | {"NO_COLOR": value, "TERM": "xterm"}
        args = [sys.executable, "-m", "schedule", "info", "chain.json", "--time-limit", "0"]
        subprocess.run(args, env=env, stdout=end, stderr=subprocess.PIPE, timeout=60, check=True)
        os.close(end)
        assert (b"\x1b[" in os.read(screen, 10_000)) == styled
        os.close(screen)


# Help and completion


def test_help_of_a_command_is_its_help():
    """`help CMD` is `CMD --help`, `help` is `--help`, and `-V` `--version`."""
    for name in commands.commands:
        assert run("help", name) == run(name, "--help")
    assert run("help") == run("--help")
    assert run("-V") == run("--version")


def test_an_unknown_command_has_no_help(folder):  # noqa: F811
    """It is misuse, as to run it is."""
    assert "'dance'" in refused(folder, "help", "dance")


def test_completion_is_for_three_shells(monkeypatch):
    """As click makes it; without a name for the shell that is in use."""
    for shell in ("zsh", "fish"):
        status, out, _ = run("completion", shell)
        assert status == 0
        assert f"_SCHEDULE_COMPLETE={shell}_complete" in out
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert run("completion") == run("completion", "fish")
    monkeypatch.setenv("SHELL", "/usr/bin/tcsh")
    assert run("completion")[0] == 2


def test_examples_and_commands_are_completed():
    """Names that begin with what is typed."""
    assert completed("schedule example un") == [("plain", "unet")]
    assert {name for _, name in completed("schedule example ")} == set(EXAMPLES)
    assert completed("schedule help ver") == [("plain", "verify")]


# Figures


def test_a_plan_stands_beside_the_program(folder):  # noqa: F811
    """`solve` and `verify` show what the program takes as it is."""
    plain = in_order(schedule.read("chain.json"))
    said = f"as it is     peak {plain.peak}, compute {plain.compute}"
    assert said in run("solve", "chain.json", "--budget", "50%")[1]
    assert said in run("verify", "chain.json", "plan.json")[1]


def test_a_graph_without_a_backward_pass_has_no_checkpoints(folder):  # noqa: F811
    """Nothing is counted that there can't be."""
    schedule.write(schedule.example("diamonds", count=2), "diamonds.json")
    args = ("diamonds.json", "--budget", "100%", "-o", "plan.json")
    said = run("solve", *args)[1] + run("verify", "diamonds.json", "plan.json")[1]
    said += run("info", "diamonds.json", "--time-limit", "0")[1]
    assert "checkpoint" not in said
    assert "backward" not in said


@pytest.mark.parametrize(("budget", "meant"), [("60", "60%"), ("0.6", "60%"), ("0.125", "12.5%")])
def test_a_missing_percent_sign_is_asked_about(folder, budget, meant):  # noqa: F811
    """Where it can't be an amount of this graph's memory."""
    schedule.write(schedule.example("mlp"), "mlp.json")
    _, out, err = run("solve", "mlp.json", "--budget", budget)
    assert f"did you mean {meant}?" in out + err


def test_messages_are_ascii_where_the_locale_is(folder, shell):  # noqa: F811
    """On standard error, too; and so is every help page, in any locale."""
    args = ("solve", "chain.json", "--budget", "50%", "--gap", "nan")
    found = schedule_command(shell, *args, LC_ALL="C")
    assert found.returncode == 2
    assert b">= 0" in found.stderr
    assert found.stderr.isascii()
    for name in commands.commands:
        assert run(name, "--help")[1].isascii()


def test_the_list_of_commands_is_whole(monkeypatch):
    """What it says of each fits its line."""
    monkeypatch.setenv("COLUMNS", "80")
    listed = run("--help")[1].partition("Commands:")[2]
    assert all(command.short_help in listed for command in commands.commands.values())


def test_no_number_loses_its_unit():
    """Whatever the width and the label: lines hold what there was, none begins with a unit."""
    from rich.console import Console

    value = "22.24 MiB (-30.48 %) at step 80, while 'd join0a' runs for 1.25 s, 5 % of 12 GiB"
    for label, width in product(["peak", "least budget"], range(13, 60)):
        console = Console(width=width, file=None)
        with console.capture() as caught:
            console.print(FactsTable([(label, value)]), crop=False)
        shown = caught.get().removeprefix(label).splitlines()
        lines = [line.strip() for line in shown if line]
        assert " ".join(lines) == value
        indent = "  " if not shown[0] else f"{label}  "
        assert max(map(len, lines)) <= width - len(indent)
        assert not [line for line in lines if line.startswith(("MiB", "GiB", "%", "s,"))]


def test_a_column_of_sizes_has_one_unit(folder):  # noqa: F811
    """In `diff` and `verify`: of sizes from 128 KiB to 32 MiB."""
    graph = schedule.example("unet")
    schedule.write(graph, "unet.json")
    schedule.solve(graph, "100%", "store_all").save("a.json")
    schedule.solve(graph, "70%", "sqrt").save("b.json")
    _, out, _ = run("diff", "unet.json", "a.json", "b.json")
    kept = re.search(r"kept by A only.*?\n\n", out, re.DOTALL)[0].splitlines()[2:-1]
    assert len(kept) > 5
    assert all(line.endswith(" MiB") for line in kept)
    _, out, _ = run("verify", "unet.json", "b.json")
    parts = re.findall(r"^ +(\S+ \S+)  \S+ \(\w+\)", out, re.MULTILINE)
    assert len(parts) == 5
    assert all(part.endswith(" MiB") for part in parts)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--time-limit", "inf"], "--time-limit is inf; it has to be"),
        (["--workers", "0"], "--workers is 0; it has to be"),
        (["--alignment", "8"], "--alignment is for offsets: give --addresses"),
        (["--solver", "greddy"], "did you mean 'greedy'?"),
        (["--reader", "grafml"], "did you mean 'graphml'?"),
        (["-o", ""], "'': can't be written: a file's name isn't empty"),
    ],
)
def test_options_are_told_by_their_names_here(folder, args, said):  # noqa: F811
    """As they are typed, not as Python has them; with what may have been meant."""
    assert said in refused(folder, "solve", "chain.json", "--budget", "50%", *args)


def test_a_graph_alone_is_not_placed(folder):  # noqa: F811
    """It is said that a schedule is missing, not a column of a table."""
    assert "give the schedule" in refused(folder, "place", "chain.json")


def test_an_overrun_is_told_in_the_budgets_unit(folder):  # noqa: F811
    """And the peak to the byte beside it."""
    graph = schedule.example("unet")
    schedule.write(graph, "unet.json")
    plan = schedule.solve(graph, "100%", "store_all")
    plan.save("plan.json")
    _, out, _ = run("verify", "unet.json", "plan.json", "--budget", "16MiB")
    more = 1 + (100 * (plan.peak - 2**24)) // 2**20  # hundredths, rounded up
    assert f"({plan.peak}) in use, {more / 100:.4g} MiB more than the budget 16 MiB" in out
