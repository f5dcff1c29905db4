"""Where requests go: addresses decoded for the host controller, and sorted by pseudo-channel in the trace's order.

A channel without pseudo-channels counts as one pseudo-channel.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.address_map import HOST_FIELDS, HostMap
from ndpsim.dram.host import state as host
from ndpsim.dram.host.state import Ints
from ndpsim.dram.requests.request import Requests
from ndpsim.jit import njit

_TILE = 1024  # requests that are decoded digit by digit while they stay in the cache
_CHANNEL, _BANK, _ROW, _COLUMN = range(4)


class RequestDecoder(NamedTuple):
    """A map as `place` takes it: int64[k, 4] of (shift in the burst address, mask, output, shift in the output).

    Outputs are pseudo-channel (those of all channels, in order), flat bank in it (rank, bank group, bank), row and
    column. hashes: int64[h, 5] of (output, shift in it, source, shift of the source, mask).
    """

    burst_bits: int
    size: int
    digits: Ints
    hashes: Ints


def decoder_of(address_map: HostMap) -> RequestDecoder:
    """Return the decoder of a map."""
    counts = address_map.counts()
    outputs = {"pseudo_channel": (_CHANNEL, 0), "row": (_ROW, 0), "column": (_COLUMN, 0)}
    outputs["channel"] = (_CHANNEL, counts["pseudo_channel"].bit_length() - 1)
    position = 0
    for name in ("bank", "bank_group", "rank"):
        outputs[name] = (_BANK, position)
        position += counts[name].bit_length() - 1
    where = [outputs[name] for name in HOST_FIELDS]
    arrays = address_map.arrays()
    digits = [(shift, mask, where[field][0], where[field][1] + at) for shift, mask, field, at in arrays.digits.tolist()]
    hashes = [
        (where[target][0], where[target][1], where[source][0], shift, mask)
        for target, source, shift, mask in arrays.hashes.tolist()
    ]
    bits = address_map.burst_bytes.bit_length() - 1
    return RequestDecoder(
        bits,
        address_map.size >> bits,
        np.array([digit for digit in digits if digit[1]], np.int64).reshape(-1, 4),
        np.array(hashes, np.int64).reshape(-1, 5),
    )


@njit
def _decode(decoder: RequestDecoder, address: Ints, burst: Ints, outputs: NDArray[np.int64]) -> None:
    """Decode a tile of addresses into outputs [4, n]."""
    n = address.shape[0]
    for i in range(n):
        burst[i] = address[i] >> decoder.burst_bits & (decoder.size - 1)
    outputs[:, :n] = 0
    for k in range(decoder.digits.shape[0]):
        shift, mask, at = decoder.digits[k, 0], decoder.digits[k, 1], decoder.digits[k, 3]
        output = outputs[decoder.digits[k, 2]]
        for i in range(n):
            output[i] |= (burst[i] >> shift & mask) << at
    for k in range(decoder.hashes.shape[0]):
        target, at = outputs[decoder.hashes[k, 0]], decoder.hashes[k, 1]
        source, shift, mask = outputs[decoder.hashes[k, 2]], decoder.hashes[k, 3], decoder.hashes[k, 4]
        for i in range(n):
            target[i] ^= (source[i] >> shift & mask) << at


@njit
def _place(decoder: RequestDecoder, requests: Requests, first: int, channels: int, block: Ints, bounds: Ints) -> None:
    """Decode requests [n] (number `first` and on) into a block sorted by (pseudo-)channel; bounds [channels + 1]."""
    n = requests.address.shape[0]
    outputs = np.zeros((4, _TILE), np.int64)
    burst = np.empty(_TILE, np.int64)
    bounds[:] = 0
    bounds[channels] = n
    if channels > 1:
        for start in range(0, n, _TILE):
            stop = min(start + _TILE, n)
            _decode(decoder, requests.address[start:stop], burst, outputs)
            for i in range(stop - start):
                bounds[outputs[_CHANNEL, i]] += 1
        total = 0
        for channel in range(channels):
            total, bounds[channel] = total + bounds[channel], total
    free = bounds.copy()
    for start in range(0, n, _TILE):
        stop = min(start + _TILE, n)
        _decode(decoder, requests.address[start:stop], burst, outputs)
        for i in range(stop - start):
            channel = outputs[_CHANNEL, i]
            at = free[channel]
            free[channel] = at + 1
            block[at, host.R_BANK] = outputs[_BANK, i] * host.BANK_SIZE
            block[at, host.R_ROW] = outputs[_ROW, i]
            block[at, host.R_COLUMN] = outputs[_COLUMN, i]
            block[at, host.R_BURST] = burst[i]
            block[at, host.R_WRITE] = requests.write[start + i]
            block[at, host.R_ARRIVAL] = requests.arrival[start + i]
            block[at, host.R_AFTER] = requests.after[start + i]
            block[at, host.R_NUMBER] = first + start + i


def place(
    decoder: RequestDecoder, requests: Requests, first: int, channels: int, reuse: Ints | None = None
) -> tuple[Ints, Ints]:
    """Return the requests placed and sorted by channel, int64[n, 8], and where each channel begins [channels + 1].

    channels: pseudo-channels of all channels.
    `reuse`: an array of at least that many rows that may be overwritten; fresh memory costs as much as decoding.
    """
    n = len(requests.address)
    block = np.empty((n, host.REQUEST_SIZE), np.int64) if reuse is None or len(reuse) < n else reuse[:n]
    bounds = np.zeros(channels + 1, np.int64)
    _place(decoder, requests, first, channels, block, bounds)
    return block, bounds


def append(left: Ints, left_bounds: Ints, taken: Ints, block: Ints, bounds: Ints) -> tuple[Ints, Ints]:
    """Return each channel's rest of one block (`taken` [channels] are gone), followed by its part of the next."""
    rest = np.diff(left_bounds) - taken
    if not rest.any():
        return block, bounds
    parts = []
    for channel, gone in enumerate(taken):
        parts.append(left[left_bounds[channel] + gone : left_bounds[channel + 1]])
        parts.append(block[bounds[channel] : bounds[channel + 1]])
    return np.concatenate(parts), np.concatenate([[0], np.cumsum(rest + np.diff(bounds))])
