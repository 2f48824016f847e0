"""The command line keeps its word: what it prints, where, and the exit status."""

import gzip
import json
import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from click.testing import CliRunner

import schedule
from schedule.cli import commands
from schedule.examples import EXAMPLES
from schedule.lowering import in_order
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

CHAIN = {
    "format": "schedule-graph/1",
    "name": "three",
    "nodes": [
        {"name": "a", "inputs": [], "memory": 8, "compute": 1},
        {"name": "b", "inputs": ["a"], "memory": 8, "compute": 1},
        {"name": "c", "inputs": ["b"], "memory": 8, "compute": 1, "backward": True},
    ],
}


def run(*args):
    """Run a command in this process; its status, standard output and standard error."""
    found = CliRunner().invoke(commands, [str(arg) for arg in args], prog_name="schedule")
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.stdout, found.stderr


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory to work in, with the graph `chain.json` and a plan for it."""
    monkeypatch.chdir(tmp_path)
    graph = schedule.example("chain")
    schedule.write(graph, "chain.json")
    schedule.solve(graph, budget="50%", solver="auto").save("plan.json")
    return tmp_path


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def refused(folder, *args, status=2):
    """The command fails with one line, and leaves no file behind; returns that line."""
    before = files(folder)
    code, out, err = run(*args)
    assert (code, out) == (status, "")
    assert err.startswith("schedule: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert files(folder) == before
    return err


# What each command says


def test_solve_writes_what_it_prints(folder):
    """The JSON on standard output and the schedule file hold the same."""
    args = ("solve", "chain.json", "--budget", "60%", "-o", "new.json.gz", "--json")
    status, out, err = run(*args)
    assert (status, err) == (0, "")
    with gzip.open("new.json.gz", "rt") as file:
        assert json.loads(out) == json.load(file)
    graph = schedule.read("chain.json")
    plan = schedule.read_schedule("new.json.gz")
    assert schedule.verify(graph, plan.schedule, plan.budget).peak == json.loads(out)["peak"]


def test_solve_prints_a_line_and_a_table(folder):
    """The first line is the result's own; the figures follow."""
    status, out, err = run("solve", "chain.json", "--budget", "60%", "--solver", "auto")
    assert (status, err) == (0, "")
    assert out.startswith("optimal: peak ")
    assert "checkpoints" in out.partition("\n\n")[2]


def test_infeasible_is_an_answer(folder):
    """Status 1, the reason on standard output, and nothing written."""
    before = files(folder)
    status, out, err = run("solve", "chain.json", "--budget", "0", "-o", "none.json")
    assert status == 1
    assert out.startswith("infeasible: no schedule fits 0: at least 3 needed")
    assert err == "schedule: nothing is written to none.json: there is no schedule\n"
    assert files(folder) == before


def test_infeasible_as_json(folder):
    """Nothing on standard output but one JSON object that says what is needed."""
    status, out, _ = run("solve", "chain.json", "--budget", "2", "--json")
    assert status == 1
    found = json.loads(out)
    assert (found["status"], found["shortfall"]["needed"], found["steps"]) == ("infeasible", 3, [])


def test_verify_gives_the_figures_of_the_replay(folder):
    """Peak and compute are those of the memory model."""
    status, out, err = run("verify", "chain.json", "plan.json", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    trace = schedule.verify(
        schedule.read("chain.json"), schedule.read_schedule("plan.json").schedule
    )
    assert found["valid"]
    assert (found["peak"], found["compute"]) == (trace.peak, trace.compute)
    assert run("verify", "chain.json", "plan.json")[1].startswith("valid\n")


def change(folder, **claims):
    """Write `changed.json`: the plan with other claims."""
    data = json.loads((folder / "plan.json").read_text())
    data.update(claims)
    (folder / "changed.json").write_text(json.dumps(data))
    return data


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ({"peak": 1}, "a peak of 1"),
        ({"compute": 1}, "a compute of 1"),
        ({"overhead": 0.5}, "an overhead of 0.5"),
        ({"checkpoints": ["f1", "f0"]}, "checkpoints"),
        ({"budget": 2}, "exceeds the file's own budget 2"),
        ({"lower_bound": 10**6}, "the lower bound 1000000"),
        ({"lower_bound": 5}, "the status optimal"),
        ({"status": "infeasible"}, "has a schedule"),
    ],
)
def test_a_false_claim_is_not_valid(folder, claim, said):
    """Whatever the file states about itself has to be true of its steps."""
    change(folder, **claim)
    status, out, err = run("verify", "chain.json", "changed.json")
    assert (status, err) == (1, "")
    assert out.startswith("not valid: ")
    assert said in out
    found = json.loads(run("verify", "chain.json", "changed.json", "--json")[1])
    assert not found["valid"]
    assert found["fault"]["kind"] in ("FalseClaim", "OverBudget")


