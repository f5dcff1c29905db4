"""The host controller's commands on their way into a command log: put in order of time over all channels."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.host import commands
from ndpsim.dram.host.state import RECORD, Ints
from ndpsim.dram.log.log import COMMANDS, Bus, CommandLog
from ndpsim.dram.standard.standard import Standard

_NAMES = {
    getattr(commands, name): name for name in ["ACT", "PRE", "PREA", "RD", "WR", "REF", "RDA", "WRA", "RDN", "WRN"]
}


class HostLog:
    """Gives sorted pieces of the log of all channels to `append`."""

    def __init__(
        self, standard: Standard, refresh: str, append: Callable[[CommandLog], None], bus: Bus = "channel"
    ) -> None:
        self._standard = standard
        self._bus = bus
        self._append = append
        self._codes = np.zeros(len(_NAMES) + 1, np.uint8)
        for number, name in _NAMES.items():
            self._codes[number] = COMMANDS.index(name)
        self._refreshes_all_groups = False
        if refresh not in ("none", "all_bank"):
            kind = standard.refresh[refresh]
            self._codes[commands.REFSET] = COMMANDS.index(kind.command)
            self._refreshes_all_groups = kind.covers_groups == standard.organization.bank_groups
        self._held = np.empty((0, len(RECORD) + 1), np.int64)

    def take(self, records: NDArray[np.int64], used: Ints, reached: Ints | None) -> None:
        """Take records [channels, n, 5], of which `used` [channels] are new.

        `reached` [channels]: cycles before which a channel issues no more commands; None if all have ended.
        """
        parts = [self._held]
        for channel, count in enumerate(used):
            part = np.full((count, len(RECORD) + 1), channel, np.int64)
            part[:, 1:] = records[channel, :count]
            parts.append(part)
        held = np.concatenate(parts)
        held = held[np.lexsort((held[:, 0], held[:, 1]))]  # stable: a channel's commands stay in their order
        sure = len(held) if reached is None else int(np.searchsorted(held[:, 1], reached.min()))
        self._held = held[sure:]
        if sure:
            self._append(self._piece(held[:sure]))

    def _piece(self, records: NDArray[np.int64]) -> CommandLog:
        shape = self._standard.organization
        channel, cycle, command, number, row, column = records.T
        of_rank = (command == commands.PREA) | (command == commands.REF)
        per_rank = shape.bank_groups * shape.banks
        rank = np.where(of_rank, number, number // per_rank)
        bank_group = np.where(of_rank, -1, number % per_rank // shape.banks)
        bank_group[(command == commands.REFSET) & self._refreshes_all_groups] = -1
        return CommandLog.of(
            self._standard.name,
            self._bus,
            cycle=cycle.copy(),
            command=self._codes[command],
            channel=channel.astype(np.int16),
            pseudo_channel=(rank // shape.ranks).astype(np.int16),
            rank=(rank % shape.ranks).astype(np.int16),
            bank_group=bank_group.astype(np.int16),
            bank=np.where(of_rank, -1, number % shape.banks).astype(np.int16),
            row=row.astype(np.int32),
            column=column.astype(np.int32),
        )
