"""`schedule report` writes what its output's ending says, or says why not and writes nothing."""

from __future__ import annotations

import json
import re
import sys

import pytest

import schedule
from schedule import sweep
from schedule.report.writing import ENDINGS
from tests.cli.test_cli import run
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A graph, a plan, a sweep of two budgets, another graph's plan, and a plan that is wrong."""
    place = tmp_path_factory.mktemp("report")
    graph, other = schedule.example("unet"), schedule.example("chain")
    schedule.write(graph, place / "graph.json")
    schedule.solve(graph, "70%", "greedy").save(place / "plan.json")
    schedule.solve(other, "70%").save(place / "other.json")
    sweep(graph, ["70%", "90%"], "greedy", directory=place / "sweep", workers=1)
    stated = json.loads((place / "plan.json").read_text("utf-8"))
    (place / "false.json").write_text(json.dumps(stated | {"peak": 1}), "utf-8")
    (place / "empty").mkdir()
    return place


BEGINS = {
    "html": "<!doctype html>",
    "trace": "{",
    "dot": 'digraph "unet"',
    "gantt": ("<?xml", "%PDF", "\x89PNG"),
}


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_ending_says_what_is_written(folder, tmp_path, ending):
    """A page, a trace, a dot file or a picture."""
    if ENDINGS[ending] == "gantt":
        pytest.importorskip("matplotlib")
    out = tmp_path / f"out{ending}"
    status, said, error = run(
        "report", folder / "graph.json", folder / "plan.json", "-o", out, "--json"
    )
    assert (status, error) == (0, "")
    content = out.read_bytes()
    assert content.decode("latin-1").startswith(BEGINS[ENDINGS[ending]])
    found = {"written": str(out), "format": ENDINGS[ending], "bytes": len(content)}
    assert json.loads(said) == found


def test_format_can_be_said(folder, tmp_path):
    """Whatever the file is called."""
    out = tmp_path / "report"
    args = ("report", folder / "graph.json", folder / "plan.json", "-o", out)
    status, said, _ = run(*args, "--format", "html")
    assert status == 0
    written, beside = said.splitlines()
    assert written == f"{out}: html, {out.stat().st_size / 1000:.0f} kB"
    assert re.fullmatch(r"as it is: peak .*; planned: peak .* \(\+[0-9.]+ %\)", beside)


def test_page_of_a_sweep(folder, tmp_path):
    """A directory of schedules gives one page with all of them."""
    out = tmp_path / "sweep.html"
    assert run("report", folder / "graph.json", folder / "sweep", "-o", out)[0] == 0
    assert out.read_text("utf-8").count('"codes":') == 2


@pytest.mark.parametrize(
    ("plan", "out", "message"),
    [
        ("plan.json", "report.txt", r"ends in none of .html, .htm, .json"),
        (
            "plan.json",
            "missing/report.html",
            r"report.html: can't be written: there is no directory",
        ),
        ("other.json", "report.html", r"other.json: the schedule was made for graph 'chain'"),
        ("none.json", "report.html", r"none.json: there is no such file"),
        ("sweep", "report.svg", r"for a sweep there is only a page"),
        ("empty", "report.html", r"holds no schedules of a sweep"),
    ],
)
def test_misuse_writes_nothing(folder, tmp_path, plan, out, message):
    """One line says what is wrong, the status is 2."""
    status, said, error = run("report", folder / "graph.json", folder / plan, "-o", tmp_path / out)
    assert (status, said) == (2, "")
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_sweep_of_another_graph(folder, tmp_path):
    """The first file that belongs elsewhere is named."""
    schedule.write(schedule.example("chain"), tmp_path / "chain.json")
    args = ("report", tmp_path / "chain.json", folder / "sweep", "-o", tmp_path / "page.html")
    status, _, error = run(*args)
    assert status == 2
    assert "budget-" in error
    assert "was made for graph 'unet'" in error
    assert not (tmp_path / "page.html").exists()


def test_a_schedule_that_is_not_valid_has_no_report(folder, tmp_path):
    """As for `verify`: the fault is told, the status is 1, and nothing is written."""
    args = ("report", folder / "graph.json", folder / "false.json", "-o", tmp_path / "page.html")
    status, said, _ = run(*args)
    assert status == 1
    assert said.startswith("not valid: the file states a peak of 1")
    assert not list(tmp_path.iterdir())


def test_missing_matplotlib_is_named(folder, tmp_path, monkeypatch):
    """A picture needs the extra `plot`, the page doesn't."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    args = ("report", folder / "graph.json", folder / "plan.json", "-o")
    status, _, error = run(*args, tmp_path / "gantt.svg")
    assert status == 2
    assert "graph-schedule[plot]" in error
    assert not list(tmp_path.iterdir())
    assert run(*args, tmp_path / "page.html")[0] == 0


def test_it_names_its_own_option_and_no_seconds_that_nobody_knows(folder, tmp_path):
    """Not Python's keyword; a sweep that is read took no time."""
    graph, plan = str(folder / "graph.json"), str(folder / "plan.json")
    status, out, err = run("report", graph, plan, "-o", "-")
    assert (status, out) == (2, "")
    assert "say what to write by --format (html, trace, dot, gantt, arena)" in err
    assert "kind" not in err
    out = run("report", graph, str(folder / "sweep"), "-o", str(tmp_path / "sweep.html"))[1]
    assert out.rstrip().endswith(", greedy")