def test_a_schedule_without_figures_can_be_verified(folder):
    """What a file doesn't state isn't claimed."""
    data = json.loads((folder / "plan.json").read_text())
    bare = {key: data[key] for key in ("format", "graph", "steps")}
    (folder / "bare.json").write_text(json.dumps(bare))
    assert run("verify", "chain.json", "bare.json")[0] == 0


def test_verify_with_a_budget(folder):
    """A budget on the command line is one more limit."""
    peak = schedule.read_schedule("plan.json").peak
    assert run("verify", "chain.json", "plan.json", "--budget", peak)[0] == 0
    status, out, _ = run("verify", "chain.json", "plan.json", "--budget", peak - 1)
    assert status == 1
    assert out.startswith("not valid: ")


def test_an_answer_without_a_schedule_is_not_valid(folder):
    """A file that states `infeasible` can be read, and holds nothing valid."""
    _, out, _ = run("solve", "chain.json", "--budget", "2", "--json")
    (folder / "none.json").write_text(out)
    status, out, _ = run("verify", "chain.json", "none.json")
    assert status == 1
    assert "no schedule" in out


def test_every_step_that_is_removed_is_noticed(folder):
    """Without a run the schedule is not valid; without a free it is, or some figure is false."""
    data = json.loads((folder / "plan.json").read_text())
    for at, (kind, name) in enumerate(data["steps"]):
        change(folder, steps=data["steps"][:at] + data["steps"][at + 1 :])
        status, out, err = run("verify", "chain.json", "changed.json", "--json")
        found = json.loads(out)
        assert (status, err) == (0 if found["valid"] else 1, "")
        if kind == "compute":
            assert not found["valid"], name
        else:
            assert not found["valid"] or found["peak"] == data["peak"]


def test_info_counts_what_the_graph_holds(folder):
    """Nodes, peak and floor as the library gives them."""
    status, out, err = run("info", "chain.json", "--json")
    graph, found = schedule.read("chain.json"), json.loads(out)
    assert (status, err) == (0, "")
    assert (found["nodes"], found["sha256"]) == (len(graph), graph.digest)
    assert found["peak"] == in_order(graph).peak
    assert found["floor"]["memory"] == schedule.memory_floor(graph).memory
    assert found["forward_nodes"] + found["backward_nodes"] == found["nodes"]
    assert "while" in run("info", "chain.json")[1]


def test_node_link_attributes(folder):
    """The attributes of a node-link file are named by option."""
    data = {
        "directed": True,
        "nodes": [{"id": "a", "bytes": 8, "time": 1}, {"id": "b", "bytes": 4, "time": 2}],
        "edges": [{"source": "a", "target": "b"}],
    }
    (folder / "link.json").write_text(json.dumps(data))
    args = ("--memory-attribute", "bytes", "--compute-attribute", "time")
    status, out, _ = run("info", "link.json", "--json", *args)
    assert status == 0
    assert (json.loads(out)["peak"], json.loads(out)["compute"]) == (12, 3)


def test_compare_lists_every_solver(folder):
    """Each solver is there once; those that fit come first, by overhead."""
    status, out, err = run(
        "compare", "chain.json", "--budget", "50%", "--time-limit", "0.5", "--json"
    )
    assert (status, err) == (0, "")
    listed = json.loads(out)["solvers"]
    assert {entry["solver"] for entry in listed} == set(schedule.SOLVERS)
    fits = [entry["overhead"] for entry in listed if entry["fits"]]
    assert fits == sorted(fits)
    assert [entry["fits"] for entry in listed] == sorted(
        (entry["fits"] for entry in listed), reverse=True
    )
    table = run("compare", "chain.json", "--budget", "50%", "--time-limit", "0.5")[1]
    assert all(name in table for name in schedule.SOLVERS)


def test_compare_at_an_impossible_budget(folder):
    """Where no solver fits the status is 1, and the proof is given once."""
    status, out, _ = run("compare", "chain.json", "--budget", "2")
    assert status == 1
    chain = schedule.read("chain.json")
    asked = [solver for solver in schedule.SOLVERS.values() if solver.supports(chain) is None]
    assert out.count("infeasible") == len(asked) > 10
    assert out.count("at least 3 needed") == 1


