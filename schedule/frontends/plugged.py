"""Readers of other packages: entry points in the group `schedule.frontends`.

An entry point names a function that takes a path and returns a `Graph`. Its
own name is the ending of the files that it reads, without the first dot.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import PurePath

from schedule.errors import BadGraph, BadInput, BadOption, ScheduleError
from schedule.files import AnyPath, path_text
from schedule.graph import Graph
from schedule.plugins import Plugin, described, plugin_named, plugins
from schedule.values import meant, shown

GROUP = "schedule.frontends"
#: The readers of this package, which are the endings of their files, too.
BUILT_IN = ("json", "graphml", "gml")


def reader_for(path: AnyPath, reader: str | None = None) -> Callable[[], Graph] | None:
    """Another package's reader of a file; None: a built-in one reads it.

    Parameters
    ----------
    path
        The file. By its ending it is known who reads it: the longest one that
        an installed package claims. Those of `BUILT_IN` can't be claimed, gzipped
        neither.
    reader
        The name of a reader, whatever the ending.

    Raises
    ------
    BadOption
        There is no such reader.
    BadPlugin
        The reader can't be loaded, or is none.
    """
    if reader is not None:
        plugin = None if reader in BUILT_IN else _named(reader)
    else:
        plugin = plugin_by_ending(path)
    return None if plugin is None else partial(_read, plugin, _loaded(plugin), path)


def _named(reader: str) -> Plugin:
    plugin = plugin_named(GROUP, reader)
    if plugin is None:
        known = reader_names()
        raise BadOption(
            f"unknown reader {shown(reader)}; there are {', '.join(known)}{meant(reader, known)}"
        )
    return plugin


def reader_names() -> list[str]:
    """The names that `reader_for` knows, the built-in ones first; nothing is imported for it."""
    return list(dict.fromkeys([*BUILT_IN, *(plugin.name for plugin in plugins(GROUP))]))


def plugin_by_ending(path: AnyPath) -> Plugin | None:
    """What another package reads such files with; None: a built-in reader does."""
    if not isinstance(path, (str, os.PathLike)) or built_in(path) is not None:
        return None
    endings = _endings(path)
    return next(filter(None, (plugin_named(GROUP, ending) for ending in endings)), None)


def _endings(path: AnyPath) -> list[str]:
    """All endings that a name has, the longest first, without the first dot."""
    parts = PurePath(path_text(path)).name.lower().split(".")[1:]
    return [".".join(parts[at:]) for at in range(len(parts))]


def built_in(path: AnyPath) -> str | None:
    """The one of `BUILT_IN` that a path's ending says, gzipped or not; None: it says none."""
    if not isinstance(path, (str, os.PathLike)):
        return None  # whoever reads it says what is wrong with it
    endings = _endings(path)
    return next((name for name in BUILT_IN if {name, f"{name}.gz"} & set(endings[-2:])), None)


def _loaded(plugin: Plugin) -> Callable[[str], Graph]:
    found = plugin.load()
    if not callable(found):
        raise plugin.fault(f"{shown(found)} can't be called; a frontend is a function of a path")
    function: Callable[[str], Graph] = found
    return function


def _read(plugin: Plugin, function: Callable[[str], Graph], path: AnyPath) -> Graph:
    """The graph that the function reads.

    Raises
    ------
    BadGraph
        The file can't be read, or the reader says what is wrong with it.
    BadPlugin
        The reader raises something else, or returns no graph.
    """
    shown_path = path_text(path)
    try:
        graph = function(os.fsdecode(path))
    except BadInput as error:
        said = str(error)
        prefix = "" if said.startswith(shown_path) else f"{shown_path}: "
        raise BadGraph(f"{prefix}{said}") from error
    except (ScheduleError, MemoryError):
        raise
    except OSError as error:
        raise BadGraph(f"{shown_path}: {error.strerror or error}") from error
    except Exception as error:  # another package's code: it may raise anything
        raise plugin.fault(f"reading {shown_path} raised {described(error)}") from error
    if not isinstance(graph, Graph):
        raise plugin.fault(f"reading {shown_path} gave {shown(graph)}, which is no Graph")
    return graph
