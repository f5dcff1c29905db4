"""A run made by hand, without a simulation: times, bytes and counts small enough to work out every figure on paper.

Three sequences; a prompt of 2 us, then passes of 0.5, 0.3 and 0.7 us: 3.5 us and four tokens each. Two cards of 400 W,
a CPU of 150 W. Two DIMMs of four ranks each, of which only one rank a DIMM works, unevenly.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from ndpsim.dimm.config import load_machine
from ndpsim.dimm.energy import NdpWork
from ndpsim.dram.standard.currents import DeviceEnergies
from ndpsim.dram.standard.standard import with_overrides
from ndpsim.machine.meter import Meter

ENERGIES = DeviceEnergies(
    kind="energies", data_rate_mtps=3200, activate_pj=1000, read_pj_per_bit=2, write_pj_per_bit=3, refresh_pj=8000,
    precharged_mw=50, active_mw=60, source="made up",
    interface={"read_pj_per_bit": 0.5, "write_pj_per_bit": 0.25, "source": "made up"},
)  # fmt: skip
UNIT_ENERGIES = {
    "mac_f16": 0.5, "mac_bf16": 0.25, "mac_i8": 0.125, "buffer_byte": 1.5, "vector_operation": 2.0, "link_bit": 1.25,
    "static": 100.0,
}  # fmt: skip


def machine(currents=ENERGIES, energies=UNIT_ENERGIES):
    """Two DIMMs of four ranks of four devices; a clock of 625 ps, 22 clocks of tRP and 560 of tRFC."""
    made = load_machine("hermes", dimms=2)
    standard = replace(with_overrides(made.standard, {"nRP": 22, "nRFC": 560}), currents=currents)
    energy = None
    if energies is not None:
        shipped = made.config.energy
        changes = {name: getattr(shipped, name).model_copy(update={"value": one}) for name, one in energies.items()}
        energy = shipped.model_copy(update=changes)
    return replace(made, standard=standard, config=made.config.model_copy(update={"energy": energy}))


def counters():
    """int64[2 DIMMs, 4 ranks, 7]: rank 1 of DIMM 0 reads and writes and is refreshed once, rank 3 of DIMM 1 reads."""
    found = np.zeros((2, 4, 7), np.int64)
    found[0, 1] = [3, 9, 9, 350, 50, 1, 9]  # ACT, PRE, PREA, RD, WR, REF, trains
    found[1, 3] = [2, 9, 9, 50, 0, 0, 9]
    return found


WORK = NdpWork(1_000_000, 200_000, 400_000, 1_000_000, 300_000, 80)


def hand_made_meter():
    """What the devices did: GPU 2.5 us, CPU 0.35 us, DIMMs 1.4 us, PCIe 0.5 us, the link between DIMMs 0.1 us."""
    made = Meter()
    made.work("gpu", "prompt", 0, 2_000_000)
    made.work("pcie", "prompt", 0, 400_000)
    made.work("gpu", "qkv", 2_000_000, 2_200_000, 0)
    made.work("cpu", "attention", 2_200_000, 2_550_000, 0)
    made.work("dimms", "ffn", 2_100_000, 3_500_000, 1)
    made.work("gpu", "ffn", 2_900_000, 3_200_000, 1)
    made.work("pcie", "hidden", 3_200_000, 3_300_000, 1)
    made.work("dimm-link", "remap", 3_300_000, 3_400_000, 1)
    for operation, time in (("prompt", 2_000_000), ("qkv", 200_000), ("attention", 350_000), ("ffn", 950_000)):
        made.spend(operation, time)
    for link, size in (("h2d", 1000), ("d2h", 24), ("remap", 640), ("h2d", 500)):
        made.move(link, size)
    made.count("swaps", 7)
    return made


def ndp():
    """The DIMMs: 1 us and 0.25 us in which rows moved, 25,600 and 3,200 bytes."""
    return SimpleNamespace(
        stream_ps=np.array([1_000_000, 250_000]), dram_bytes=np.array([25_600, 3_200]), counters=counters(), work=WORK
    )


def hand_made_setup():
    """Three sequences, and two changes: one of a value that was there before, one of a value that was not."""
    changes, before = {"gpu.card": "mine", "dimm.ranks": 2}, {"gpu.card": "theirs"}
    return SimpleNamespace(batch=3, prompt=17, output=4, changes=changes, before=before)


def hand_made_run(*, prompt_ps=2_000_000, token_ps=(500_000, 300_000, 700_000), dimms=None, has_ndp=True, figures=None):
    """The run, as `figures_of` takes one."""
    system = SimpleNamespace(
        name="by-hand", meter=hand_made_meter(), ndp=ndp() if has_ndp else None, figures=lambda: figures or {}
    )
    power = SimpleNamespace(value=150.0)
    config = SimpleNamespace(
        name="desk",
        gpu=SimpleNamespace(count=SimpleNamespace(value=2)),
        cpu=SimpleNamespace(power_w=power),
    )
    gpu = SimpleNamespace(origin="a card of 400 W", card=SimpleNamespace(power_w=400.0))
    tokens = 1 + len(token_ps) if prompt_ps is not None else 0
    return SimpleNamespace(
        plugin=None, tokens=tokens, complete=tokens == 4, prompt_ps=prompt_ps, token_ps=list(token_ps),
        now_ps=(prompt_ps or 0) + sum(token_ps), setup=hand_made_setup(), system=system,
        job=SimpleNamespace(shape=SimpleNamespace(name="a model")),
        devices=SimpleNamespace(config=config, gpu=gpu, dimms=dimms or machine()),
    )  # fmt: skip
