"""Lifetimes from a CSV, as minimalloc has them: `id,lower,upper,size`, and maybe `offset`."""

from __future__ import annotations

import csv
import io
import re

import numpy as np

from schedule.errors import BadGraph
from schedule.files import LARGEST_FILE, AnyPath, path_text, read_text
from schedule.lifetimes import LATEST, Lifetimes
from schedule.values import LARGEST_MEMORY, shown

_COLUMNS = ("id", "lower", "upper", "size")


def read_lifetimes(path: AnyPath) -> Lifetimes:
    """Read a CSV of buffers, plain or gzipped.

    Parameters
    ----------
    path
        With a head that names the columns `id`, `lower`, `upper` and `size`, in any order;
        others but `offset` are ignored. A buffer is there from `lower` until before `upper`.
        One that has an `offset` lies there; where it is empty, anywhere.

    Raises
    ------
    BadGraph
        Names the file, the line and the mistake: a missing column or value, what is no
        integer, an id twice, a lifetime that isn't positive, a negative size or offset.
    """
    where = path_text(path) if isinstance(path, str) or hasattr(path, "__fspath__") else shown(path)
    text = read_text(path, BadGraph, LARGEST_FILE)
    if text.lstrip().startswith("{"):
        raise BadGraph(
            f"{where}: this is JSON, not a CSV of lifetimes; where it is a graph, give the schedule"
            " whose allocations are to be placed, too"
        )
    rows = csv.reader(io.StringIO(text, newline=""))  # lines may end as on an old Mac
    try:
        return _lifetimes(rows)
    except (BadGraph, csv.Error) as error:
        raise BadGraph(f"{where}: line {max(rows.line_num, 1)}: {error}") from None


def _lifetimes(rows: csv.Reader) -> Lifetimes:  # type: ignore[name-defined]
    head = [name.strip() for name in next(rows, [])]
    if not any(head):
        raise BadGraph("there is nothing; the first line has to be id,lower,upper,size")
    missing = [name for name in _COLUMNS if name not in head]
    if missing:
        raise BadGraph(f"the head has no column {missing[0]!r}; it has to be id,lower,upper,size")
    for name in (*_COLUMNS, "offset"):
        if head.count(name) > 1:
            raise BadGraph(f"the head has the column {name!r} {head.count(name)} times: which one?")
    places = [head.index(name) for name in _COLUMNS]
    names: dict[str, None] = {}
    offset_at = head.index("offset") if "offset" in head else None
    figures: list[tuple[int, int, int, int]] = []
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
        given = "" if offset_at is None else row[offset_at].strip()
        figures.append((begin, end, taken, _offset(name, given)))
    table = np.array(figures, np.int64).reshape(-1, 4)
    starts, ends, sizes, fixed = (np.ascontiguousarray(table[:, at]) for at in range(4))
    return Lifetimes(tuple(names), starts, ends, sizes, None if offset_at is None else fixed)


def _offset(name: str, text: str) -> int:
    """The offset that a buffer has to have; −1: any."""
    if not text:
        return -1
    found = _integer(text, "offset")
    if not 0 <= found < LARGEST_MEMORY:
        raise BadGraph(f"buffer {name!r} has the offset {found}; it has to be in 0 … 2**61 - 1")
    return found


def _integer(text: str, column: str) -> int:
    # Python takes 1_0 for ten, and no number of thousands of digits.
    if not re.fullmatch(r"[+-]?[0-9]{1,99}", text):
        raise BadGraph(f"{column} is {shown(text)}; it has to be an integer")
    found = int(text)
    if column in ("lower", "upper") and abs(found) > LATEST:
        raise BadGraph(f"{column} is {shown(found)}; times stay within ±2**53")
    return found
