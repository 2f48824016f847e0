"""Textbook models of the same problem, to measure the exact solver against.

A baseline is called as `solve(graph, budget, time_limit)` and gives an `Answer`.
"""

from baselines import checkmate, moccasin
from baselines.contract import Answer

#: Every baseline by its name on the command line.
BASELINES = {"checkmate": checkmate.solve, "moccasin": moccasin.solve}

__all__ = ["BASELINES", "Answer"]
