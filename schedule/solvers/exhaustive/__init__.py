"""The exhaustive search of small graphs: masks → what has to be live anyway → states."""

from __future__ import annotations

from schedule.solvers.kit.loading import Loading


def _warm_up() -> None:
    from schedule.examples import example
    from schedule.solvers.contract import Deadline
    from schedule.solvers.exhaustive.crossings import Crossings
    from schedule.solvers.exhaustive.expansion import REACHED, search
    from schedule.solvers.exhaustive.masks import Masks
    from schedule.solvers.exhaustive.words import words_of

    masks = Masks(example("chain", layers=3), "free")
    words = words_of(masks, Crossings(masks, 3), 3)
    assert words is not None, "a word is enough for seven nodes"
    if search(words, masks.todo, 1, 0, 100, Deadline()).why != REACHED:
        raise AssertionError("three units are enough for a chain of three layers")


#: The compiled code of this package.
EXHAUSTIVE = Loading(_warm_up, rank=4)
