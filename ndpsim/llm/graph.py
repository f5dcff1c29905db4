"""The operators of one forward pass, with the work and the bytes of each.

What is counted:

- A multiply-accumulate is 2 FLOPs. A linear operator has ``2 m n k``, and ``m n`` for a bias. Attention has ``4`` for
  each pair of a query and a token that it attends to, each head and each channel of a head: the products with K and
  with V, causal pairs alone. The softmax, and what ALiBi adds to scores, are not counted.
- `relative` positions add 2 FLOPs to those of attention, for the product with the projected distances. These depend on
  weights alone: they are taken as projected once, before all steps, and kept in FP16, and attention reads those of the
  longest context of the step.
- For each value: 4 FLOPs in an RMS norm (square, sum, scale, gain), 7 in a layer norm (mean, difference, square, sum,
  scale, gain, bias), 3 in a rotation, 1 in a sum; ReLU 1, SiLU 4 (negate, exponential, sum, quotient), GELU 9 (the tanh
  form), and 1 for the product with the gate.
- An operator reads its inputs and its weights once and writes its outputs once. Every row of activations (one token)
  takes `row_bytes` of its width. An embedding reads the rows that it looks up, and 4 bytes for the id of each token.
- Attention reads K and V of the cached tokens from the KV cache, once for all queries and heads of a sequence, has
  those of new tokens among its inputs, and writes them to the cache. A key or value of one head is a row of its own.
- Matrices of the layers have the type `weights`; embedding, positions, output head, norms and biases are FP16, as in
  `ModelShape.weight_bytes`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ndpsim.errors import InputError
from ndpsim.llm.shape import Activation, ModelShape, Precision, WeightMatrix, row_bytes
from ndpsim.llm.step import Step

TOKEN_ID_BYTES = 4
Kind = Literal["embedding", "norm", "linear", "rotary", "attention", "activation", "elementwise"]
_ACTIVATION_FLOPS: dict[Activation, int] = {"relu": 1, "silu": 4, "gelu": 9}


class Linear(NamedTuple):
    """``m`` tokens times a matrix with ``n`` outputs and ``k`` inputs."""

    m: int
    n: int
    k: int


class RowSizes(NamedTuple):
    """So many rows (one for each token) of so many values, as the operator writes them."""

    rows: int
    width: int


class AttentionSizes(NamedTuple):
    """Heads, and for each sequence its queries (new tokens) and its context (all tokens, the new ones included)."""

    heads: int
    kv_heads: int
    head_width: int
    queries: tuple[int, ...]
    contexts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator; its work and bytes are those of one execution, and it is executed `repeat` times (once a layer)."""

    name: str
    kind: Kind
    repeat: int
    shape: Linear | RowSizes | AttentionSizes
    flops: int
    weight_bytes: int
    input_bytes: int
    output_bytes: int
    kv_read_bytes: int = 0
    kv_write_bytes: int = 0

    @property
    def activation_bytes(self) -> int:
        """Bytes of inputs and outputs."""
        return self.input_bytes + self.output_bytes


class StepTotals(NamedTuple):
    """Sums over operators and their repetitions."""

    flops: int
    weight_bytes: int
    activation_bytes: int
    kv_read_bytes: int
    kv_write_bytes: int


def graph(
    shape: ModelShape,
    step: Step,
    weights: Precision = "fp16",
    activations: Precision = "fp16",
    kv: Precision = "fp16",
) -> list[Operator]:
    """Return the operators of a step in order of execution; those of a layer stand once, with `repeat` = layers.

    The final norm and the output head see the tokens alone whose logits are wanted, and are left out if there are none.

    Raises:
        InputError: a sequence is longer than the model's context.
    """
    if max(step.contexts) > shape.context:
        raise InputError(
            f"step: expected at most {shape.context} tokens in a sequence, the context of {shape.name}, "
            f"found {max(step.contexts)}"
        )
    maker = _Maker(shape, step, weights, activations, kv)
    return [*maker.before(), *maker.layer(), *maker.after()]


def totals(operators: Iterable[Operator]) -> StepTotals:
    """Return the work and the bytes of all operators together."""
    flops = weights = activations = read = written = 0
    for one in operators:
        flops += one.repeat * one.flops
        weights += one.repeat * one.weight_bytes
        activations += one.repeat * one.activation_bytes
        read += one.repeat * one.kv_read_bytes
        written += one.repeat * one.kv_write_bytes
    return StepTotals(flops, weights, activations, read, written)


