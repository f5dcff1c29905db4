"""The command line, called in this process."""

import pytest

from ndpsim.cli.compile_notice import LINE
from ndpsim.cli.main import main


def run(capsys, *arguments):
    """Call the command line in this process; return its exit code, stdout, and stderr but for the word on compiling."""
    with pytest.raises(SystemExit) as exit_:
        main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, without_notice(captured.err)


def without_notice(text):
    """Leave out the line that a process writes if it compiles kernels, which depends on what ran before."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(LINE.partition("(")[0]))


def refused(capsys, *arguments):
    """Call it wrongly; return the one sentence that it answers."""
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("ndpsim: ") and err.count("\n") == 1 and "Traceback" not in err
    return err
