"""The picture for the README: one dot for each configuration, by group; right of 1 librnn is faster than every peer."""

from __future__ import annotations

from pathlib import Path
from typing import List, Sequence

from .bars import BARS, OURS, Row, geometric_mean
from .report import groups

COLOURS = {"lstm": "#1f6fb4", "gru": "#d1661a", "gru-before": "#2a9d5c", "rnn": "#8a5ca8"}
TITLES = {
    "one step, H to 64": "One step\n16–64 units",
    "one step, H to 128": "One step\n96–128 units",
    "one step, H above 128": "One step\n200–1024 units",
    "one step, bf16 weights": "One step\nbf16 weights",
    "sequences, batch 1": "Sequences\nbatch 1",
    "sequences, batch 2 and more": "Sequences\nbatch 8–128",
    "training": "Training\nstep",
}


def spread(count: int) -> List[float]:
    """Heights for dots of one line, so that they do not hide each other; the same each time."""
    return [((index * 0.618034) % 1.0 - 0.5) * 0.62 for index in range(count)]


def draw(rows: Sequence[Row], path: Path, caption: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    threads = sorted({row.threads for row in rows})
    names = [name for name in BARS if name in groups(rows)]
    ratios = [row.ratio for row in rows if row.ratio]
    if not ratios:
        return
    low, high = min(0.75, min(ratios) / 1.15), max(4.4, max(ratios) * 1.15)
    figure, axes = plt.subplots(
        1, len(threads), figsize=(5.6 * len(threads) + 1.2, 0.92 * len(names) + 1.7), sharey=True, squeeze=False
    )
    for axis, count in zip(axes[0], threads):
        axis.axvspan(low, 1, color="#f3e6e3", zorder=0)
        axis.axvline(1, color="#444444", linewidth=1.4, zorder=1)
        for place, name in enumerate(names):
            mine = [r for r in rows if r.threads == count and r.ratio and r in groups(rows)[name]]
            for row, height in zip(mine, spread(len(mine))):
                axis.plot(row.ratio, place + height, "o", markersize=6, alpha=0.85, zorder=3, markeredgecolor="white",
                          markeredgewidth=0.6, color=COLOURS[row.configuration.cell])  # fmt: skip
            if mine:
                mean = geometric_mean([row.ratio or 1.0 for row in mine])
                axis.plot([mean, mean], [place - 0.4, place + 0.4], color="#111111", linewidth=2.4, zorder=2)
                axis.annotate(f"{mean:.2f}×", (high / 1.04, place), ha="right", va="center", fontsize=11, fontweight="bold")
        axis.set_xscale("log")
        axis.set_xlim(low, high)
        ticks = [t for t in (0.25, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 12, 16) if low <= t <= high]
        axis.xaxis.set_major_locator(FixedLocator(ticks))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        axis.set_xlabel("time of the fastest peer / time of librnn: right of 1 librnn is faster", fontsize=9, color="#444444")
        axis.grid(axis="x", color="#dddddd", linewidth=0.7, zorder=0)
        axis.set_title(f"{count} thread{'s' if count > 1 else ''}", fontsize=12, fontweight="bold", loc="left")
        axis.set_yticks(range(len(names)), [TITLES[name] for name in names], fontsize=10)
        axis.set_ylim(len(names) - 0.45, -0.55)
        axis.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    cells = [cell for cell in COLOURS if any(row.configuration.cell == cell for row in rows)]
    labels = {"lstm": "LSTM", "gru": "GRU, reset-after", "gru-before": "GRU, reset-before", "rnn": "vanilla RNN"}
    handles = [Line2D([], [], marker="o", linestyle="", color=COLOURS[cell], label=labels[cell]) for cell in cells]
    handles.append(Line2D([], [], color="#111111", linewidth=2.4, label="geometric mean"))
    figure.suptitle(f"{OURS}: how many times as fast as the fastest peer", fontsize=14, fontweight="bold", x=0.01, ha="left")
    figure.legend(handles=handles, loc="lower left", ncols=len(handles), frameon=False, fontsize=10, bbox_to_anchor=(0.0, 0.035))
    figure.text(0.01, 0.012, caption, fontsize=8.5, color="#555555", ha="left")
    figure.tight_layout(rect=(0, 0.075, 1, 0.985))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)
