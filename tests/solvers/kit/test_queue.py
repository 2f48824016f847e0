"""The heap in compiled code, against a dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schedule.solvers.kit import queue as parts
from schedule.solvers.kit.queue import UNKNOWN, Queue
from tests.wholes import whole

put, remove, touch = whole(parts.put), whole(parts.remove), whole(parts.touch)


@given(
    st.lists(st.tuples(st.integers(0, 19), st.sampled_from([None, "touch", 0.0, 1.0, 2.5, 7.0])))
)
def test_the_queue_holds_the_least_first(changes):
    """Against a dictionary: after any changes, it empties by score, then number."""
    queue, scores = Queue.of(20), {}
    for s, change in changes:
        if change is None:
            remove(queue, s)
            scores.pop(s, None)
        elif change == "touch":
            touch(queue, s)
            scores[s] = UNKNOWN
        else:
            put(queue, s, change)
            scores[s] = change
    found = []
    while queue.size[0]:
        found.append(int(queue.heap[0]))
        remove(queue, queue.heap[0])
    assert found == sorted(scores, key=lambda s: (scores[s], s))
