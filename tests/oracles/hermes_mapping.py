"""Hot neurons into GPU memory and cold ones from DIMM to DIMM, as the paper describes it, in plain Python."""

from collections.abc import Sequence


def swap(
    groups: Sequence[Sequence[int]],
    sizes: Sequence[int],
    resident: set[int],
    hot: set[int],
    states: Sequence[int],
    most_bytes: int,
) -> tuple[list[tuple[int, int]], set[int]]:
    """(incoming, evicted) in order, and who is resident then.

    Hottest first, each over the coldest resident neuron of its group if that is colder, as long as bytes are left.
    """
    resident, swaps, copied = set(resident), [], 0
    wanted = [(g, n) for g, members in enumerate(groups) for n in members if n in hot and n not in resident]
    for g, new in sorted(wanted, key=lambda who: (-states[who[1]], who[1])):
        held = sorted((n for n in groups[g] if n in resident), key=lambda n: (states[n], n))
        if held and states[held[0]] < states[new] and copied + sizes[g] <= most_bytes:
            resident = resident - {held[0]} | {new}
            copied += sizes[g]
            swaps.append((new, held[0]))
    return swaps, resident


def remap(
    owner: Sequence[int], activity: Sequence[int], dimms: int, most: int, literal: bool
) -> list[tuple[int, int, int]]:
    """Algorithm 1 for one group: (neuron, from, to), pair by pair; ``most``: moves of a pair."""
    owner = list(owner)
    z = [sum(a for a, o in zip(activity, owner, strict=True) if o == d) for d in range(dimms)]
    ranked = sorted(range(dimms), key=lambda d: (-z[d], d))
    moves = []
    for i in range(dimms // 2):
        heavy, light = ranked[i], ranked[dimms - 1 - i]
        left = most
        while z[heavy] <= z[light] if literal else z[heavy] > z[light]:
            held = [n for n in range(len(owner)) if owner[n] == heavy and activity[n] > 0]
            if not held or left == 0:
                break
            n = max(held, key=lambda n: (activity[n], -n))
            if not literal and abs(z[heavy] - z[light] - 2 * activity[n]) >= z[heavy] - z[light]:
                break
            owner[n] = light
            z[heavy] -= activity[n]
            z[light] += activity[n]
            left -= 1
            moves.append((n, heavy, light))
    return moves
