"""Files held against the schemas: those that are written, and those that a test leaves behind."""

from __future__ import annotations

import copy
import json

import jsonschema
import pytest

import schedule
from schedule.errors import BadInput
from schedule.files import read_json
from schedule.frontends.graph_format import GRAPH_FORMAT, graph_from_json
from schedule.frontends.schedule_format import result_from_json
from schedule.result import SCHEDULE_FORMAT

VALIDATORS = {
    known: jsonschema.Draft202012Validator(schedule.schema(name))
    for known, name in ((GRAPH_FORMAT, "graph"), (SCHEDULE_FORMAT, "schedule"))
}
#: The mark of modules whose tests write files: see the fixtures, in tests/conftest.py.
FILES_ARE_CHECKED = pytest.mark.usefixtures("checked_writes", "checked_folder")
_READERS = {GRAPH_FORMAT: graph_from_json, SCHEDULE_FORMAT: result_from_json}
#: Of longer lists only the ends are held against the schema: it takes 0.1 ms for a node, and
#: some tests write a hundred thousand, one like the other.
_LONGEST = 400
#: What a test leaves behind is skipped beyond this many bytes of text, such as a bomb.
_LARGEST = 2**22


def require_valid(content):
    """Raise ValidationError where `content`, just written, has one of the formats and is wrong."""
    if content.startswith(b'{\n  "format": "schedule'):
        data = json.loads(content)
        if data["format"] in VALIDATORS:
            VALIDATORS[data["format"]].validate(_cut(data))


def require_refused(folder):
    """Every file below `folder` that isn't valid by the schema isn't read either."""
    for path in folder.rglob("*"):
        if not path.is_file() or not {".json", ".gz"} & set(path.suffixes):
            continue
        try:
            data = read_json(path, BadInput, limit=_LARGEST)
        except BadInput:
            continue  # no JSON, or too much of it
        known = data.get("format") if isinstance(data, dict) else None
        if not isinstance(known, str) or known not in VALIDATORS:
            continue
        error = jsonschema.exceptions.best_match(VALIDATORS[known].iter_errors(_cut(data)))
        assert error is None or _refused(known, data), f"{path} is read, but: {error.message}"


def changed(data, place, value):
    """The data with another value at a place; … takes it away."""
    if not place:
        return value
    data = copy.deepcopy(data)
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return data


def _refused(known, data):
    try:
        _READERS[known](data)
    except BadInput:
        return True
    return False


def _cut(data):
    """The data with only the ends of its longest lists."""
    half = _LONGEST // 2
    return {
        key: value[:half] + value[-half:]
        if isinstance(value, list) and len(value) > _LONGEST
        else value
        for key, value in data.items()
    }
