"""Lifetimes from a CSV, as minimalloc has them: `id,lower,upper,size`."""

from __future__ import annotations

import csv
import io

import numpy as np

from schedule.errors import BadGraph
from schedule.files import LARGEST_FILE, AnyPath, path_text, read_text
from schedule.lifetimes import Lifetimes
from schedule.values import LARGEST_MEMORY, shown

_COLUMNS = ("id", "lower", "upper", "size")
#: Times beyond this don't come up, and their differences stay exact.
_LATEST = 2**53


def read_lifetimes(path: AnyPath) -> Lifetimes:
    """Read a CSV of buffers, plain or gzipped.

    Parameters
    ----------
    path
        With a head that names the columns `id`, `lower`, `upper` and `size`, in any order;
        others are ignored. A buffer is there from `lower` until before `upper`.

    Raises
    ------
    BadGraph
        Names the file, the line and the mistake: a missing column or value, what is no
        integer, an id twice, a lifetime that isn't positive, a negative size.
    """
    where = path_text(path) if isinstance(path, str) or hasattr(path, "__fspath__") else shown(path)
    text = read_text(path, BadGraph, LARGEST_FILE)
    rows = csv.reader(io.StringIO(text))
    try:
        return _lifetimes(rows)
    except (BadGraph, csv.Error) as error:
        raise BadGraph(f"{where}: line {max(rows.line_num, 1)}: {error}") from None


def _lifetimes(rows: csv.Reader) -> Lifetimes:  # type: ignore[name-defined]
    head = [name.strip() for name in next(rows, [])]
    missing = [name for name in _COLUMNS if name not in head]
    if missing:
        raise BadGraph(f"the head has no column {missing[0]!r}; it has to be id,lower,upper,size")
    places = [head.index(name) for name in _COLUMNS]
    names: dict[str, None] = {}
    figures: list[tuple[int, int, int]] = []
    total = 0
    for row in rows:
        if not row:
            continue
        if len(row) != len(head):
            raise BadGraph(f"{len(row)} values for {len(head)} columns")
        name, lower, upper, size = (row[place].strip() for place in places)
        if name in names:
            raise BadGraph(f"id {name!r} comes twice")
        begin, end = _integer(lower, "lower"), _integer(upper, "upper")
        taken = _integer(size, "size")
        if end <= begin:
            raise BadGraph(f"buffer {name!r} lives from {begin} until before {end}: no time")
        if taken < 0:
            raise BadGraph(f"buffer {name!r} has the negative size {taken}")
        total += taken
        if total >= LARGEST_MEMORY:
            raise BadGraph("all sizes together have to stay below 2**61")
        names[name] = None
        figures.append((begin, end, taken))
    table = np.array(figures, np.int64).reshape(-1, 3)
    return Lifetimes(tuple(names), *(np.ascontiguousarray(table[:, at]) for at in range(3)))


def _integer(text: str, column: str) -> int:
    try:
        found = int(text)
    except ValueError:
        raise BadGraph(f"{column} is {shown(text)}; it has to be an integer") from None
    if column != "size" and abs(found) > _LATEST:
        raise BadGraph(f"{column} is {shown(found)}; times stay within ±2**53")
    return found
