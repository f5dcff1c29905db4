"""How much would be enough where something does not fit: the field to set, and its least value."""

from ndpsim.isa import codes
from ndpsim.systems.system import Devices

MOST_DIMMS = 256


def dimms_enough(size: int, devices: Devices) -> str:
    """Return how many DIMMs hold that many bytes, as the end of a message."""
    one = devices.dimms.atoms * codes.ATOM_BYTES
    least = -(-size // one)
    end = "" if least <= MOST_DIMMS else f", which is more than {MOST_DIMMS}: larger DIMMs"
    return f"dimm.count: at least {least}, of {one / 1e9:.1f} GB each{end}"


def card_enough(size: int, devices: Devices) -> str:
    """Return what lets weights take that many bytes of a card, as the end of a message."""
    gpu, card = devices.config.gpu, devices.gpu.card
    if gpu.weights_gb is not None and size <= card.memory_bytes:
        return f"gpu.weights_gb: at least {_up(size)}"
    if gpu.weights_gb is None and (left := card.memory_bytes - size) >= 10**7:
        return (
            f"gpu.reserve_gb: at most {left // 10**7 / 100:.2f}, of the {card.memory_bytes / 1e9:.2f} GB of {card.name}"
        )
    reserve = 0 if gpu.weights_gb is not None else round(gpu.reserve_gb.value * 1e9)
    return f"gpu.memory_mib: at least {-(-(size + reserve) // (1 << 20))}, as another gpu.card may have"


def found_on_card(devices: Devices) -> str:
    """Return what weights may take of a card, and where that comes from."""
    gpu, card = devices.config.gpu, devices.gpu.card
    origin = "" if gpu.weights_gb is not None else f", the memory of {card.name} less gpu.reserve_gb"
    return f"{devices.weight_bytes / 1e9:.4g} GB{origin}"


def _up(size: int) -> str:
    """Write bytes in GB, rounded up."""
    return f"{-(-size // 10**7) / 100:.2f}"