def test_solvers_lists_the_table():
    """Name, summary and origin of each."""
    status, out, _ = run("solvers", "--json")
    assert status == 0
    found = [one for one in json.loads(out)["solvers"] if one["origin"] == "built in"]
    assert [one["name"] for one in found] == list(schedule.SOLVERS)
    assert [one["summary"] for one in found] == [s.summary for s in schedule.SOLVERS.values()]
    assert all(name in run("solvers")[1] for name in schedule.SOLVERS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_writes_the_graph(folder, name):
    """The file holds the library's example; so does standard output."""
    assert run("example", name, "-o", "new.json.gz") == (0, "", "")
    assert schedule.read("new.json.gz") == schedule.example(name)
    (folder / "out.json").write_text(run("example", name)[1])
    assert schedule.read("out.json") == schedule.example(name)


def test_example_of_another_size(folder):
    """Sizes are handed on."""
    assert run("example", "chain", "--size", "layers=3", "-o", "new.json")[0] == 0
    assert schedule.read("new.json") == schedule.example("chain", layers=3)
    assert all(name in run("example")[1] for name in EXAMPLES)


@pytest.mark.parametrize("name", [[], *([name] for name in sorted(commands.commands))])
def test_help_fits_a_screen(name):
    """Each help has an example and at most 40 lines of at most 80 letters."""
    status, out, _ = run(*name, "--help")
    assert status == 0
    assert "schedule" in out.partition("xample")[2] or not name
    assert len(out.splitlines()) <= 40
    assert max(map(len, out.splitlines())) <= 80


def test_version():
    """The version is the package's."""
    assert run("--version") == (0, f"schedule, version {schedule.__version__}\n", "")


def test_names_can_not_dress_up(folder):
    """Names with markup, line breaks or terminal codes are shown, not obeyed."""
    name = "[red]x[/] \x1b[31m\n" + "y" * 900
    g = schedule.GraphBuilder(name)
    g.node(name, memory=8)
    schedule.write(g.build(), "odd.json")
    for args in (["info"], ["solve", "--budget", "100%"], ["compare", "--budget", "100%"]):
        status, out, _ = run(args[0], "odd.json", *args[1:])
        assert status == 0
        assert "\x1b" not in out
        assert "[red]x[/]" in out


# Replays


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("name", ["chain", "diamonds"])
def test_replay_measures_what_was_promised(folder, backend, name):
    """Both runs' measured peaks are the memory model's."""
    pytest.importorskip(backend)
    graph = schedule.example(name)
    plan = schedule.solve(graph, "90%", time_limit=5)
    schedule.write(graph, "graph.json")
    plan.save("plan.json")
    status, out, err = run("replay", "graph.json", "plan.json", "--backend", backend, "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert (found["equal"], found["exact"], found["backend"]) == (True, True, backend)
    assert found["planned"]["measured_peak"] == plan.peak
    assert found["plain"]["measured_peak"] == in_order(graph).peak
    assert run("replay", "graph.json", "plan.json")[1].startswith("equal: the only output")


KERNELS = """
    import itertools
    import numpy as np

    kept, counter = [], itertools.count()
    good = {"a": lambda: np.ones(1), "b": lambda a: a + 1, "c": lambda b: 2 * b}

    def make(graph):
        return good, {}

    def keeping(graph):
        def a():
            kept.append(np.ones(1))
            return kept[-1]
        return good | {"a": a}, {}

    def moody(graph):
        return good | {"a": lambda: np.full(1, float(next(counter)))}, {}

    def broken(graph):
        return good | {"b": lambda a: a / "b"}, {}

    def failing(graph):
        raise LookupError("no such weights")

    def wrong(graph):
        return 5

    number = 7
"""


@pytest.fixture
def kernels(folder):
    """A graph of three float64 scalars with a plan, and modules with kernels for it."""
    (folder / "graph.json").write_text(json.dumps(CHAIN))
    schedule.solve(schedule.read("graph.json")).save("plan.json")
    (folder / "mykernels.py").write_text(textwrap.dedent(KERNELS))
    yield ("replay", "graph.json", "plan.json", "--kernels")
    sys.modules.pop("mykernels", None)


@pytest.mark.parametrize("name", ["good", "make"])
def test_replay_with_kernels(kernels, name):
    """A mapping, or a function that gives one; the module lies in the current directory."""
    path = list(sys.path)
    status, out, err = run(*kernels, f"mykernels:{name}")
    assert (status, err) == (0, "")
    assert out.startswith("equal: the only output,")
    assert sys.path == path


def test_replay_with_kernels_that_keep_memory(kernels):
    """Memory that a kernel holds on to is seen: not as promised, status 1."""
    status, out, _ = run(*kernels, "mykernels:keeping", "--json")
    assert status == 1
    found = json.loads(out)
    assert (found["equal"], found["exact"]) == (True, False)
    assert run(*kernels, "mykernels:keeping")[1].startswith("not as promised")


def test_replay_with_kernels_that_give_something_else(kernels):
    """Outputs that differ are named: status 1."""
    status, out, _ = run(*kernels, "mykernels:moody", "--json")
    assert status == 1
    found = json.loads(out)
    assert not found["equal"]
    assert "'c'" in found["fault"]["message"]
    assert run(*kernels, "mykernels:moody")[1].startswith("not equal: output 'c'")


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("broken", 1, "node 'b'"),
        ("failing", 2, "LookupError: no such weights"),
        ("wrong", 2, "has to be a mapping"),
        ("number", 2, "has to be a mapping"),
        ("nothing", 2, "nothing"),
        ("good.x", 2, "AttributeError"),
        ("1", 2, "MODULE:NAME"),
    ],
)
def test_replay_with_kernels_that_do_not_work(folder, kernels, name, status, said):
    """A line that names the node, or the module, and the mistake."""
    assert said in refused(folder, *kernels, f"mykernels:{name}", status=status)


