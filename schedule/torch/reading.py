"""Files of checkpointing, read and checked."""

from __future__ import annotations

import math
from typing import Any, get_args

from schedule.errors import BadSchedule
from schedule.files import AnyPath, read_json
from schedule.torch.checkpointing import FORMAT, Checkpointing, Kind, Module
from schedule.torch.wrapping import Table
from schedule.values import shown


def read_checkpointing(path: AnyPath) -> Checkpointing:
    """Read a file that `Checkpointing.save` has written.

    Raises
    ------
    BadSchedule
        It isn't one; says what is wrong.
    """
    data = read_json(path, BadSchedule)
    where = str(path)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise BadSchedule(f'{where}: no checkpointing file ("format": "{FORMAT}")')
    read = _Reading(where)
    model, plan = read.part(data, "model", dict), read.part(data, "plan", dict)
    to = read.part(data, "to", str)
    if to not in get_args(Kind):
        raise BadSchedule(f"{where}: to is {shown(to)}; it is one of {', '.join(get_args(Kind))}")
    modules = {
        name: read.module(name, module) for name, module in read.part(data, "modules", dict).items()
    }
    if any((module.eager is None) != (to == "modules") for module in modules.values()):
        raise BadSchedule(f"{where}: modules have tables where to is 'selective', and only there")
    return Checkpointing(
        to=to,
        modules=modules,
        groups=read.names(data, "groups"),
        budget=read.part(data, "budget", int),
        peak=read.part(data, "peak", int),
        compute=read.part(data, "compute", (int, float)),
        plain_compute=read.part(data, "plain_compute", (int, float)),
        plan_peak=read.part(plan, "peak", int),
        plan_compute=read.part(plan, "compute", (int, float)),
        is_best=read.part(data, "best", bool),
        model=read.part(model, "class", str),
        names=read.part(model, "names", str),
    )


class _Reading:
    """Reads parts of a file, and says what is wrong with it."""

    def __init__(self, where: str) -> None:
        self._where = where

    def part(self, data: Any, key: str, kind: Any) -> Any:
        """A value of a kind."""
        value = data.get(key)
        is_flag = isinstance(value, bool) and kind is not bool
        is_figure = isinstance(value, (int, float)) and not isinstance(value, bool)
        if (
            not isinstance(value, kind)
            or is_flag
            or (is_figure and not (value >= 0 and math.isfinite(value)))
        ):
            raise BadSchedule(f"{self._where}: {key} is {shown(value)}")
        return value

    def names(self, data: Any, key: str) -> tuple[str, ...]:
        """A list of names."""
        found = self.part(data, key, list)
        if not all(isinstance(item, str) for item in found):
            raise BadSchedule(f"{self._where}: {key} is {shown(found)}; it lists names")
        return tuple(found)

    def module(self, name: str, data: Any) -> Module:
        """One module."""
        if not isinstance(data, dict):
            raise BadSchedule(f"{self._where}: module {name!r} is {shown(data)}")
        tables = [self._table(name, data.get(key)) for key in ("eager", "compiled")]
        if (tables[0] is None) != (tables[1] is None):
            raise BadSchedule(f"{self._where}: module {name!r} has one table of two")
        kind, changed = self.part(data, "class", str), self.names(data, "changed")
        training = self.part({"training": True} | data, "training", bool)  # older files lack it
        return Module(kind, changed, training, *tables)

    def _table(self, name: str, data: Any) -> Table | None:
        if data is None:
            return None
        try:
            found = {key: (each["calls"], tuple(each["keep"])) for key, each in data.items()}
            is_right = all(
                type(calls) is int and all(type(n) is int and 0 <= n < calls for n in keep)
                for calls, keep in found.values()
            )
        except (AttributeError, KeyError, TypeError):
            is_right = False
        if not is_right:
            raise BadSchedule(f"{self._where}: module {name!r} has a table that is none")
        return found
