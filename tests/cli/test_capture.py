"""`schedule capture`: from a model to a graph file."""

from __future__ import annotations

import json

import pytest

import schedule
from tests.cli.test_cli import run
from tests.formats import FILES_ARE_CHECKED

pytest.importorskip("torch")

pytestmark = FILES_ARE_CHECKED

FACTORY = """
import torch
from torch import nn


def step():
    layers = [nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)]
    return nn.Sequential(*layers), torch.ones(512, 64), nn.functional.mse_loss, [torch.ones(512, 1)]


def huge():  # a terabyte of parameters
    return nn.Linear(2**19, 2**19), torch.ones(4, 2**19), lambda output: output.mean()


def parts():  # of one tensor each
    return step()[0], torch.ones(2, 512, 64)[1], nn.functional.mse_loss, [torch.ones(2, 512, 1)[1]]


def trimmed():  # drawn by looking at values
    made = step()
    nn.init.trunc_normal_(made[0][0].weight)
    return made


@torch.library.custom_op("captured::doubled", mutates_args=())
def doubled(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


torch.library.register_autograd("captured::doubled", lambda _, gradient: 2 * gradient)
doubled.register_fake(torch.empty_like)


class Foreign(nn.Linear):
    def forward(self, x):
        return doubled(super().forward(x)).square().mean()


def foreign():
    return Foreign(8, 8), torch.ones(4, 8)


def reading():
    torch.ones(1).item()


def nothing():
    return 3


number = 3
"""


def test_capture_writes_the_graph_of_a_training_step(tmp_path, monkeypatch):
    """A graph file that solves, of models of any size; one message where it can't be."""
    (tmp_path / "training_step.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    status, out, err = run("capture", "training_step:step", "-o", "step.json.gz", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    graph = schedule.read("step.json.gz")
    assert (graph.digest, len(graph)) == (found["sha256"], found["nodes"])
    assert schedule.parse_budget("100%", graph) == found["peak"] > 2**17
    status, out, _ = run("solve", "step.json.gz", "--budget", "90%", "--solver", "greedy")
    assert status == 0
    for name in ("parts", "trimmed"):
        status, out, _ = run("capture", f"training_step:{name}", "-o", f"{name}.json")
        assert status == 0
        assert schedule.read(f"{name}.json") == graph
    status, out, _ = run("capture", "training_step:huge", "-o", "huge.json")
    assert status == 0
    assert "TiB" in out
    for name, said in [
        ("reading", "the factory raised"),
        ("nothing", "the factory returned 3"),
        ("number", "not callable"),
        ("missing", "AttributeError"),
    ]:
        status, out, err = run("capture", f"training_step:{name}", "-o", "no.json")
        assert (status, out) == (2, "")
        assert said in err
        assert len(err.splitlines()) == 1
        assert not (tmp_path / "no.json").exists()
    for costs in ("measure", "calibrated"):
        status, _, err = run("capture", "training_step:step", "-o", "no.json", "--costs", costs)
        assert (status, "needs --real" in err) == (2, True)
        status, _, _ = run(
            "capture", "training_step:step", "-o", "real.json", "--costs", costs, "--real"
        )
        assert status == 0


def test_operators_of_other_packages_are_declared_pure(tmp_path, monkeypatch):
    """They may run again where `--pure` names them; what is no name is refused."""
    (tmp_path / "foreign_step.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    for options, may_run_again in (((), False), (("--pure", "captured::doubled"), True)):
        status, _, _ = run("capture", "foreign_step:foreign", "-o", "step.json", *options)
        assert status == 0
        (node,) = [node for node in schedule.read("step.json").nodes if "doubled" in node.name]
        assert node.recomputable == may_run_again
    status, _, err = run("capture", "foreign_step:foreign", "-o", "no.json", "--pure", "doubled")
    assert (status, "it lists operators" in err) == (2, True)


def test_what_cant_be_written_is_refused_before_anything_is_captured(tmp_path, monkeypatch):
    """The factory isn't even looked for."""
    monkeypatch.chdir(tmp_path)
    status, _, err = run("capture", "nowhere:step", "-o", "step.gml")
    assert (status, "step.gml: what is written is JSON" in err) == (2, True)
