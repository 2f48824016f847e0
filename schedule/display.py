"""How graphs, results and sweeps show themselves in notebooks, and what terminals can show.

What is shown stands far below what draws it, and knows nothing of it. The drawing
is named here from above, by `schedule/__init__.py`, and loaded when a notebook first
asks for it.
"""

from __future__ import annotations

import codecs
import os
import re
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.console import Console


#: The handler of errors of codecs that writes what looks alike.
LOOKALIKE = "schedule"
#: What stands for letters that a stream doesn't have.
_LOOKALIKES = {
    "–": "-",
    "−": "-",
    "×": "x",
    "√": "sqrt ",
    "…": "...",
    "→": "->",
    "≥": ">=",
    "≤": "<=",
    "·": "*",
    "’": "'",
}
#: A space after which a line doesn't end, and what stands for it meanwhile.
_BEFORE_UNIT, _INSTEAD = re.compile(r"(?<=\d) (?=%|[KMGTP]iB|s\b)"), "\ue000"


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


def console_for(stream: TextIO) -> Console:
    """A stream as Rich writes to it; where it is no terminal, wide enough for most tables.

    With the environment variable `NO_COLOR` there is no style at all, bold neither.
    """
    from rich.console import Console

    width = None if stream.isatty() or "COLUMNS" in os.environ else 120
    style = None if os.environ.get("NO_COLOR") else "auto"
    return Console(file=stream, width=width, color_system=style)  # type: ignore[arg-type]


def folded(text: str, width: int) -> str:
    """Text whose lines end at spaces before they get too long; no number loses its unit.

    Longer words, such as paths, stay whole.
    """
    lines = []
    for line in text.split("\n"):
        parts = [line]
        if len(line) > width:
            joined = _BEFORE_UNIT.sub(_INSTEAD, line)
            parts = textwrap.wrap(
                joined, max(width, 1), break_on_hyphens=False, break_long_words=False
            )
        lines += parts
    return "\n".join(lines).replace(_INSTEAD, " ")


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """A handler of errors of codecs: something like the letters, else their escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    parts = [
        _LOOKALIKES.get(letter, letter.encode("ascii", "backslashreplace").decode("ascii"))
        for letter in letters
    ]
    return "".join(parts), error.end


codecs.register_error(LOOKALIKE, _replaced)


def written(text: str, encoding: str) -> str:
    """Text as a stream of an encoding shows it: what that has no letters for takes more room.

    Examples
    --------
    >>> from schedule.display import written
    >>> written("√n – 5", "ascii"), written("√n", "utf-8")
    ('sqrt n - 5', '√n')
    """
    return text.encode(encoding, LOOKALIKE).decode(encoding)
