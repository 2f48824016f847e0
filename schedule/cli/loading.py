"""Python objects that a command is told by name: MODULE:NAME."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from schedule.errors import BadOption, is_out_of_memory


def load(spec: str, what: str) -> Any:
    """What `spec`, of the form MODULE:NAME, names; the current directory comes first.

    Raises
    ------
    BadOption
        There is no such module or name, or the module can't be imported; the
        message begins with `what`.
    """
    module, _, name = spec.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise BadOption(f"{what} {spec!r} is not of the form MODULE:NAME")
    if module == "schedule" and os.path.exists("schedule.py"):
        raise BadOption(f"{what} {spec}: schedule.py has the name of this package; rename it")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # the module is the caller's: it may raise anything
        if is_out_of_memory(error):
            raise
        raise BadOption(f"{what} {spec}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(os.getcwd())
    return found
