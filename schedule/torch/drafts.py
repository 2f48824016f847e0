"""Nodes of a captured step's graph in the making."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from schedule.torch.kernels import Kernel


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor that a node writes: its place in what the kernel returns, and its name."""

    place: int
    name: str
    fake: torch.Tensor


@dataclass(slots=True)
class Draft:
    """A node in the making: what it reads, as names and as fake tensors, and what it writes.

    `state` are bytes of the random state with which it can draw again; None: it draws nothing,
    or runs once.
    """

    name: str
    kernel: Kernel
    reads: tuple[str, ...]
    given: Sequence[fx.Node | torch.Tensor]
    values: Sequence[Value]
    once: bool = False
    workspace: int = 0
    backward: bool = False
    state: int | None = None

    @property
    def fakes(self) -> list[torch.Tensor]:
        """Tensors of the shapes that it reads."""
        found = [n.meta.get("val") if isinstance(n, fx.Node) else n for n in self.given]
        return [fake for fake in found if isinstance(fake, torch.Tensor)]
