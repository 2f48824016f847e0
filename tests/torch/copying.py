"""What stands in for the channels of a GPU on a CPU: copies that are as late as they may be."""

from __future__ import annotations

import weakref

import torch

from tests.torch.training_models import Live


class Late:
    """Copies when somebody waits for them, and not before: till then there is other content.

    It counts the bytes that are alive on the host, and the copies that nobody waited for.
    """

    def __init__(self):
        self.host, self.making = {}, False
        self.now = self.peak = self.n_copies = self.open = 0

    def in_host(self, size):
        self.making = True
        made = torch.empty(size, dtype=torch.uint8)
        self.making = False
        storage = made.untyped_storage()
        key = id(storage)

        def gone(_):
            del self.host[key]
            self.now -= size

        self.host[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)
        return made.fill_(77)

    def on_device(self, size):
        return torch.empty(size, dtype=torch.uint8).fill_(99)

    def mark(self):
        return _Done()

    def down(self, source, target, after):
        assert after.done
        return self._begun(source, target)

    def up(self, source, target, after):
        return self._begun(source, target, after)

    def wait(self, end):
        end.run()

    def _begun(self, source, target, after=None):
        self.n_copies += 1
        self.open += 1
        return _Copy(self, source, target, after)


class _Done:
    done = True


class _Copy:
    """One that is made when it is waited for, or one after it is."""

    def __init__(self, channels, source, target, after):
        self.channels, self.parts, self.after = channels, (source, target), after

    def run(self):
        if self.parts is None:
            return
        if self.after is not None:
            self.after.run()
        source, target = self.parts
        target.copy_(source)
        self.parts = self.after = None
        self.channels.open -= 1


class OnDevice(Live):
    """Bytes that are alive beside those on the host."""

    def __init__(self, known, channels):
        self.channels = channels
        super().__init__(known)

    def add(self, tensor):
        is_below = self.channels.making or id(tensor.untyped_storage()) in self.channels.host
        if not is_below:
            super().add(tensor)


class Clock:
    """How far each stream is known to be by one that waits for events: a clock of clocks.

    There is nothing in it with which the host could wait.
    """

    def __init__(self):
        self.compute = self.current = FakeStream()

    def Stream(self, device):  # noqa: N802 - as torch.cuda calls it
        return FakeStream()

    def Event(self):  # noqa: N802
        return FakeEvent()

    def current_stream(self, device):
        return self.current

    def stream(self, stream):
        return _Within(self, stream)


class FakeStream:
    def __init__(self):
        self.seen = {self: 0}

    def work(self):
        """Do something: returns what has been done before it, and when that is."""
        self.seen[self] += 1
        return dict(self.seen)

    def wait_event(self, event):
        for stream, time in event.seen.items():
            self.seen[stream] = max(self.seen.get(stream, 0), time)


class FakeEvent:
    def record(self, stream):
        self.seen = dict(stream.seen)


class _Within:
    def __init__(self, clock, stream):
        self.clock, self.stream = clock, stream

    def __enter__(self):
        self.before, self.clock.current = self.clock.current, self.stream

    def __exit__(self, *_):
        self.clock.current = self.before


class FakeBytes:
    """Bytes that note on which stream they are copied."""

    def __init__(self, clock):
        self.clock, self.copied = clock, None

    def copy_(self, source, *, non_blocking):
        assert non_blocking
        self.copied = self.clock.current, self.clock.current.work()
