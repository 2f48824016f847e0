"""How functions are compiled: by Numba, without the GIL, kept on disk where that is possible."""

from __future__ import annotations

import hashlib
import io
import pickle
import threading
import uuid
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    InTreeCacheLocator,
    NullCache,
    UserProvidedCacheLocator,
)
from numba.core.registry import CPUDispatcher
from numba.core.serialize import dumps
from numba.core.types import unliteral

from schedule.errors import CacheLeftAside
from schedule.solvers.kit import vectors  # noqa: F401 - tells Numba of structs
from schedule.solvers.kit.loading import go_on
from schedule.solvers.kit.pipeline import PartCompiler, WholeCompiler

#: Folders with what compiled code everywhere uses: this one, and that of the arrays it is given.
_SHARED = (Path(__file__).parent, Path(__file__).parents[1] / "program")
#: A file's digest, in bytes, and letters of the one that tells signatures apart.
_DIGEST = 32
_LETTERS = 16

#: Where compiled code is kept that was asked for so far.
folders: set[Path] = set()

F = TypeVar("F", bound=Callable[..., object])


class _Broken(Exception):
    """A file of the cache that isn't what was written."""


class _Files:
    """What is kept of one function: a file for each signature.

    Numba keeps an index and numbered files. Between writing one and the other a
    process can be killed, the disk be full, or another process compile another
    signature: the index then leads to the code of something else, which crashes,
    or is wrong (https://github.com/numba/numba/issues/4807). Here a file says
    itself what it is of, and appears whole; no process waits for another. It
    begins with a digest: LLVM crashes on code that a disk has spoilt.

    Parameters
    ----------
    folder
        Where the files are.
    name
        What their names begin with.
    stamp
        Of the sources and of Numba; what is kept with another one counts as nothing.
    """

    def __init__(self, folder: Path, name: str, stamp: object) -> None:
        self._folder, self._name, self._stamp = folder, name, stamp

    def _path(self, key: tuple[Any, ...]) -> Path:
        signature = hashlib.sha256(repr(key[:2]).encode()).hexdigest()[:_LETTERS]
        return self._folder / f"{self._name}-{signature}.nbc"

    def load(self, key: tuple[Any, ...]) -> Any:
        """What is kept for a signature, target and bytecode; None: nothing."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
            raise _Broken(f"{path.name} is not what was written")
        stream = io.BytesIO(content[_DIGEST:])
        if pickle.load(stream) != self._stamp:  # the rest may be of no use to this Numba
            return None
        kept, data = pickle.load(stream)
        return data if kept == key else None

    def save(self, key: tuple[Any, ...], data: Any) -> None:
        """Keep it in place of what was there."""
        content = pickle.dumps(self._stamp) + dumps((key, data))  # type: ignore[no-untyped-call]
        path = self._path(key)
        beside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:_LETTERS]}")
        try:
            beside.write_bytes(hashlib.sha256(content).digest() + content)
            beside.replace(path)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise


class _AsTold(UserProvidedCacheLocator):
    """Where `NUMBA_CACHE_DIR` says, and in no other place where that can't be written."""

    @classmethod
    def from_function(cls, function: Callable[..., object], file: str) -> _AsTold | None:
        """The place, if there is that variable."""
        return cls(function, file) if numba.config.CACHE_DIR else None  # type: ignore[attr-defined]


class _AsItIs(InTreeCacheLocator):
    """Beside the source, though that can't be written: there may be something to read."""

    @classmethod
    def from_function(cls, function: Callable[..., object], file: str) -> _AsItIs:
        """The place, in any case."""
        return cls(function, file)


class _Places(CompileResultCacheImpl):
    """Numba's, which knows only directories that can be written, and those that can be read."""

    _locator_classes = [_AsTold, *CompileResultCacheImpl._locator_classes, _AsItIs]  # noqa: RUF012


class _Cache(FunctionCache):
    """Numba's cache, whose faults cost time and nothing else.

    Numba also takes no notice of changes to what a function calls; here all code
    in the same folder counts, and that in the folders that all use.
    """

    _impl_class = _Places

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        folders.add(Path(self.cache_path))
        sources = Path(function.__code__.co_filename).parent
        stamp = numba.__version__, [_stamps(folder) for folder in (sources, *_SHARED)]
        files = _Files(Path(self.cache_path), self._impl.filename_base, stamp)
        self._cache_file = files  # type: ignore[assignment]

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What an earlier process compiled for a signature; None: nothing of use."""
        go_on()
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - a spoilt file may raise anything
            _leave_aside(self.cache_path, error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for a signature, if that is possible."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - it is compiled, whatever the disk says
            _leave_aside(self.cache_path, error)


class _NoCache(NullCache):
    """Where Numba has been told of places that don't exist: each process compiles."""

    def load_overload(self, sig: Any, target_context: Any) -> None:
        """Nothing is kept."""
        go_on()


#: Held by whoever has said that the cache is of no use, for as long as the process lives.
_said = threading.Lock()


def _leave_aside(folder: str | Path, error: Exception) -> None:
    """Say, once in a process, that the cache is of no use."""
    if not _said.acquire(blocking=False):
        return
    why = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        file = f"{Path(error.filename).name}: " if error.filename else ""
        why = file + error.strerror
    # Where warnings are errors the solve goes on, too: a cache is only a cache.
    with suppress(CacheLeftAside):
        warnings.warn(
            f"the cache of compiled code in {folder} is left aside: {why}",
            CacheLeftAside,
            stacklevel=2,
        )


@cache
def _stamps(folder: Path) -> list[tuple[str, int, int]]:
    """When the code in a folder was written, and how long it is."""
    found = [(file.name, file.stat()) for file in sorted(folder.glob("*.py"))]
    return [(name, status.st_mtime_ns, status.st_size) for name, status in found]


#: Without the GIL; without what is only of use to C, and without a search for what could be
#: written better.
_OPTIONS: Any = {"nogil": True, "no_cfunc_wrapper": True, "no_rewrites": True}


class _Part(CPUDispatcher):
    """What other compiled code calls, and nobody else."""

    def __call__(self, *arguments: object, **keywords: object) -> None:
        """There is no machine code of it alone."""
        raise TypeError(f"{self.py_func.__name__} is a part of compiled code, to be called there")

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """One for all: called with −1 and with a variable, it isn't compiled twice."""
        return super().get_call_template(tuple(map(unliteral, args)), kws)


def part(function: F) -> F:
    """Compile a function that only compiled code calls, as a part of that."""
    options: Any = _OPTIONS | {"no_cpython_wrapper": True}
    made: Any = numba.njit(pipeline_class=PartCompiler, **options)(function)
    if made is function:  # NUMBA_DISABLE_JIT
        return function
    made.__class__ = _Part
    return cast(F, made)


def jit(function: F) -> F:
    """Compile a function at its first call, or load what an earlier process compiled."""
    made: Any = numba.njit(pipeline_class=WholeCompiler, **_OPTIONS)(function)
    if made is function:  # NUMBA_DISABLE_JIT: machine code says nothing of random numbers' overflow
        return cast(F, np.errstate(over="ignore")(function))
    try:
        made._cache = _Cache(function)
    except RuntimeError as error:
        made._cache = _NoCache()
        _leave_aside(Path(function.__code__.co_filename).parent, error)
    return cast(F, made)
