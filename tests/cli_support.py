"""The command line, called in this process."""

import pytest

from ndpsim.cli.main import main


def run(capsys, *arguments):
    """Call the command line in this process; return its exit code, stdout and stderr."""
    with pytest.raises(SystemExit) as exit_:
        main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, captured.err


def refused(capsys, *arguments):
    """Call it wrongly; return the one sentence that it answers."""
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("ndpsim: ") and err.count("\n") == 1 and "Traceback" not in err
    return err
