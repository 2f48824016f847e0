"""What was measured, kept on disk: a step that is planned again isn't measured again.

One file for each device and all that a measurement depends on besides: versions,
settings, this package's own code. It is written whole; one that is spoilt, or can't be
read, counts as nothing and is replaced. Processes that measure at once keep what the
last of them wrote, and what it had read.
"""

from __future__ import annotations

import hashlib
import json
import platform
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

from schedule.errors import BadInput, BadOption, BadOutput, CacheLeftAside
from schedule.files import AnyPath, read_json, write_json
from schedule.torch.trials import Found
from schedule.values import shown

_FORMAT = "schedule-measured/1"
#: Letters of a digest.
_LETTERS = 32

#: Where files are kept; True: in the default place, False: nowhere.
_place: AnyPath | bool = True
#: Held by whoever has said that nothing can be kept, for as long as the process lives.
_said = threading.Lock()


def keep_measurements(where: AnyPath | bool = True) -> None:
    """Say where costs and workspaces that are measured are kept from one process to the next.

    Parameters
    ----------
    where
        A directory, which is made when it is needed; True, as it is without this
        call: `graph-schedule` in the directory of `torch.hub` (in
        `~/.cache/torch/hub`, or where `TORCH_HOME` or `XDG_CACHE_HOME` say); False:
        nothing is read or written.

    Raises
    ------
    BadOption
        It is none of these.

    Notes
    -----
    Kept are times and workspaces of PyTorch's own operators by shapes, types and
    arguments, for each device, version and setting; deleting the files has them
    measured again. What is known in the process stays known.

    Examples
    --------
    >>> import schedule.torch
    >>> schedule.torch.keep_measurements(False)
    >>> schedule.torch.keep_measurements(True)
    """
    global _place
    if not isinstance(where, (bool, str)) and not hasattr(where, "__fspath__"):
        raise BadOption(f"where is {shown(where)}; it is a directory, True or False")
    _place = where


class Kept:
    """What is kept of measurements of one kind.

    Parameters
    ----------
    device
        On which they are made.
    settings
        What they depend on beside device, versions and this package.
    """

    def __init__(self, device: torch.device, settings: object) -> None:
        self._stamp = _stamp(device) | {"settings": repr(settings)}
        name = _digest(json.dumps(self._stamp))
        self._path = None if _place is False else _folder() / f"{name}.json"

    def read(self) -> tuple[dict[str, Found], int]:
        """What is known by key, and the bytes that libraries keep."""
        nothing: tuple[dict[str, Found], int] = {}, 0
        if self._path is None:
            return nothing
        try:
            data = read_json(self._path, BadInput)
        except BadInput:  # there is none, in most cases
            return nothing
        if not isinstance(data, dict) or data.get("sum") != _digest(_body(data)):
            return nothing
        found = {key: Found(*figures) for key, *figures in data["found"]}
        return found, data["kept"]

    def write(self, found: Mapping[str, Found], kept: int) -> None:
        """Keep it, with what is there."""
        if self._path is None:
            return
        before, before_kept = self.read()
        rows = {key: (one.nanoseconds, one.workspace) for key, one in (before | {**found}).items()}
        data: dict[str, Any] = {"format": _FORMAT, "stamp": self._stamp}
        data["kept"] = max(kept, before_kept)
        data["found"] = [[key, *figures] for key, figures in sorted(rows.items())]
        data["sum"] = _digest(_body(data))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, data)
        except (OSError, BadOutput) as error:
            _leave_aside(self._path.parent, error)


def key_of(likeness: object) -> str:
    """A short name for what is measured once."""
    return _digest(repr(likeness))


def _folder() -> Path:
    if not isinstance(_place, bool):
        return Path(_place)
    return Path(torch.hub.get_dir()) / "graph-schedule"


def _body(data: Mapping[str, Any]) -> str:
    return json.dumps([data.get(name) for name in ("format", "stamp", "kept", "found")])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_LETTERS]


def _stamp(device: torch.device) -> dict[str, str]:
    """A device, what runs there, and how it is measured."""
    said = {"torch": torch.__version__, "package": _code()}
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        said |= {"device": f"{about.name}, {about.total_memory} bytes"}
        cudnn: Any = torch.backends.cudnn
        said |= {"cuda": str(torch.version.cuda), "cudnn": str(cudnn.version())}
    else:
        name = platform.processor() or platform.machine()
        said |= {"device": f"{device.type}, {name}, {torch.get_num_threads()} threads"}
    return said


@cache
def _code() -> str:
    """Of this folder's code: what is run for an operator, and how it is measured."""
    whole = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        whole.update(file.read_bytes())
    return whole.hexdigest()[:_LETTERS]


def _leave_aside(folder: Path, error: Exception) -> None:
    """Say, once in a process, that nothing can be kept."""
    if not _said.acquire(blocking=False):
        return
    why = getattr(error, "strerror", None) or str(error)
    with suppress(CacheLeftAside):  # where warnings are errors the plan goes on, too
        warnings.warn(
            f"measured costs can't be kept in {folder}: {why}", CacheLeftAside, stacklevel=2
        )
