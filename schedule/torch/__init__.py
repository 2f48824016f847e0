"""PyTorch: a training step within a memory budget.

>>> import torch, schedule.torch
>>> from torch import nn
>>> layers = [part for _ in range(6) for part in (nn.Linear(16, 16), nn.Tanh())]
>>> model, x = nn.Sequential(*layers, nn.Linear(16, 1)), torch.randn(256, 16)
>>> planned = schedule.torch.plan(model, x, "80%", loss=lambda output: output.square().mean())
>>> planned(x).backward()

It needs the extra `torch`, and is loaded when it is first used.
"""

from importlib import import_module

from schedule.errors import MissingExtra

try:
    _version = str(import_module("torch").__version__)
except ImportError as error:
    raise MissingExtra(
        f"schedule.torch needs PyTorch ({error}): pip install 'graph-schedule[torch]'"
    ) from error
if tuple(map(int, _version.split(".")[:2])) < (2, 11):  # what capturing rests on was another thing
    raise MissingExtra(
        f"schedule.torch needs PyTorch 2.11 or newer, and this is {_version}:"
        f" pip install 'graph-schedule[torch]'"
    )

from schedule.torch.batch import Batch, largest_batch
from schedule.torch.checking import Difference, Report
from schedule.torch.checkpointing import Checkpointing
from schedule.torch.exporting import export
from schedule.torch.frontend import capture
from schedule.torch.kept import keep_measurements
from schedule.torch.planned import check, plan
from schedule.torch.reading import read_checkpointing
from schedule.torch.step import PlannedStep
from schedule.torch.wrapping import Applied

__all__ = [
    "Applied",
    "Batch",
    "Checkpointing",
    "Difference",
    "PlannedStep",
    "Report",
    "capture",
    "check",
    "export",
    "keep_measurements",
    "largest_batch",
    "plan",
    "read_checkpointing",
]
