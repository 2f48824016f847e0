"""Experimental in PyTorch: C++ kernels compiled several at a time, not each by itself.

Most of what the compiler takes for a kernel is for the header that all of them include.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from schedule.log import LOG

#: The most that are compiled at once: it takes memory, too.
_MOST = 16
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include\b.*\n", re.MULTILINE)
_DIRECTIVE = re.compile(r"^[ \t]*#(?![ \t]*(?:include|pragma)\b)", re.MULTILINE)
_FUNCTION = re.compile(r'\bextern "C"(\s+void\s+kernel\()')


class Kernel(NamedTuple):
    """A function in C++ as Inductor writes it: its arguments' types, and all of its source."""

    arguments: tuple[str, ...]
    source: str

    @property
    def can_join(self) -> bool:
        """Whether it can be one of several: a function, and nothing that a namespace lets out."""
        is_one = self.source.count('extern "C"') == 1 and _FUNCTION.search(self.source)
        return bool(is_one) and not _DIRECTIVE.search(self.source)


Function = Callable[..., Any]


@dataclass(eq=False)
class _Coming:
    """Stands in a module for a function that isn't compiled yet."""

    kernel: Kernel


@contextmanager
def compiled_together(known: dict[Kernel, Function]) -> Iterator[None]:
    """Have Inductor compile the kernels of a module together; it holds its lock meanwhile.

    There is a translation unit for each thread of the compiler, or more where they would
    be long. Each kernel is in a namespace of its own, and compiled by the command that is
    usual. Where that fails each is compiled by itself.

    Parameters
    ----------
    known
        What is compiled already; what is compiled now is added.
    """
    from torch._inductor.async_compile import AsyncCompile

    own: Any = AsyncCompile
    bind, wait = own.cpp_pybinding, own.wait

    def cpp_pybinding(compiler: Any, argtypes: Sequence[str], source_code: str) -> Any:
        kernel = Kernel(tuple(argtypes), source_code)
        return _Coming(kernel) if kernel.can_join else bind(compiler, argtypes, source_code)

    def wait_for(compiler: Any, scope: dict[str, Any]) -> None:
        coming = {name: made.kernel for name, made in scope.items() if isinstance(made, _Coming)}
        lacking = [kernel for kernel in dict.fromkeys(coming.values()) if kernel not in known]
        known.update(_compiled(lacking, compiler))
        for name, kernel in coming.items():
            scope[name] = known.get(kernel) or bind(compiler, kernel.arguments, kernel.source)
        wait(compiler, scope)

    own.cpp_pybinding, own.wait = cpp_pybinding, wait_for
    try:
        yield
    finally:
        own.cpp_pybinding, own.wait = bind, wait


def _compiled(kernels: Sequence[Kernel], compiler: Any) -> dict[Kernel, Function]:
    """Functions of these kernels, but for those that can't be compiled together."""
    from torch._inductor.async_compile import get_compile_threads
    from torch._inductor.exc import CppCompileError

    n_threads = get_compile_threads()
    n_units = max(min(n_threads, len(kernels)), -(-len(kernels) // _MOST))
    units = [kernels[at::n_units] for at in range(n_units)]
    loads = [_begun(unit, compiler.submit if n_threads > 1 else None) for unit in units]
    found: dict[Kernel, Function] = {}
    for unit, load in zip(units, loads):
        try:
            found.update(zip(unit, load()))
        except CppCompileError as error:
            LOG.debug("compiled: %d kernels can't be compiled together: %s", len(unit), error)
    return found


def _begun(kernels: Sequence[Kernel], submit: Any) -> Callable[[], list[Function]]:
    """Begin to compile some kernels as one library; what is returned waits for their functions."""
    from torch._inductor.codecache import CppPythonBindingsCodeCache

    usual: Any = CppPythonBindingsCodeCache
    texts: list[str] = []
    library: Any = None

    def bound(number: int, kernel: Kernel) -> Callable[[], Function]:
        """A function in the library, which is a module to Python; the first has the usual name."""

        def load_async(cls: Any, text: str, *_: Any, **__: Any) -> Callable[[], Any]:
            texts.append(text)
            return lambda: cls._load_library_inner(library.__file__, library.key)

        name = usual.entry_function + (f"_{number}" if number else "")
        entry: Any = type(
            name, (usual,), {"entry_function": name, "load_async": classmethod(load_async)}
        )
        source = _FUNCTION.sub(r"\1", kernel.source)
        function: Callable[[], Function] = entry.load_pybinding_async(kernel.arguments, source)
        return function

    functions = [bound(number, kernel) for number, kernel in enumerate(kernels)]
    includes = dict.fromkeys(line for text in texts for line in _INCLUDE.findall(text))
    spaces = [
        f"namespace kernel_{number} {{\n{_INCLUDE.sub('', text)}\n}}\n"
        for number, text in enumerate(texts)
    ]
    loaded = usual.load_async("".join([*includes, *spaces]), submit_fn=submit)

    def load() -> list[Function]:
        nonlocal library
        library = loaded()
        return [function() for function in functions]

    return load
