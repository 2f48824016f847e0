"""`schedule place`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

import schedule
from schedule.arena import placing, searching
from schedule.solvers.kit.loading import Loading, go_on
from tests.cli.test_cli import folder, refused, run  # noqa: F401 - a fixture
from tests.formats import FILES_ARE_CHECKED
from tests.frontends.test_lifetimes import GOOD

pytestmark = FILES_ARE_CHECKED


def test_schedule_gets_addresses_that_verify_checks(folder):  # noqa: F811
    """The written file verifies; with one offset changed it doesn't."""
    status, out, err = run("place", "chain.json", "plan.json", "-o", "placed.json", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    placed = json.loads((folder / "placed.json").read_text())
    assert found["status"] == "optimal"
    assert placed["addresses"]["size"] == found["size"] == placed["peak"]
    assert run("verify", "chain.json", "placed.json")[0] == 0
    placed["addresses"]["offsets"][1][2] = placed["addresses"]["offsets"][0][2]
    (folder / "wrong.json").write_text(json.dumps(placed))
    status, out, _ = run("verify", "chain.json", "wrong.json", "--json")
    assert status == 1
    assert json.loads(out)["fault"]["kind"] == "BadAddresses"


@pytest.fixture
def lifetimes(folder):  # noqa: F811
    (folder / "in.csv").write_text(GOOD)
    return folder


def test_lifetimes_are_written_as_csv_or_json(lifetimes):
    """By the ending; what is printed as JSON is what is written."""
    assert run("place", "in.csv", "--capacity", "12", "-o", "out.csv")[0] == 0
    assert (lifetimes / "out.csv").read_text().startswith("id,lower,upper,size,offset\nb1,0,3,4,")
    status, out, _ = run("place", "in.csv", "-o", "out.json", "--json")
    assert status == 0
    assert json.loads(out) == json.loads((lifetimes / "out.json").read_text())
    assert json.loads(out)["format"] == "arena/1"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("in.csv", "--capacity", "11", "-o", "o.json"), "12 are in use at time 0, 1 more"),
        (("in.csv", "--alignment", "6", "-o", "o.json"), "power of two"),
        (("in.csv", "--inputs", "outside"), "lifetimes have none"),
        (("nothing.csv",), "no such file"),
        (("in.csv", "-o", "in.csv"), "is read here"),
        (("chain.json", "plan.json", "--capacity", "1", "-o", "o.json"), "less than the load"),
        (("chain.json", "plan.json", "-o", "o.csv"), "part of its file"),
    ],
)
def test_bad_input_is_refused(lifetimes, args, said):
    """One line, status 2, nothing written."""
    assert said in refused(lifetimes, "place", *args)


@pytest.mark.parametrize(
    ("found", "status", "said"),
    [
        ({}, 0, "interrupted; this is the best that was found\n"),
        ({"status": schedule.Status.UNKNOWN, "offsets": None, "size": None}, 130, "interrupted\n"),
        ({"status": schedule.Status.INFEASIBLE, "offsets": None, "size": None}, 1, "interrupted\n"),
    ],
)
def test_interrupted_it_says_what_it_has(lifetimes, monkeypatch, found, status, said):
    """As `solve`: an answer, a proof that there is none, or neither."""
    place = placing.place
    monkeypatch.setattr(
        placing, "place", lambda *args, **asked: replace(place(*args), interrupted=True, **found)
    )
    assert run("place", "in.csv")[::2] == (status, f"schedule: {said}")


def test_it_says_that_it_compiles(lifetimes, monkeypatch):
    """On standard error, and as data; not where what it needs is there already."""
    schedule.warm()
    part = Loading(lambda: go_on(compiles=True))
    with monkeypatch.context() as patched:
        patched.setattr(searching, "PACKING", part)
        patched.setattr(searching, "_PLAIN", 0)  # a few buffers need nothing compiled
        status, out, err = run("place", "in.csv", "--json")
    assert status == 0
    assert f"{json.loads(out)['compiling']:.1f} s of this went by waiting for code" in err
    status, out, err = run("place", "in.csv", "--json")
    assert (status, err) == (0, "")
    assert "compiling" not in json.loads(out)


def test_headline_and_table_have_one_unit(lifetimes):
    """And what was rounded stands beside it as it is."""
    (lifetimes / "large.csv").write_text("id,lower,upper,size\na,0,2,30000000\nb,1,3,500000\n")
    out = run("place", "large.csv", "--capacity", "40MiB")[1]
    sizes = re.findall(r"(?:size|load|bound|capacity|of)  *([\d.]+) (MiB|GiB|\()", out)
    assert {unit for _, unit in sizes} == {"MiB"}
    assert out.count("29.09 MiB (30500000)") == 3
