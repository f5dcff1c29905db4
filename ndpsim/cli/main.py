"""The entry point: commands load when they are called, errors become one sentence and an exit code.

Exit codes: 0 done; 1 the program or the data says no (a trap, a violation); 2 wrong use or unreadable input; 130
interrupted.
"""

import os
import sys
from importlib import import_module
from typing import Any

import click

from ndpsim import __version__
from ndpsim.cli.compile_notice import compile_notice
from ndpsim.cli.interrupt import INTERRUPTED, interrupts_arrive
from ndpsim.errors import InputError, ProgramError

COMMANDS = {
    "run": ("runs.run", "Run a model on a machine under a system's policy (Hermes and others)."),
    "serve": ("serving.serve", "Serve requests that arrive over time; rates and latencies."),
    "rerun": ("runs.rerun", "Run again what a result file records, and compare."),
    "timeline": ("runs.rerun", "Write the timeline of a result file for Perfetto."),
    "generate": ("programs.generate", "Generate text with the feed-forward blocks in NDP-DIMMs."),
    "model": ("models.model", "Describe a model, and the operators of a step; import one."),
    "compile": ("programs.compile", "Compile one token of a layer into programs for all DIMMs."),
    "asm": ("programs.program", "Assemble a program file from text."),
    "disasm": ("programs.program", "Write a program file as text."),
    "exec": ("programs.program", "Execute and time a program file."),
    "dram": ("memory.host_memory", "Time a trace of memory requests on a DRAM standard."),
    "check": ("memory.check", "Check a DRAM command log against a standard."),
    "gpu": ("models.gpu", "Time kernels on graphics cards; fit and validate cards."),
    "reproduce": ("studies.reproduce", "Run a paper's evaluation and print its figures beside the simulated ones."),
    "validate": ("studies.validate", "Compare simulated results with runs measured on real machines."),
    "study": ("studies.study", "Run a study: loaded latency, other simulators' figures, a serving run."),
    "trace": ("models.trace", "Describe, generate or capture activation traces."),
    "cache": ("runs.cache", "Show what is kept between runs to save time; remove it."),
    "list": ("runs.listing", "List what ships with ndpsim."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command runs; its help needs no import at all."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"ndpsim.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ndpsim")
def cli() -> None:
    """Simulate near-data processing in DIMMs for language-model inference, DRAM command by DRAM command."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line and exit."""
    try:
        with interrupts_arrive(), compile_notice():
            code = cli.main(arguments, prog_name="ndpsim", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)  # click returns the code of an Exit that a command raised
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except InputError as error:
        _say(str(error))
        sys.exit(2)
    except ProgramError as error:
        _say(str(error))
        sys.exit(1)
    except MemoryError:
        _say("this needs more memory than the machine has")
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has left; there is nobody to tell
        sys.exit(1)
    except OSError as error:
        _say(f"output: {error.strerror or error}")
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (what could not be written must not be tried again at exit)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted; nothing was written")
        sys.exit(INTERRUPTED)


def _say(text: str) -> None:
    click.echo(f"ndpsim: {text}", err=True)
