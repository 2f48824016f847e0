"""What Numba is told of structs and of the arrays in them: see `schedule.solvers.kit.structs`."""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.typing.templates import (
    AbstractTemplate,
    AttributeTemplate,
    infer_getattr,
    infer_global,
    signature,
)
from numba.extending import (
    NativeValue,
    lower_builtin,
    lower_getattr_generic,
    register_model,
    typeof_impl,
    unbox,
)
from numba.np.numpy_support import from_dtype

from schedule.solvers.kit.structs import WORDS, Struct, fields_of

_WORD = ir.IntType(64)
_BYTE = ir.IntType(8)


class Vector(types.Type):
    """An array in a struct: one dimension, or rows of one length each."""

    def __init__(self, dtype: types.Type, rank: int) -> None:
        self.dtype, self.rank = dtype, rank
        super().__init__(name=f"Vector({dtype}, {rank})")


class Address(types.Type):
    """A struct, as the address of its table."""

    def __init__(self, struct: type[Struct], ranks: tuple[Any, ...]) -> None:
        self.types: dict[str, types.Type] = {}
        self.places: dict[str, int] = {}
        for number, (field, rank) in enumerate(zip(fields_of(struct), ranks, strict=True)):
            self.places[field.name] = number * WORDS
            self.types[field.name] = (
                Vector(from_dtype(field.kind), rank)
                if field.is_array
                else Address(field.kind, rank)
                if issubclass(field.kind, Struct)
                else {int: types.int64, float: types.float64, bool: types.boolean}[field.kind]
            )
        inside = ", ".join(f"{name}: {each}" for name, each in self.types.items())
        super().__init__(name=f"{struct.__name__}({inside})")


_known: dict[tuple[Any, ...], Address] = {}


@typeof_impl.register(Struct)
def _type_of(value: Struct, context: Any) -> Address:
    value.table_address  # noqa: B018 - its errors belong here, not into compiled code
    key = type(value), value.array_ranks
    found = _known.get(key)
    if found is None:
        found = _known[key] = Address(*key)
    return found


@register_model(Address)
class _AddressModel(models.PrimitiveModel):
    def __init__(self, manager: Any, of: Address) -> None:
        super().__init__(manager, of, _WORD.as_pointer())


@register_model(Vector)
class _VectorModel(models.StructModel):
    def __init__(self, manager: Any, of: Vector) -> None:
        members = [("data", types.CPointer(of.dtype)), ("length", types.int64)]
        members += [("columns", types.int64)] * (of.rank - 1)
        super().__init__(manager, of, members)


@unbox(Address)
def _unboxed(of: Address, value: Any, c: Any) -> NativeValue:
    address = c.pyapi.object_getattr_string(value, "table_address")
    number = c.pyapi.long_as_longlong(address)
    c.pyapi.decref(address)
    pointer = c.builder.inttoptr(number, _WORD.as_pointer())
    return NativeValue(pointer, is_error=cgutils.is_not_null(c.builder, c.pyapi.err_occurred()))


@infer_getattr
class _Fields(AttributeTemplate):
    key = Address

    def generic_resolve(self, of: Any, name: str) -> Any:  # type: ignore[override]
        """The type of a field."""
        return of.types.get(name)


@lower_getattr_generic(Address)
def _field(context: Any, builder: Any, of: Address, value: Any, name: str) -> Any:
    place, kind = of.places[name], of.types[name]

    def word(number: int, as_type: Any) -> Any:
        at = builder.gep(value, [ir.IntType(32)(place + number)])
        found = builder.load(builder.bitcast(at, as_type.as_pointer()))
        # A table never changes: what is loaded in a loop may be loaded before it.
        found.set_metadata("invariant.load", builder.module.add_metadata([]))
        return found

    if isinstance(kind, Vector):
        vector = cgutils.create_struct_proxy(kind)(context, builder)
        vector.data = word(0, context.get_value_type(types.CPointer(kind.dtype)))
        vector.length = word(1, _WORD)
        if kind.rank == 2:
            vector.columns = word(2, _WORD)
        return vector._getvalue()
    if kind == types.boolean:
        return builder.trunc(word(0, _WORD), ir.IntType(1))
    return word(0, context.get_value_type(kind))


