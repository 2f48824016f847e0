"""Functions of JAX run by schedules: the same bits, and the promised peak."""

from __future__ import annotations

import functools
import math
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

import schedule
import schedule.jax
from schedule.errors import (
    BadInput,
    BadOption,
    CannotCapture,
    DoesNotFit,
    OtherStep,
    WrongGraph,
)
from schedule.lowering import in_order
from tests.formats import FILES_ARE_CHECKED
from tests.jax.functions import close, evaluated, mlp, mlp_loss, same, transformer

pytestmark = FILES_ARE_CHECKED

X = jax.ShapeDtypeStruct((8, 4), jnp.float32)


@pytest.mark.parametrize("make", [mlp, transformer])
def test_a_planned_gradient_is_the_plain_one_in_less_memory(make):
    """Bit for bit, with what is promised of memory measured by JAX's own list of arrays."""
    loss, args = make()
    gradient = jax.value_and_grad(loss)
    planned = schedule.jax.plan(gradient, *args, budget="60%", gap=math.inf)
    result = planned.result
    assert result.peak <= result.budget < in_order(planned.graph).peak
    assert result.compute > planned.graph.compute
    assert planned.measure(*args) == result.peak
    assert same(planned(*args), evaluated(gradient, *args))


#: What random functions are composed of, all of arrays of one shape.
UNARY = [jnp.sin, jnp.tanh, lambda x: x * 0.5, lambda x: x - x.max(), lambda x: x.sum(0) + x]
BINARY = [jnp.add, jnp.multiply, jnp.matmul, lambda x, y: jnp.where(x > 0, x, y)]


@st.composite
def functions(draw):
    """A function of two square matrices: a list of operations on what there is so far."""
    steps = draw(
        st.lists(
            st.one_of(
                st.tuples(st.sampled_from(UNARY), st.integers(0, 20)),
                st.tuples(st.sampled_from(BINARY), st.integers(0, 20), st.integers(0, 20)),
            ),
            min_size=1,
            max_size=8,
        )
    )

    def function(x, y):
        values = [x, y]
        for step, *reads in steps:
            values.append(step(*(values[at % len(values)] for at in reads)))
        return sum(value.sum() for value in values[-2:]), values[-1]

    return function


@settings(max_examples=8)
@given(function=functions(), differentiated=st.booleans(), share=st.integers(40, 100))
def test_any_function_by_any_schedule(function, differentiated, share):
    """Composed at random, with and without its gradient; all recomputed that may be, or planned."""
    if differentiated:
        function = jax.value_and_grad(function, argnums=(0, 1), has_aux=True)
    args = (jnp.linspace(-1, 1, 9).reshape(3, 3), jnp.linspace(0, 2, 9).reshape(3, 3))
    expected = evaluated(function, *args)
    for options in ({"solver": "recompute_all"}, {"solver": "greedy", "budget": f"{share}%"}):
        try:
            planned = schedule.jax.plan(function, *args, **options)
        except DoesNotFit:
            continue
        assert planned.measure(*args) == planned.result.peak
        assert same(planned(*args), expected)


def test_random_numbers_are_drawn_again():
    """They follow from their key, so a dropout's mask need not be kept."""

    def loss(x, key):
        for _ in range(3):
            x = jnp.tanh(jnp.where(jax.random.bits(key, x.shape) > jnp.uint32(2**31), 2 * x, 0))
        return x.sum()

    args = jnp.ones((8, 4)), jax.random.key(0)
    planned = schedule.jax.plan(jax.grad(loss), *args, solver="recompute_all")
    names = [step.node for step in planned.result.steps if isinstance(step, schedule.Compute)]
    assert names.count("random_bits_0") > 1
    assert same(planned(*args), evaluated(jax.grad(loss), *args))
    assert planned.measure(*args) == planned.result.peak


def test_what_has_effects_runs_once_and_in_order():
    """However often what it reads is recomputed; so does what calls the host."""
    seen, stopped = [], lax.stop_gradient

    def loss(x):
        x = jnp.sin(x)
        jax.debug.callback(lambda v: seen.append(("first", float(v))), x[0])
        y = jax.pure_callback(lambda v: (seen.append("host"), np.cos(v))[1], x, stopped(x))
        jax.debug.callback(lambda v: seen.append(("second", float(v))), x[1])
        return (y * jnp.sin(x)).sum()

    x = jnp.arange(3.0)
    planned = schedule.jax.plan(jax.grad(loss), x, solver="recompute_all")
    assert planned.result.overhead > 0
    found = planned(x)
    jax.effects_barrier()
    assert [each if each == "host" else each[0] for each in seen] == ["first", "host", "second"]
    assert close(found, jax.grad(loss)(x))
    assert planned.measure(x) <= planned.result.peak


