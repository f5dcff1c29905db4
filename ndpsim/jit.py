"""Numba as this project uses it: a few decorators; `ndpsim.kernels.kernel_cache` keeps their kernels between processes.

Kernels import these from here, never from numba.
"""

from typing import Any

import numba
from numba import types
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic, overload

from ndpsim.kernels.kernel_cache import KernelCache

_dispatcher: Any = Dispatcher


def _compiled(function: Any, **options: Any) -> Any:
    jit: Any = numba.njit
    kernel = jit(nogil=True, fastmath=False, error_model="numpy", **options)(function)
    if isinstance(kernel, _dispatcher):  # not so without the compiler
        kernel._cache = KernelCache(kernel)
        _ignore_literals(kernel)
    return kernel


def _ignore_literals(kernel: Any) -> None:
    """Compile a kernel once for all integers: Numba would do so anew for each constant that other kernels pass."""
    template = kernel.get_call_template
    unliteral = types.unliteral

    def without_literals(arguments: Any, named: Any) -> Any:
        return template(tuple(map(unliteral, arguments)), {name: unliteral(one) for name, one in named.items()})

    kernel.get_call_template = without_literals


def njit(function: Any) -> Any:
    """Compile a kernel: cached, without the GIL, and without any licence to reorder floating-point arithmetic."""
    return _compiled(function)


def borrowing(function: Any) -> Any:
    """Compile a kernel that allocates nothing: as `njit`, but it does not count references to the arrays that it gets.

    Counting is an atomic operation for each array in each call, which in kernels that call small kernels takes more
    time than all else.
    """
    return _compiled(function, _nrt=False)


def merged(function: Any) -> Any:
    """As `borrowing`, and LLVM puts the kernel into its callers: for what is called for every request or command.

    A call hands over seven words for an array and a status back; without such calls requests are served twice as fast.
    """
    return _compiled(function, _nrt=False, forceinline=True)


def inlined(function: Any) -> Any:
    """Merge a kernel into its caller before that one is compiled: for large kernels that are called from one place.

    A call would hand the whole machine and state over by value, some 150 words; without it streams are timed 1.6
    times faster.
    """
    return numba.njit(inline="always", nogil=True, fastmath=False, error_model="numpy")(function)


def pointer_to(array: Any) -> Any:
    """Return an int64 array as kernels of small calls take it: a bare pointer, which `x[i]` reads and writes.

    It is one word in a call instead of seven, and a place costs no check for negative numbers; without the compiler it
    is the array itself. It must not outlive the array.
    """
    return array


def _pointer_type(_: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), generate


_pointer: Any = intrinsic(_pointer_type)
_MERGED: Any = {"_nrt": False, "forceinline": True}


@overload(pointer_to, jit_options=_MERGED)
def _pointer_to(array: Any) -> Any:
    def compiled(array: Any) -> Any:
        return _pointer(array)

    return compiled
