"""A kernel that a kernel calls is compiled as far as that needs; Python can call each of them, in any order."""

import numba
import numpy as np
import pytest
from numba.core import event
from numba.core.errors import TypingError

from ndpsim.jit import inlined, njit
from ndpsim.kernels import kernel_cache
from ndpsim.kernels.inner_kernels import InnerLibrary, is_inner


@pytest.fixture(params=["compiled", "from the cache"])
def kernels(request, tmp_path, monkeypatch):
    """Return a function that makes kernels anew, as a new process would; with a cache, they have been kept there."""
    monkeypatch.setattr(kernel_cache, "_folder", lambda: tmp_path)

    def make():
        @njit
        def lowest(x):
            if x[0] == 7:
                raise ValueError("seven", x[0])
            return x[0] + 1

        @inlined
        def between(x):
            return lowest(x) * 2

        @njit
        def middle(x):
            print("middle", x[0])
            return between(x) + np.zeros(3).sum()

        @njit
        def top(x):
            return middle(x) + 0.5

        return lowest, middle, top

    if request.param == "from the cache":
        for place in range(3):  # each as Python's kernel, and as an inner one
            call(make()[place], np.arange(3))
    return make


def call(kernel, x):
    return kernel(x)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_python_can_call_each_kernel_in_any_order(kernels, order, capfd):
    made, x = kernels(), np.array([4])
    answers = [5, 10.0, 10.5]
    for place in order:
        assert call(made[place], x) == answers[place]
    assert capfd.readouterr().out == "middle 4\n" * 2


def test_what_an_inner_kernel_raises_arrives_with_its_values(kernels):
    top = kernels()[2]
    with pytest.raises(ValueError, match="seven") as error:
        top(np.array([7]))
    assert error.value.args == ("seven", 7)


def test_only_what_python_calls_becomes_machine_code(kernels):
    lowest, middle, top = kernels()
    assert top(np.array([4])) == 10.5
    assert all(
        is_inner(one) for kernel in (lowest, middle) for one in kernel.overloads.values()
    )  # none, from the cache
    assert [is_inner(one) for one in top.overloads.values()] == [False]
    assert middle(np.array([4])) == 10
    assert [is_inner(one) for one in middle.overloads.values()] == [False]


def test_a_kernel_of_numba_itself_may_call_ours(kernels):
    lowest, middle, top = kernels()

    @numba.njit
    def outer(x):
        return middle(x) + lowest(x)

    assert outer(np.array([4])) == 15
    assert top(np.array([4])) == 10.5
    assert outer(np.array([4], np.int32)) == 15


def test_inner_code_that_is_called_all_the_same_is_an_error_and_no_crash(kernels):
    lowest, _, top = kernels()
    top(np.array([4]))
    for inner in lowest.overloads.values():
        with pytest.raises(MemoryError):
            inner.entry_point(np.array([4]))


def test_a_kernel_that_cannot_be_compiled_leaves_others_alone(kernels):
    @njit
    def wrong(x):
        return x.nothing

    @njit
    def calls(x):
        return wrong(x)

    for _ in range(2):
        with pytest.raises(TypingError):
            calls(1)
    _, middle, top = kernels()
    assert top(np.array([4])) == 10.5 and middle(np.array([4])) == 10
    context = top.targetctx
    assert not {"create_cpython_wrapper", "create_cfunc_wrapper"} & vars(context).keys()
    assert context.codegen()._library_class is not InnerLibrary


def test_a_kernel_is_optimized_once_for_each_that_python_calls(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_cache, "_folder", lambda: tmp_path)
    library = numba.core.codegen.CPUCodeLibrary
    optimized, compiled = [], []
    before = library._optimize_final_module
    monkeypatch.setattr(library, "_optimize_final_module", lambda self: optimized.append(self.name) or before(self))

    @njit
    def first(x):
        return x * 3

    @njit
    def second(x):
        return first(x) + 1

    @njit
    def third(x):
        return second(x) + first(x)

    with event.install_listener("numba:compile", Names(compiled)):
        assert third(2) == 13
    assert compiled == ["third", "second", "first"]
    assert [name.rpartition(".")[2] for name in optimized] == ["third"]


class Names(event.Listener):
    def __init__(self, found):
        self._found = found

    def on_start(self, event):
        self._found.append(event.data["dispatcher"].py_func.__name__)

    def on_end(self, event):
        pass
