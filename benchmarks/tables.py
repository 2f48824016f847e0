"""How the benchmarks print: figures, tables on a terminal, and the same in markdown."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table


def percent(share: float | None, digits: int = 3) -> str:
    """A share as a number of percent; nothing for None."""
    return "" if share is None else f"{share * 100:.{digits}f}"


def markdown(headings: list[str], rows: list[list[str]], left: int) -> str:
    """A table for the docs; all but the first `left` columns hold numbers."""
    lines = [headings, ["---"] * left + ["---:"] * (len(headings) - left), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def show(
    title: str, headings: list[str], rows: list[list[str]], file: Path | None = None, left: int = 1
) -> None:
    """Print a table, and write it for the docs where there is a file."""
    table = Table(title=title)
    for at, heading in enumerate(headings):
        table.add_column(heading, no_wrap=at == 0)
    for row in rows:
        table.add_row(*row)
    Console(width=180).print(table)
    if file:
        file.write_text(markdown(headings, rows, left), "utf-8")