def _indices(at: Any, rank: int) -> bool:
    """Whether `at` is the type of so many indices."""
    if isinstance(at, types.BaseTuple):
        inside: Any = at
        return len(inside) == rank and all(isinstance(each, types.Integer) for each in inside)
    return rank == 1 and isinstance(at, types.Integer)


def _plain(at: Any) -> Any:
    """The same indices as whole numbers with a sign."""
    return types.UniTuple(types.int64, len(at)) if isinstance(at, types.BaseTuple) else types.int64


@infer_global(operator.getitem)
class _Get(AbstractTemplate):
    key = operator.getitem

    def generic(self, arguments: Any, keywords: Any) -> Any:
        """An element, or a row."""
        vector, at = arguments
        if not isinstance(vector, Vector):
            return None
        if _indices(at, vector.rank):
            return signature(vector.dtype, vector, _plain(at))
        if vector.rank == 2 and isinstance(at, types.Integer):
            return signature(Vector(vector.dtype, 1), vector, types.int64)
        return None


@infer_global(operator.setitem)
class _Set(AbstractTemplate):
    key = operator.setitem

    def generic(self, arguments: Any, keywords: Any) -> Any:
        """An element."""
        vector, at, _ = arguments
        if isinstance(vector, Vector) and _indices(at, vector.rank):
            return signature(types.none, vector, _plain(at), vector.dtype)
        return None


@infer_global(len)
class _Length(AbstractTemplate):
    key = len

    def generic(self, arguments: Any, keywords: Any) -> Any:
        """Elements, or rows."""
        (vector,) = arguments
        return signature(types.int64, vector) if isinstance(vector, Vector) else None


def _place(context: Any, builder: Any, of: Vector, vector: Any, at_type: Any, at: Any) -> Any:
    """The address of an element, or of a row's first one."""
    parts = cgutils.unpack_tuple(builder, at) if isinstance(at_type, types.BaseTuple) else [at]
    if context.enable_boundscheck:
        ends = [vector.length, vector.columns] if of.rank == 2 else [vector.length]
        for part, end in zip(parts, ends):
            cgutils.do_boundscheck(context, builder, part, end)
    offset = parts[0]
    if of.rank == 2:
        offset = builder.mul(offset, vector.columns)
        offset = builder.add(offset, parts[1]) if len(parts) == 2 else offset
    return builder.gep(vector.data, [offset], inbounds=True)


@lower_builtin(operator.getitem, Vector, types.Any)
def _get(context: Any, builder: Any, of: Any, arguments: Any) -> Any:
    kind, at_type = of.args
    vector = cgutils.create_struct_proxy(kind)(context, builder, arguments[0])
    place = _place(context, builder, kind, vector, at_type, arguments[1])
    if isinstance(of.return_type, Vector):
        row = cgutils.create_struct_proxy(of.return_type)(context, builder)
        row.data, row.length = place, vector.columns
        return row._getvalue()
    found = builder.load(place)
    if kind.dtype == types.boolean:  # stored as a byte
        return builder.icmp_unsigned("!=", found, _BYTE(0))
    return found


@lower_builtin(operator.setitem, Vector, types.Any, types.Any)
def _set(context: Any, builder: Any, of: Any, arguments: Any) -> Any:
    kind, at_type, _ = of.args
    vector = cgutils.create_struct_proxy(kind)(context, builder, arguments[0])
    value = arguments[2]
    if kind.dtype == types.boolean:
        value = builder.zext(value, _BYTE)
    builder.store(value, _place(context, builder, kind, vector, at_type, arguments[1]))
    return context.get_dummy_value()


@lower_builtin(len, Vector)
def _length(context: Any, builder: Any, of: Any, arguments: Any) -> Any:
    return cgutils.create_struct_proxy(of.args[0])(context, builder, arguments[0]).length
