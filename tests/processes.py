"""Commands in processes of their own, which must find the same ndpsim as the tests."""

import os
import sys


def environment(**changes):
    """This process's environment, with its module path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **changes}