def test_replay_of_an_invalid_schedule(folder):
    """Nothing runs; the fault and its step are named."""
    data = json.loads((folder / "plan.json").read_text())
    change(folder, steps=data["steps"][1:])
    status, out, err = run("replay", "chain.json", "changed.json", "--json")
    assert (status, err) == (1, "")
    assert json.loads(out)["fault"]["kind"] == "InputNotLive"


# Bad input: one clear message, status 2, no traceback, no partial file


def node(**keys):
    return {"name": "n", "inputs": [], "memory": 1, "compute": 1} | keys


def of(*nodes, **keys):
    return json.dumps({"format": "schedule-graph/1", "nodes": list(nodes)} | keys).encode()


BAD_GRAPHS = {
    "empty": (b"", "empty"),
    "truncated gzip": (gzip.compress(of(node()) * 50)[:60], "gzip"),
    "a list": (b"[1, 2]", "a JSON object"),
    "wrong format": (b'{"format": "other/9", "nodes": []}', "'other/9'"),
    "not JSON": (b"{", "not JSON"),
    "not text": (b"\xff\xfe\x00", "UTF-8"),
    "NaN": (of(node(memory=1)).replace(b'"memory": 1', b'"memory": NaN'), "nan"),
    "NaN compute": (of(node(compute=1)).replace(b'"compute": 1', b'"compute": NaN'), "nan"),
    "negative size": (of(node(memory=-4)), "-4"),
    "fractional size": (of(node(memory=1.5)), "1.5"),
    "duplicate name": (of(node(), node()), "duplicate name"),
    "cycle": (of(node(inputs=["m"]), node(name="m", inputs=["n"])), "cycle"),
    "unknown input": (of(node(inputs=["nobody"])), "'nobody'"),
    "later": (of(node(inputs=["m"]), node(name="m")), "only later"),
    "view of a stranger": (
        of(node(), {"name": "v", "inputs": [], "compute": 0, "outputs": [
            {"name": "v", "view_of": "n"}]}),
        "not among the node's inputs",
    ),
}  # fmt: skip
COMMANDS = {
    "info": ["info", "{}"],
    "solve": ["solve", "{}", "--budget", "80%", "-o", "new.json"],
    "verify": ["verify", "{}", "plan.json"],
    "replay": ["replay", "{}", "plan.json"],
    "compare": ["compare", "{}", "--budget", "80%"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", BAD_GRAPHS)
def test_bad_graph(folder, command, kind):
    """The message names the file and the mistake."""
    content, said = BAD_GRAPHS[kind]
    (folder / "bad.json").write_bytes(content)
    err = refused(folder, *(arg.format("bad.json") for arg in COMMANDS[command]))
    assert err.startswith("schedule: bad.json: ")
    assert said in err


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["nowhere.json", ".", "plan.json", "chain.json/deeper", "a\0b"])
def test_no_graph_there(folder, command, name):
    """No such file, a directory, a schedule, a path through a file, no path at all."""
    refused(folder, *(arg.format(name) for arg in COMMANDS[command]))


@pytest.mark.parametrize("command", ["verify", "replay"])
@pytest.mark.parametrize("name", ["nowhere.json", ".", "chain.json", "bad.json"])
def test_bad_schedule(folder, command, name):
    """No such file, a directory, a graph, a step that is none."""
    change(folder, steps=[["jump", "f0"]])
    (folder / "changed.json").rename(folder / "bad.json")
    assert name in refused(folder, command, "chain.json", name)


@pytest.mark.parametrize("command", ["verify", "replay"])
def test_schedule_of_another_graph(folder, command):
    """The digest tells; the file is named."""
    schedule.write(schedule.example("chain", layers=3), "other.json")
    err = refused(folder, command, "other.json", "plan.json")
    assert err.startswith("schedule: plan.json: the schedule was made for graph 'chain'")


@pytest.mark.parametrize("command", ["solve", "compare"])
@pytest.mark.parametrize(
    "budget", ["-1", "abc", "-5%", "", "1.5", "nan", "1e-9", "5 apples", "9" * 40]
)
def test_bad_budget(folder, command, budget):
    """What is no amount of memory is misuse; the message repeats it."""
    err = refused(folder, command, "chain.json", "--budget", budget)
    assert f"budget {budget!r}" in err or f"budget {budget}" in err


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (".", "is a directory"),
        ("missing/", "is a directory"),
        ("missing/plan.json", "no directory 'missing'"),
        ("chain.json/plan.json", "no directory"),
        ("chain.json", "is read here"),
        ("", "isn't empty"),
    ],
)
def test_unwritable_output_is_refused_at_once(folder, monkeypatch, output, said):
    """Before anything is solved, and the graph's own file is never overwritten."""
    monkeypatch.setattr("schedule.planner.solve", lambda *_, **__: pytest.fail("it was solved"))
    assert said in refused(folder, "solve", "chain.json", "--budget", "50%", "-o", output)


