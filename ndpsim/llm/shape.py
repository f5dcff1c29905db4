"""The shape of a decoder-only language model: all sizes that time, energy and memory depend on, and no weights.

A block of the model is attention (projections to queries, keys and values, then an output projection) and a
feed-forward network, plain (``down(f(up(x)))``) or gated (``down(f(gate(x)) * up(x))``), each behind a norm of its own.
In a parallel block (Falcon) both read the block's input, behind one norm or two.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field

from ndpsim.tables import Table, table_from

MAX_COUNT = 1 << 24
SCALE_BYTES = 2
INT4_GROUP = 128
Precision = Literal["fp16", "int8", "int4"]
Activation = Literal["relu", "gelu", "silu"]


def _once_each(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("each kind of linear layer at most once")
    return values


Count = Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT)]
_Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(strict=True, pattern=r"^\w[\w.-]*$")]
Text = Annotated[str, Field(strict=True, min_length=1)]
_Biases = Annotated[tuple[Literal["qkv", "output", "ffn"], ...], AfterValidator(_once_each)]


class WeightMatrix(NamedTuple):
    """The weights of a linear operator, shape (outputs, inputs), and whether it has a bias of shape (outputs,)."""

    name: str
    outputs: int
    inputs: int
    bias: bool = False

    def weights(self) -> int:
        """Return the number of weights, bias included."""
        return self.outputs * (self.inputs + self.bias)

    def bytes(self, precision: Precision) -> int:
        """Return the bytes of the weights, one row of inputs for each output, and of the bias in FP16."""
        return self.outputs * (row_bytes(self.inputs, precision) + 2 * self.bias)


class ModelShape(Table):
    """One model file of `workloads/models/`. Made by `shape_from` or `load_shape`, which also check the sizes.

    `context` is the number of tokens that a sequence can have. `positions` is `learned` (a table of `context` +
    `position_offset` rows that is added to the embedding), `rotary` (queries and keys are turned), `alibi` (a bias for
    each distance, no weights), `relative` (Transformer-XL: each layer projects an encoding of all distances and has two
    bias vectors for its queries) or `none`. `biases` are the linear layers of a block that have one. `block` is
    `sequential`, or has attention and feed-forward in parallel behind one norm or two.
    """

    name: Name
    layers: Count
    hidden: Count
    heads: Count
    kv_heads: Count
    head_width: Count
    ffn: Count
    vocab: Count
    context: Count
    gated: _Flag
    activation: Activation
    norm: Literal["layer", "rms"]
    positions: Literal["learned", "rotary", "alibi", "relative", "none"]
    position_offset: Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)] = 0
    biases: _Biases = ()
    block: Literal["sequential", "parallel_one_norm", "parallel_two_norms"] = "sequential"
    tied_embedding: _Flag
    source: Text

    @property
    def attention_width(self) -> int:
        """Width of the queries of one token, all heads."""
        return self.heads * self.head_width

    @property
    def kv_width(self) -> int:
        """Width of the keys of one token, all KV heads; also that of its values."""
        return self.kv_heads * self.head_width

    @property
    def norms(self) -> int:
        """Norms of a layer."""
        return 1 if self.block == "parallel_one_norm" else 2

    @property
    def norm_weights(self) -> int:
        """Weights of one norm: a gain, and a bias in a layer norm."""
        return self.hidden * (2 if self.norm == "layer" else 1)

    def matrices(self) -> list[WeightMatrix]:
        """Return the matrices of one layer, fused as they are executed; a step does not use `relative_positions`."""
        qkv = WeightMatrix("qkv", self.attention_width + 2 * self.kv_width, self.hidden, "qkv" in self.biases)
        relative = WeightMatrix("relative_positions", self.attention_width, self.hidden)
        output = WeightMatrix("output", self.hidden, self.attention_width, "output" in self.biases)
        bias = "ffn" in self.biases
        name, width = ("gate_up", 2 * self.ffn) if self.gated else ("up", self.ffn)
        up = WeightMatrix(name, width, self.hidden, bias)
        down = WeightMatrix("down", self.hidden, self.ffn, bias)
        return [qkv, *([relative] if self.positions == "relative" else []), output, up, down]

    def layer_parameters(self) -> int:
        """Return the weights of one layer."""
        query_biases = 2 * self.attention_width if self.positions == "relative" else 0
        return sum(matrix.weights() for matrix in self.matrices()) + query_biases + self.norms * self.norm_weights

    def outer_parameters(self) -> int:
        """Return the weights outside of the layers: embedding, learned positions, final norm, output head if untied."""
        tables = self.vocab * (1 if self.tied_embedding else 2)
        if self.positions == "learned":
            tables += self.context + self.position_offset
        return tables * self.hidden + self.norm_weights

    def parameters(self) -> int:
        """Return the weights of the whole model; a tied embedding counts once."""
        return self.outer_parameters() + self.layers * self.layer_parameters()

    def weight_bytes(self, precision: Precision = "fp16") -> int:
        """Return the bytes of the whole model.

        The matrices of the layers are stored in `precision` (rows of inputs, see `row_bytes`); embedding, positions,
        output head, norms and biases stay FP16, as in GPTQ and AWQ.
        """
        matrices = self.matrices()
        others = self.layer_parameters() - sum(matrix.weights() for matrix in matrices)
        layer = sum(matrix.bytes(precision) for matrix in matrices) + 2 * others
        return 2 * self.outer_parameters() + self.layers * layer

    def kv_bytes_per_token(self, precision: Precision = "fp16") -> int:
        """Return the bytes that one token takes in the KV cache: a key and a value for each KV head of each layer."""
        return self.layers * 2 * self.kv_heads * row_bytes(self.head_width, precision)

    def with_overrides(self, **fields: object) -> "ModelShape":
        """Return the shape with other values, such as ``activation="relu"``. Raises InputError as `shape_from` does."""
        return shape_from({**self.model_dump(), **fields}, f"model {self.name}")

    def to_toml(self) -> str:
        """Return the text of a model file that loads back equal."""
        return "".join(f"{name} = {_toml(value)}\n" for name, value in self.model_dump().items())


def row_bytes(width: int, precision: Precision) -> int:
    """Return the bytes of a row of values: inputs of one output of a matrix, a head's key, activations of a token.

    FP16 takes 2 bytes a value. INT8 has one FP16 scale a row. INT4 has one FP16 scale for each group of 128 values of
    the row, and whole bytes a row; scales are symmetric, there are no zero points.
    """
    if precision == "fp16":
        return 2 * width
    if precision == "int8":
        return width + SCALE_BYTES
    return (width + 1) // 2 + SCALE_BYTES * -(-width // INT4_GROUP)


def shape_from(content: Mapping[str, Any], where: str) -> ModelShape:
    """Return the shape that the content of a model file describes.

    `kv_heads` is that of `heads`, and `head_width` is `hidden` / `heads`, where they are not given.

    Raises:
        InputError: an entry is missing, unknown, or cannot be; every fault is listed, one on a line, after `where`.
    """
    return table_from(ModelShape, _with_defaults(content), where, faults_of_sizes(content), lines=True)


def faults_of_sizes(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong between the sizes of a model, whatever the form of the others, one sentence each."""
    hidden, heads, kv_heads = (_count(content, name) for name in ("hidden", "heads", "kv_heads"))
    width = _count(content, "head_width")
    if heads and kv_heads and heads % kv_heads:
        yield f"kv_heads: expected a divisor of heads = {heads}, found {kv_heads}"
    if "head_width" not in content and hidden and heads:
        if hidden % heads:
            yield f"hidden: expected a multiple of heads = {heads}, or a head_width, found {hidden}"
        width = hidden // heads
    if content.get("positions") == "rotary" and width and width % 2:
        yield f"head_width: expected an even number, for rotary positions, found {width}"
    if content.get("positions") != "learned" and _count(content, "position_offset"):
        yield f"position_offset: expected 0 unless positions are learned, found {content['position_offset']}"


def _with_defaults(content: Mapping[str, Any]) -> dict[str, Any]:
    hidden, heads = _count(content, "hidden"), _count(content, "heads")
    width = hidden // heads if heads else 0
    return {"kv_heads": heads or 1, "head_width": width or 1, **content}  # 1: refused, for a fault of the sizes


def _count(content: Mapping[str, Any], name: str) -> int:
    """Return a count of the content, 0 if there is none of the right form."""
    value = content.get(name)
    return value if type(value) is int and 1 <= value <= MAX_COUNT else 0


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
