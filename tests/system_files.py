"""Systems in files, as a user writes them."""

import textwrap

PLAIN = """
from ndpsim.systems.system import System

class Plain(System):
    name = "plain"

    def forward(self, step, now):
        if step.decodes is None:
            self.meter.spend("prompt", 1000)
            return now + 1000
        number = step.cached_tokens[0] - self.job.prompt
        self.meter.work("gpu", "all", now, now + 10 + number)
        self.meter.spend("all", 10 + number)
        return now + 10 + number
"""


def written(folder, text, name="mine.py"):
    """Write a file of a system and return its path."""
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return path
