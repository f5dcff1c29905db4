"""Hermes-base (HPCA 2025, section V-A2): NDP-DIMMs without sparsity.

All neurons are computed. The whole QKV projection or feed-forward block of a layer is on the GPU, if its weights lie
there, else in the DIMMs; attention is in the DIMMs.
"""

import numpy as np

from ndpsim.systems.hermes.offline import whole_layers
from ndpsim.systems.parts.shared_layers import Share, SharedLayers
from ndpsim.systems.system import Devices, Job, NoPolicy


class HermesBase(SharedLayers):
    """One GPU and NDP-DIMMs that compute a model densely."""

    name = "hermes-base"

    def __init__(self, job: Job, devices: Devices, policy: NoPolicy) -> None:
        """Place the model. Raises InputError if something does not fit."""
        super().__init__(job, devices, policy)
        neurons = [job.shape.hidden, job.shape.ffn] * job.shape.layers
        placement = whole_layers(devices.config, self.dimms, neurons)
        self.counts = np.array([int(resident.sum()) for resident in placement.resident], np.int64)
        dimms = devices.dimms.dimms
        self.shares = [
            Share([np.arange(0 if on_gpu else np.count_nonzero(dimm == d), dtype=np.uint32) for d in range(dimms)])
            for dimm, on_gpu in zip(placement.dimm, self.counts, strict=True)
        ]

    def token(self, number: int, now: int) -> int:
        """Run a token of all sequences."""
        return self.step(number, now, self.counts)

    def share(self, group: int) -> Share:
        """Return all neurons of a group that is not on the GPU."""
        return self.shares[group]

    @property
    def resident_bytes(self) -> int:
        """Bytes of neurons in GPU memory."""
        return int(self.counts @ np.array(self.neuron_bytes))
