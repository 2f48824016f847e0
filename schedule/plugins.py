"""What other packages bring: solvers, readers of graph files, and backends of replays.

A package offers them as entry points, in the groups named here. They are
looked up only when a name isn't built in, or when they are listed; a name that
is built in is never theirs, and no default is.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from schedule.errors import BadPlugin
from schedule.values import shown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: Groups of entry points, and what one of each is called in messages.
KINDS = {
    "schedule.solvers": "solver",
    "schedule.frontends": "frontend",
    "schedule.executors": "executor",
}


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point of an installed distribution, not imported yet.

    Attributes
    ----------
    group, name, target
        As the distribution states them: `name = "target"` under `group`.
    distribution, version
        Who brings it.
    """

    group: str
    name: str
    target: str
    distribution: str
    version: str
    entry: EntryPoint = field(repr=False, compare=False)

    @property
    def origin(self) -> str:
        """Such as `demo 1.0`."""
        return f"{self.distribution} {self.version}"

    def __str__(self) -> str:
        """Kind, name, distribution and entry point, as messages begin."""
        return f"{KINDS[self.group]} {self.name!r} of {self.origin} (entry point {self.target})"

    def load(self) -> Any:
        """Import what the entry point names.

        Raises
        ------
        BadPlugin
            It can't be imported, whatever the reason.
        """
        try:
            return self.entry.load()
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:  # another package's code: it may raise anything
            raise self.fault(f"it can't be loaded: {described(error)}") from error

    def fault(self, message: str) -> BadPlugin:
        """An exception that says whose fault it is."""
        return BadPlugin(f"{self}: {message}")

    def require(self, found: object, *, texts: tuple[str, ...], methods: tuple[str, ...]) -> None:
        """Raise BadPlugin where an object lacks a text or a method that its contract asks for."""
        for name in texts:
            value = _attribute(found, name)
            if not isinstance(value, str) or not value:
                raise self.fault(f"its {name!r} is {shown(value)}; it has to be text")
        for name in methods:
            if not callable(_attribute(found, name)):
                raise self.fault(f"it has no method {name!r}")


def _attribute(found: object, name: str) -> Any:
    """An attribute, or None where there is none or a property fails."""
    try:
        return getattr(found, name, None)
    except Exception:  # noqa: BLE001 - another package's code; the caller says what is missing
        return None


def described(error: BaseException) -> str:
    """An exception on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def plugins(group: str) -> tuple[Plugin, ...]:
    """All that installed distributions offer in a group, by name, then by distribution.

    Nothing is imported. Every distribution is listed once, as it is found first
    on `sys.path`; one whose metadata can't be read is left out.

    Examples
    --------
    >>> from schedule.plugins import plugins
    >>> plugins("schedule.no_such_group")
    ()
    """
    found = [
        Plugin(group, entry.name, entry.value, *_distribution(entry), entry)
        for entry in _entries(group)
    ]
    return tuple(sorted(found, key=lambda plugin: (plugin.name, plugin.distribution)))


def _entries(group: str) -> Iterable[EntryPoint]:
    """Entry points of all distributions; those whose metadata is damaged are passed over."""
    from importlib import metadata  # it takes a while, and most runs don't need it

    try:
        return metadata.entry_points(group=group)
    except Exception:  # noqa: BLE001 - of whatever is installed; then each by itself
        found: dict[str, list[EntryPoint]] = {}
        for distribution in metadata.distributions():
            with suppress(Exception):
                entries = [entry for entry in distribution.entry_points if entry.group == group]
                found.setdefault(distribution.metadata["Name"], entries)
        return [entry for entries in found.values() for entry in entries]


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution; question marks where it doesn't say."""
    if entry.dist is None:
        return "?", "?"
    about = entry.dist.metadata  # it has no `get` before Python 3.12
    name, version = (about[key] if key in about else "?" for key in ("Name", "Version"))  # noqa: SIM401
    return name, version


def plugin_named(group: str, name: str) -> Plugin | None:
    """The plugin of that name; None where there is none.

    Raises
    ------
    BadPlugin
        There are several: which one is meant can't be told.
    """
    found = [plugin for plugin in plugins(group) if plugin.name == name]
    if len(found) > 1:
        listed = " and ".join(str(plugin) for plugin in found)
        raise BadPlugin(f"{listed} have the same name; uninstall all but one")
    return found[0] if found else None
