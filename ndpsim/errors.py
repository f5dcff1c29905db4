"""The two ways in which ndpsim says no: unreadable input, and a program or log that is wrong."""


class InputError(Exception):
    """Input that cannot be used: one sentence naming the file, the field, what was found and what is allowed."""


class ProgramError(Exception):
    """Input that was read well and whose content says no: a trap, or a timing violation."""
