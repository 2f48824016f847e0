"""Models composed at random: planned steps are the model's own, and keep to their promise."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import Phase, assume, given, note, settings  # noqa: E402 - after the check
from hypothesis import strategies as st  # noqa: E402

from tests.enough import enough, reached  # noqa: E402
from tests.torch.generated_models import (  # noqa: E402
    DEPTHS,
    ENDINGS,
    KINDS,
    ONE,
    PARTS,
    ROWS,
    SEEDS,
    WIDTHS,
    Description,
    eager_steps,
    reduced,
    trial,
)

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")]

#: What eager PyTorch refuses by itself says nothing.
EAGER = (RuntimeError, ValueError, IndexError, TypeError)


@pytest.fixture(autouse=True)
def afresh():
    """What was compiled for one test is no other's."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


#: Shrinking by trials takes minutes; `benchmarks/generated_models.py --reduce` does it on request.
FEW = {"derandomize": True, "phases": [Phase.explicit, Phase.generate]}


def descriptions():
    """A line that says all of a model; shrinks to fewer parts in their first variants."""
    part = st.tuples(st.sampled_from(sorted(PARTS)), st.integers(0, SEEDS - 1))
    parts = st.lists(part.map("{0[0]}:{0[1]}".format), min_size=DEPTHS[0], max_size=DEPTHS[1])
    choices = map(st.sampled_from, (ROWS, WIDTHS, ENDINGS, KINDS, ONE, (0, 1)))
    return st.builds(Description, parts.map(tuple), *choices)


def steps_of(said):
    try:
        return eager_steps(said)
    except EAGER:
        assume(False)


def require(said, wanted, share, **how):
    outcome = trial(said, wanted, share, **how)
    note(f'python benchmarks/generated_models.py --model "{said}" --share {share or 0.5}')
    assert outcome.is_right, f"{said}: {outcome}"
    return outcome


@enough(0.19)
@settings(max_examples=14, **FEW)
@given(descriptions(), st.floats(0, 1))
def test_a_planned_model_trains_as_by_itself_within_its_promise(said, share):
    """All made again, and `greedy` down to the least budget known: eager's values, live bytes."""
    wanted = steps_of(said)
    first = require(said, wanted, None)
    if first.graph is not None:
        reached()
        require(said, wanted, share, graph=first.graph)


@enough(0.33)
@settings(max_examples=10, **FEW)
@given(descriptions(), st.sampled_from([None, 0.0, 0.5, 1.0]))
def test_a_compiled_model_trains_as_by_itself_within_its_promise(said, share):
    """The same through the backend of `torch.compile`."""
    wanted = steps_of(said)
    reached()
    require(said, wanted, share, compiled=True)


@settings(max_examples=30)
@given(descriptions())
def test_a_line_says_all_of_a_model(said):
    """It reads back as the same description, which makes the same parameters."""
    assert Description.parse(str(said)) == said
    first, second = said.model().state_dict(), said.model().state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_most_models_run_in_eager_pytorch():
    """Otherwise the trials would try nothing."""
    ran = 0
    for seed in range(40):
        try:
            eager_steps(Description.drawn(seed))
        except EAGER:
            continue
        ran += 1
    assert ran >= 28


@pytest.mark.parametrize("what", ["gradient", "output", "buffer"])
def test_a_step_that_does_something_else_is_seen(what):
    """The comparison can fail: values of another step aren't these."""
    said = Description.parse("buffer:0 outputs:0 rows=4 width=8 ending=dict")
    wanted = steps_of(said)
    other = [found | {what: wanted[1 - at][what]} for at, found in enumerate(wanted)]
    assert trial(said, other).status == "wrong"
    assert trial(said, wanted).status == "equal"


def test_a_failing_description_is_reduced_to_what_fails():
    said = Description.parse("linear:3 buffer:8 norm:1 rows=6 width=16 ending=two wanted=1")
    found = reduced(said, lambda shorter: any("buffer" in part for part in shorter.parts))
    assert found == Description(("buffer:8",))
