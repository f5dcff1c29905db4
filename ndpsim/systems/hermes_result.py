"""What a run of Hermes tells: times, bytes over each link, joules of the DIMMs, and how good the predictor was."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.sparsity.predictor import PredictionQuality


@dataclass
class Result:
    """What a run took: simulated picoseconds of the prompt and of each token, by operation, bytes by link, counts.

    operation_ps: time of each operation on the critical path. link_bytes: PCIe (`h2d`, `d2h`, `swap`) and DIMM-Link
    (`remap`). gpu_ps: time of its kernels. dimm_ps, dram_bytes: int64[DIMMs], time in which each moved rows, and bytes.
    moved: neurons that changed DIMMs; waiting: hot neurons that found no room, summed over layers and tokens.
    """

    model: str
    system: str
    sequences: int
    prompt_tokens: int
    gpu: str
    resident_bytes: int
    prompt_ps: int = 0
    token_ps: list[int] = field(default_factory=list)
    operation_ps: dict[str, int] = field(default_factory=dict)
    link_bytes: dict[str, int] = field(default_factory=dict)
    gpu_ps: int = 0
    dimm_ps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    dram_bytes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    energy: dict[str, object] = field(default_factory=dict)
    quality: PredictionQuality | None = None
    moved: int = 0
    waiting: int = 0

    def count(self, link: str, size: int) -> None:
        """Add bytes of a link."""
        self.link_bytes[link] = self.link_bytes.get(link, 0) + size

    def spend(self, operation: str, time: int) -> None:
        """Add picoseconds of an operation."""
        self.operation_ps[operation] = self.operation_ps.get(operation, 0) + time

    @property
    def simulated_s(self) -> float:
        """Prompt and all tokens."""
        return (self.prompt_ps + sum(self.token_ps)) * 1e-12

    @property
    def tokens_per_s(self) -> float:
        """Tokens of all sequences, end to end, with the prompt: the paper's metric."""
        return len(self.token_ps) * self.sequences / self.simulated_s

    def record(self) -> dict[str, Any]:
        """Return the figures of a report, times in seconds."""
        decode = sum(self.token_ps) * 1e-12
        first = self.token_ps[0] * 1e-12
        streams = self.dimm_ps * 1e-12
        quality = None
        if self.quality is not None:
            shares = self.quality.shares(range(len(self.quality.true_positives)))
            quality = {name: float(getattr(shares, name)) for name in ("precision", "recall", "accuracy")}
        return {
            "system": self.system,
            "model": self.model,
            "sequences": self.sequences,
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": len(self.token_ps),
            "gpu": self.gpu,
            "tokens_per_s": self.tokens_per_s,
            "simulated_s": self.simulated_s,
            "time_to_first_token_s": self.prompt_ps * 1e-12 + first,
            "time_per_output_token_s": decode / len(self.token_ps),
            "operation_s": {name: time * 1e-12 for name, time in self.operation_ps.items()},
            "gpu_busy_s": self.gpu_ps * 1e-12,
            "dimm_busy_s": streams.tolist(),
            "dimm_gb_per_s": [float(b / s / 1e9) if s else 0.0 for b, s in zip(self.dram_bytes, streams, strict=True)],
            "dimm_imbalance": float(streams.max() / streams.mean()) if streams.any() else 1.0,
            "link_bytes": dict(self.link_bytes),
            "resident_bytes": self.resident_bytes,
            "neurons_moved": self.moved,
            "predictor": quality,
            **self.energy,
        }