def test_output_that_fails_late_still_shows_the_answer(folder, monkeypatch):
    """A disk that is full at the end costs the file, not the answer."""
    monkeypatch.setattr("schedule.files._replace", full_disk)
    status, out, err = run("solve", "chain.json", "--budget", "50%", "-o", "new.json")
    assert status == 2
    assert out.startswith("optimal")
    assert err == "schedule: new.json: can't be written: No space left on device; make room there\n"


def full_disk(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["solve", "chain.json"], "'--budget'"),
        (["solve", "--budget", "1"], "'GRAPH'"),
        (["solve", "chain.json", "--budget", "9", "--solver", "magic"], "unknown solver 'magic'"),
        (["solve", "chain.json", "--budget", "9", "--order", "any"], "'any'"),
        (["solve", "chain.json", "--budget", "9", "--time-limit", "0"], "--time-limit is"),
        (["solve", "chain.json", "--budget", "9", "--time-limit", "nan"], "--time-limit is"),
        (["solve", "chain.json", "--budget", "9", "--time-limit", "soon"], "'soon'"),
        (["solve", "chain.json", "--budget", "9", "--seed", "-1"], "seed"),
        (["solve", "chain.json", "--budget", "9", "--workers", "0"], "workers"),
        (["solve", "chain.json", "--budget", "9", "--wrong"], "--wrong"),
        (["compare", "chain.json", "--budget", "9", "--time-limit", "-1"], "--time-limit is"),
        (["verify", "chain.json", "plan.json", "--budget", "abc"], "budget 'abc'"),
        (["example", "nothing"], "'nothing'"),
        (["example", "chain", "--size", "layers"], "KEY=N"),
        (["example", "chain", "--size", "width=3"], "width"),
        (["example", "chain", "-o", "missing/chain.json"], "missing"),
        (["dance"], "'dance'"),
        (["replay", "chain.json", "plan.json", "--backend", "abacus"], "abacus"),
        (["replay", "chain.json", "plan.json", "--kernels", "nameless"], "MODULE:NAME"),
        (["replay", "chain.json", "plan.json", "--kernels", "no_such_module:k"], "no_such_module"),
        (["replay", "chain.json", "plan.json", "--kernels", "json:nothing"], "nothing"),
    ],
)
def test_misuse(folder, args, said):
    """One line that names what is wrong."""
    assert said in refused(folder, *args)


