"""A judge of what solvers offer that notes what it hears."""

from __future__ import annotations

from schedule.memory import simulate


class Hears:
    """It replays every schedule, and keeps replays, proofs and notes, each with who said it."""

    def __init__(self, graph):
        self.graph = graph
        self.offers, self.proofs, self.notes = [], [], []

    def take(self, codes, by):
        trace = simulate(self.graph, codes)
        self.offers.append((by, trace))
        return trace

    def prove(self, proof, by):
        self.proofs.append((by, proof))

    def say(self, note):
        self.notes.append(note)
