"""Sweeps on a Dask cluster: workers die, clusters go away, and what was solved stays solved."""

import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

import schedule
from schedule.budgets.solving import Task
from schedule.solvers import SOLVERS
from tests import ROOT
from tests.formats import FILES_ARE_CHECKED

distributed = pytest.importorskip("distributed")
pytestmark = [
    FILES_ARE_CHECKED,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of processes that are killed here
]

GRAPHS = [schedule.example("layered", nodes=12 + at, seed=at + 1) for at in range(8)]


class Logged:
    """The exhaustive solver, which notes in a file what it has solved, and where."""

    name, summary = "ilp", "notes what it solves"

    def __init__(self, log):
        self.log = str(log)

    def supports(self, graph):
        return None

    def improve(self, problem, incumbent, deadline):
        proof = SOLVERS["ilp"].improve(problem, incumbent, deadline)
        time.sleep(0.02)
        with open(self.log, "a") as file:
            file.write(f"{problem.graph.digest} {problem.budget} {os.getpid()}\n")
        return proof


def lines(log):
    return log.read_text().splitlines() if log.exists() else []


def when(ready, act):
    """Act as soon as it is ready, in another thread."""

    def watch():
        deadline = time.monotonic() + 60
        while not ready() and time.monotonic() < deadline:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.fixture
def cluster(monkeypatch):
    """Two worker processes of one thread each."""
    # A worker imports this module, as a user's worker does the user's.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as made:
        yield made


def figures(curve):
    """Of equally good schedules another may be found where compiled code isn't loaded yet."""
    return [(point.budget, point.status, point.compute) for point in curve.points]


def test_worker_that_dies(cluster, tmp_path):
    """Eight graphs on one cluster, a worker killed: all is found, and found once."""
    log = tmp_path / "log.txt"
    solver = Logged(log)
    with distributed.Client(cluster) as client, ThreadPoolExecutor(len(GRAPHS)) as threads:
        executor = client.get_executor()

        def victim():
            """Who noted the first solve: the other worker may get none before it is over."""
            return int(lines(log)[0].split()[2])

        killing = when(lambda: len(lines(log)) >= 9, lambda: os.kill(victim(), signal.SIGKILL))

        def swept(graph):
            return schedule.sweep(
                graph, points=15, start="50%", solver=solver, executor=executor, workers=1
            )

        curves = list(threads.map(swept, GRAPHS))
        killing.join()
    solves = Counter(line.rsplit(" ", 1)[0] for line in lines(log))
    twice = [solve for solve, count in solves.items() if count > 1]
    # The victim may have noted a solve without having handed it in; it has one at a time.
    assert len(twice) <= 1
    assert all(f"{solve} {victim()}" in lines(log) for solve in twice)
    assert sum(solves.values()) - len(twice) == sum(curve.solved for curve in curves)
    assert len({line.split()[2] for line in lines(log)}) >= 2
    for graph, curve in zip(GRAPHS, curves, strict=True):
        assert curve.ended == ""
        here = schedule.sweep(graph, points=15, start="50%", solver="ilp", workers=1)
        assert figures(curve) == figures(here)


def test_cluster_that_goes_away(cluster, tmp_path):
    """The sweep ends with what is known, says why, and goes on elsewhere."""
    log, plans = tmp_path / "log.txt", tmp_path / "plans"
    budgets = [f"{share}%" for share in range(60, 100, 2)]
    graph, solver = schedule.example("unet"), Logged(log)
    with distributed.Client(cluster) as client:
        closing = when(lambda: len(lines(log)) >= 2, cluster.close)
        curve = schedule.sweep(
            graph, budgets, solver, executor=client.get_executor(), workers=1, directory=plans
        )
        closing.join()
    assert curve.ended.startswith("the executor failed: ")
    done = [point for point in curve.points if not point.interrupted]
    assert 0 < len(done) < len(budgets)
    assert len(list(plans.glob("budget-*"))) == len(done)
    again = schedule.sweep(graph, budgets, "auto", directory=plans, resume=True)
    assert again.ended == ""
    assert again.solved <= len(budgets) - len(done)


def test_graph_travels_once(cluster, monkeypatch):
    """The tasks hold no more than a name for it, however large it is."""
    graph, sent = schedule.example("chain", layers=1000), []
    with distributed.Client(cluster) as client:
        submit = client.submit

        def watched(function, *arguments, **options):
            sent.append([type(item) for item in arguments])
            return submit(function, *arguments, **options)

        monkeypatch.setattr(client, "submit", watched)
        executor = client.get_executor()
        curve = schedule.sweep(graph, points=4, start="80%", solver="revolve", executor=executor)
    assert (curve.ended, curve.solved) == ("", 4)
    assert sent == [[bytes], *[[Task, distributed.Future]] * 4]
