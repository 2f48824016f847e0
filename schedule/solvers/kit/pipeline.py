"""What Numba's compiler does for this package: each function once, machine code for few of them.

Numba makes a library of every function: it optimises it together with all that it
calls, and makes machine code of it. Of calls ten deep that is the same code ten times.
Here the functions that only compiled code calls stay as they are, and only those that
Python calls are made into machine code, with all their parts. Most of the time is Numba's
own, which is written in Python: what it does for code of other kinds is left out, and what an
operator makes of types is asked once. `benchmarks/compiling.py` shows what that gains.
"""

from __future__ import annotations

from types import BuiltinFunctionType
from typing import Any

from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.typed_passes import IRLegalization, NativeLowering

from schedule.solvers.kit.loading import go_on

#: Passes for what no code here has: closures, blocks of `with`, loops over tuples of several
#: types, overloads that are to be inlined; and for a lookout at what is wrong, or annotations.
_IDLE = frozenset(
    [
        "AnnotateTypes",
        "DumpParforDiagnostics",
        "FindLiterallyCalls",
        "InlineClosureLikes",
        "InlineInlinables",
        "InlineOverloads",
        "LiteralUnroll",
        "MakeFunctionToJitFunction",
        "NoPythonSupportedFeatureValidation",
        "WithLifting",
    ]
)


class _Library(JITCodeLibrary):
    """Code that is optimised as a whole, if at all."""

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout


class _Part(_Library):
    """The code of a function that only compiled code calls: handed on as it is."""

    def finalize(self) -> None:
        """Nothing is added any more."""
        self._finalized = True


class _Whole(_Library):
    """The code of a function that Python calls, with all that it calls."""

    def finalize(self) -> None:
        """Take in the parts' own parts, and make machine code of them."""
        found = dict.fromkeys(self._linking_libraries)
        left = list(found)
        while left:
            library = left.pop()
            if isinstance(library, _Part):
                new = [each for each in library._linking_libraries if each not in found]
                found.update(dict.fromkeys(new))
                left += new
        for library in found:
            self.add_linking_library(library)
        super().finalize()

    def _optimize_final_module(self) -> None:
        # Numba does it twice, to find references that need no counting: there are hardly any.
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)


@register_pass(mutates_CFG=True, analysis_only=False)
class _LowerPart(NativeLowering):
    _name = "schedule_part"

    def run_pass(self, state: Any) -> bool:
        """Lower to LLVM's code, and no further."""
        go_on(compiles=True)
        state.library = _Part(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        entry = [].clear  # Numba knows functions by what Python would call: here any, but unique
        state.targetctx.insert_user_function(entry, state.cr.fndesc, [state.library])
        state.cr = state.cr._replace(cfunc=entry)
        return True


@register_pass(mutates_CFG=True, analysis_only=False)
class _LowerWhole(NativeLowering):
    _name = "schedule_whole"

    def run_pass(self, state: Any) -> bool:
        """Lower to machine code."""
        go_on(compiles=True)
        state.library = _Whole(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return bool(super().run_pass(state))


@register_pass(mutates_CFG=False, analysis_only=True)
class _EndVariables(IRLegalization):
    _name = "schedule_end_variables"

    def run_pass(self, state: Any) -> bool:
        """Say where variables end, if any of them holds a reference that is to be given back."""
        models = state.targetctx.data_model_manager
        if any(models[kind].contains_nrt_meminfo() for kind in set(state.typemap.values())):
            return bool(super().run_pass(state))
        return False


class _Passes(PassManager):
    """One pass after the other, without what Numba notes and looks for between any two."""

    def _runPass(self, index: int, pss: Any, internal_state: Any) -> None:  # noqa: N802 - Numba's
        pss.analysis = self._analysis
        pss.run_initialization(internal_state)
        pss.run_pass(internal_state)
        pss.run_finalizer(internal_state)


class _Typing:
    """Numba's types of calls, asked once for each operator and its operands' types.

    Numba asks all that could define an operator anew at every use of it, and some of them
    at every round of inference. Here nothing is defined while code is compiled.
    """

    #: For the whole process; Numba's lock is held. The first value keeps its number from others.
    _known: dict[tuple[object, ...], tuple[object, object]] = {}  # noqa: RUF012

    def __init__(self, asked: Any) -> None:
        self._asked = asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._asked, name)

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        """The signature of a call; None: there is none."""
        if kws or not isinstance(func, types.Function | BuiltinFunctionType):
            return self._asked.resolve_function_type(func, args, kws)
        key = id(func), args
        if key not in self._known:
            self._known[key] = func, self._asked.resolve_function_type(func, args, kws)
        return self._known[key][1]


def _compiler(lowering: type) -> type:
    instead = {NativeLowering: lowering, IRLegalization: _EndVariables}

    class Compiler(CompilerBase):
        def define_pipelines(self) -> list[Any]:
            """Numba's own passes, but for those with nothing to do, and the last."""
            self.state.typingctx = _Typing(self.state.typingctx)
            numbas = DefaultPassBuilder.define_nopython_pipeline(self.state)
            made = _Passes(numbas.pipeline_name)
            made.passes = [
                (instead.get(each, each), why)
                for each, why in numbas.passes
                if each.__name__ not in _IDLE
            ]
            made.finalize()
            return [made]

    return Compiler


PartCompiler, WholeCompiler = _compiler(_LowerPart), _compiler(_LowerWhole)
