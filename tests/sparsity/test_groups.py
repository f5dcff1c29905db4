"""The groups of neurons of a model: QKV and block of each layer in turn."""

import numpy as np

from ndpsim.sparsity.groups import block_of, by_kind, kind_of, layer_of, qkv_of, repeated


def test_qkv_stands_before_the_block_of_its_layer():
    assert [(qkv_of(layer), block_of(layer)) for layer in range(3)] == [(0, 1), (2, 3), (4, 5)]
    assert [kind_of(group) for group in range(4)] == ["attention", "ffn", "attention", "ffn"]
    assert [layer_of(group) for group in range(5)] == [0, 0, 1, 1, 2]


def test_values_of_groups_are_cut_by_kind_and_those_of_kinds_repeated():
    qkv, blocks = by_kind(np.array([5, 6, 7, 8]))
    assert qkv.tolist() == [5, 7] and blocks.tolist() == [6, 8]
    assert repeated([1.5, 2.5], 5) == [1.5, 2.5, 1.5, 2.5, 1.5]
