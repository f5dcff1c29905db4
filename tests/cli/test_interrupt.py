"""Ctrl-C: it always arrives, also where Python or a library would lose it."""

import os
import signal
import subprocess
import sys
import time
from threading import Thread

import pytest
from cli_support import without_notice
from processes import environment

from ndpsim.cli.interrupt import interrupts_arrive

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")


def press():
    os.kill(os.getpid(), signal.SIGINT)


class Finalized:
    ended = False

    def __del__(self):
        press()
        Finalized.ended = True


def test_an_interrupt_in_a_finalizer_comes_a_little_later():
    with pytest.raises(KeyboardInterrupt), interrupts_arrive():
        Finalized()
        assert Finalized.ended
        time.sleep(5)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_while_llvm_calls_back_comes_a_little_later(tmp_path):
    called = []
    source = compile("def call_back():\n    press()\n    called.append(1)\n", tmp_path / "llvmlite" / "x.py", "exec")
    names = {"press": press, "called": called}
    exec(source, names)
    with pytest.raises(KeyboardInterrupt), interrupts_arrive():
        names["call_back"]()
        assert called
        time.sleep(5)


def test_an_interrupt_elsewhere_comes_at_once():
    after = []
    with pytest.raises(KeyboardInterrupt), interrupts_arrive():
        press()
        after.append(1)
    assert not after


def test_who_ignores_interrupts_goes_on_ignoring_them():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_arrive():
            press()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_leaves_interrupts_to_the_main_one():
    seen = []

    def work():
        with interrupts_arrive():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [1, 1.3, 1.7, 2.1, 2.5, 3, 3.3, 3.7, 4.1, 4.5, 4.9, 5.4, 6])
def test_a_command_whose_kernels_are_being_compiled_ends_with_one_sentence(tmp_path, after_s):
    cold = environment(NUMBA_CACHE_DIR=str(tmp_path / "kernels"))
    command = [sys.executable, "-m", "ndpsim", "generate", "The list", "--tokens", "200", "--log", "log.h5"]
    process = subprocess.Popen(command, cwd=tmp_path, env=cold, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    said = without_notice(err.decode()).strip()
    assert (process.returncode, out, said) == (130, b"", "ndpsim: interrupted; nothing was written")
    assert {path.name for path in tmp_path.iterdir()} <= {"kernels"}
