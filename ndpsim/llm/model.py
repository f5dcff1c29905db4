"""A language model that can be run: its shape, and all its weights, from a model folder.

A model folder holds ``model.toml`` and the three files that it names: the weights (safetensors), the sentencepiece
tokenizer and a held-out text. The architecture is a pre-norm decoder: RMSNorm, rotary embedding (channel i of a head
turns with channel i + half), multi-head attention, a plain feed-forward block ``w2 @ relu(w1 @ x)``, no biases, and the
embedding as output head. The tensors are

========================== ===================  ==============================================
name                       shape                role
========================== ===================  ==============================================
``embed``                  (vocab, d_model)     embedding, and output head
``layers.N.attn_norm``     (d_model,)           gain before attention
``layers.N.q|k|v|o``       (d_model, d_model)   projections, output channel first
``layers.N.ffn_norm``      (d_model,)           gain before the feed-forward block
``layers.N.w1``            (d_ffn, d_model)     row n is the input side of neuron n
``layers.N.w2``            (d_model, d_ffn)     column n is the output side of neuron n
``final_norm``             (d_model,)           gain before the output head
========================== ===================  ==============================================
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from safetensors import SafetensorError, safe_open

from ndpsim.errors import InputError
from ndpsim.llm.shape import ModelShape, Name, Text
from ndpsim.tables import Table, table_from

FloatArray = NDArray[np.float32]
Count = Annotated[int, Field(gt=0, le=1 << 24)]
FileName = Annotated[str, Field(pattern=r"^[\w][\w.-]*$", description="a file in the model folder, no path")]


class ModelCard(Table, strict=True):
    """The content of ``model.toml``: sizes, constants, file names, and where the training text came from."""

    name: Name
    activation: Literal["relu"]
    layers: Annotated[int, Field(gt=0, le=1024)]
    d_model: Count
    heads: Count
    d_ffn: Count
    vocab: Count
    context: Count
    rope_theta: Annotated[float, Field(gt=1.0, allow_inf_nan=False)]
    norm_eps: Annotated[float, Field(gt=0.0, lt=1.0)]
    parameters: Annotated[int, Field(gt=0)]
    weights: FileName
    tokenizer: FileName
    heldout: FileName
    source: Text
    licence: str

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if self.d_model % (2 * self.heads):
            raise ValueError(f"d_model: expected a multiple of 2 * heads = {2 * self.heads}, found {self.d_model}")
        if self.parameters != (count := self.shape.parameters()):
            raise ValueError(f"parameters: expected {count} as the sizes say, found {self.parameters}")
        return self

    @property
    def head_width(self) -> int:
        """Channels of one attention head."""
        return self.d_model // self.heads

    @property
    def shape(self) -> ModelShape:
        """The sizes of the model in the terms of all models."""
        return ModelShape(
            name=self.name,
            layers=self.layers,
            hidden=self.d_model,
            heads=self.heads,
            kv_heads=self.heads,
            head_width=self.head_width,
            ffn=self.d_ffn,
            vocab=self.vocab,
            context=self.context,
            gated=False,
            activation=self.activation,
            norm="rms",
            positions="rotary",
            tied_embedding=True,
            source=self.source,
        )

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """The name and shape of every tensor that the weights file must hold."""
        d = self.d_model
        shapes: dict[str, tuple[int, ...]] = {"embed": (self.vocab, d), "final_norm": (d,)}
        for layer in range(self.layers):
            for norm in ("attn_norm", "ffn_norm"):
                shapes[f"layers.{layer}.{norm}"] = (d,)
            for projection in "qkvo":
                shapes[f"layers.{layer}.{projection}"] = (d, d)
            shapes[f"layers.{layer}.w1"] = (self.d_ffn, d)
            shapes[f"layers.{layer}.w2"] = (d, self.d_ffn)
        return shapes


@dataclass(frozen=True)
class LanguageModel:
    """A model card with its weights, all float32 in memory whatever the file stores."""

    folder: Path
    card: ModelCard
    weights: dict[str, FloatArray]

    @classmethod
    def load(cls, folder: Path) -> LanguageModel:
        """Read a model folder.

        Raises:
            InputError: a file is missing or corrupt, a field or a tensor is not as it must be.
        """
        card = read_card(folder / "model.toml")
        return cls(folder, card, _read_weights(folder / card.weights, card))

    def layer(self, index: int, name: str) -> FloatArray:
        """Tensor ``name`` (``q``, ``w1``, ...) of layer ``index``."""
        return self.weights[f"layers.{index}.{name}"]

    def heldout_text(self) -> str:
        """The text that training has not seen."""
        path = self.folder / self.card.heldout
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: expected a readable UTF-8 text, found {_first_line(error)}") from None


def read_card(path: Path) -> ModelCard:
    """Read ``model.toml``.

    Raises:
        InputError: the file cannot be read, is not TOML, or a field is not as it must be.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: expected a readable TOML file, found {_first_line(error)}") from None
    return table_from(ModelCard, fields, str(path))


def _read_weights(path: Path, card: ModelCard) -> dict[str, FloatArray]:
    wanted = card.tensor_shapes()
    weights: dict[str, FloatArray] = {}
    try:
        with safe_open(path, framework="np") as file:
            names = set(file.keys())
            for name in sorted(names ^ set(wanted)):
                state = "an unknown tensor" if name in names else "no such tensor"
                raise InputError(f"{path}: {name}: expected the tensors that model.toml asks for, found {state}")
            for name, shape in wanted.items():
                tensor = file.get_slice(name)
                kind, found = tensor.get_dtype(), tuple(tensor.get_shape())
                if kind not in ("F16", "F32"):
                    raise InputError(f"{path}: {name}: expected weights of type F16 or F32, found {kind}")
                if found != shape:
                    raise InputError(f"{path}: {name}: expected shape {shape}, found {found}")
                weights[name] = np.ascontiguousarray(tensor[:], dtype=np.float32)
                if not np.isfinite(weights[name]).all():
                    raise InputError(f"{path}: {name}: expected finite weights, found infinity or not-a-number")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: expected a whole safetensors file, found {_first_line(error)}") from None
    return weights


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return (str(error).splitlines() or [type(error).__name__])[0]
