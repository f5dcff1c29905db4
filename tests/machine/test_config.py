"""What weights may take of a card."""

import pytest

from ndpsim.errors import InputError
from ndpsim.machine.config import GpuTable


def table(**more):
    fields = {"card": "rtx4090", "count": 1, "reserve_gb": 2.0, **more}
    return GpuTable.model_validate({name: {"value": value, "source": "a test"} for name, value in fields.items()})


def test_weights_have_what_the_reserve_leaves_and_at_least_a_byte():
    assert table().weight_bytes(24_000_000_000) == 22_000_000_000
    assert table().weight_bytes(2_000_000_001) == 1
    for memory in (2_000_000_000, 1_999_999_999):
        with pytest.raises(InputError, match=r"gpu\.reserve_gb: expected less than the 2\.00 GB of a card, found 2"):
            table().weight_bytes(memory)


def test_a_size_for_weights_is_at_most_that_of_the_card():
    assert table(weights_gb=3.5).weight_bytes(3_500_000_000) == 3_500_000_000
    with pytest.raises(InputError, match=r"gpu\.weights_gb: expected at most the 3\.40 GB of a card, found 3\.5"):
        table(weights_gb=3.5).weight_bytes(3_400_000_000)
