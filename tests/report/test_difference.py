"""Two plans side by side: what is said of them is what replays of both say."""

import itertools
import json
import math
import re

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import schedule
from schedule import Compute, Free, Offload, Prefetch
from schedule.cli import commands
from schedule.errors import BadInput, InputNotLive, WrongGraph
from schedule.lowering import free_early
from schedule.steps import decode
from tests.formats import FILES_ARE_CHECKED
from tests.strategies import graphs, runs

pytestmark = FILES_ARE_CHECKED

slow = settings(max_examples=40)


def run(*args):
    """Run a command in this process; its status, standard output and standard error."""
    found = CliRunner().invoke(commands, [str(arg) for arg in args], prog_name="schedule")
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.stdout, found.stderr


@st.composite
def pairs(draw, **options):
    """A graph and two valid lists of steps for it, of any peaks and computes."""
    graph = draw(graphs(min_nodes=1, **options))
    plans = []
    for _ in range(2):
        codes = free_early(graph, np.array(draw(runs(graph))))
        plans.append(decode(graph, codes))
    return graph, *plans


def ran(steps):
    return [step.node for step in steps if isinstance(step, Compute)]


@slow
@given(pair=pairs())
def test_a_plan_does_not_differ_from_itself(pair):
    """Nothing is kept, recomputed or moved, and nothing changes."""
    graph, steps, _ = pair
    found = schedule.diff(graph, steps, list(steps))
    assert found.same
    assert (found.kept_by_a, found.kept_by_b, found.reruns, found.moved) == ((), (), (), ())
    assert (found.peak_change, found.compute_change) == (0, 0)
    assert str(found) == f"the same {len(steps)} steps"


@slow
@given(pair=pairs())
def test_the_other_way_round_it_says_the_opposite(pair):
    """What only a does is what only b does when they are exchanged."""
    graph, a, b = pair
    there, back = schedule.diff(graph, a, b), schedule.diff(graph, b, a)
    assert (there.kept_by_a, there.kept_by_b) == (back.kept_by_b, back.kept_by_a)
    assert [(one.node, one.b, one.a, -one.compute) for one in there.reruns] == [
        tuple(one) for one in back.reruns
    ]
    assert there.moved == back.moved
    assert there.first_step == back.first_step
    assert there.peak_change == -back.peak_change
    assert there.compute_change == -back.compute_change


def takes_memory(graph, name):
    """Whether a tensor lies on something that takes memory."""
    layout = graph.layout
    return bool(layout.memory[layout.storage[layout.tensor_id[name]]])


