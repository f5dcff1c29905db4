"""The process of the command line: `ndpsim`, and `python -m ndpsim`."""

import os
import sys

from ndpsim.cli.interrupt import INTERRUPTED


def command() -> None:
    """Run the command line; after Ctrl-C end at once with 130.

    An interrupted process would else tell on its way out about objects that it had half made, and CPython ends it by
    the signal if it came while a library made code from text.
    """
    try:
        from ndpsim.cli.main import main

        main()
    except KeyboardInterrupt:
        sys.stderr.write("\nndpsim: interrupted; nothing was written\n")
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    command()
