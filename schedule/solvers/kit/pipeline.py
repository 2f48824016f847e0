"""What Numba's compiler does for this package: each function once, machine code for few of them.

Numba makes a library of every function: it optimises it together with all that it
calls, and makes machine code of it. Of calls ten deep that is the same code ten times.
Here the functions that only compiled code calls stay as they are, and only those that
Python calls are made into machine code, with all their parts.
"""

from __future__ import annotations

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

from schedule.solvers.kit.loading import go_on


class _Part(JITCodeLibrary):
    """The code of a function that only compiled code calls: handed on as it is."""

    def finalize(self) -> None:
        """Nothing is added any more."""
        self._finalized = True

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout


class _Whole(JITCodeLibrary):
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


def _compiler(lowering: type) -> type:
    class Compiler(CompilerBase):
        def define_pipelines(self) -> list[Any]:
            """Numba's own passes, but for the last."""
            made = DefaultPassBuilder.define_nopython_pipeline(self.state)
            made.passes = [
                (lowering if each is NativeLowering else each, why) for each, why in made.passes
            ]
            made._finalized = False
            made.finalize()
            return [made]

    return Compiler


PartCompiler, WholeCompiler = _compiler(_LowerPart), _compiler(_LowerWhole)
