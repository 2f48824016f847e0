"""Structs of arrays: many arrays and numbers, handed to compiled code as one address.

Numba passes each array of a tuple by value, as seven numbers, and counts its
references in every function that it goes through: of twenty arrays that is most
of the code, and of the time that compiling it takes. A struct is one pointer, to
a table with the address and the lengths of each array.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from typing import Any, dataclass_transform, get_args, get_type_hints

import numpy as np

#: Words of the table for each field: address and lengths, or the number itself.
WORDS = 3
#: A floating-point number, and the word that has its bits.
_REAL, _WORD_OF = struct.Struct("d"), struct.Struct("q")


@dataclass(frozen=True, slots=True)
class Field:
    """What compiled code is told of a field of a struct.

    Attributes
    ----------
    name
        Its name.
    kind
        What it is, `int`, `float`, `bool` or a struct; of an array, NumPy's type of its
        elements.
    is_array
        Whether it is an array; how many dimensions it has is seen in the array itself.
    """

    name: str
    kind: Any
    is_array: bool


@dataclass_transform(frozen_default=True, eq_default=False)
class Struct:
    """Base of classes whose fields are arrays, numbers and other structs.

    A subclass is a frozen data class; compiled code reads its fields by the same names.
    Arrays there have no negative positions, no slices and no arithmetic: they have a
    length, and elements that are read and written.
    """

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, eq=False)(cls)

    @property
    def table_address(self) -> int:
        """Where the table is: valid as long as this object lives."""
        return self._kept[1]

    @property
    def array_ranks(self) -> tuple[Any, ...]:
        """Of each field: an array's number of dimensions, a struct's `array_ranks`, or nothing."""
        return self._kept[2]

    @property
    def _kept(self) -> tuple[np.ndarray[Any, Any], int, tuple[Any, ...]]:
        """The table, its address and `array_ranks`, made once."""
        found = self.__dict__.get("_made")
        if found is None:
            table = self._table()
            values = [(each, getattr(self, each.name)) for each in fields_of(type(self))]
            ranks = tuple(
                value.ndim if each.is_array else value.array_ranks if _is_struct(value) else ()
                for each, value in values
            )
            # Atomic: a table that another thread's replaced would be gone, and its address not.
            found = self.__dict__.setdefault("_made", (table, int(table.ctypes.data), ranks))
        return found  # type: ignore[no-any-return]

    def _table(self) -> np.ndarray[Any, Any]:
        words: list[int] = []  # NumPy takes longer to write each by itself
        for field in fields_of(type(self)):
            value = getattr(self, field.name)
            if field.is_array:
                if value.dtype != field.kind or not value.flags.c_contiguous:
                    raise TypeError(
                        f"{type(self).__name__}.{field.name} has to be a contiguous array "
                        f"of {np.dtype(field.kind)}, not {value.dtype} with strides {value.strides}"
                    )
                words += (value.ctypes.data, *value.shape)
            elif field.kind is float:
                words += _WORD_OF.unpack(_REAL.pack(value))
            else:
                words.append(value.table_address if _is_struct(value) else value)
            words += (0,) * (-len(words) % WORDS)
        return np.array(words, np.int64).reshape(-1, WORDS)

    def __reduce__(self) -> tuple[Any, ...]:
        # Addresses mean nothing in another process, or to a copy.
        return type(self), tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]


def _is_struct(value: object) -> bool:
    return isinstance(value, Struct)


def fields_of(struct: type[Struct]) -> tuple[Field, ...]:
    """The fields of a struct, in order."""
    found = _known.get(struct)
    if found is None:
        found = _known[struct] = _fields_of(struct)
    return found


_known: dict[type[Struct], tuple[Field, ...]] = {}


def _fields_of(struct: type[Struct]) -> tuple[Field, ...]:
    hints = get_type_hints(struct)
    return tuple(_field(each.name, hints[each.name]) for each in fields(struct))  # type: ignore[arg-type]


def _field(name: str, hint: Any) -> Field:
    if isinstance(hint, type):
        return Field(name, hint, False)
    while inner := get_args(hint):  # ndarray[shape, dtype[type]]; from NumPy 2.5 on NDArray[type]
        hint = inner[-1]
    return Field(name, hint, True)