@slow
@given(pair=pairs())
def test_the_figures_are_those_of_replays(pair):
    """Counted here from the steps alone, or by `simulate`."""
    graph, a, b = pair
    found = schedule.diff(graph, a, b)
    traces = [schedule.simulate(graph, steps) for steps in (a, b)]
    assert [found.a.peak, found.b.peak] == [trace.peak for trace in traces]
    assert [found.a.compute, found.b.compute] == [trace.compute for trace in traces]
    assert found.peak_change == traces[1].peak - traces[0].peak
    held = [{name for name in one.checkpoints if takes_memory(graph, name)} for one in traces]
    only = [held[0] - set(traces[1].checkpoints), held[1] - set(traces[0].checkpoints)]
    assert [{kept.tensor for kept in side} for side in (found.kept_by_a, found.kept_by_b)] == only
    counts = {node.name: (ran(a).count(node.name), ran(b).count(node.name)) for node in graph.nodes}
    assert {one.node: (one.a, one.b) for one in found.reruns} == {
        name: count for name, count in counts.items() if count[0] != count[1]
    }
    change = math.fsum(one.compute for one in found.reruns)
    assert change == pytest.approx(found.compute_change, abs=1e-6 * (1 + found.a.compute))
    same = next((k for k, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    assert found.first_step == (None if a == b else same)


@slow
@given(pair=pairs(max_nodes=6))
def test_the_fewest_nodes_moved(pair):
    """Without them both orders of first runs are the same; no smaller set does that."""
    graph, a, b = pair
    found = schedule.diff(graph, a, b)
    orders = [list(dict.fromkeys(ran(steps))) for steps in (a, b)]
    both = set(orders[0]) & set(orders[1])

    def agree(without):
        one, other = ([v for v in order if v in both - set(without)] for order in orders)
        return one == other

    assert agree(found.moved)
    assert set(found.moved) <= both
    for fewer in range(len(found.moved)):
        assert not any(agree(without) for without in itertools.combinations(sorted(both), fewer))


def test_another_order_is_seen():
    """One node that runs last instead of first is the one that moved."""
    g = schedule.GraphBuilder()
    for name in "abcd":
        g.node(name, memory=1)
    graph = g.build()
    found = schedule.diff(graph, [Compute(v) for v in "abcd"], [Compute(v) for v in "bcda"])
    assert found.moved == ("a",)
    assert (found.kept_by_a, found.reruns, found.peak_change) == ((), (), 0)
    assert found.first_step == 0


def test_what_is_kept_and_recomputed_on_a_chain():
    """More memory on the training chain: more is kept, and less recomputed."""
    graph = schedule.example("chain")
    tight, wide = schedule.solve(graph, "40%"), schedule.solve(graph, "100%")
    found = schedule.diff(graph, tight, wide)
    assert found.kept_by_b
    assert all(one.a > one.b == 1 for one in found.reruns)
    assert found.compute_change < 0 < found.peak_change


def test_what_is_no_plan_of_the_graph_is_refused():
    """Another graph's, an invalid one, none at all: whichever of the two it is."""
    graph, other = schedule.example("chain"), schedule.example("chain", layers=3)
    plan = schedule.solve(graph, solver="store_all")
    broken = [Free(step.tensor) if isinstance(step, Free) else step for step in plan.steps][1:]
    nothing = schedule.solve(graph, 0)
    for wrong, kind, said in [
        (schedule.solve(other, solver="store_all"), WrongGraph, "made for graph"),
        (broken, InputNotLive, "step 0"),
        (nothing, BadInput, "there is no schedule: infeasible"),
    ]:
        for pair in [(plan, wrong), (wrong, plan)]:
            with pytest.raises(kind, match=said):
                schedule.diff(graph, *pair)


# From the shell


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A graph, and two plans for it."""
    monkeypatch.chdir(tmp_path)
    graph = schedule.example("chain")
    schedule.write(graph, "chain.json")
    schedule.solve(graph, "40%").save("a.json")
    schedule.solve(graph, "60%").save("b.json.gz")
    return tmp_path


def test_the_command_says_what_the_function_says(folder):
    """As JSON all of it; as a table every name that differs."""
    graph = schedule.read("chain.json")
    a, b = (schedule.read_schedule(name) for name in ("a.json", "b.json.gz"))
    status, out, err = run("diff", "chain.json", "a.json", "b.json.gz", "--json")
    found = schedule.diff(graph, a, b)
    assert (status, err) == (0, "")
    assert json.loads(out) == json.loads(json.dumps(found.to_json()))
    status, out, err = run("diff", "chain.json", "a.json", "b.json.gz")
    assert (status, err) == (0, "")
    assert out.startswith(f"{found}\n")
    assert all(one.node in out for one in found.reruns)
    assert all(one.tensor in out for one in found.kept_by_b)


def test_the_same_plan_twice(folder):
    """One line, and status 0."""
    steps = len(schedule.read_schedule("a.json").steps)
    assert run("diff", "chain.json", "a.json", "a.json") == (0, f"the same {steps} steps\n", "")


def test_long_lists_are_cut(folder):
    """A terminal shows the first lines; JSON has all."""
    graph = schedule.example("chain", layers=60)
    schedule.write(graph, "long.json")
    schedule.solve(graph, solver="sqrt").save("a.json")
    schedule.solve(graph, solver="store_all").save("b.json")
    _, out, _ = run("diff", "long.json", "a.json", "b.json")
    more = len(schedule.diff(graph, *map(schedule.read_schedule, ("a.json", "b.json"))).reruns) - 20
    assert f"… and {more} more (--json lists them all)" in out


def test_a_column_has_one_notation(folder):
    """Sizes of both lists in one unit, computes with one power of ten."""
    assert run("example", "mlp", "-o", "mlp.json")[0] == 0
    for name, budget in (("one", "75%"), ("two", "95%")):
        assert run("solve", "mlp.json", "--budget", budget, "--solver", "dtr", "-o", name)[0] == 0
    out = run("diff", "mlp.json", "one", "two")[1]
    kept = out.partition("kept by")[2].partition("recomputed")[0]
    again = out.partition("recomputed")[2]
    sizes, computes = re.findall(r"(\S+)\n", kept), re.findall(r"[+-](\S+)\n", again)
    assert {size for size in sizes if not size.startswith(("─", "memory"))} == {"MiB"}
    assert {compute[-2:] for compute in computes} == {"e6"}


def test_plans_of_another_graph_are_misuse(folder):
    """Status 2, one line that names the file."""
    schedule.write(schedule.example("chain", layers=3), "other.json")
    schedule.solve(schedule.read("other.json")).save("other-plan.json")
    for pair in [("a.json", "other-plan.json"), ("other-plan.json", "a.json")]:
        status, out, err = run("diff", "chain.json", *pair)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("schedule: other-plan.json: the schedule was made for graph")
    assert run("diff", "chain.json", "a.json", "none.json")[0] == 2
    assert run("diff", "chain.json", "a.json")[0] == 2


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ({"peak": 1}, "b.json: the file states a peak of 1"),
        ({"compute": 1}, "b.json: the file states a compute of 1"),
        ({"steps": []}, "b.json: "),
    ],
)
def test_no_stated_figure_is_trusted(folder, claim, said):
    """Both are verified, with what they claim; a false one is not valid, and status 1."""
    data = json.loads((folder / "a.json").read_text()) | claim
    (folder / "b.json").write_text(json.dumps(data))
    status, out, err = run("diff", "chain.json", "a.json", "b.json")
    assert (status, err) == (1, "")
    assert out.startswith(f"not valid: {said}")
    found = json.loads(run("diff", "chain.json", "b.json", "a.json", "--json")[1])
    assert not found["valid"]


def test_plans_that_copy_differ_by_copies_and_makespans():
    """What is copied by one alone, and what that changes beside peak and compute."""
    builder = schedule.GraphBuilder()
    a = builder.node("a", memory=8, compute=3)
    b = builder.node("b", a, memory=2, compute=10)
    builder.node("y", [a, b], memory=1, compute=2)
    graph, host = builder.build(), schedule.Level("host", 8, down=2, up=4)
    plain = [Compute("a"), Compute("b"), Compute("y")]
    moved = [Compute("a"), Offload("a"), Compute("b"), Free("a"), Prefetch("a"), Compute("y")]
    one, other = (schedule.verify(graph, steps, levels=host) for steps in (plain, moved))
    found = schedule.Difference(one, other)
    assert found.copied == (("a", 8, 0, 2),)
    assert found.to_json()["b"]["makespan"] - found.to_json()["a"]["makespan"] == 2
    assert str(found) == "peak 11 → 11, compute +0.00 % → +0.00 %, makespan +0.00 % → +13.33 %"
    assert (found.reruns, found.moved, found.compute_change) == ((), (), 0)
