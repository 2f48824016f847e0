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
    spread, allowances, parts
        Relaxed programs have so many more cut points, evenly where memory is over the
        budget; these shares of the budget are kept back in them; and what is copied by more
        than such a part is taken to be copied.
    slow
        A relaxed program that takes such a share of the time left is the last with so many
        cut points.
    """

    negligible: float = 0.0005
    gap: float = 0.0005
    share: float = 0.4
    rounds: int = 40
    spread: tuple[int, ...] = (0, 4, 8)
    allowances: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3)
    parts: tuple[float, ...] = (0.3, 0.6, 0.9)
    slow: float = 0.05


#: The default.
STAGED = StagedSettings()
