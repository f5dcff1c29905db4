"""The devices and links of a machine, from `workloads/hardware/machines/`: each value with its source."""

from ndpsim.tables import Count, Number, Share, Table, Text


class GpuTable(Table):
    """The graphics cards; weights_gb: of each one's memory that model weights may take."""

    card: Text
    count: Count
    weights_gb: Number


class DimmTable(Table):
    """The NDP-DIMMs; placement: one of the DIMM's address maps."""

    name: Text
    count: Count
    placement: Text


class PcieTable(Table):
    """The link between a graphics card and the host with its DIMMs: each way, and of every transfer."""

    gb_per_s: Number
    us: Number


class CpuTable(Table):
    """The host's processor, for systems that compute there."""

    name: Text
    memory_gb_per_s: Number
    memory_share: Share
    gflops: Number
    power_w: Number


class MachineConfig(Table):
    """A machine."""

    name: str
    gpu: GpuTable
    dimm: DimmTable
    pcie: PcieTable
    cpu: CpuTable
