"""What stands in for CUDA graphs on a CPU: it replays operators into the memory they first had."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tape(TorchDispatchMode):
    """Notes each operator with its very arguments and results, and undoes what it changed."""

    def __init__(self):
        super().__init__()
        self.calls, self.before = [], []

    def __torch_dispatch__(self, call, types, args=(), kwargs=None):
        if call._schema.is_mutable:
            self.before.append((args[0], args[0].clone()))
        found = call(*args, **(kwargs or {}))
        self.calls.append((call, args, kwargs or {}, found))
        return found

    def undo(self):
        for tensor, content in reversed(self.before):
            tensor.copy_(content)

    def play(self):
        for call, args, kwargs, before in self.calls:
            found = call(*args, **kwargs)
            for old, new in zip(tree_leaves(before), tree_leaves(found)):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Replaying:
    """A recorder to whose caller nothing has been computed before the first replay."""

    def __init__(self, failing=""):
        self.failing = failing
        self.n_recorded = self.n_replayed = 0

    def record(self, run):
        if self.failing:
            raise RuntimeError(self.failing)
        self.n_recorded += 1
        state = torch.get_rng_state()
        with Tape() as tape:
            found = run()
        tape.undo()
        torch.set_rng_state(state)

        def play():
            self.n_replayed += 1
            tape.play()

        return found, play
