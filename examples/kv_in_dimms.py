"""Attention and its KV cache in the DIMMs; the GPU computes all else, with weights that do not fit coming over PCIe."""

from ndpsim.machine.dense_step import dense_step
from ndpsim.machine.ndp_model import NdpModel
from ndpsim.systems.system import System


class KvInDimms(System):
    name = "kv-in-dimms"

    def __init__(self, job, devices, policy):
        super().__init__(job, devices, policy)
        self.ndp = NdpModel(devices.dimms, job.shape, job.batch, job.capacity)
        self.streamed = max(0, job.shape.weight_bytes() - devices.weight_bytes)

    def forward(self, step, now):
        shape, tokens = self.job.shape, step.tokens
        times = dense_step(self.devices.gpu, shape, step)
        if step.decodes is None:  # prompts, without waiting for DIMMs
            computed = self.gpu("prompt", now, times.embedding + shape.layers * times.layer + times.head)
            there = max(computed, now + self.pcie("weights", self.streamed))
            return there + self.pcie("kv", tokens * shape.kv_bytes_per_token())
        for layer in range(shape.layers):
            loaded = now + self.pcie("weights", self.streamed // shape.layers)  # of the next layer
            sent = self.gpu("qkv", now, times.qkv) + self.pcie("d2h", 2 * tokens * shape.matrices()[0].outputs)
            attended = self.ndp.attend(layer, self.ndp.contexts(step), sent).end
            self.meter.work("dimms", "attention", sent, attended, layer)
            back = attended + self.pcie("h2d", 2 * tokens * shape.attention_width)
            now = max(loaded, self.gpu("projection and ffn", back, times.projection + times.ffn))
        return self.gpu("head", now, times.embedding + times.head)

    def gpu(self, operation, begin, time):
        self.meter.work("gpu", operation, begin, begin + time)
        return begin + time
