"""Predicted against measured kernel times, as SVG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ndpsim.gpu.card import load_card
from ndpsim.gpu.fit import held_out, rows
from ndpsim.gpu.model import GpuModel
from ndpsim.gpu.validation import Measured, kind_of
from ndpsim.studies.plot import save


def plot_gpu(measured: Sequence[Measured], path: Path) -> None:
    """Write a panel for each set of measurements: the rows that a fit leaves out, a colour for each kind of kernel."""
    from matplotlib.figure import Figure

    columns = 3
    lines = -(-len(measured) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.8 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel in panels[len(measured) :]:
        panel.set_visible(False)
    for panel, one in zip(panels, measured, strict=False):
        out = held_out(one.kernels)
        kernels, us = rows(one.kernels, out), one.us[out]
        predicted = GpuModel.of(load_card(one.card)).microseconds(kernels)
        kinds = np.array(kind_of(kernels))
        for kind in sorted(set(kinds.tolist())):
            mine = kinds == kind
            panel.plot(us[mine], predicted[mine], ".", markersize=2, label=kind, rasterized=True)
        ends = [us.min(), us.max()]
        panel.plot(ends, ends, color="black", linewidth=0.8)
        panel.set(xscale="log", yscale="log", title=f"{one.card}, {one.origin}")
        panel.set(xlabel="measured us", ylabel="predicted us")
        panel.legend(fontsize="x-small")
    save(figure, path)
