"""Devices in a few constants: what the cost models of front ends share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """A device in three constants: operations and bytes a nanosecond, nanoseconds a call."""

    flops: float
    bytes: float
    call: float

    def nanoseconds(self, flops: float, moved: float) -> int:
        """What one run costs, at least 1."""
        return max(1, round(flops / self.flops + moved / self.bytes + self.call))


#: Orders of magnitude of common devices: what matters is how operations compare. They are
#: fixed so that the same model gives the same graph on every machine.
_TYPICAL = {"cpu": Device(100.0, 10.0, 5000.0), "gpu": Device(30_000.0, 1000.0, 5000.0)}
#: A device on which little but floating-point operations takes time: what has none still
#: counts a little, so that it isn't run again for nothing.
COUNTING = Device(1000.0, 100_000.0, 1.0)


def typical(kind: str) -> Device:
    """What is typical of `cpu`, or of a GPU (`cuda`, `gpu`); of anything else as of a CPU."""
    return _TYPICAL["gpu" if kind in ("cuda", "gpu") else "cpu"]
