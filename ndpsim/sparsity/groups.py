"""The two groups of neurons of a layer, and where they stand among all groups of a model.

Attention neurons are the inputs of the QKV projection, ffn neurons those of the feed-forward block. Groups are counted
layer by layer, QKV before the block: those of layer l are 2 l and 2 l + 1.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeVar

Kind = Literal["attention", "ffn"]
KINDS: Final[tuple[Kind, ...]] = ("attention", "ffn")
T = TypeVar("T")


def qkv_of(layer: int) -> int:
    """Return the group of a layer's QKV projection."""
    return len(KINDS) * layer


def block_of(layer: int) -> int:
    """Return the group of a layer's feed-forward block."""
    return len(KINDS) * layer + 1


def kind_of(group: int) -> Kind:
    """Return the kind of a group."""
    return KINDS[group % len(KINDS)]


def layer_of(group: int) -> int:
    """Return the layer of a group."""
    return group // len(KINDS)


def by_kind(values: Any) -> tuple[Any, Any]:
    """Cut a list or array of all groups in that of QKV projections and that of blocks, by layer."""
    return values[0 :: len(KINDS)], values[1 :: len(KINDS)]


def repeated(values: Sequence[T], groups: int) -> list[T]:
    """Return the value of its kind for each of so many groups. values: by kind, in the order of KINDS."""
    return [values[group % len(KINDS)] for group in range(groups)]