def test_what_the_host_is_given_counts():
    """Its copy, as long as the host has it; nothing is held when the next equation runs."""

    def function(x):
        jax.debug.print("{}", jnp.sin(x))
        return jnp.cos(x)

    x = jnp.ones(256)
    planned = schedule.jax.plan(function, x)
    assert planned.result.peak == 3 * x.nbytes
    assert [planned.measure(x) for _ in range(5)] == [planned.result.peak] * 5


def test_arguments_are_given_in_order_or_by_name():
    """As the function itself takes them; it isn't pickled, and says what to do."""

    def loss(weights, x, *, power=2):
        return ((x @ weights) ** power).mean()

    weights, x = jnp.ones((4, 2)), jnp.ones((8, 4))
    planned = schedule.jax.plan(jax.value_and_grad(loss), weights, x)
    saving = schedule.jax.checkpoint(loss, weights, x)
    expected = planned(weights, x)
    assert same((planned(weights, x=x), planned(x=x, weights=weights)), (expected, expected))
    assert planned.measure(weights, x=x) == planned.result.peak
    assert float(saving(x=x, weights=weights)) == float(expected[0])
    for names, message in (
        ({"y": x}, "missing a required argument: 'x'"),
        ({"x": x, "weights": weights}, "multiple values"),
        ({"x": x, "power": 3}, "'power' can only be given by name"),
    ):
        with pytest.raises(OtherStep, match=message):
            planned(weights, **names)
    for made in (planned, saving):
        with pytest.raises(TypeError, match="can't be pickled"):
            pickle.dumps(made)


def test_donated_arguments_are_deleted_after_their_last_use():
    """Their memory is free from then on; without that they stay."""

    def update(state, x):
        return {"w": jnp.sin(jnp.sin(state["w"])) + x}

    def args():
        return {"w": jnp.ones((8, 4))}, jnp.ones(4)

    kept = schedule.jax.plan(update, *args())
    donated = schedule.jax.plan(update, *args(), donate_argnums=0)
    assert kept.result.peak - donated.result.peak == 8 * 4 * 4
    state, x = args()
    assert donated.measure(state, x) == donated.result.peak
    assert state["w"].is_deleted()
    assert not x.is_deleted()
    with pytest.raises(BadInput, match=r"argument 0\['w'\] of update was donated"):
        donated(state, x)
    assert same(donated(*args()), kept(*args()))
    both = schedule.jax.plan(jnp.add, x, x, donate_argnums=1)
    with pytest.raises(BadInput, match="argument 1 of add is donated, and is the same array"):
        both(x, x)


def loops(x):
    x, many = lax.scan(lambda c, w: (jnp.sin(c @ c) * w, c), x, jnp.ones((3, 1)))
    x = lax.while_loop(lambda c: c.sum() > 1e6, lambda c: jnp.cos(c @ c) + c, x)
    return lax.cond(x[0, 0] > 2, lambda v: v @ v @ v, jnp.sin, x), many


def test_a_loop_is_one_node_and_its_rounds_are_in_the_promise():
    """The bound of what a round holds is no less than what XLA takes."""
    x = jnp.ones((16, 16))
    bounded, measured = (schedule.jax.plan(loops, x, workspace=w) for w in ("auto", "measure"))
    at = {node.name: node.workspace for node in bounded.graph.nodes}
    xla = {node.name: node.workspace for node in measured.graph.nodes}
    for name in ("scan_0", "while_0", "cond_0"):
        assert at[name] >= xla[name]
        assert at[name] > 0
    assert max(at[name] for name in at.keys() - {"scan_0", "while_0", "cond_0"}) == 0
    (note,) = bounded.notes
    assert "1 while loops count as one round" in note
    assert bounded.measure(x) == bounded.result.peak
    assert close(bounded(x), loops(x))


