"""How functions are compiled: by Numba, without the GIL, kept on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import filelock
import numba
from numba.core.caching import FunctionCache, NullCache

from schedule.solvers.loading import go_on

#: Compiled code that all folders use.
_SHARED = Path(__file__).with_name("randomness.py")

F = TypeVar("F", bound=Callable[..., object])


class _Cache(FunctionCache):
    """Numba's cache, for one process at a time.

    Numba keeps an index and a numbered file for each signature, and writes one
    after the other: of two processes that compile different signatures at the
    same time, one can load the code of the other's, and crash
    (https://github.com/numba/numba/issues/4807). It also takes no notice of
    changes to what a function calls; here all code in the same folder counts, and
    what all folders use.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        folder = Path(function.__code__.co_filename).parent
        self._cache_file._source_stamp = _stamps(folder), _stamp(_SHARED)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What an earlier process compiled for a signature; None: nothing yet."""
        go_on()
        if not Path(self.cache_path).is_dir():
            return None
        try:
            with self._alone():
                return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except OSError:  # a disk that is full has no room for the lock
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for a signature, where there is room for it."""
        with suppress(OSError):
            Path(self.cache_path).mkdir(parents=True, exist_ok=True)
            with self._alone():
                super().save_overload(sig, data)  # type: ignore[no-untyped-call]

    def _alone(self) -> filelock.BaseFileLock:
        return filelock.FileLock(Path(self.cache_path) / "compiled.lock")


class _NoCache(NullCache):
    """Where no directory can be written, not even the user's: each process compiles."""

    def load_overload(self, sig: Any, target_context: Any) -> None:
        """Nothing is kept."""
        go_on()


@cache
def _stamps(folder: Path) -> list[tuple[str, int, int]]:
    """When the code in a folder was written, and how long it is."""
    return [_stamp(file) for file in sorted(folder.glob("*.py"))]


def _stamp(file: Path) -> tuple[str, int, int]:
    status = file.stat()
    return file.name, status.st_mtime_ns, status.st_size


def jit(function: F) -> F:
    """Compile a function at its first call, or load what an earlier process compiled."""
    made: Any = numba.njit(nogil=True)(function)
    try:
        made._cache = _Cache(function)
    except RuntimeError:
        made._cache = _NoCache()
    return cast(F, made)
