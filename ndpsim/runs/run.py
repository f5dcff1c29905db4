"""A run in lockstep: all sequences of a batch read their prompts together, and then get token after token."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm.config import machine_from
from ndpsim.dram.standard.standard import standard_from
from ndpsim.errors import InputError
from ndpsim.gpu.card import card_from
from ndpsim.gpu.families import FAMILIES
from ndpsim.gpu.model import GpuModel
from ndpsim.llm.shape import shape_from
from ndpsim.llm.step import Step
from ndpsim.machine.config import config_from
from ndpsim.machine.meter import Meter
from ndpsim.runs.setup import Setup
from ndpsim.runs.setup_files import policy_from
from ndpsim.runs.traces import generated_trace, recorded_trace
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.systems.catalog import load_system, plugin_errors
from ndpsim.systems.sequences import Sequences
from ndpsim.systems.system import Devices, Job
from ndpsim.wall import ELSEWHERE, PLACEMENT, POLICY, TRACE

MOST_PS: Final = 1 << 62


def devices_of(setup: Setup) -> Devices:
    """Return the machine of a setup. Raises InputError."""
    config = config_from(setup.machine, "machine")
    name = setup.dimm["dram"]["value"]
    standard = standard_from(setup.dram, name, "dram")
    dimms = machine_from(setup.dimm, "dimm", config.dimm.placement.value, config.dimm.count.value, standard)
    tables = {
        family.name: np.array([setup.efficiencies[family.name][one.name] for one in family.parameters])
        for family in FAMILIES
    }
    return Devices(config, GpuModel(card_from(setup.card, "gpu"), tables), dimms)


class Run:
    """A run that goes on token by token. The first token of each sequence comes of its prompt, each other of a pass.

    prompt_ps: time of the prompt, None until it is done; token_ps: of each pass after it; now_ps: of all so far; all in
    picoseconds.
    """

    def __init__(self, setup: Setup) -> None:
        """Get ready: place the model. Raises InputError if something does not fit."""
        self.setup = setup
        self.plugin = Path(setup.plugin.path) if setup.plugin else None
        for file in (setup.plugin, setup.trace):
            if file is not None:
                file.require_same()
        self.devices = devices_of(setup)
        shape = shape_from(setup.model, "model")
        chosen = load_system(setup.system)
        policy = policy_from(chosen, setup.policy, "policy")
        self.job = Job(shape, setup.batch, setup.prompt, setup.output, self._activations)
        with _times_in_range(), plugin_errors(self.plugin), PLACEMENT:
            self.system = chosen(self.job, self.devices, policy)
            self.sequences = Sequences(self.system)
            for sequence in range(setup.batch):
                self.sequences.enter(sequence)
        self.prompt_ps: int | None = None
        self.token_ps: list[int] = []
        self.now_ps = 0

    @property
    def tokens(self) -> int:
        """Output tokens of each sequence so far."""
        return 0 if self.prompt_ps is None else 1 + len(self.token_ps)

    @property
    def complete(self) -> bool:
        """Whether all tokens are done."""
        return self.tokens == self.setup.output

    def advance(self, tokens: int | None = None, tell: Callable[[int], None] | None = None) -> None:
        """Go on to the end, or for some tokens more; the first one takes the whole prompt.

        tell: hears how many tokens are done, after each.
        """
        gc.freeze()  # what is there by now stays; looking through it again and again takes a twentieth of a run
        batch, prompt = self.setup.batch, self.setup.prompt
        last = self.setup.output if tokens is None else min(self.setup.output, self.tokens + tokens)
        with _times_in_range(), plugin_errors(self.plugin), POLICY:
            for done in range(self.tokens, last):
                step = Step.decode(batch, prompt + done - 1) if done else Step.prefill(batch, prompt)
                begin, self.now_ps = self.now_ps, self.sequences.forward(step, self.now_ps)
                if self.now_ps > MOST_PS:
                    raise _too_long()
                if done:
                    self.token_ps.append(self.now_ps - begin)
                else:
                    self.prompt_ps = self.now_ps
                if tell is not None:
                    with ELSEWHERE:
                        tell(done + 1)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that the next token depends on but times and the meter, as arrays by name."""
        with plugin_errors(self.plugin):
            found = {f"system.{name}": values for name, values in self.system.state().items()}
        if self.system.ndp is not None:
            found |= {f"ndp.{name}": values for name, values in self.system.ndp.state().items()}
        return found

    def restore(self, prompt_ps: int, token_ps: list[int], meter: Meter, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what another run of this setup has come to.

        Raises InputError if the state has other arrays than those of this run.
        """
        wanted, found = ({name: (one.dtype, one.ndim) for name, one in s.items()} for s in (self.state(), state))
        if wanted != found:
            wrong = sorted(name for name in wanted.keys() | found if wanted.get(name) != found.get(name))
            raise InputError(f"state: expected the arrays of a run of {self.system.name}, found others: {wrong[0]}")
        self.prompt_ps, self.token_ps, self.now_ps = prompt_ps, list(token_ps), prompt_ps + sum(token_ps)
        self.sequences.tokens[:] = self.setup.prompt + len(token_ps)
        vars(self.system.meter).update(vars(meter))
        parts = {
            part: {name.removeprefix(part): one for name, one in state.items() if name.startswith(part)}
            for part in ("system.", "ndp.")
        }
        with plugin_errors(self.plugin):
            self.system.restore(parts["system."])
        if self.system.ndp is not None:
            self.system.ndp.restore(parts["ndp."])

    @TRACE
    def _activations(self) -> tuple[ActivationTrace, Sequence[NDArray[np.int32]]]:
        setup = self.setup
        if setup.trace is not None:
            path, digest = Path(setup.trace.path), setup.trace.sha256
            return recorded_trace(path, digest, self.job.shape, setup.batch, setup.prompt, setup.output)
        return generated_trace(self.job.shape, setup.preset, setup.prompt, setup.output, setup.batch, setup.seed)


def _too_long() -> InputError:
    return InputError(
        f"simulated time: expected at most {MOST_PS * 1e-12 / 86400:.0f} days, found more: a rate of the "
        "machine is too low for this model, or a latency too long"
    )


@contextmanager
def _times_in_range() -> Iterator[None]:
    """Say so where a time does not fit in 64 bits of picoseconds."""
    try:
        yield
    except OverflowError:
        raise _too_long() from None
