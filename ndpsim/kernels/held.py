"""Values that kernels take by their address.

A call of a kernel looks at each field of a tuple, which for the description of a machine takes as long as a thousand
instructions of the kernel itself. What stays the same from call to call is therefore laid out for kernels once.
"""

from typing import Any, Generic, TypeVar

import numba
import numba.core.cgutils
import numba.core.config
import numpy as np
from numba import types
from numba.extending import NativeValue, intrinsic, models, overload_attribute, register_model, unbox

from ndpsim.jit import njit, pointer_to

_cgutils: Any = numba.core.cgutils
_config: Any = numba.core.config
T = TypeVar("T")


class Held(Generic[T]):
    """A tuple of numbers, arrays and tuples, which kernels, compiled or not, read as `held.value`.

    It keeps the arrays alive, and must itself outlive the call. Classes of the tuple stand in the cache of kernels that
    all processes read, so that each of these must be able to import them.
    """

    def __init__(self, value: T) -> None:
        self.value = value
        if _config.DISABLE_JIT:
            return
        self._words = np.zeros(_lay_out(value, np.zeros(0, np.int64)), np.int64)
        _lay_out(value, self._words)
        self._address = self._words.ctypes.data
        self._numba_type_ = _HeldType(numba.typeof(value))


class _HeldType(types.Type):
    def __init__(self, value: Any) -> None:
        self.value = value
        super().__init__(f"Held({value})")

    @property
    def parts_for_digest(self) -> tuple[types.Type]:
        """The types that stand behind this one, for the digest of a kernel that takes it."""
        return (self.value,)


register_model(_HeldType)(models.OpaqueModel)


@unbox(_HeldType)
def _unbox(_: Any, held: Any, c: Any) -> Any:
    address = c.pyapi.object_getattr_string(held, "_address")
    pointer = c.pyapi.long_as_voidptr(address)
    c.pyapi.decref(address)
    return NativeValue(pointer, is_error=_cgutils.is_not_null(c.builder, c.pyapi.err_occurred()))


def _borrowed(context: Any, builder: Any, type_: Any, value: Any) -> Any:
    """Return a value whose arrays are no longer counted as in use: `Held` keeps them."""
    if isinstance(type_, types.Array):
        array = context.make_array(type_)(context, builder, value)
        array.meminfo = _cgutils.get_null_value(array.meminfo.type)
        return array._getvalue()
    parts: Any = type_ if isinstance(type_, types.BaseTuple) else ()
    for i, part in enumerate(parts):
        value = builder.insert_value(value, _borrowed(context, builder, part, builder.extract_value(value, i)), i)
    return value


def _size_type(_: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_constant(types.int64, context.get_abi_sizeof(arguments[0].type))

    return types.int64(value), generate


def _store_type(_: Any, value: Any, pointer: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        borrowed = _borrowed(context, builder, value, arguments[0])
        builder.store(borrowed, builder.bitcast(arguments[1], borrowed.type.as_pointer()))
        return context.get_dummy_value()

    return types.void(value, pointer), generate


def _load_type(_: Any, held: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.bitcast(arguments[0], context.get_value_type(held.value).as_pointer()))

    return held.value(held), generate


_size: Any = intrinsic(_size_type)
_store: Any = intrinsic(_store_type)
_load: Any = intrinsic(_load_type)


@overload_attribute(_HeldType, "value")
def _value(held: Any) -> Any:
    def load(held: Any) -> Any:
        return _load(held)

    return load


@njit
def _lay_out(value: Any, words: Any) -> int:
    """Write a value as kernels have it into int64[n], if it fits there; return how many words it takes."""
    size = (_size(value) + 7) // 8
    if len(words) >= size:
        _store(value, pointer_to(words))
    return size
