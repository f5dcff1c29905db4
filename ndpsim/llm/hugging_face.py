"""Shapes from the `config.json` of Hugging Face models: llama, mistral, qwen2, opt, falcon, gpt2.

Keys are those of the configuration classes of the transformers library. A key that a config leaves out has the default
of its class, from `workloads/models/hugging-face/defaults.toml`; the shape's source names such sizes. Keys that change
no size (token ids, dropout, rope scaling, ...) are not looked at. Attention over a sliding window is not modelled: the
context of such a model ends with its window, within which attention goes to all tokens.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.llm.shape import MAX_COUNT, ModelShape, faults_of_sizes, shape_from
from ndpsim.tables import read_toml

_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu",
    "gelu_fast": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "silu": "silu",
    "swish": "silu",
}


def read_config(path: Path, name: str) -> ModelShape:
    """Return the shape, under that name, of the model whose `config.json` lies at a path; see `from_hugging_face`."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: expected a readable file, found: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # JSON or UTF-8 that does not parse
        raise InputError(f"{path}: expected a JSON file, found: {error}") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected one JSON object, found {type(config).__name__}")
    return from_hugging_face(config, name, str(path))


def from_hugging_face(config: Mapping[str, Any], name: str, where: str = "config.json") -> ModelShape:
    """Return the shape, under that name, of the model that the content of a `config.json` describes.

    Raises:
        InputError: the type is not known, a key is missing or cannot be, or the model has a part that shapes cannot
            say; every fault is listed, one on a line, after `where`.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in _FAMILIES:
        found = "none" if kind is None else repr(kind)
        raise InputError(f"{where}: model_type: expected one of {', '.join(_FAMILIES)}, found {found}")
    keys = _Keys(config, _defaults()[kind])
    content = {"name": name, **_FAMILIES[kind](keys), "source": f"Hugging Face config.json, model_type {kind}"}
    if keys.notes:
        content["source"] += "; " + "; ".join(keys.notes)
    if faults := [*keys.faults, *faults_of_sizes(content)]:
        raise InputError("\n".join(f"{where}: {fault}" for fault in faults))
    return shape_from(content, where)


@cache
def _defaults() -> dict[str, dict[str, Any]]:
    """Return what the configuration classes have for keys that are left out, by model type."""
    found = read_toml(workloads_dir() / "models" / "hugging-face" / "defaults.toml")
    return {kind: found[kind] for kind in _FAMILIES}


class _Keys:
    """Reads the keys of a config; what is wrong with them is collected, and None is read instead.

    Null is for transformers a value as any other: a count that is null is refused, unless `or_null` says what it means.
    """

    def __init__(self, config: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        aliases = {key: name for key, name in defaults.get("aliases", {}).items() if key in config}
        self._config = {**config, **{name: config[key] for key, name in aliases.items()}}
        self._defaults = defaults
        self._left_out: list[str] = []
        self._limits: list[str] = []
        self.faults: list[str] = []

    @property
    def notes(self) -> list[str]:
        """What a reader of the shape should know: sizes that are defaults, and what ends its context."""
        if not self._left_out:
            return self._limits
        return [f"{', '.join(self._left_out)} by the defaults of transformers", *self._limits]

    def count(self, key: str, or_null: int | None = None) -> Any:
        """Return a positive integer; or_null: what null stands for, where the class says so."""
        value = self._value(key)
        value = or_null if value is None else value
        return self._checked(key, value, type(value) is int and 1 <= value <= MAX_COUNT, f"1 to {MAX_COUNT}")

    def has(self, key: str) -> bool:
        """Tell whether a key is there and not null."""
        return self._config.get(key) is not None

    def flag(self, key: str) -> Any:
        """Return a truth value."""
        value = self._value(key)
        return self._checked(key, value, isinstance(value, bool), "true or false")

    def activation(self, key: str) -> Any:
        """Return the activation in our words."""
        value = self._value(key)
        known = isinstance(value, str) and value in _ACTIVATIONS
        name = self._checked(key, value, known, f"one of {', '.join(_ACTIVATIONS)}")
        return _ACTIVATIONS.get(name)

    def require(self, key: str, only: object, why: str) -> None:
        """Refuse another value than the one, also the default, that makes a model which a shape can describe."""
        value = self._config.get(key, only)
        self._checked(key, value, value == only, f"{json.dumps(only)} ({why})")

    def within_window(self, context: int | None) -> Any:
        """Return the tokens of a context that the window of `sliding_window` tokens, if there is one, holds."""
        if self._config.get("sliding_window", self._defaults["sliding_window"]) is None:
            return context
        window = self.count("sliding_window")
        if not window or not context or window >= context:
            return context
        self._limits.append(f"context ends with sliding_window: {window} of {context} tokens")
        return window

    def _value(self, key: str) -> Any:
        if key in self._config:
            return self._config[key]
        value = self._defaults.get(key)
        if type(value) is int:  # of a size; what is on or off unless it is said surprises nobody
            self._left_out.append(f"{key} {json.dumps(value)}")
        return value

    def _checked(self, key: str, value: Any, is_right: bool, expected: str) -> Any:
        if is_right:
            return value
        self.faults.append(f"{key}: expected {expected}, found {'none' if value is None else repr(value)}")
        return None


def _gated(keys: _Keys, biases: list[str]) -> dict[str, Any]:
    heads = keys.count("num_attention_heads")
    return {
        "layers": keys.count("num_hidden_layers"),
        "hidden": keys.count("hidden_size"),
        "heads": heads,
        "kv_heads": keys.count("num_key_value_heads", or_null=heads or 1),
        **({"head_width": keys.count("head_dim")} if keys.has("head_dim") else {}),
        "ffn": keys.count("intermediate_size"),
        "vocab": keys.count("vocab_size"),
        "context": keys.count("max_position_embeddings"),
        "gated": True,
        "activation": keys.activation("hidden_act"),
        "norm": "rms",
        "positions": "rotary",
        "biases": biases,
        "tied_embedding": keys.flag("tie_word_embeddings"),
    }


def _llama(keys: _Keys) -> dict[str, Any]:
    attention = ["qkv", "output"] if keys.flag("attention_bias") else []
    ffn = ["ffn"] if keys.flag("mlp_bias") else []
    return _gated(keys, attention + ffn)


def _mistral(keys: _Keys) -> dict[str, Any]:
    shape = _gated(keys, [])
    return {**shape, "context": keys.within_window(shape["context"])}


def _qwen2(keys: _Keys) -> dict[str, Any]:
    shape = _gated(keys, ["qkv"])
    return {**shape, "context": keys.within_window(shape["context"])} if keys.flag("use_sliding_window") else shape


def _plain(keys: _Keys, activation: str) -> dict[str, Any]:
    return {
        "vocab": keys.count("vocab_size"),
        "gated": False,
        "activation": keys.activation(activation),
        "norm": "layer",
        "tied_embedding": keys.flag("tie_word_embeddings"),
    }


def _opt(keys: _Keys) -> dict[str, Any]:
    hidden = keys.count("hidden_size")
    keys.require("do_layer_norm_before", True, "norms after the blocks are not modelled")
    keys.require("layer_norm_elementwise_affine", True, "norms without weights are not modelled")
    keys.require("_remove_final_layer_norm", False, "a model without final norm is not modelled")
    if hidden and keys.has("word_embed_proj_dim"):
        keys.require("word_embed_proj_dim", hidden, "projections of the embedding are not modelled")
    return {
        "layers": keys.count("num_hidden_layers"),
        "hidden": hidden,
        "heads": keys.count("num_attention_heads"),
        "ffn": keys.count("ffn_dim"),
        "context": keys.count("max_position_embeddings"),
        "positions": "learned",
        "position_offset": 2,
        "biases": _all_biases(keys.flag("enable_bias")),
        **_plain(keys, "activation_function"),
    }


def _gpt2(keys: _Keys) -> dict[str, Any]:
    hidden = keys.count("n_embd")
    keys.require("add_cross_attention", False, "attention to an encoder is not modelled")
    return {
        "layers": keys.count("n_layer"),
        "hidden": hidden,
        "heads": keys.count("n_head"),
        "ffn": keys.count("n_inner", or_null=4 * (hidden or 1)),
        "context": keys.count("n_positions"),
        "positions": "learned",
        "biases": _all_biases(True),
        **_plain(keys, "activation_function"),
    }


def _falcon(keys: _Keys) -> dict[str, Any]:
    hidden, heads = keys.count("hidden_size"), keys.count("num_attention_heads")
    is_new = keys.flag("new_decoder_architecture")
    is_parallel = keys.flag("parallel_attn")
    is_multi_query = keys.flag("multi_query")
    if is_new:
        keys.require("parallel_attn", True, "the new architecture in sequence is not modelled")
        kv_heads = keys.count("num_kv_heads", or_null=heads or 1)
    else:
        kv_heads = 1 if is_multi_query else heads
    norms = keys.count("num_ln_in_parallel_attn", or_null=2) if is_new else 1
    blocks = {1: "parallel_one_norm", 2: "parallel_two_norms"}
    if norms and norms not in blocks:
        keys.faults.append(f"num_ln_in_parallel_attn: expected 1 or 2, found {norms}")
    return {
        "layers": keys.count("num_hidden_layers"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": kv_heads,
        "ffn": keys.count("ffn_hidden_size", or_null=4 * (hidden or 1)),
        "context": keys.count("max_position_embeddings"),
        "positions": "alibi" if keys.flag("alibi") else "rotary",
        "biases": _all_biases(keys.flag("bias")),
        "block": blocks.get(norms) if is_parallel else "sequential",
        **_plain(keys, "activation"),
    }


def _all_biases(has_biases: bool | None) -> list[str]:
    return ["qkv", "output", "ffn"] if has_biases else []


_FAMILIES: dict[str, Callable[[_Keys], dict[str, Any]]] = {
    "llama": _llama,
    "mistral": _mistral,
    "qwen2": _qwen2,
    "opt": _opt,
    "falcon": _falcon,
    "gpt2": _gpt2,
}
