"""Hermes-base (HPCA 2025, section V-A2): NDP-DIMMs without sparsity.

All neurons are computed. The whole QKV projection or feed-forward block of a layer is on the GPU, if its weights lie
there, else in the DIMMs; attention is in the DIMMs.
"""

import numpy as np

from ndpsim.llm.step import Step
from ndpsim.sparsity.groups import by_kind
from ndpsim.systems.hermes.offline import whole_layers
from ndpsim.systems.parts.shared_layers import GroupShare, LayerPlan, SharedLayers, TokenPlan
from ndpsim.systems.system import ONE_CARD, OTHER_FORMATS, Devices, Job, NoPolicy


class HermesBase(SharedLayers):
    """One GPU and NDP-DIMMs that compute a model densely."""

    name = "hermes-base"
    ignores = ("cpu", "preset", *ONE_CARD, *OTHER_FORMATS)

    def __init__(self, job: Job, devices: Devices, policy: NoPolicy) -> None:
        """Place the model. Raises InputError if something does not fit."""
        super().__init__(job, devices, policy)
        neurons = [job.shape.hidden, job.shape.ffn] * job.shape.layers
        placement = whole_layers(devices, self.dimms, neurons)
        self.counts = np.array([int(resident.sum()) for resident in placement.resident], np.int64)
        dimms = devices.dimms.dimms
        shares = [
            GroupShare([np.arange(0 if on_gpu else np.count_nonzero(dimm == d), dtype=np.uint32) for d in range(dimms)])
            for dimm, on_gpu in zip(placement.dimm, self.counts, strict=True)
        ]
        layers = [LayerPlan(qkv, ffn) for qkv, ffn in zip(*by_kind(shares), strict=True)]
        self.plan = TokenPlan(self.counts, layers)

    def decode(self, step: Step, now: int) -> int:
        """Run a token of each sequence; the plan is always the same."""
        return self.run(step, self.plan, now).end

    @property
    def resident_bytes(self) -> int:
        """Bytes of neurons in GPU memory."""
        return int(self.counts @ np.array(self.neuron_bytes))
