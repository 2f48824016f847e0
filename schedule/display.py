"""How graphs, results and sweeps show themselves in notebooks.

What is shown stands far below what draws it, and knows nothing of it. The drawing
is named here from above, by `schedule/__init__.py`, and loaded when a notebook first
asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Drawing(Protocol):
    """What draws: `schedule.report.notebook`."""

    def html(self, thing: object, /) -> str:
        """All there is to say, as a table, with the picture where there is one."""

    def svg(self, thing: object, /) -> str | None:
        """The picture alone; None where it can't be drawn."""


_load: Callable[[], Drawing] | None = None


def drawn_by(load: Callable[[], Drawing]) -> None:
    """Have everything that is `Shown` drawn by what `load` gives."""
    global _load
    _load = load


class Shown:
    """A mixin: what notebooks show as a table and a picture."""

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        """A table, and a picture where matplotlib is installed, for notebooks."""
        return None if _load is None else _load().html(self)

    def _repr_svg_(self) -> str | None:
        """The picture alone; None where there is none."""
        return None if _load is None else _load().svg(self)
