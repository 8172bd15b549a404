"""Figures of training. They need matplotlib: ``pip install librnn[plot]``."""

from __future__ import annotations

import math
import os
from typing import Any, List, Sequence, Union

import numpy as np

from .errors import argument_error
from .trainer import History, StepReport
from .training import GradientFlow, Gradients

__all__ = ["training_curve", "gradient_flow"]

Path = Union[None, str, "os.PathLike[str]"]


def training_curve(history: Union[History, Sequence[Any]], path: Path = None) -> Any:
    """The loss of each step, smoothed, and the gradient norm below it.

    Parameters
    ----------
    history : History, or a list of StepReport or of losses
        From `Trainer.fit`.
    path : str or path-like, optional
        Where to save the figure; the ending chooses the format.

    Returns
    -------
    matplotlib.figure.Figure
    """
    steps = history.steps if isinstance(history, History) else list(history)
    if not steps:
        raise argument_error("history is empty: there is nothing to plot")
    reports = [step for step in steps if isinstance(step, StepReport)]
    losses = [step.loss if isinstance(step, StepReport) else float(step) for step in steps]
    figure = _figure([3.2, 1.6] if reports else [4.8])
    axes = figure.axes[0]
    x = np.arange(1, len(losses) + 1)
    values = np.asarray(losses, float)
    finite = values[np.isfinite(values)]
    many = len(losses) > 50
    axes.plot(x, values, color="tab:blue", alpha=0.3 if many else 1.0, linewidth=1, label="loss of a step")
    if many:
        axes.plot(x, _smooth(values, max(len(losses) // 50, 5)), color="tab:blue", linewidth=1.8, label="mean of recent steps")
        axes.legend(frameon=False)
    if isinstance(history, History) and len(history.epochs) > 1:
        ends = np.cumsum([epoch.steps for epoch in history.epochs])[:-1]
        if len(ends) <= 30:
            for end in ends:
                axes.axvline(end + 0.5, color="0.85", linewidth=0.8, zorder=0)
    if finite.size and finite.min() > 0 and finite.max() > 20 * finite.min():
        axes.set_yscale("log")
    axes.set_ylabel("loss")
    axes.set_title("Training")
    if reports:
        lower = figure.axes[1]
        norms = np.asarray([step.gradient_norm for step in reports])
        lower.plot(np.arange(1, len(norms) + 1), norms, color="tab:orange", linewidth=1, label="before clipping")
        clipped = np.asarray([step.gradient_norm * step.gradient_scale for step in reports])
        if (clipped < norms).any():
            lower.plot(np.arange(1, len(norms) + 1), clipped, color="tab:green", linewidth=1, label="after clipping")
            lower.legend(frameon=False)
        if (norms > 0).any():
            lower.set_yscale("log")
        for number, step in enumerate(reports, 1):
            if step.skipped:
                lower.axvline(number, color="tab:red", linewidth=0.8)
        lower.set_ylabel("gradient norm")
    figure.axes[-1].set_xlabel("step")
    return _done(figure, path)


def gradient_flow(flow: Union[Gradients, GradientFlow], path: Path = None) -> Any:
    """How the gradient flows back through time, and what the gates do, by step t.

    Above: ||dL/dh_t|| and, for LSTM, ||dL/dc_t||, a line for each layer and direction, on a logarithmic axis; dotted, what
    ``hidden_clip`` left of it. A line that falls towards the first steps is a gradient that vanishes; one that rises, a gradient
    that explodes. Below it the spectral norm of dh_t/dh_{t-1}: under 1 the gradient shrinks at that step. At the bottom the mean
    of each gate and the share of its values that are saturated, where it learns slowly.

    Parameters
    ----------
    flow : what ``backward(…, gradient_flow=True)`` returns, its ``.flow``, or ``trainer.flow``
    path : str or path-like, optional
        Where to save the figure; the ending chooses the format.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if isinstance(flow, Gradients):
        if flow.flow is None:
            raise argument_error("these gradients have no flow: backward(…, gradient_flow=True) computes it")
        flow = flow.flow
    if not isinstance(flow, GradientFlow):
        raise argument_error(f"flow is {type(flow).__name__}, expected what backward(…, gradient_flow=True) returns")
    labels = list(flow.labels) or [f"layer {row}" for row in range(len(flow.hidden))]
    letters = list(flow.gates) or [""] * len(labels)
    gates = [(row, column) for row, names in enumerate(letters) for column in range(len(names))]
    has_cell = bool(np.any(flow.cell))
    heat = min(0.45 + 0.16 * len(gates), 4.0) if gates else 0.0
    heights = [2.6] + [1.8] * has_cell + [1.1] + [heat] * (2 if gates else 0)
    figure = _figure(heights, width=8.5)
    axes = list(figure.axes)
    colours = _matplotlib("colormaps")["viridis"](np.linspace(0, 0.85, max(len(labels), 1)))

    upper = axes.pop(0)
    _draw_norms(upper, flow.hidden, labels, colours)
    if not np.array_equal(flow.hidden, flow.clipped):
        _draw_clipped(upper, flow.clipped, colours)
    upper.set_ylabel(r"$\Vert \partial L / \partial H_t \Vert$")
    upper.set_title("Gradient flow through time")
    if 1 < len(labels) <= 24:
        upper.legend(frameon=False, ncols=1 + len(labels) // 9, fontsize="small")
    if has_cell:
        cells = axes.pop(0)
        _draw_norms(cells, flow.cell, labels, colours)
        cells.set_ylabel(r"$\Vert \partial L / \partial C_t \Vert$")
    jacobian = axes.pop(0)
    _draw_norms(jacobian, flow.jacobian_norm, labels, colours)
    positive = flow.jacobian_norm[flow.jacobian_norm > 0]
    if positive.size and positive.max() < 20 * positive.min():
        jacobian.set_yscale("linear")
    jacobian.axhline(1, color="0.4", linewidth=0.8, zorder=0)
    jacobian.set_ylabel(r"$\Vert \partial H_t / \partial H_{t-1} \Vert$")
    if gates:
        names = [f"{labels[row]}  {letters[row][column]}" for row, column in gates]
        rows = tuple(np.array(gates).T)
        pictures = (
            ("mean of gates", "RdBu_r", (-1, 1), flow.gate_mean),
            ("saturated share", "magma_r", (0, 1), flow.gate_saturation),
        )
        for title, colourmap, limits, values in pictures:
            _draw_heat(figure, axes.pop(0), values.transpose(0, 2, 1)[rows], names, title, colourmap, limits)
    figure.axes[len(heights) - 1].set_xlabel("step t")
    return _done(figure, path)


def _draw_norms(axes: Any, values: np.ndarray, labels: List[str], colours: Any) -> None:
    """A line for each row, on a logarithmic axis where there is anything to draw."""
    steps = np.arange(values.shape[1])
    for row, label, colour in zip(values, labels, colours):
        # A logarithm has no place for zeros: gaps in the line.
        style = "--" if label.endswith("backward") else "-"
        marker = "o" if len(steps) <= 40 or np.count_nonzero(row) <= 2 else None
        axes.plot(steps, np.where(row > 0, row, math.nan), style, color=colour, marker=marker, markersize=3, label=label)
    if (values > 0).any():
        axes.set_yscale("log")
    axes.grid(True, which="major", color="0.9")


def _draw_clipped(axes: Any, values: np.ndarray, colours: Any) -> None:
    for row, colour in zip(values, colours):
        axes.plot(np.arange(len(row)), np.where(row > 0, row, math.nan), ":", color=colour, label="_clipped")


def _draw_heat(
    figure: Any, axes: Any, values: np.ndarray, names: List[str], title: str, colourmap: str, limits: Any
) -> None:
    """A row of coloured steps for each name."""
    picture = axes.imshow(
        values, aspect="auto", interpolation="nearest", cmap=colourmap, vmin=limits[0], vmax=limits[1],
        extent=(-0.5, values.shape[1] - 0.5, len(names) - 0.5, -0.5),
    )  # fmt: skip
    # As many names as have room.
    every = 1 + (len(names) - 1) // 24
    axes.set_yticks(range(0, len(names), every), names[::every], fontsize="x-small")
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel(title)
    bar = figure.colorbar(picture, ax=axes, pad=0.01, aspect=8, ticks=[limits[0], sum(limits) / 2, limits[1]])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize="x-small", length=2)


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    """The mean of the last `width` values that are finite."""
    good = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(good, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(good)])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(ends - width, 0)
    number = counts[ends] - counts[begins]
    return np.where(number > 0, (sums[ends] - sums[begins]) / np.maximum(number, 1), math.nan)


def _matplotlib(attribute: str) -> Any:
    try:
        import matplotlib
    except ImportError:
        raise ImportError("librnn.plot needs matplotlib: pip install matplotlib, or librnn[plot]") from None
    return getattr(matplotlib, attribute)


def _figure(heights: List[float], width: float = 7.5) -> Any:
    """A figure with axes above each other, of heights in inches, that no window shows: it works without a display."""
    _matplotlib("__version__")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 1.0 + sum(heights)), layout="constrained")
    figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _done(figure: Any, path: Path) -> Any:
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