def test_a_scan_costs_its_rounds():
    """In floating-point operations: rounds times a product's 2 m n k."""

    def powers(x, n):
        return lax.scan(lambda c, _: (c @ x, None), x, None, length=n)[0]

    three, six = (
        schedule.jax.capture(functools.partial(powers, n=n), jnp.ones((64, 64)), costs="flops")
        for n in (3, 6)
    )
    once = 2 * 64**3 / 1000
    assert three.compute == pytest.approx(3 * once, rel=0.02)
    assert six.compute == pytest.approx(6 * once, rel=0.02)


def test_costs():
    """Of products and convolutions by their closed forms; or whatever a function says."""

    def both(x, w, image, kernel):
        return x @ w, lax.conv(image, kernel, (1, 1), "VALID")

    shapes = [(30, 40), (40, 50), (2, 3, 20, 20), (5, 3, 4, 4)]
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    found = schedule.jax.capture(both, *args, costs="flops")
    product, convolution = (node.compute for node in found.nodes)
    assert product == pytest.approx(2 * 30 * 40 * 50 / 1000, abs=2)
    assert convolution == pytest.approx(2 * (2 * 5 * 17 * 17) * 3 * 4 * 4 / 1000, abs=2)
    assert schedule.jax.capture(both, *args, costs="unit").compute == 2
    own = schedule.jax.capture(both, *args, costs=lambda e: 7 * (e.primitive.name == "dot_general"))
    assert [node.compute for node in own.nodes] == [7, 0]


def test_arguments_and_results_are_trees_of_any_kind():
    """Nothing, fixed values, arguments handed through, Python's numbers, tangents of integers."""

    def function(given, number):
        return {
            "same": given["x"],
            "twice": (given["x"] * number, given["x"] * number),
            "fixed": 3.0,
            "none": None,
            "gradients": jax.grad(lambda x, n: (x * n).sum(), (0, 1), allow_int=True)(
                given["x"], given["n"]
            ),
        }

    args = {"x": np.arange(4.0, dtype=np.float32), "n": jnp.arange(4), "none": None}, 2.0
    planned = schedule.jax.plan(function, *args)
    found, expected = planned(*args), function(*args)
    assert close(found, expected)
    assert jax.tree_util.tree_structure(found) == jax.tree_util.tree_structure(expected)
    assert found["gradients"][1].dtype == jax.dtypes.float0


def test_a_function_that_does_nothing():
    """Its arguments are its results, or it has none."""
    x = jnp.ones(3)
    assert schedule.jax.plan(lambda x: x, x, budget="100%")(x) is x
    assert schedule.jax.plan(lambda: None)() is None
    assert float(schedule.jax.checkpoint(lambda x: x, 2.0, budget="100%")(2.0)) == 2


def test_what_a_user_checkpoints_is_one_operation():
    """Its second computation is the first one's: the plan says whether it runs again."""
    _, args = mlp(4)

    def checkpointed(weights, x):
        for weight in weights:
            x = jax.checkpoint(lambda x, weight: jnp.tanh(x @ weight))(x, weight)
        return (x**2).mean()

    own = schedule.jax.capture(jax.value_and_grad(checkpointed), *args)
    plain = schedule.jax.capture(jax.value_and_grad(mlp_loss), *args)
    assert own.compute == plain.compute
    assert len(own) == len(plain)


def test_planned_elsewhere(tmp_path):
    """From shapes alone, and from a file; another function's schedule is refused."""
    loss, args = mlp(4)
    gradient = jax.value_and_grad(loss)
    shapes = jax.tree_util.tree_map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), args)
    graph = schedule.jax.capture(gradient, *shapes)
    schedule.solve(graph, "80%", "greedy").save(tmp_path / "plan.json")
    planned = schedule.jax.plan(gradient, *args, schedule=tmp_path / "plan.json")
    assert planned.measure(*args) == planned.result.peak <= planned.result.budget
    other = [args[0][:3], args[1]]
    with pytest.raises(WrongGraph, match="digest"):
        schedule.jax.plan(gradient, *other, schedule=tmp_path / "plan.json")


