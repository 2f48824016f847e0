"""How staged programs with a host are refined; loads no solver library."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StagedSettings:
    """How programs are refined.

    Attributes
    ----------
    negligible
        What is smaller, as a share of the budget, takes no memory in the programs.
    gap
        How close to its optimum a program is solved, as a share of every node once.
    share
        Of the time left, what one program may take.
    rounds
        Programs that are solved at most.
    """

    negligible: float = 0.0005
    gap: float = 0.0005
    share: float = 0.4
    rounds: int = 40


#: The default.
STAGED = StagedSettings()
