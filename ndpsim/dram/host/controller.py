"""The host memory controller: requests in, cycles and commands out. HOST_CONTROLLER.md says what it does.

`simulate` runs a whole trace. `HostController` takes requests block by block, for use from other programs.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ndpsim.dram.address_map import host_map
from ndpsim.dram.host import engine
from ndpsim.dram.host import state as host
from ndpsim.dram.host.constraint_table import HostRules, rules_of
from ndpsim.dram.host.decode import append, decoder_of, place
from ndpsim.dram.host.engine import run_channel, run_together
from ndpsim.dram.host.event_loop import run_in_turns, run_in_turns_together
from ndpsim.dram.host.log import HostLog
from ndpsim.dram.host.result import Beyond, HostResult
from ndpsim.dram.host.shared import state as sharing
from ndpsim.dram.host.shared.bursts import NdpBursts
from ndpsim.dram.host.state import RECORD, Policy, new_channels
from ndpsim.dram.log.log import Bus, CommandLog, LogWriter
from ndpsim.dram.requests.request import BLOCK, MAX_AFTER, Requests, Trace
from ndpsim.dram.standard.standard import Standard
from ndpsim.errors import InputError, OutputError

if TYPE_CHECKING:
    from ndpsim.dram.host.shared.ranks import SharedRanks

ROW_POLICIES = ("open", "closed", "timeout")
MAX_CLOCKS = 1 << 40
_LOG_RECORDS = 1 << 16
_DEPENDENT_BLOCK = 1 << 16
Append = Callable[[CommandLog], None]


@dataclass(frozen=True)
class HostConfig:
    """The controller's parameters, as HOST_CONTROLLER.md has them.

    None stands for a default: four and one fifths of `write_queue` for `high` and `low`, 64 clocks for each place of
    both queues for `starvation`, and the default map.
    """

    read_queue: int = 32
    write_queue: int = 32
    high: int | None = None
    low: int | None = None
    row_policy: str = "open"
    row_timeout: int = 0
    starvation: int | None = None
    refresh: str = "all_bank"
    postpone: int = 0
    ndp_window: int = 16
    ndp_policy: str = "host_first"
    address_map: str | None = None

    def filled(self) -> "HostConfig":
        """Return the same with the defaults in place of None."""
        high = -(-self.write_queue * 4 // 5) if self.high is None else self.high
        low = self.write_queue // 5 if self.low is None else self.low
        starvation = 64 * (self.read_queue + self.write_queue) if self.starvation is None else self.starvation
        return replace(self, high=high, low=low, starvation=starvation)


def _policy(config: HostConfig, standard: Standard, rules: HostRules, timed: bool, dependent: bool) -> Policy:
    """Check a configuration against the standard; an InputError lists all its faults."""
    kinds = ("none", *standard.refresh)
    faults = []

    def number(name: str, low: int, high: int) -> None:
        found = getattr(config, name)
        if type(found) is not int or not low <= found <= high:
            faults.append(f"{name}: expected an integer from {low} to {high}, found {found!r}")

    number("read_queue", 1, host.MAX_QUEUE)
    number("write_queue", 1, host.MAX_QUEUE)
    if not faults:
        config = config.filled()
        number("high", 1, config.write_queue)
        if not faults:
            number("low", 0, (config.high or 1) - 1)
    if config.starvation is not None:
        number("starvation", 1, host.MAX_STARVATION)
    number("ndp_window", 1, sharing.MAX_NDP_WINDOW)
    if config.ndp_policy not in sharing.NDP_POLICIES:
        faults.append(f"ndp_policy: expected one of {', '.join(sharing.NDP_POLICIES)}, found {config.ndp_policy!r}")
    if config.row_policy not in ROW_POLICIES:
        faults.append(f"row_policy: expected one of {', '.join(ROW_POLICIES)}, found {config.row_policy!r}")
    elif config.row_policy == "timeout":
        number("row_timeout", 1, MAX_CLOCKS)
    elif config.row_timeout != 0:
        faults.append(f"row_timeout: expected 0 unless row_policy is timeout, found {config.row_timeout!r}")
    if config.refresh not in kinds:
        faults.append(f"refresh: expected one of {', '.join(kinds)} for {standard.name}, found {config.refresh!r}")
        raise InputError("\n".join(faults))
    interval = sets = 0
    if config.refresh != "none":
        kind = standard.refresh[config.refresh]
        interval = kind.interval
        if config.refresh != "all_bank":
            sets = standard.organization.banks * rules.set_groups
        number("postpone", 0, kind.postpone * max(sets, 1) - 1)
    elif config.postpone != 0:
        faults.append(f"postpone: expected 0 without refresh, found {config.postpone!r}")
    if faults:
        raise InputError("\n".join(faults))
    return Policy(
        config.read_queue, config.write_queue, config.high or 0, config.low or 0, ROW_POLICIES.index(config.row_policy),
        config.row_timeout, config.starvation or 0, interval, config.postpone, sets, timed, dependent,
    )  # fmt: skip


def _rules(standard: Standard, refresh: str) -> HostRules:
    """Compile the standard; an InputError says what the engine has no room for."""
    rules = rules_of(standard, refresh)
    longest = max(rules.rows[:, 1].max(), rules.others[:, 1].max(initial=0), rules.windows[:, 3].max(initial=0))
    own = "channel" if rules.ranks == rules.ranks_per_bus else "pseudo-channel"
    for name, found, most in (
        (f"banks of a {own}", rules.banks // rules.ranks * rules.ranks_per_bus, host.MAX_BANKS),
        (f"ranks of a {own}", rules.ranks_per_bus, host.MAX_RANKS),
        ("constraints", max(len(rules.rows), len(rules.others)), host.MAX_ROWS),
        ("constraints with a window", len(rules.windows), host.MAX_WINDOWS),
        ("window", int(rules.windows[:, 4].max(initial=1)), host.MAX_WINDOW),
        ("longest constraint in clocks", int(longest), host.MAX_GAP),
    ):
        if found > most:
            raise InputError(f"{standard.name}: {name}: expected at most {most}, found {found}")
    return rules


class HostController:
    """The controllers of all channels of a memory system.

    `timed`: requests have arrival cycles; `dependent`: some may wait for others. `log` is called with piece
    after piece of the command log, in order of time. `threads`: at most so many channels at once (None: one a
    core); channels with dependencies between them run in one thread. `ndp`: what NDP units do in the ranks meanwhile,
    an entry for each rank of each channel in the order channel, pseudo-channel, rank.
    """

    def __init__(
        self,
        standard: Standard,
        config: HostConfig | None = None,
        *,
        timed: bool = False,
        dependent: bool = False,
        log: Append | None = None,
        threads: int | None = None,
        ndp: Sequence[NdpBursts | None] | None = None,
    ) -> None:
        self.standard = standard
        self.config = config or HostConfig()
        self._rules = _rules(standard, self.config.refresh)
        self._policy = _policy(self.config, standard, self._rules, timed, dependent)
        address_map = host_map(self.config.address_map, standard)
        self._decoder = decoder_of(address_map)
        self._beyond = Beyond(address_map.size)
        self.channels = standard.organization.channels
        self._pseudo_channels = standard.organization.pseudo_channels
        self._queues = self.channels * self._pseudo_channels  # each with its own sequence of requests
        self._state = new_channels(self._rules, self._policy, self.channels)
        self._threads = min(threads or os.cpu_count() or 1, self.channels)
        self._together = dependent and self.channels > 1
        self._shared = self._share(ndp)
        bus: Bus = "channel" if self._shared is None else "shared"
        self._log = HostLog(standard, self.config.refresh, log, bus) if log else None
        self._records = np.zeros((self.channels, _LOG_RECORDS if log else 0, len(RECORD)), np.int64)
        self._block, self._bounds = place(self._decoder, Requests(*np.zeros((4, 0), np.int64)), 0, self._queues)
        self._buffer = self._block
        self._done = np.empty(0, np.int64)
        self._origin = self._given = 0

    @property
    def entered(self) -> int:
        """Requests that have entered so far."""
        return int(self._state[:, host.ENTERED].sum())

    def feed(self, requests: Requests) -> None:
        """Take the next requests of the trace, and run as far as they determine what happens."""
        self._beyond = self._beyond.after(requests.address)
        taken = self._state[:, host.TAKEN].copy()
        left = self._bounds[1:] - self._bounds[:-1] - taken
        reuse = None if left.any() else self._buffer
        block, bounds = place(self._decoder, requests, self._given, self._queues, reuse)
        if len(block) > len(self._buffer):
            self._buffer = block
        self._block, self._bounds = append(self._block, self._bounds, taken, block, bounds)
        self._state[:, host.TAKEN] = 0
        self._given += len(requests.address)
        if self._policy.dependent:
            self._remember()
        self._run(engine.MORE)

    def finish(self) -> HostResult:
        """Serve all that is left and return what the run was."""
        self._run(engine.NOTHING_MORE)
        self._rest()
        ndp = self._shared.result() if self._shared else None
        return HostResult.of(self.standard, self.config, self._state, self._policy.sets, self._beyond, ndp)

    def _share(self, ndp: Sequence[NdpBursts | None] | None) -> "SharedRanks | None":
        """Return what runs the channels if NDP units use their ranks as well; its kernels are loaded only then."""
        if ndp is None:
            return None
        from ndpsim.dram.host.shared.ranks import SharedRanks

        shared = SharedRanks(self.standard, ndp, self.config.ndp_policy, self.config.ndp_window)
        return shared if shared.bursts else None

    def _remember(self) -> None:
        """Keep the completion times of requests on which later ones may depend; -1 where not known yet."""
        waiting = self._block[self._bounds[:-1][np.diff(self._bounds) > 0], host.R_NUMBER]
        origin = max(int(waiting.min(initial=self._given)) - MAX_AFTER, self._origin)
        done = np.full(self._given - origin, -1, np.int64)
        kept = self._done[origin - self._origin :]
        done[: len(kept)] = kept
        self._done, self._origin = done, origin
        self._state[:, host.ORIGIN] = origin

    def _run(self, after: int) -> None:
        if self._together:
            while self._run_together(after) == engine.LOG_FULL:
                self._drain()
        elif self._threads > 1:
            with ThreadPoolExecutor(self._threads) as pool:
                waiting = set(range(self.channels))
                while waiting:
                    full = list(pool.map(lambda k: self._run_one(k, after, host.FOREVER) == engine.LOG_FULL, waiting))
                    waiting = {channel for channel, again in zip(waiting, full, strict=True) if again}
                    self._drain()
        else:
            for channel in range(self.channels):
                while self._run_one(channel, after, host.FOREVER) == engine.LOG_FULL:
                    self._drain()
        self._drain()

    def _run_one(self, channel: int, after: int, until: int) -> int:
        where = self._block, self._bounds, after, until, self._records, self._done
        why: int
        if self._shared is not None:
            why = self._shared.run_channel(self._state, channel, *where)
        elif self._pseudo_channels > 1:
            why = run_in_turns(self._state, None, None, channel, self._pseudo_channels, *where)
        else:
            why = run_channel(self._state, channel, *where)
        return why

    def _run_together(self, after: int) -> int:
        where = self._block, self._bounds, after, self._records, self._done
        why: int
        if self._shared is not None:
            why = self._shared.run_together(self._state, *where)
        elif self._pseudo_channels > 1:
            why = run_in_turns_together(self._state, None, None, self._pseudo_channels, *where)
        else:
            why = run_together(self._state, *where)
        return why

    def _rest(self) -> None:
        """Let channels that ended early go on with refreshes until the last one ends."""
        until = int(self._state[:, host.NOW].max())
        for channel in range(self.channels):
            while self._run_one(channel, engine.OTHERS_GO_ON, until) == engine.LOG_FULL:
                self._drain()
        self._drain(final=True)

    def _drain(self, *, final: bool = False) -> None:
        """Hand the logged commands over."""
        if self._log is not None:
            used = self._state[:: self._pseudo_channels, host.LOGGED]
            self._log.take(self._records, used, None if final else self._state[:, host.NOW])
            self._state[:, host.LOGGED] = 0


def simulate(
    trace: Trace,
    standard: Standard,
    config: HostConfig | None = None,
    *,
    ndp: Sequence[NdpBursts | None] | None = None,
    log: Path | None = None,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> HostResult:
    """Run a trace and return cycles, counts, latencies and energy.

    `ndp`: what NDP units do in the ranks meanwhile, an entry for each rank of each channel in the order channel,
    pseudo-channel, rank; None for a rank whose unit rests. `log`: write all commands to this HDF5 file, whole or not at
    all. `progress` is told now and then how many requests have entered. Raises InputError for a trace, a configuration
    or NDP bursts that are not sound, and OutputError, with the result, if the log cannot be written.
    """

    def run(append: Append | None) -> HostResult:
        controller = HostController(
            standard, config, timed=trace.timed, dependent=trace.dependent, log=append, threads=threads, ndp=ndp
        )
        for requests in trace.blocks(_DEPENDENT_BLOCK if trace.dependent else BLOCK):
            controller.feed(requests)
            if progress is not None:
                progress(controller.entered)
        return controller.finish()

    if log is None:
        return run(None)
    shared = any(bursts is not None and len(bursts.row) > 0 for bursts in ndp or ())
    result = None
    try:
        with LogWriter(log, standard=standard.name, bus="shared" if shared else "channel") as writer:
            result = run(writer.append)
    except InputError as error:
        if result is None:
            raise
        raise OutputError(str(error), result) from None
    return result
