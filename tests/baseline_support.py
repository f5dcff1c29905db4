"""A system on a small machine, without the command line."""

from steps import prompt, token

from ndpsim.data import workloads_dir
from ndpsim.dimm.config import load_machine
from ndpsim.gpu.model import GpuModel
from ndpsim.machine.config import MachineConfig
from ndpsim.systems.system import Devices, Job
from ndpsim.tables import read_toml


def none():
    """Activations of a job that has none."""
    raise AssertionError("a dense system asked for activations")


def devices(**changes):
    """The shipped machine with some values changed, by path with _ for the first dot: gpu_weights_gb=1."""
    content = read_toml(workloads_dir() / "hardware" / "machines" / "hermes.toml")
    for path, value in changes.items():
        table, _, field = path.partition("_")
        content[table][field] = {"value": value, "source": "asked for"}
    config = MachineConfig.model_validate(content)
    dimms = load_machine(config.dimm.name.value, placement=config.dimm.placement.value, dimms=config.dimm.count.value)
    return Devices(config, GpuModel.load(config.gpu.card.value), dimms)


def system(kind, shape, *, batch=1, prompt=16, output=4, activations=none, policy=None, **changes):
    """A system of a class with its shipped policy, some values of it changed, on `devices(**changes)`."""
    content = read_toml(workloads_dir() / "systems" / f"{kind.name}.toml")["policy"]
    for name, value in (policy or {}).items():
        content[name] = {"value": value, "source": "asked for"}
    job = Job(shape, batch, prompt, output, activations)
    return kind(job, devices(**changes), kind.Policy.model_validate(content))


def ends(made):
    """Run a system to its end, and return when the prompt and each pass behind it ended: one fewer than tokens."""
    found = [prompt(made)]
    for number in range(made.job.output - 1):
        found.append(token(made, number, found[-1]))
    assert sum(made.meter.operation.values()) == found[-1]
    return found
