"""Sweeps and comparisons with a host below the device: makespans take the place of computes."""

from __future__ import annotations

import json

import pytest

import schedule
from schedule.budgets.reading import read_sweep
from schedule.errors import BadOption, NotApplicable
from schedule.report.curves import curve_picture, curves_picture
from schedule.report.page import sweep_page
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

HOST = schedule.Level("host", 2**30, down=1.0, up=1.0)
SHARES = ["48%", "55%", "70%", "100%"]


@pytest.fixture(scope="module")
def graph():
    return schedule.example("unet")


@pytest.fixture(scope="module")
def swept(graph, tmp_path_factory):
    """A sweep with a quick solver, and the directory that it leaves."""
    directory = tmp_path_factory.mktemp("levels") / "sweep"
    curve = schedule.sweep(graph, SHARES, "offload_largest", levels=HOST, directory=directory)
    return curve, directory


def test_curve_is_of_makespans(graph, swept):
    """Makespan and bound never rise with the budget; each schedule keeps its promise."""
    curve, _ = swept
    assert curve.objective == "makespan"
    assert len(curve.planned) == len(SHARES)
    makespans = [point.makespan for point in curve.points]
    assert makespans == sorted(makespans, reverse=True)
    assert makespans[0] > makespans[-1] == graph.compute
    bounds = [point.lower_bound for point in curve.points]
    assert bounds == sorted(bounds, reverse=True)
    for point in curve.points:
        trace = schedule.verify(graph, point, point.budget, HOST)
        assert trace.makespan == point.makespan == point.objective
        assert point.lower_bound <= point.makespan
    told = json.loads(json.dumps(curve.to_json()))
    assert [point["makespan"] for point in told["points"]] == makespans
    assert told["levels"] == [HOST.to_json()]


def test_directory_is_gone_on_from(graph, swept):
    """It is read again with its levels, goes on without a solve, and refuses other levels."""
    curve, directory = swept
    again = read_sweep(graph, directory)
    figures = [(point.budget, point.makespan, point.levels) for point in curve.points]
    assert [(point.budget, point.makespan, point.levels) for point in again.points] == figures
    assert again.levels == (HOST,)
    asked = {"directory": directory, "resume": True}
    same = schedule.sweep(graph, SHARES, "offload_largest", levels=HOST, **asked)
    assert same.solved == 0
    assert [point.makespan for point in same.points] == [point.makespan for point in curve.points]
    with pytest.raises(BadOption, match=r"with Level\(.*below the device, not with nothing"):
        schedule.sweep(graph, SHARES, "store_all", **asked)


def test_pictures_and_page(graph, swept):
    """One curve or several: the axis says what is to be least."""
    curve, _ = swept
    assert curve_picture(curve).axes[0].get_ylabel() == "extra makespan, %"
    figure = curves_picture({"slow": curve, "same": curve})
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["slow", "same"]
    assert "makespan" in sweep_page(graph, curve)


def test_flat_curves_lie_at_the_bottom_of_their_picture(graph):
    """There is nothing below zero to be shown."""
    flat = schedule.sweep(graph, ["100%"], "store_all")
    assert flat.points[0].objective_overhead == 0
    for figure in (curve_picture(flat), curves_picture({"one": flat, "other": flat})):
        bottom, top = figure.axes[0].get_ylim()
        assert -top / 10 < bottom <= 0


def test_comparison_asks_those_that_know_levels(graph):
    """By default all of them, by makespan; others are refused by name."""
    entries = schedule.compare(graph, "55%", levels=HOST, time_limit=0.3)
    names = [entry.solver for entry in entries]
    assert {"offload", "offload_largest", "offload_all"} <= set(names)
    fits = [entry.result.makespan for entry in entries if entry.fits]
    assert fits == sorted(fits)
    assert entries[0].to_json()["makespan"] == fits[0]
    with pytest.raises(NotApplicable, match="plans for one level"):
        schedule.compare(graph, "55%", ["sqrt"], levels=HOST)
