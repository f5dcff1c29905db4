"""The steps of a run in lockstep, without a driver: the prompt of all sequences, then a token of each."""

from ndpsim.llm.step import Step


def prompt(system, now=0):
    """Let all sequences enter and read their prompts; return when they have."""
    for sequence in range(system.job.batch):
        system.enter(sequence)
    return system.forward(Step.prefill(system.job.batch, system.job.prompt), now)


def token(system, number, now):
    """Run pass `number` (0, 1, ...) behind the prompt, and return when it has ended."""
    return system.forward(Step.decode(system.job.batch, system.job.prompt + number), now)
