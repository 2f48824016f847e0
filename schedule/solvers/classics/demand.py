"""What has to run again before a node can run."""

from __future__ import annotations

from schedule.layout import Bools, Layout


class Demand:
    """What isn't live, and which nodes write it.

    Parameters
    ----------
    layout
        The graph as arrays.
    absent
        Shape (m,): tensors that aren't live at first; none of them an input.

    Attributes
    ----------
    absent
        The same, by tensor: to be kept up to date.
    """

    def __init__(self, layout: Layout, absent: Bools) -> None:
        self._producer: list[int] = layout.producer.tolist()
        self._reads, self._outputs = layout.reads_of, layout.outputs_of
        self.absent: list[bool] = absent.tolist()

    def before(self, node: int) -> list[int]:
        """The nodes that write what `node` reads and lacks, and what those lack; ascending.

        O(nodes found and their reads).
        """
        found: set[int] = set()
        stack = [node]
        while stack:
            for t in self._reads[stack.pop()]:
                if self.absent[t] and self._producer[t] not in found:
                    found.add(self._producer[t])
                    stack.append(self._producer[t])
        return sorted(found)

    def restore(self, node: int) -> list[int]:
        """The same, and from now on all that they write is live."""
        found = self.before(node)
        for v in found:
            for t in self._outputs[v]:
                self.absent[t] = False
        return found
