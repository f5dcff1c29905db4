"""The shipped ReLU language model in PyTorch: what is trained, and what the NumPy decoder is held against."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Sizes of a pre-norm decoder with a plain ReLU feed-forward block."""

    layers: int = 4
    d_model: int = 128
    heads: int = 4
    d_ffn: int = 1024
    vocab: int = 2048
    context: int = 256
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with one learnt gain per channel; the statistics are always float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of ``x``."""
        wide = x.float()
        return wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps) * self.gain


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding that pairs channel i with channel i + head/2; x is (batch, heads, tokens, head)."""
    low, high = x.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


class Block(nn.Module):
    """One layer: attention, then ``W2 relu(W1 x)``, each behind a norm and added to the residual."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d = shape.d_model
        self.heads = shape.heads
        self.attn_norm = RMSNorm(d, shape.norm_eps)
        self.q = nn.Linear(d, d, bias=False)
        self.k = nn.Linear(d, d, bias=False)
        self.v = nn.Linear(d, d, bias=False)
        self.o = nn.Linear(d, d, bias=False)
        self.ffn_norm = RMSNorm(d, shape.norm_eps)
        self.w1 = nn.Linear(d, shape.d_ffn, bias=False)
        self.w2 = nn.Linear(shape.d_ffn, d, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Map the residual stream (batch, tokens, d_model) to the next layer's."""
        batch, tokens, d = x.shape
        h = self.attn_norm(x)
        q, k, v = (w(h).view(batch, tokens, self.heads, -1).transpose(1, 2) for w in (self.q, self.k, self.v))
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(mixed.transpose(1, 2).reshape(batch, tokens, d))
        y: Tensor = x + self.w2(F.relu(self.w1(self.ffn_norm(x))))
        return y


class ReluLM(nn.Module):
    """The whole model; the embedding is also the output head."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.vocab, shape.d_model)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.final_norm = RMSNorm(shape.d_model, shape.norm_eps)
        half = shape.d_model // shape.heads // 2
        rates = shape.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.outer(torch.arange(shape.context, dtype=torch.float64), rates)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)
        nn.init.normal_(self.embed.weight, std=0.02)
        for name, weight in self.named_parameters():
            if weight.ndim == 2 and name != "embed.weight":
                # what writes to the residual stream starts smaller, so that depth does not raise its variance
                shrink = (2 * shape.layers) ** -0.5 if name.endswith(("o.weight", "w2.weight")) else 1.0
                nn.init.normal_(weight, std=shrink * weight.shape[1] ** -0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, tokens, vocab) for token ids (batch, tokens)."""
        x = self.embed(tokens)
        cos, sin = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, cos, sin)
        return F.linear(self.final_norm(x), self.embed.weight)

    def plain_weights(self) -> dict[str, Tensor]:
        """The parameters under the names of the model folder: ``embed``, ``layers.0.q``, ..., ``final_norm``."""
        plain = {}
        for name, weight in self.named_parameters():
            name = name.removesuffix(".weight").removesuffix(".gain").replace("blocks.", "layers.")
            plain[name] = weight.detach()
        return plain

    def load_plain_weights(self, plain: dict[str, Tensor]) -> None:
        """Set all parameters from a dictionary as ``plain_weights`` gives it."""
        with torch.no_grad():
            for name, weight in self.plain_weights().items():
                weight.copy_(plain[name])
