"""Hermes (HPCA 2025) reproduced, as figures in the manner of its own 9 to 11 and 13."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ndpsim.errors import InputError
from ndpsim.studies.hermes import Reproduction
from ndpsim.studies.hermes_comparison import Latency
from ndpsim.studies.plot import require_plot, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILES: Final = ("batch-1.svg", "batches.svg", "ablation.svg")


def require_plots(folder: Path) -> None:
    """Make the folder if it is not there. Raises InputError if no plot can be written to it."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: expected a folder that can be made, found: {error.strerror}") from None
    for name in FILES:
        require_plot(folder / name)


def plot_hermes(found: Reproduction, folder: Path) -> None:
    """Write the tokens/s at batch 1 and by batch, published and simulated, and the ablation."""
    from matplotlib.figure import Figure

    rates = {point.key: (point.published, point.simulated) for point in found.points if point.key}
    systems = [name for name in _ORDER if any(key.system == name for key in rates)]
    models = list(dict.fromkeys(key.model for key in rates))

    figure = Figure(figsize=(11, 3.8), layout="constrained")
    panel = figure.subplots()
    _bars(panel, models, systems, {(key.model, key.system): pair for key, pair in rates.items() if key.batch == 1})
    save(figure, folder / FILES[0])

    batches = {model: sorted({key.batch for key in rates if key.model == model}) for model in models}
    swept = [model for model in models if len(batches[model]) > 1]
    figure = Figure(figsize=(11, 3.4 * len(swept)), layout="constrained")
    for panel, model in zip(figure.subplots(len(swept) or 1, squeeze=False)[:, 0], swept, strict=False):
        own = {(f"batch {key.batch}", key.system): pair for key, pair in rates.items() if key.model == model}
        _bars(panel, [f"batch {batch}" for batch in batches[model]], systems, own)
        panel.set_title(model)
    save(figure, folder / FILES[1])

    _plot_ablation(found.ablation, folder / FILES[2])


_ORDER: Final = ("accelerate", "flexgen", "deja-vu", "hermes-host", "hermes-base", "hermes")


def _bars(
    panel: "Axes", groups: Sequence[str], systems: Sequence[str], rates: dict[tuple[str, str], tuple[float, float]]
) -> None:
    """Draw a pair of bars, published and simulated, for each system of each group."""
    width = 0.8 / (2 * len(systems))
    for number, system in enumerate(systems):
        shown = [(at, rates[group, system]) for at, group in enumerate(groups) if (group, system) in rates]
        if not shown:
            continue
        for which, label in enumerate((f"{system}, published", "simulated")):
            places = [at + (2 * number + which - len(systems) + 0.5) * width for at, _ in shown]
            style: dict[str, Any] = {"alpha": 0.4, "hatch": "//"} if which == 0 else {}
            heights = [pair[which] for _, pair in shown]
            panel.bar(
                places, heights, width, color=f"C{number}", label=label, edgecolor="black", linewidth=0.3, **style
            )
    panel.set_xticks(range(len(groups)), groups)
    panel.set_yscale("log")
    panel.set_ylabel("tokens/s")
    panel.grid(axis="y", alpha=0.3)
    panel.legend(fontsize="x-small", ncols=2, loc="center left", bbox_to_anchor=(1, 0.5))


def _plot_ablation(latencies: Sequence[Latency], path: Path) -> None:
    """Write the time of the blocks by variant, by that of the last one, a group of bars for each model and batch."""
    from matplotlib.figure import Figure

    variants = list(dict.fromkeys(one.variant for one in latencies))
    places = list(dict.fromkeys((one.model, one.batch) for one in latencies))
    seconds = {(one.model, one.batch, one.variant): one.seconds for one in latencies}
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    panel = figure.subplots()
    width = 0.8 / len(variants)
    for number, variant in enumerate(variants):
        at = [group + (number - (len(variants) - 1) / 2) * width for group in range(len(places))]
        heights = [seconds[(*place, variant)] / seconds[(*place, variants[-1])] for place in places]
        panel.bar(at, heights, width, label=variant, edgecolor="black", linewidth=0.3)
    panel.set_xticks(range(len(places)), [f"{model}\nbatch {batch}" for model, batch in places])
    panel.set_ylabel("time of the feed-forward blocks")
    panel.grid(axis="y", alpha=0.3)
    panel.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path)
