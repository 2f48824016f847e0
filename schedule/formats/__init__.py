"""JSON Schemas of the two file formats, for editors and for tools in any language."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from schedule.errors import BadOption
from schedule.values import shown

#: What there is a schema of; the files beside this one are called after these.
SCHEMAS = ("graph", "schedule")


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a file format.

    Parameters
    ----------
    name
        `"graph"` for `schedule-graph/1`, `"schedule"` for `schedule/1`.

    Returns
    -------
    dict
        Plain data, the caller's own. Every file that this package writes
        validates, and what doesn't validate isn't read. The reverse doesn't
        hold: a schema can't say that names are known, or that there is no cycle.

    Raises
    ------
    BadOption
        There is no schema of that name.

    Examples
    --------
    >>> import schedule
    >>> schedule.schema("graph")["required"]
    ['format', 'nodes']
    """
    if name not in SCHEMAS:
        raise BadOption(f"schema {shown(name)} is none; there are 'graph' and 'schedule'")
    text = files("schedule.formats").joinpath(f"{name}.schema.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