@dataclass(slots=True)
class _Maker:
    """Makes the operators of one step."""

    shape: ModelShape
    step: Step
    weights: Precision
    activations: Precision
    kv: Precision

    def before(self) -> Iterator[Operator]:
        rows, hidden = self.step.tokens, self.shape.hidden
        looked_up, row = 2 * rows * hidden, rows * self._row(hidden)
        yield Operator("embedding", "embedding", 1, RowSizes(rows, hidden), 0, looked_up, TOKEN_ID_BYTES * rows, row)
        if self.shape.positions == "learned":
            flops = rows * hidden
            yield Operator("position_embedding", "embedding", 1, RowSizes(rows, hidden), flops, looked_up, row, row)

    def layer(self) -> Iterator[Operator]:
        shape, hidden = self.shape, self.shape.hidden
        tokens = self.step.tokens
        linear = {matrix.name: self._linear(matrix, tokens, shape.layers, self.weights) for matrix in shape.matrices()}
        yield self._norm("attention_norm", tokens, shape.layers)
        yield linear["qkv"]
        if shape.positions == "rotary":
            width = shape.attention_width + shape.kv_width
            yield self._rows("rotary", "rotary", width, flops=3, inputs=(width,))
        yield self._attention()
        yield linear["output"]
        if shape.block == "sequential":
            yield self._rows("attention_residual", "elementwise", hidden, flops=1, inputs=(hidden,) * 2)
        if shape.block != "parallel_one_norm":
            yield self._norm("ffn_norm", tokens, shape.layers)
        yield linear["gate_up" if shape.gated else "up"]
        flops, read = _ACTIVATION_FLOPS[shape.activation] + shape.gated, (1 + shape.gated) * shape.ffn
        yield self._rows("activation", "activation", shape.ffn, flops, inputs=(read,))
        yield linear["down"]
        if shape.block == "sequential":
            yield self._rows("ffn_residual", "elementwise", hidden, flops=1, inputs=(hidden,) * 2)
        else:
            yield self._rows("residual", "elementwise", hidden, flops=2, inputs=(hidden,) * 3)

    def after(self) -> Iterator[Operator]:
        if rows := self.step.logit_tokens:
            yield self._norm("final_norm", rows, repeat=1)
            yield self._linear(WeightMatrix("lm_head", self.shape.vocab, self.shape.hidden), rows, 1, "fp16")

    def _row(self, width: int) -> int:
        return row_bytes(width, self.activations)

    def _norm(self, name: str, rows: int, repeat: int) -> Operator:
        hidden = self.shape.hidden
        flops = (7 if self.shape.norm == "layer" else 4) * rows * hidden
        moved = rows * self._row(hidden)
        return Operator(name, "norm", repeat, RowSizes(rows, hidden), flops, 2 * self.shape.norm_weights, moved, moved)

    def _linear(self, matrix: WeightMatrix, m: int, repeat: int, precision: Precision) -> Operator:
        n, k = matrix.outputs, matrix.inputs
        flops, weights = m * n * (2 * k + matrix.bias), matrix.bytes(precision)
        read, written = m * self._row(k), m * self._row(n)
        return Operator(matrix.name, "linear", repeat, Linear(m, n, k), flops, weights, read, written)

    def _rows(self, name: str, kind: Kind, width: int, flops: int, inputs: tuple[int, ...]) -> Operator:
        """Return an operator without weights: its FLOPs for a value that it writes, and widths of the rows it reads."""
        rows = self.step.tokens
        read, written = rows * sum(map(self._row, inputs)), rows * self._row(width)
        return Operator(name, kind, self.shape.layers, RowSizes(rows, width), flops * rows * width, 0, read, written)

    def _attention(self) -> Operator:
        shape, step = self.shape, self.step
        width = shape.attention_width
        products, weights = 2, 0
        if shape.positions == "relative":  # two biases of the queries, and the distances
            products, weights = 3, 2 * (2 + max(step.contexts)) * width
        token = 2 * shape.kv_heads * row_bytes(shape.head_width, self.kv)
        sizes = AttentionSizes(shape.heads, shape.kv_heads, shape.head_width, step.new_tokens, step.contexts)
        return Operator(
            "attention",
            "attention",
            shape.layers,
            sizes,
            flops=2 * products * step.pairs * width,
            weight_bytes=weights,
            input_bytes=step.tokens * self._row(width + 2 * shape.kv_width),
            output_bytes=step.tokens * self._row(width),
            kv_read_bytes=step.cached * token,
            kv_write_bytes=step.tokens * token,
        )
