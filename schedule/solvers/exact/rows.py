"""Rows of a sparse matrix, gathered block by block."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from schedule.layout import Floats, Ints


@dataclass
class Rows:
    """Rows so far, and their entries."""

    columns: list[Ints] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)
    rows: list[Ints] = field(default_factory=list)
    lower: list[Floats] = field(default_factory=list)
    upper: list[Floats] = field(default_factory=list)
    count: int = 0

    def add(self, lower: Floats, upper: Floats) -> Ints:
        """Numbers for as many new rows as there are bounds."""
        numbers = self.count + np.arange(len(lower))
        self.lower.append(lower)
        self.upper.append(upper)
        self.count += len(lower)
        return numbers

    def put(self, rows: Ints, columns: Ints, value: float | Floats) -> None:
        """Entries (rows[i], columns[i]); a column of −1 is a constant 0 and is left out."""
        known = columns >= 0
        self.rows.append(rows[known])
        self.columns.append(columns[known])
        self.values.append(np.broadcast_to(np.asarray(value, float), len(rows))[known])

    def by_row(self) -> tuple[Ints, Ints, Floats]:
        """The matrix row by row: where each begins (rows + 1), columns and values."""
        rows = np.concatenate(self.rows)
        order = np.argsort(rows, kind="stable")
        starts = np.searchsorted(rows[order], np.arange(self.count + 1))
        return starts, np.concatenate(self.columns)[order], np.concatenate(self.values)[order]
