"""C++ kernels compiled together: each does what it does by itself, and nothing is patched after."""

from __future__ import annotations

import shutil

import pytest

torch = pytest.importorskip("torch")

from schedule.torch.units import Kernel, compiled_together  # noqa: E402 - after the check
from tests.formats import FILES_ARE_CHECKED  # noqa: E402

pytestmark = FILES_ARE_CHECKED

ADDING = """
#include <cmath>
static float changed(float x) { return x + 1; }
extern "C"  void  kernel(float* out, const int64_t n)
{ for (int64_t i = 0; i < n; i++) out[i] = changed(out[i]); }
"""
ROOTS = """
#include <cmath>
static float changed(float x) { return std::sqrt(x); }
extern "C"  void  kernel(float* out)
{ out[0] = changed(out[0]); }
"""
#: A macro is seen by all that is compiled after it.
TRIPLING = """
#define changed 3 *
extern "C"  void  kernel(float* out)
{ out[0] = changed out[0]; }
"""


@pytest.fixture
def texts(monkeypatch):
    """What is given to the compiler, each time."""
    from torch._inductor.codecache import CppPythonBindingsCodeCache

    given, usual = [], CppPythonBindingsCodeCache.load_async.__func__

    def load_async(cls, text, *args, **options):
        given.append(text)
        return usual(cls, text, *args, **options)

    monkeypatch.setattr(CppPythonBindingsCodeCache, "load_async", classmethod(load_async))
    return given


def made(known, **kernels):
    """A module's functions, as Inductor's code has them compiled."""
    from torch._inductor.async_compile import AsyncCompile

    usual = AsyncCompile.cpp_pybinding, AsyncCompile.wait
    with compiled_together(known):
        compiler = AsyncCompile()
        scope = {name: compiler.cpp_pybinding(*given) for name, given in kernels.items()}
        compiler.wait(scope)
    assert (AsyncCompile.cpp_pybinding, AsyncCompile.wait) == usual
    return scope


@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor needs a C++ compiler")
def test_kernels_compiled_together_do_what_each_does_alone(texts):
    """Whatever they call their own functions; what has macros is by itself, and none is twice."""
    from torch._inductor import config

    known = {}
    adding, roots = (["float*", "const int64_t"], ADDING), (["float*"], ROOTS)
    tripling = ["float*"], TRIPLING
    with config.patch(compile_threads=1):
        scope = made(known, adding=adding, roots=roots, again=adding, tripling=tripling)
    assert sorted(text.count("namespace kernel_") for text in texts) == [0, 2]
    out = torch.tensor([8.0, 2.0])
    scope["adding"](out, 2)
    assert out.tolist() == [9, 3]
    scope["roots"](out)
    assert out.tolist() == [3, 3]
    scope["tripling"](out)
    assert out.tolist() == [9, 3]
    assert scope["again"] is scope["adding"]
    with pytest.raises(RuntimeError, match="requires 2 args"):
        scope["adding"](out)
    del texts[:]
    assert made(known, roots=roots)["roots"] is scope["roots"]
    assert not texts


@pytest.mark.parametrize(("n_threads", "n_kernels", "n_units"), [(1, 5, 1), (3, 5, 3), (2, 40, 3)])
def test_what_is_not_compiled_together_is_compiled_by_itself(
    monkeypatch, n_threads, n_kernels, n_units
):
    """A unit for each thread, and more where they are long; kernels of one that fails as usual."""
    from torch._inductor import async_compile
    from torch._inductor.codecache import CppPythonBindingsCodeCache
    from torch._inductor.exc import CppCompileError

    units = []

    def load_async(_, text, submit_fn):
        assert (submit_fn is None) == (n_threads == 1)
        units.append(text)

        def fail():
            raise CppCompileError(["g++"], "too much at once")

        return fail

    compiler = async_compile.AsyncCompile
    monkeypatch.setattr(CppPythonBindingsCodeCache, "load_async", classmethod(load_async))
    monkeypatch.setattr(compiler, "cpp_pybinding", lambda *given: given[1:])
    monkeypatch.setattr(async_compile, "get_compile_threads", lambda: n_threads)
    monkeypatch.setattr(compiler, "wait", lambda *_: None)
    given = {str(at): (["float*"], ROOTS + f"// {at}\n") for at in range(n_kernels)}
    known: dict[Kernel, object] = {}
    scope = made(known, **given)
    assert scope == {name: (("float*",), source) for name, (_, source) in given.items()}
    assert len(units) == n_units
    assert sum(text.count("namespace kernel_") for text in units) == n_kernels
    assert not known
