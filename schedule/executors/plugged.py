"""Backends of other packages: entry points in the group `schedule.executors`.

An entry point names a class, or a function, that takes a device (None: the
backend's default) and returns a `Backend`; an `Allocator` can also replay
without the caller's kernels.
"""

from __future__ import annotations

from schedule.errors import BadPlugin, ScheduleError
from schedule.executors.contract import Allocator
from schedule.plugins import described, plugin_named

GROUP = "schedule.executors"
_TEXTS = ("name", "kind")
_REPLAYS = ("array", "storage", "array_bytes", "storage_bytes", "describe", "running")
_ALLOCATES = ("available", "allocate", "view", "fill", "host")


def plugged(name: str, device: str | None = None, allocates: bool = False) -> Allocator | None:
    """The backend of another package; None where no package brings one of that name.

    Parameters
    ----------
    name
        Of the entry point.
    device
        Handed on.
    allocates
        Whether it has to be an `Allocator`, not only a `Backend`.

    Raises
    ------
    BadPlugin
        It can't be loaded or made, or lacks what the contract asks for.
    """
    plugin = plugin_named(GROUP, name)
    if plugin is None:
        return None
    make = plugin.load()
    if not callable(make):
        raise plugin.fault("it can't be called; an executor is a class that takes a device")
    try:
        backend: Allocator = make(device)
    except (ScheduleError, MemoryError):
        raise
    except Exception as error:  # another package's code: it may raise anything
        raise plugin.fault(f"making it raised {described(error)}") from error
    plugin.require(backend, texts=_TEXTS, methods=_REPLAYS)
    if backend.name != plugin.name:
        raise plugin.fault(f"it calls itself {backend.name!r}; both names have to be the same")
    if allocates:
        try:
            plugin.require(backend, texts=(), methods=_ALLOCATES)
        except BadPlugin as error:
            raise BadPlugin(f"{error}, so it replays only from Python, with kernels") from None
    return backend