def test_solver_that_does_not_apply(folder):
    """It says why; `compare` lists it with the reason."""
    schedule.write(schedule.example("diamonds"), "diamonds.json")
    err = refused(folder, "solve", "diamonds.json", "--budget", "90%", "--solver", "sqrt")
    assert "no backward nodes" in err
    found = json.loads(run("compare", "diamonds.json", "--budget", "90%", "--json")[1])
    reasons = {entry["solver"]: entry.get("reason", "") for entry in found["solvers"]}
    assert "no backward nodes" in reasons["sqrt"]


# Ctrl-C, terminals, pipes

SLOW = """
    import sys, time
    from pathlib import Path
    from schedule.__main__ import main
    from schedule.solvers import SOLVERS, Proof

    class Slow:
        name, summary = "slow", "offers one schedule, then thinks"

        def supports(self, graph):
            return None

        def improve(self, problem, incumbent, deadline):
            if FOUND:
                SOLVERS["store_all"].improve(problem, incumbent, deadline)
            Path("ready").touch()
            # Not at a stretch: a signal just before a sleep is heard after it.
            for _ in range(round(20 * (SECONDS))):
                time.sleep(0.05)
            return Proof()

    SOLVERS["slow"] = Slow()
    main()
"""


def start(shell, *args, found=True, seconds=60, **streams):
    """The command in a process of its own, with a solver that takes its time."""
    code = textwrap.dedent(SLOW).replace("FOUND", str(found)).replace("SECONDS", str(seconds))
    return subprocess.Popen([sys.executable, "-c", code, *args], env=shell, text=True, **streams)


def interrupt(process, folder, number=signal.SIGINT):
    """Send a signal as soon as the solver is at it; standard output and standard error."""
    deadline = time.monotonic() + 60
    while not (folder / "ready").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    return process.communicate(timeout=60)


PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
SOLVE = ("solve", "chain.json", "--budget", "100%", "--solver", "slow")


def test_ctrl_c_prints_and_writes_the_best(folder, shell):
    """An interrupted solve that has a schedule ends well."""
    process = start(shell, *SOLVE, "-o", "new.json", "--json", **PIPES)
    out, err = interrupt(process, folder)
    assert process.returncode == 0
    assert err == "schedule: interrupted; this is the best that was found\n"
    assert json.loads(out)["interrupted"]
    plan = schedule.read_schedule("new.json")
    assert schedule.verify(schedule.read("chain.json"), plan.schedule).peak == plan.peak


def test_ctrl_c_with_nothing_found(folder, shell):
    """Status 130, an answer, and no file."""
    process = start(shell, *SOLVE, "-o", "new.json", found=False, **PIPES)
    out, err = interrupt(process, folder)
    assert process.returncode == 130
    assert out.startswith("unknown: nothing found that fits")
    assert "Traceback" not in err
    assert not (folder / "new.json").exists()


def test_ctrl_c_ends_a_comparison(folder, shell):
    """What is known by then is printed, and that the rest wasn't asked."""
    process = start(shell, "compare", "chain.json", "--budget", "100%", **PIPES)
    out, err = interrupt(process, folder)
    assert process.returncode == 0
    assert err == "schedule: interrupted; solvers that aren't listed weren't asked\n"
    assert "slow" in out
    assert "interrupted" in out