@pytest.mark.parametrize("shape", [(), (16, 16)])
def test_constants_stay_as_they_were(shape):
    """What is written into a NumPy array that the function has read changes no later result.

    Nor where a loop or a branch reads it, and before anything has run.
    """
    spare = np.zeros(16 * 16 + 16, np.float32)  # JAX takes arrays on 64 bytes as they are
    start = -spare.ctypes.data % 64 // 4
    constant = spare[start : start + math.prod(shape)].reshape(shape)
    constant[...] = 2

    def loss(x):
        here = lax.cond(x.sum() > 0, lambda x: x * constant, lambda x: x, x)
        here, _ = lax.scan(lambda c, _: (jax.jit(jnp.add)(c, constant), None), here, length=2)
        return (jax.jit(jnp.multiply)(here, constant) + constant).sum()

    x = jnp.ones((16, 16))
    planned, saving = schedule.jax.plan(loss, x), schedule.jax.checkpoint(loss, x)
    expected = 256 * ((2 + 2 * 2) * 2 + 2)
    constant[...] = 7
    assert float(planned(x)) == float(saving(x)) == expected


def test_resident_memory_counts():
    """Beside the function, for as long as it runs."""
    plain = schedule.jax.plan(jnp.sin, X)
    assert schedule.jax.plan(jnp.sin, X, resident="1KiB").result.peak == plain.result.peak + 1024


def choose(x):
    return x if x.sum() > 0 else -x


def changes(x):
    reference = jax.new_ref(x)
    reference[...] = 2 * x
    return reference[...]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: schedule.jax.plan(5, X), BadInput, "function is 5; it has to be a function"),
        (
            lambda: schedule.jax.plan(lambda x, how: x, X, {"how": "relu"}),
            BadInput,
            r"argument 1\['how'\] of <lambda> is 'relu', which is no array: bind .*partial",
        ),
        (
            lambda: schedule.jax.plan(choose, X),
            CannotCapture,
            r"choose can't be traced: Tracer.*wh",
        ),
        (lambda: schedule.jax.plan(changes, X), CannotCapture, r"jax\.new_ref"),
        (
            lambda: schedule.jax.plan(lambda x: x[...], jax.new_ref(jnp.ones(3))),
            CannotCapture,
            "argument 0 of <lambda> is Ref.*what changes in place",
        ),
        (lambda: schedule.jax.plan(jnp.sin, 2**40), BadInput, "1099511627776, which is no array"),
        (lambda: schedule.jax.plan(len, {1: X, "a": X}), BadInput, "of len are no tree for JAX"),
        (
            lambda: schedule.jax.plan(lambda x: jax.device_put(x, jax.devices()[0]), X),
            CannotCapture,
            "on a device or into a memory that it names",
        ),
        (lambda: schedule.jax.plan(lambda x: "s", X), CannotCapture, "can't be traced: TypeError"),
        (
            lambda: schedule.jax.plan(jnp.sin, X, budget=10),
            DoesNotFit,
            "sin: no schedule fits 10: at least 256 needed",
        ),
        (lambda: schedule.jax.plan(jnp.sin, X, costs="time"), BadOption, "costs is 'time'; it is"),
        (
            lambda: schedule.jax.plan(jnp.sin, X, costs=lambda equation: -1),
            BadOption,
            "costs of sin is -1; a cost can't be negative",
        ),
        (
            lambda: schedule.jax.plan(jnp.sin, X, workspace=1),
            BadOption,
            "workspace is 1; it is one",
        ),
        (
            lambda: schedule.jax.plan(jnp.sin, X, donate_argnums=1),
            BadOption,
            "donate_argnums is 1; it numbers arguments, of which there are 1",
        ),
        (lambda: jax.jit(lambda x: schedule.jax.plan(jnp.sin, x))(1.0), BadInput, "is a tracer"),
        (lambda: jax.jit(schedule.jax.plan(jnp.sin, 1.0))(1.0), OtherStep, "outside of them"),
        (lambda: schedule.jax.plan(jnp.sin, X)(jnp.ones(3)), OtherStep, r"is float32\[3\], and it"),
        (lambda: schedule.jax.plan(jnp.sin, X)([jnp.ones(3)]), OtherStep, "nested as"),
        (lambda: schedule.jax.plan(jnp.sin, X)("x"), BadInput, "'x', which is no array"),
    ],
)
def test_what_cant_be_planned_is_said(call, error, message):
    """In the caller's terms, before anything runs."""
    with pytest.raises(error, match=message):
        call()


def test_without_jax_it_says_what_to_install():
    """In one sentence, and only once it is asked for."""
    code = "import sys; sys.modules['jax'] = None; import schedule; schedule.jax"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = done.stderr.strip().splitlines()[-1]
    assert "MissingExtra: schedule.jax needs JAX" in said
    assert said.endswith("pip install 'graph-schedule[jax]'")
