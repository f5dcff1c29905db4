"""Reads the files of a run one by one, changes the fields that are asked for, and gathers all that is wrong."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

from pydantic import BaseModel

from ndpsim.data import workloads_dir
from ndpsim.dimm.config import DimmConfig, dimm_config, dimm_content, machine_from
from ndpsim.dram.standard.file import StandardFile
from ndpsim.dram.standard.standard import standard_content, standard_from
from ndpsim.errors import InputError
from ndpsim.gpu.architecture import architecture_names, load_architecture
from ndpsim.gpu.card import Card, card_from, load_card
from ndpsim.gpu.families import FAMILIES
from ndpsim.gpu.model import GpuModel
from ndpsim.llm.catalog import shape_content
from ndpsim.llm.shape import ModelShape, shape_from
from ndpsim.machine.config import MachineConfig, config_from, machine_content
from ndpsim.runs.changes import Form, unknown
from ndpsim.runs.effects import Cards, essence
from ndpsim.sparsity.generation.parameters import ALTERNATIVES
from ndpsim.sparsity.generation.presets import TracePreset, load_preset, preset_from
from ndpsim.systems.system import System
from ndpsim.tables import read_toml, shown, table_from

T = TypeVar("T")
Content = dict[str, Any]


class SetupFiles:
    """The files of a run, as `hardware` and `software` return their contents.

    faults: what was wrong so far; paths: what could be set, by path; before: what was there before a change, by path;
    contents: by the beginning of paths what each file can hold, what it has, and what was asked for; places: its name.
    """

    def __init__(self, changes: Content) -> None:
        """Take the values asked for, by path."""
        self.faults: list[str] = []
        self.paths: Content = {}
        self.before: Content = {}
        self._asked = changes
        self.contents: dict[str, tuple[Form, Content, dict[str, Any]]] = {}
        self.places: dict[str, str] = {}
        self._changed: set[str] = set()
        self._unread = {"gpu", "dimm", "dram", "model", "preset", "policy"}

    def end(self) -> None:
        """Raise InputError with all that was wrong, and with the changes that no file has a place for.

        What belongs to a file that was not found, or that depends on one with faults, is not judged.
        """
        self.faults += [unknown(path, self.paths) for path in self._asked if path.split(".")[0] not in self._unread]
        if self.faults:
            raise InputError("; ".join(self.faults), self.faults)

    def hardware(self, machine: str, several_cards: bool) -> Content:
        """Return the contents for `machine`, `dimm`, `dram`, `card`, and the card's `efficiencies`."""
        found = self._find(lambda: machine_content(machine))
        config = found and self._read("", MachineConfig, found, config_from)
        if not found or not config:
            return {}
        if config.gpu.count.value > 1 and not several_cards:
            self.faults.append(f"gpu.count: expected 1, as the system uses one card, found {config.gpu.count.value}")
        if {"gpu.reserve_gb", "gpu.weights_gb"} <= self.before.keys():
            self.faults.append("gpu.reserve_gb: expected it or gpu.weights_gb, which says what the rest is, found both")
        self._judge("", lambda content: config_from(content, "machine"))
        return {"machine": found[1], **self._dimms(config), **self._card(config.gpu.card.value, config.gpu.count.value)}

    def _dimms(self, machine: MachineConfig) -> Content:
        found = self._find(lambda: dimm_content(machine.dimm.name.value))
        config = found and self._read("dimm", DimmConfig, found, lambda content, where: dimm_config(where, content))
        if not found or not config:
            return {}
        (file, content), name = found, config.dram.value
        where = "dimm" if "dimm" in self._changed else file
        dram = self._find(lambda: standard_content(name))
        standard = dram and self._read(
            "dram", StandardFile, (f"standard {name}", dram), lambda dram, where: standard_from(dram, name, where)
        )
        maps, chosen = config.address_maps, machine.dimm.placement.value
        if chosen not in maps and " " not in chosen.strip():
            origin = "as asked for" if "dimm.placement" in self.before else f"which {self.places['']} has"
            self.faults.append(
                f"dimm.placement: expected one of {', '.join(maps)}, which {file} has, or an address map, "
                f"found {chosen}, {origin}"
            )
        elif standard:
            shape = machine.dimm.placement.value, machine.dimm.count.value
            if self._find(lambda: machine_from(content, where, *shape, standard)):
                self._judge("dimm", lambda other: machine_from(other, where, *shape))
                self._judge(
                    "dram", lambda other: machine_from(content, where, *shape, standard_from(other, name, "dram"))
                )
        return {"dimm": content, "dram": dram}

    def _card(self, name: str, count: int) -> Content:
        card = self._find(lambda: load_card(name))
        if not card:
            return {}
        content = card.model_dump(exclude_none=True)
        kind = self._asked.get("gpu.architecture", card.architecture)
        if kind in architecture_names() or str(kind).endswith(".toml"):  # of others, the card will tell
            common = self._find(lambda: load_architecture(str(kind)))
            content["traits"] = common.model_dump() if common else {}
        model = self._read(
            "gpu", Card, (f"card {name}", content), lambda content, where: GpuModel.of(card_from(content, where), where)
        )
        self._judge("gpu", lambda content: Cards(GpuModel.of(card_from(content, "gpu"), "gpu"), count))
        return {"card": content, "efficiencies": efficiency_tables(model)} if model else {}

    def software(self, system: type[System], model: str, preset: str, tokens: int) -> Content:
        """Return the contents for `model`, `preset` and `policy`; tokens: most of a sequence."""
        policy = self._find(lambda: policy_content(system))
        table = policy and self._read("policy", system.Policy, policy, lambda *found: policy_from(system, *found))
        found = self._find(lambda: shape_content(model))
        shape = found and self._read("model", ModelShape, found, shape_from)
        self._judge("policy", lambda content: policy_from(system, content, "policy"))
        self._judge("model", lambda content: shape_from(content, "model"))
        parts: Content = {"policy": table.model_dump(mode="json")} if table else {}
        if not found or not shape:
            return parts
        if tokens > shape.context:
            self.faults.append(
                f"input + output: expected at most {shape.context} tokens (model.context), found {tokens}"
            )
        chosen = self._find(lambda: load_preset(preset).for_model(shape.name))
        content = chosen.model_dump(mode="json", exclude_none=True) if chosen else {}
        if chosen:
            asked = [path for path in self._asked if path.startswith("preset.")]

            def read(content: Content, where: str) -> Any:
                _drop_alternatives(content, asked)
                found = preset_from(content, where)
                return found.run_tokens, found.parameters(shape.layers, shape.name)

            self._read("preset", TracePreset, (f"preset {preset}", content), read)
            self._judge("preset", lambda content: read(content, "preset"))
        return {**parts, "model": found[1], "preset": content}

    def _judge(self, root: str, whole: Callable[[Content], Any]) -> None:
        """Note the changes below a root without which the whole would be the same; whole: from a content."""
        form, content, own = self.contents.get(root, (None, {}, {}))
        if form is None or not own:
            return

        def made(left_out: str | None = None) -> Any:
            """Return what a run depends on with all changes but one; None if the others cannot be without it."""
            found = deepcopy(content)
            for path, value in own.items():
                if path != left_out:
                    form.set(found, path, value)
            try:
                return essence(whole(found))
            except InputError:
                return None

        with_all = made()
        for path, value in own.items():
            if value != self.before[path] and with_all is not None and made(path) == with_all:
                self.faults.append(
                    f"{path}: expected a value that changes the run, found {shown(value)}, which does not"
                )

    def _find(self, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except InputError as error:
            self.faults.append(str(error))
            return None

    def _read(
        self, root: str, table: type[BaseModel], found: tuple[str, Content], read: Callable[[Content, str], T]
    ) -> T | None:
        """Change the fields of a content that are asked for, and read it; faults are by path if there were any."""
        where, content = found
        form = Form(root, table, content)
        self.paths |= form.paths
        self._unread.discard(root)
        own = {path: self._asked[path] for path in self._asked if path in form.paths}
        self.places[root] = where
        self.contents[root] = form, deepcopy(content), own
        for path, value in own.items():
            self._changed.add(root)
            self.before[path] = form.value(content, path)
            form.set(content, path, value)
            del self._asked[path]
        try:
            return read(content, root or "machine" if own else where)
        except InputError as error:
            begin = f"{root}." if root else ""
            changed = own and error.faults
            self.faults += [begin + one.replace(".value:", ":") for one in error.faults] if changed else [str(error)]
            return None


def efficiency_tables(model: GpuModel) -> dict[str, dict[str, float]]:
    """Return the efficiencies of a card by family and parameter."""
    return {
        family.name: dict(
            zip((one.name for one in family.parameters), model.efficiencies[family.name].tolist(), strict=True)
        )
        for family in FAMILIES
    }


def policy_content(system: type[System]) -> tuple[str, Content]:
    """Return the file of a system's policy, and its content; of a system without a file, its class and nothing.

    A system that is derived from one that ships, and has its policy or one derived from it, has its file.
    """
    for base in system.__mro__:
        if not (issubclass(base, System) and "name" in vars(base) and issubclass(system.Policy, base.Policy)):
            continue
        path = workloads_dir() / "systems" / f"{base.name}.toml"
        if path.is_file() and base.__module__.startswith("ndpsim."):
            content = read_toml(path)
            if content.keys() != {"policy"} or not isinstance(content["policy"], dict):
                raise InputError(f"{path}: expected the table [policy] and nothing else, found {', '.join(content)}")
            return str(path), content["policy"]
    return f"policy of {system.__name__}", {}


def policy_from(system: type[System], content: Content, where: str) -> Any:
    """Return a system's policy. Raises InputError with all faults after `where`."""
    return table_from(system.Policy, content, where)


def _drop_alternatives(content: Content, paths: list[str]) -> None:
    """Leave out what the changed values of a preset stand instead of."""
    for path in paths:
        kind, _, name = path.removeprefix("preset.").partition(".")
        for names in ALTERNATIVES:
            if name in names:
                content[kind] = {key: one for key, one in content[kind].items() if key == name or key not in names}
