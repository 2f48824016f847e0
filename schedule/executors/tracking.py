"""Storages followed from birth to death."""

from __future__ import annotations

import weakref
from typing import Any


class _Followed(weakref.ref[Any]):
    """A weak reference to a storage that knows its size."""

    __slots__ = ("key", "size")

    key: int
    size: int


class Ledger:
    """Adds up the sizes of the storages that are alive.

    A storage counts until the last reference to it is gone, whoever holds it:
    a kernel that keeps its result somewhere is seen.

    Attributes
    ----------
    in_use
        Sum of the sizes of what is alive.
    peak
        Largest `in_use` plus extra memory that was noted.

    Examples
    --------
    >>> import numpy as np
    >>> from schedule.executors.tracking import Ledger
    >>> ledger = Ledger()
    >>> array = np.zeros(10, np.uint8)
    >>> ledger.follow(array, array.nbytes)
    >>> ledger.note(extra=5)
    >>> del array
    >>> ledger.in_use, ledger.peak
    (0, 15)
    >>> ledger.close()
    """

    __slots__ = ("_followed", "in_use", "peak")

    def __init__(self) -> None:
        self._followed: dict[int, _Followed] = {}
        self.in_use = 0
        self.peak = 0

    def follow(self, storage: Any, size: int) -> None:
        """Count `storage`, unless it is counted already."""
        key = id(storage)
        if key not in self._followed:
            reference = _Followed(storage, self._gone)
            reference.key, reference.size = key, size
            self._followed[key] = reference
            self.in_use += size

    def add(self, storage: Any, size: int) -> None:
        """Count another part of `storage`, which goes when all of it goes."""
        known = self._followed.get(id(storage))
        if known is None:
            self.follow(storage, size)
        else:
            known.size += size
            self.in_use += size

    def _gone(self, reference: _Followed) -> None:
        del self._followed[reference.key]
        self.in_use -= reference.size

    def note(self, extra: int = 0) -> None:
        """Take what is alive now, plus `extra`, into the peak."""
        self.peak = max(self.peak, self.in_use + extra)

    def close(self) -> None:
        """Follow nothing any more; without this the ledger would refer to itself."""
        self._followed.clear()
