"""Replays with levels of memory below the device: real copies, a thread for each channel."""

from __future__ import annotations

import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, cast

from schedule.errors import BadInput, BadOption
from schedule.executors.contract import Copier, Kernel, LevelPeak, Unplaceable
from schedule.executors.loop import Tables
from schedule.executors.tracking import Ledger
from schedule.levels import Level
from schedule.memory import Trace
from schedule.steps import transfer_of

Move = Callable[[Any, Any], Any]


class _Stored:
    """An array somewhere: there once its copy has been made (None: it was there already)."""

    __slots__ = ("array", "copy")

    def __init__(self, array: Any = None) -> None:
        self.array = array
        self.copy: _Copy | None = None

    def wait(self) -> None:
        """Until it is there."""
        if self.copy is not None:
            self.copy.wait()


class _Copy:
    """One copy that a channel makes. Once it has been made it refers to no array."""

    def __init__(self, source: _Stored, target: _Stored, slot: Any, seconds: float) -> None:
        self._source: _Stored | None = source
        self._target: _Stored | None = target
        self._slot, self._seconds = slot, seconds
        self._done = threading.Event()
        self._error: BaseException | None = None
        target.copy = self

    def run(self, move: Move, stopped: threading.Event) -> None:
        """Make it, in at least its seconds, unless all is stopped."""
        try:
            if self._source is not None and self._target is not None and not stopped.is_set():
                self._source.wait()
                end = time.perf_counter() + self._seconds
                self._target.array = move(self._source.array, self._slot)
                stopped.wait(max(0.0, end - time.perf_counter()))
        except BaseException as error:  # noqa: BLE001 - raised where somebody waits for it
            self._error = error
        finally:
            self._source = self._target = self._slot = None
            self._done.set()

    def wait(self) -> None:
        """Until it has been made; raises what stopped it."""
        self._done.wait()
        if self._error is not None:
            raise self._error


class _Channel:
    """One of a level's two channels: one copy after another, in a thread of its own."""

    def __init__(self, name: str, move: Move, stopped: threading.Event) -> None:
        self._move, self._stopped = move, stopped
        self._asked: queue.SimpleQueue[_Copy | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"schedule: {name}", daemon=True)
        self._thread.start()

    def ask(self, copy: _Copy) -> None:
        """Make a copy when those asked for before have been made."""
        self._asked.put(copy)

    def _work(self) -> None:
        while (copy := self._asked.get()) is not None:
            copy.run(self._move, self._stopped)

    def close(self) -> None:
        """End once what was asked for has been made, or passed over."""
        self._asked.put(None)
        self._thread.join()


class _Place:
    """A level below the device: its channels, the copies that are there, and its memory."""

    def __init__(self, level: Level, move: Move, stopped: threading.Event) -> None:
        self.level = level
        self.copies: dict[int, _Stored] = {}
        self.read_by: dict[int, list[_Copy]] = {}  # the copies that are made of each
        self.ledger = Ledger()
        self.down = _Channel(f"{level.name} down", move, stopped)
        self.up = _Channel(f"{level.name} up", move, stopped)


