"""What the checker says of a log: how often each rule is broken, and the first violation of each."""

from dataclasses import dataclass

from ndpsim.dram.log.log import COMMANDS, FIELDS, FROM_ZERO, CommandLog

AT_MOST = ("tREFI", "refresh_debt")


@dataclass(frozen=True)
class Violation:
    """One command that breaks a rule. Commands are named by their place in the log, from 0, and in words.

    `later` is None at the end of the log, `earlier` is None where no one command is to blame. `gap` is what was found
    and `required` what the rule asks for, in clocks: the most allowed for the rules in `AT_MOST` and the least for all
    others. They count between the last clocks of commands, as JEDEC does, or on a data bus between the first of bursts.
    """

    rule: str
    gap: int | None
    required: int | None
    earlier: int | None
    earlier_text: str
    later: int | None
    later_text: str

    def __str__(self) -> str:
        after = f" after {self.earlier_text}" if self.earlier_text else ""
        bound = "at most" if self.rule in AT_MOST else "at least"
        numbers = "" if self.required is None else f": {self.gap} clocks, {bound} {self.required} required"
        return f"{self.rule}: {self.later_text}{after}{numbers}"


@dataclass(frozen=True)
class Report:
    """How many commands there are, how many break each rule (all rules are listed), and the first of each, in order."""

    commands: int
    counts: dict[str, int]
    first: tuple[Violation, ...]

    @property
    def legal(self) -> bool:
        """Return whether no command breaks a rule."""
        return not any(self.counts.values())


def in_words(log: CommandLog, index: int, place: int) -> str:
    """Return a command of a log in words; `place` is its number."""
    words = [COMMANDS[log.command[index]]]
    for name in list(FIELDS)[2:]:
        value = int(getattr(log, name)[index])
        if value != (0 if name in FROM_ZERO else -1):
            words.append(f"{name} {value}")
    return f"{' '.join(words)} at cycle {log.cycle[index]} (command {place})"
