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

    def note(self, call):
        """Have something done at this place of each replay."""
        self.calls.append((call, (), {}, None))

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


class Drawing:
    """Notes random states, and gives them back, at each replay."""

    def __init__(self, recorder):
        self.recorder, self.states = recorder, []

    def first(self, kernel, reads):
        number = len(self.states)
        self.states.append(None)
        self.recorder.tape.note(lambda: self.states.__setitem__(number, torch.get_rng_state()))
        return number, kernel(*reads)

    def again(self, kernel, reads, state):
        now = []

        def begin():
            now.append(torch.get_rng_state())
            torch.set_rng_state(self.states[state])

        self.recorder.tape.note(begin)
        found = kernel(*reads)
        self.recorder.tape.note(lambda: torch.set_rng_state(now.pop()))
        return found

    def turn(self):
        """Nothing is counted."""


class Replaying:
    """A recorder to whose caller nothing has been computed before the first replay."""

    def __init__(self, failing=""):
        self.failing = failing
        self.n_recorded = self.n_replayed = 0
        self.tape = None

    def begin(self, plan, noted):
        return None if noted is None else Drawing(self)

    def record(self, run, half=0):
        if self.failing:
            raise RuntimeError(self.failing)
        self.n_recorded += 1
        state = torch.get_rng_state()
        with Tape() as tape:
            self.tape = tape
            found = run()
        tape.undo()
        torch.set_rng_state(state)

        def play():
            self.n_replayed += 1
            tape.play()

        return found, play
