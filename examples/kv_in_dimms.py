"""Attention and its KV cache in the DIMMs; the GPU computes all else, with weights that do not fit coming over PCIe."""

import numpy as np

from ndpsim.llm.step import Step
from ndpsim.machine.dense_step import dense_step
from ndpsim.machine.ndp_model import NdpModel
from ndpsim.systems.system import System


class KvInDimms(System):
    name = "kv-in-dimms"

    def __init__(self, job, devices, policy):
        super().__init__(job, devices, policy)
        self.ndp = NdpModel(devices.dimms, job.shape, job.batch, job.prompt + job.output)
        self.streamed = max(0, job.shape.weight_bytes() - int(devices.config.gpu.weights_gb.value * 1e9))

    def prompt(self):
        shape, batch, tokens = self.job.shape, self.job.batch, self.job.prompt
        times = dense_step(self.devices.gpu, shape, Step.prefill(batch, tokens))
        computed = self.gpu("prompt", 0, times.embedding + shape.layers * times.layer + times.head)
        there = max(computed, self.pcie("weights", self.streamed))
        return there + self.pcie("kv", batch * tokens * shape.kv_bytes_per_token())

    def token(self, number, now):
        shape, batch, context = self.job.shape, self.job.batch, self.job.prompt + number
        times = dense_step(self.devices.gpu, shape, Step.decode(batch, context))
        for layer in range(shape.layers):
            loaded = now + self.pcie("weights", self.streamed // shape.layers)  # of the next layer
            sent = self.gpu("qkv", now, times.qkv) + self.pcie("d2h", 2 * batch * shape.matrices()[0].outputs)
            attended = self.ndp.attend(layer, np.full(batch, context + 1), sent).end
            self.meter.work("dimms", "attention", sent, attended, layer)
            back = attended + self.pcie("h2d", 2 * batch * shape.attention_width)
            now = max(loaded, self.gpu("projection and ffn", back, times.projection + times.ffn))
        return self.gpu("head", now, times.embedding + times.head)

    def gpu(self, operation, begin, time):
        self.meter.work("gpu", operation, begin, begin + time)
        return begin + time