@pytest.mark.parametrize("command", ["info", "solve", "verify"])
def test_ctrl_c_elsewhere(folder, monkeypatch, command):
    """One line and status 130, no traceback."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("schedule.frontends.files.read", interrupted)
    args = (arg.format("chain.json") for arg in COMMANDS[command])
    assert refused(folder, *args, status=130) == "schedule: interrupted\n"


def test_a_solver_that_fails(folder, shell):
    """The best it found is printed, with one line that says what happened."""
    process = start(shell, *SOLVE, seconds="1 / 0", **PIPES)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.startswith("optimal: peak ")
    assert err == (
        "schedule: solver 'slow' failed (ZeroDivisionError: division by zero);"
        " what it had found by then is returned\n"
    )


def test_a_solver_that_fails_with_nothing_found(folder, shell):
    """That is a bug, and looks like one."""
    process = start(shell, *SOLVE, seconds="1 / 0", found=False, **PIPES)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.endswith("ZeroDivisionError: division by zero\n")


def test_the_end_of_a_file_is_no_ctrl_c(folder, monkeypatch):
    """Click takes the one for the other, and said that the command was interrupted."""

    def ended(*_, **__):
        raise EOFError("Ran out of input")

    monkeypatch.setattr("schedule.frontends.files.read", ended)
    with pytest.raises(RuntimeError, match="a file ended too soon"):
        run("info", "chain.json")


def on_terminal(process, screen):
    """All that the process writes to the terminal whose other end is `screen`."""
    shown = b""
    while True:
        ready, _, _ = select.select([screen], [], [], 60)
        assert ready, "nothing more is shown, and the process hasn't ended"
        try:
            part = os.read(screen, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    assert process.wait(timeout=60) == 0
    return shown.decode()


def test_progress_on_a_terminal(folder, shell):
    """Best, bound, gap and time left; the clock runs while the solver is silent."""
    screen, end = pty.openpty()
    env = shell | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    process = start(env, *SOLVE, seconds=1.6, stdout=subprocess.PIPE, stderr=end)
    os.close(end)
    shown = on_terminal(process, screen)
    os.close(screen)
    assert "60 s left, best +0.00 %, bound +0.00 %, gap 0.00 points" in shown
    assert "59 s left, best +0.00 %" in shown
    with process.stdout as out:
        assert out.read().startswith("optimal")


def test_no_progress_elsewhere(folder, shell):
    """Nothing but the result where standard error is no terminal."""
    process = start(shell, *SOLVE, seconds=0.1, **PIPES)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "s left" not in out


def test_closed_pipe(folder, shell):
    """A reader that goes away early is no reason for a traceback."""
    command = "schedule example unet | head -c 10"
    found = subprocess.run(
        ["bash", "-c", command], env=shell, capture_output=True, text=True, timeout=60
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, '{"format":', "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_full_output(folder, shell):
    """Output that can't be written is said in one line."""
    with open("/dev/full", "w") as full:
        found = subprocess.run(
            ["schedule", "info", "chain.json"],
            env=shell, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    assert found.returncode == 2
    assert found.stderr == "schedule: standard output: No space left on device\n"


@pytest.mark.skipif(os.name != "posix", reason="a shell that limits files")
@pytest.mark.parametrize("line", ["example unet", "example unet -o -", "solvers --json"])
def test_output_of_which_a_part_is_taken(folder, shell, line):
    """Python says nothing where a stream is unbuffered, as in many containers."""
    command = ["bash", "-c", f"ulimit -f 1; schedule {line} > part.json"]
    env = shell | {"PYTHONUNBUFFERED": "1"}
    found = subprocess.run(command, env=env, stderr=subprocess.PIPE, text=True, timeout=60)
    assert found.returncode == 2
    assert "standard output: " in found.stderr
    assert found.stderr.endswith("File too large\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_full_standard_error(folder, shell):
    """Where nobody can be told what is wrong the status still says it."""
    with open("/dev/full", "w") as full:
        found = subprocess.run(
            ["schedule", "info", "missing.json"],
            env=shell, stdout=subprocess.PIPE, stderr=full, text=True, timeout=60,
        )  # fmt: skip
    assert (found.returncode, found.stdout) == (2, "")


@pytest.mark.skipif(os.name != "posix", reason="a shell that closes streams")
def test_streams_that_are_closed(folder, shell):
    """Standard output is missed, standard error isn't; no traceback, no file in their place."""

    def status(line):
        command = ["sh", "-c", f"schedule {line}"]
        found = subprocess.run(command, env=shell, capture_output=True, text=True, timeout=60)
        return found.returncode, found.stderr

    solving = "solve chain.json --budget 100% --solver store_all -o kept.json"
    for line in (solving, "help solve", "info --help"):
        code, said = status(f"{line} >&-")
        assert code == 2
        assert said == "schedule: standard output: Bad file descriptor\n"
    assert status(f"{solving} 2>&- && schedule verify chain.json kept.json") == (0, "")


def test_ascii_terminal(folder, shell):
    """A terminal that has no letter beyond ASCII gets all it can show."""
    env = shell | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    found = subprocess.run(
        ["schedule", "info", "chain.json"], env=env, capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 0
    assert "peak" in found.stdout


def test_help_loads_neither_numpy_nor_rich(shell):
    """The command line itself is light: help is there at once."""
    code = (
        "import sys, schedule.cli; print(sorted({'numpy', 'rich', 'ortools'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], env=shell, capture_output=True, text=True, timeout=60
    )
    assert found.stdout == "[]\n"


def test_a_host_below_the_device(tmp_path):
    """Solved, written, verified and summed up with it; a host and its link go together."""
    g = schedule.GraphBuilder("two")
    big, small = g.node("a", memory={"big": 8, "small": 1}, compute=1, recomputable=False)
    b = g.node("b", small, memory=1, compute=10, workspace=9)
    g.node("y", [big, b], memory=1, compute=2)
    graph, plan = tmp_path / "g.json", tmp_path / "plan.json"
    schedule.write(g.build(), graph)
    below = ["--host", "8", "--link", "2,1"]
    status, out, _ = run("solve", graph, "--budget", "11", *below, "-o", plan, "--json")
    assert status == 0
    solved = json.loads(out)
    assert (solved["makespan"], solved["levels"][0]["peak"]) == (23, 8)
    checked = json.loads(run("verify", graph, plan, "--json")[1])
    assert (checked["makespan"], checked["level_peaks"], checked["waited"]) == (23, {"host": 8}, 10)
    assert "host up busy" in run("verify", graph, plan)[1]
    told = json.loads(run("info", graph, *below, "--time-limit", "0", "--json")[1])
    assert told["with_levels"]["floor"]["memory"] == 11
    assert "no schedule fits" in run("info", graph, *below, "--time-limit", "0")[1]
    compared = json.loads(run("compare", graph, "--budget", "11", *below, "--json")[1])
    assert compared["solvers"][0]["makespan"] == 23
    several = ["sweep", graph, "--budgets", "11,12", *below, "--link", "4"]
    curves = json.loads(run(*several, "--json")[1])["curves"]
    assert [curve["points"][0]["makespan"] for curve in curves] == [23, 17]
    assert "link 2,1" in run(*several, "-o", tmp_path / "links.svg")[1]
    status, _, said = run(*several, "--csv", tmp_path / "a.csv")
    assert (status, "--csv is for one --link" in said) == (2, True)
    status, _, said = run("solve", graph, "--budget", "11", *below, "--link", "4")
    assert (status, "'sweep' takes several" in said) == (2, True)
    status, _, said = run("solve", graph, "--budget", "11", "--host", "8")
    assert (status, "--host needs --link" in said) == (2, True)
    status, out, _ = run("replay", graph, plan, "--json")
    peaks = {"promised_peak": 8, "measured_peak": 8}
    assert (status, json.loads(out)["levels"]) == (0, {"host": peaks})
    assert "on host" in run("replay", graph, plan)[1]
    status, _, said = run("replay", graph, plan, "--arena")
    assert (status, "copies between levels of memory" in said) == (2, True)


def test_a_number_that_may_be_a_share_is_asked_about(folder):
    """Where it is no budget at all; the answer is the same."""
    for command in (["solve"], ["compare", "--solver", "store_all"]):
        status, _, err = run(*command, "chain.json", "--budget", "60")
        assert status == 0
        assert err.endswith("so nothing is recomputed; did you mean 60%?\n")
        assert run(*command, "chain.json", "--budget", "100%")[2] == ""
    code, _, err = run("solve", "chain.json", "--budget", "60", "--time-limit", "0")
    assert (code, err.count("\n")) == (2, 1)  # misuse is said alone


def test_a_time_limit_is_no_interruption(folder):
    """Where it ends what a work limit was to end, that is said, and the status is none of 130."""
    asked = ("chain.json", "--budget", "20%", "--solver", "sqrt", "--work-limit", "9")
    status, out, err = run("solve", *asked, "--time-limit", "1e-9", "--json")
    assert (status, json.loads(out)["out_of_time"]) == (1, True)
    assert err == "schedule: the time limit came before the work limit\n"


def test_it_is_asked_about_before_any_solver_has_its_turn(folder, monkeypatch):
    """All of them take minutes; but misuse is said alone."""
    said = []
    monkeypatch.setattr("schedule.cli.plans.remark", said.append)
    monkeypatch.setattr(
        "schedule.budgets.comparison.compare", lambda *_, **__: said.append("") or []
    )
    run("compare", "chain.json", "--budget", "60", "--time-limit", "0")
    assert said == []
    run("compare", "chain.json", "--budget", "60")
    assert ["did you mean 60%?" in each for each in said] == [True, False]
