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
    figure = _figure(2 if reports else 1)
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
    """||dL/dh_t|| by step, a line for each layer and direction, on a logarithmic axis.

    A line that falls towards the first steps is a gradient that vanishes; one that rises, a gradient that explodes.

    Parameters
    ----------
    flow : what ``backward(…, gradient_flow=True)`` returns, or its ``.flow``
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
    hidden = np.asarray(flow.hidden)
    labels: List[str] = list(flow.labels) or [f"layer {row}" for row in range(len(hidden))]
    figure = _figure(1)
    axes = figure.axes[0]
    steps = np.arange(hidden.shape[1])
    colours = _matplotlib("colormaps")["viridis"](np.linspace(0, 0.85, max(len(hidden), 1)))
    for row, label, colour in zip(hidden, labels, colours):
        # A logarithm has no place for zeros: gaps in the line.
        style = "--" if label.endswith("backward") else "-"
        marker = "o" if len(steps) <= 40 or np.count_nonzero(row) <= 2 else None
        axes.plot(steps, np.where(row > 0, row, math.nan), style, color=colour, marker=marker, markersize=3, label=label)
    if (hidden > 0).any():
        axes.set_yscale("log")
    axes.set_xlabel("step t")
    axes.set_ylabel(r"$\Vert \partial L / \partial H_t \Vert$")
    axes.set_title("Gradient flow through time")
    axes.grid(True, which="major", color="0.9")
    if 1 < len(labels) <= 24:
        axes.legend(frameon=False, ncols=1 + len(labels) // 9, fontsize="small")
    return _done(figure, path)


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


def _figure(rows: int) -> Any:
    """A figure with `rows` axes above each other that no window shows: it works without a display."""
    _matplotlib("__version__")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.2 + 1.6 * rows), layout="constrained")
    figure.subplots(rows, 1, sharex=True, height_ratios=[2, 1][:rows])
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _done(figure: Any, path: Path) -> Any:
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
