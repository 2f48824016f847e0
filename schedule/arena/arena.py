"""What `schedule.place` returns: offsets, the arena's size, and how good that is."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from schedule.addresses import Addresses
from schedule.errors import BadOutput, ScheduleError
from schedule.files import AnyPath, path_text, write_bytes, write_json
from schedule.layout import Ints
from schedule.lifetimes import Inputs, Lifetimes
from schedule.result import Status
from schedule.sizes import format_enough, format_seconds, format_share, with_exact


@dataclass(frozen=True, eq=False)
class Arena:
    """One piece of memory with an offset for every allocation.

    Attributes
    ----------
    status
        `optimal`: its size is a proved bound. `feasible`: it is within the capacity.
        `infeasible`: proved: nothing is. `unknown`: nothing was found that is.
    lifetimes
        What is allocated, n buffers.
    offsets
        Shape (n,); None where nothing within the capacity was found.
    size
        The largest end, None where there is none; `least_size`: of the smallest
        arena that was found, within the capacity or not.
    load
        The largest sum of sizes at any time. Of a schedule it is the peak, less the
        inputs outside.
    lower_bound
        Proved: no arena is smaller.
    capacity, alignment, inputs
        As asked for.
    seconds
        Wall time.
    found_by
        The method that found the offsets.
    interrupted
        Whether Ctrl-C ended it; the rest is still true.
    compiling
        Seconds of it that went by until what packs was compiled: only at the first use on
        a machine (`schedule.warm` does it beforehand).
    """

    status: Status
    lifetimes: Lifetimes = field(repr=False)
    offsets: Ints | None = field(repr=False)
    size: int | None
    least_size: int
    load: int
    lower_bound: int
    capacity: int | None
    alignment: int
    inputs: Inputs
    seconds: float
    found_by: str
    interrupted: bool = False
    compiling: float = 0.0

    @property
    def gap(self) -> float:
        """How much larger the smallest arena found is than the bound, as a share of that."""
        return self.least_size / self.lower_bound - 1 if self.lower_bound else 0.0

    @property
    def addresses(self) -> Addresses:
        """The offsets as a schedule file has them; ScheduleError where there are none."""
        offsets, size = self._found
        entries = zip(self.lifetimes.lower.tolist(), self.lifetimes.names, offsets.tolist())
        return Addresses(size, self.alignment, tuple(entries), self.inputs)

    @property
    def _found(self) -> tuple[Ints, int]:
        if self.offsets is None or self.size is None:
            raise ScheduleError(f"there are no offsets: {self}")
        return self.offsets, self.size

    def _sizes(self) -> list[str]:
        """Size, bound, load, and capacity where there is one, in one unit."""
        capacity = () if self.capacity is None else (self.capacity,)
        return format_enough(self.least_size, self.lower_bound, self.load, *capacity)

    def __str__(self) -> str:
        """One line: status, size, load, bound, seconds."""
        size, bound, load, *capacity = self._sizes()
        said = f"size {size}" if self.offsets is not None else f"nothing found below {size}"
        said = " of ".join([said, *capacity])
        bound = f"bound {bound} ({format_share(self.gap)})"
        end = ", interrupted" if self.interrupted else ""
        return (
            f"{self.status}: {said}, load {load}, {bound},"
            f" {len(self.lifetimes)} allocations, {format_seconds(self.seconds)}{end}"
        )

    def rows(self) -> Iterator[tuple[str, str]]:
        """Label and value of everything there is to say, for tables."""
        yield "status", self.status + (" (interrupted)" if self.interrupted else "")
        yield "allocations", str(len(self.lifetimes))
        size, bound, load, *capacity = self._sizes()
        if self.capacity is not None:
            yield "capacity", capacity[0]
        yield (
            "size" if self.offsets is not None else "least size",
            with_exact(size, self.least_size),
        )
        yield "load", f"{with_exact(load, self.load)}, at time {self.lifetimes.load_time}"
        yield "bound", with_exact(bound, self.lower_bound)
        yield "gap", format_share(self.gap)
        yield "alignment", str(self.alignment)
        yield "found by", f"{self.found_by}, {self.seconds:.2f} s"

    def to_json(self) -> dict[str, Any]:
        """The arena as plain data: the format `arena/1`.

        `offsets` is by name; of a schedule, where a name may come several times, it
        is the list that a schedule file has.
        """
        found: dict[str, Any] = {
            "format": "arena/1",
            "status": str(self.status),
            "capacity": self.capacity,
            "size": self.size,
            "least_size": self.least_size,
            "load": self.load,
            "lower_bound": self.lower_bound,
            "alignment": self.alignment,
            "seconds": self.seconds,
            "found_by": self.found_by,
        }
        if self.interrupted:
            found["interrupted"] = True
        if self.compiling:
            found["compiling"] = self.compiling
        if self.offsets is not None:
            names, offsets = self.lifetimes.names, self.offsets.tolist()
            by_name = dict(zip(names, offsets))
            if len(by_name) == len(names):
                found["offsets"] = by_name
            else:
                found["offsets"] = self.addresses.to_json()["offsets"]
        return found

    def save(self, path: AnyPath) -> None:
        """Write the offsets, whole or not at all: as CSV where the name ends in `.csv`, else JSON.

        Raises
        ------
        ScheduleError
            There are none.
        BadOutput
            The file can't be written.
        """
        offsets, _ = self._found
        plain = path_text(path).removesuffix(".gz")
        if not plain.endswith(".csv"):
            write_json(path, self.to_json())
            return
        lifetimes, names = self.lifetimes, self.lifetimes.names
        if len(set(names)) < len(names):
            raise BadOutput(f"{path_text(path)}: names come several times; write JSON")
        for name in names:
            if name != name.strip():
                raise BadOutput(
                    f"{path_text(path)}: {name!r} begins or ends in a blank, which whoever reads a"
                    " CSV may drop; write JSON"
                )
        table = io.StringIO()
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(["id", "lower", "upper", "size", "offset"])
        columns = [column.tolist() for column in (*lifetimes.columns, offsets)]
        rows.writerows(zip(names, *columns))
        write_bytes(path, table.getvalue().encode("utf-8"))
