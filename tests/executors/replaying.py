"""What the tests of replays on both frameworks share."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from schedule.errors import InvalidSchedule
from schedule.lowering import free_early
from schedule.verification import verify
from tests import ROOT
from tests.strategies import graphs, runs

#: Real training, as the docs show it.
SCRIPTS = ROOT / "docs" / "examples"


@st.composite
def planned(draw, late=6, **options):
    """A graph, and the trace of a schedule for it that reruns some nodes and frees some late."""
    graph = draw(graphs(max_nodes=7, **options))
    codes = free_early(graph, np.array(draw(runs(graph)), dtype=np.int64))
    trace = verify(graph, codes)
    for _ in range(draw(st.integers(0, late)) if len(codes) > 1 else 0):
        at = draw(st.integers(0, len(codes) - 2))
        later = codes.copy()
        later[at], later[at + 1] = codes[at + 1], codes[at]
        try:
            trace = verify(graph, later)
        except InvalidSchedule:
            continue
        codes = later
    return graph, trace


def during_runs(trace):
    """Memory in use while each node runs, one figure per run."""
    return trace.during[trace.codes >= 0].tolist()