class LevelTables(Tables):
    """What is live during one run on a machine with levels below its device.

    A copy on the first level is an array in main memory, one further below a file. Channels
    copy while kernels run: a kernel waits for what it reads, and a free or a drop for copies
    from and to what it lets go.

    Parameters
    ----------
    trace
        Verified.
    kernels, inputs, backend, check_sizes
        As in `Tables`.
    unit_seconds
        Seconds of a unit of compute: a copy then takes no less than its link says. None:
        each takes as long as it takes.

    Raises
    ------
    BadOption
        The backend can't copy between levels.
    """

    def __init__(
        self,
        trace: Trace,
        kernels: Sequence[Kernel | None],
        inputs: Mapping[str, Any],
        backend: Any,
        check_sizes: bool,
        unit_seconds: float | None = None,
    ) -> None:
        super().__init__(trace.graph, kernels, inputs, backend, check_sizes)
        if not all(hasattr(backend, name) for name in ("allocate", "moved_across", "in_file")):
            raise BadOption(
                f"backend {backend.name!r} can't copy between levels of memory; 'numpy' and"
                f" 'torch' can"
            )
        self.copier = cast(Copier, backend)
        self.trace, self.unit = trace, unit_seconds or 0.0
        self.size = list(self.memory)  # of each storage: what its array really takes
        self.arriving: dict[int, _Stored] = {}  # on the device: live, but not there yet
        self.leaving: dict[int, _Copy] = {}  # the last copy of what is on the device
        self.stopped = threading.Event()
        self.folder = tempfile.TemporaryDirectory(prefix="schedule-levels-")
        self.files = 0
        self.places = [
            _Place(level, self.copier.moved_across, self.stopped) for level in trace.levels
        ]

    def run(self, codes: Iterable[int]) -> None:
        """All steps in order, and then until every copy has been made."""
        layout = self.graph.layout
        transfers = (self._offload, self._prefetch, self._drop)
        for at, code in enumerate(codes):
            if code >= 0:
                self._compute(code, at)
                continue
            tensor, level, kind = transfer_of(layout, code)
            if level:
                transfers[kind](tensor, level)
            else:
                self._free(tensor)
        for tensor in list(self.arriving):
            self._arrive(tensor)
        for place in self.places:
            for tensor, stored in place.copies.items():
                self._wait(tensor, stored)

    def _compute(self, node: int, at: int) -> None:
        for tensor in (*self.reads[node], *self.writes[node]):
            self._arrive(tensor)
        super()._compute(node, at)

    def _settled(self, tensor: int, array: Any) -> Any:
        self.size[tensor] = self.backend.array_bytes(array)
        return super()._settled(tensor, array)

    def _attach(self, tensor: int, array: Any) -> None:
        super()._attach(tensor, array)
        if self.storage[tensor] == tensor:
            root = self.backend.storage(self.roots[tensor])
            self.size[tensor] = self.backend.storage_bytes(root)

    def _free(self, tensor: int) -> None:
        self._arrive(tensor)
        leaving = self.leaving.pop(tensor, None)
        if leaving is not None:
            self._wait(tensor, leaving)
        super()._free(tensor)

    def _offload(self, tensor: int, level: int) -> None:
        """Begin to copy to a level from the place above it."""
        place, target = self.places[level - 1], _Stored()
        if level == 1:
            self._arrive(tensor)
            source = _Stored(self.roots[tensor])
        else:
            source = self.places[level - 2].copies[tensor]
        time_down = place.level.time_down(self.memory[tensor])
        copy = _Copy(source, target, self._slot(level, tensor), self.unit * time_down)
        place.copies[tensor] = target
        if level == 1:
            self.leaving[tensor] = copy
        else:
            self.places[level - 2].read_by.setdefault(tensor, []).append(copy)
        place.down.ask(copy)

    def _prefetch(self, tensor: int, level: int) -> None:
        """Begin to copy from a level to the place above it."""
        place = self.places[level - 1]
        if level == 1:
            self.held[tensor] += 1
            if self.roots[tensor] is not None:  # a view has held its storage: it is all there
                self.values[tensor] = self.roots[tensor]
                return
        target = _Stored()
        time_up = place.level.time_up(self.memory[tensor])
        slot = self._slot(level - 1, tensor)
        copy = _Copy(place.copies[tensor], target, slot, self.unit * time_up)
        above = self.arriving if level == 1 else self.places[level - 2].copies
        above[tensor] = target
        place.read_by.setdefault(tensor, []).append(copy)
        place.up.ask(copy)

    def _drop(self, tensor: int, level: int) -> None:
        """Let go of the copy on a level, once nothing is copied from or to it."""
        place = self.places[level - 1]
        self._wait(tensor, place.copies.pop(tensor))
        for copy in place.read_by.pop(tensor, ()):
            self._wait(tensor, copy)

    def _slot(self, level: int, tensor: int) -> Any:
        """Bytes for a tensor on a level, 0 the device; they count from now on."""
        size = self.size[tensor]
        if level == 0:
            slot, ledger = self.copier.allocate(size), self.ledger
        elif level == 1 or not size:
            slot, ledger = self.copier.in_host(size), self.places[level - 1].ledger
        else:
            self.files += 1
            path = os.path.join(self.folder.name, str(self.files))
            slot, ledger = self.copier.in_file(path, size), self.places[level - 1].ledger
        ledger.follow(self.backend.storage(slot), size)
        ledger.note()
        return slot

    def _arrive(self, tensor: int) -> None:
        """Wait for a tensor that is being fetched, and let it be read."""
        stored = self.arriving.pop(tensor, None)
        if stored is None:
            return
        self._wait(tensor, stored)
        self.values[tensor] = self.roots[tensor] = stored.array
        self.owner[id(self.backend.storage(stored.array))] = tensor

    def _wait(self, tensor: int, copy: _Stored | _Copy) -> None:
        try:
            copy.wait()
        except Unplaceable as reason:
            self._refuse_move(tensor, reason)

    def _refuse_move(self, tensor: int, reason: Unplaceable) -> NoReturn:
        name = self.graph.layout.tensor_names[tensor]
        raise BadInput(f"{name!r} can't be copied to another level: it {reason}") from None

    def level_peaks(self) -> dict[str, LevelPeak]:
        """Promised and measured peak of each level, by name."""
        promised = self.trace.peaks_below
        return {
            place.level.name: LevelPeak(peak, place.ledger.peak)
            for place, peak in zip(self.places, promised)
        }

    def clear(self) -> None:
        """Refer to no array any more; end the channels and remove the files."""
        self.stopped.set()
        for place in self.places:
            place.down.close()
            place.up.close()
            place.copies.clear()
            place.read_by.clear()
            place.ledger.close()
        self.arriving.clear()
        self.leaving.clear()
        super().clear()
        self.folder.cleanup()
