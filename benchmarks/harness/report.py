"""The table, the bars, the JSON file."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence

from .bars import BARS, OURS, Row, Verdict, is_ours
from .configurations import group


def duration(seconds: float) -> str:
    if seconds < 9.995e-6:
        return f"{seconds * 1e9:.0f} ns"
    if seconds < 9.995e-3:
        return f"{seconds * 1e6:.1f} µs"
    return f"{seconds * 1e3:.1f} ms"


def line(row: Row, peak: Optional[float]) -> List[str]:
    """The cells of a row: ratio and mark, times, GFLOP/s, percent of peak, GB/s of weights, and the runners-up."""
    c, best, ours = row.configuration, row.best, row.times.get(OURS)
    rate = c.flops / ours / 1e9 if ours else None
    percent = f"{100 * rate / peak:.0f} %" if rate and peak else ""
    bytes_rate = f"{c.weight_bytes / ours / 1e9:.0f}" if ours and c.kind == "step" else ""
    others = sorted((t, name) for name, t in row.times.items() if not is_ours(name) and name not in row.failures)
    near = ", ".join(f"{name} {t / best[1]:.2f}" for t, name in others[1:4]) if best else ""
    bound = row.times.get(f"{OURS}:bound")
    mark = {True: "", False: "below", None: "no ratio"}[row.passed]
    return [
        c.name, duration(ours) if ours else "failed", duration(best[1]) if best else "none", best[0] if best else "",
        f"{row.ratio:.2f}" if row.ratio else "-", mark, duration(bound) if bound else "", f"{rate:.1f}" if rate else "", percent, bytes_rate, near,
    ]  # fmt: skip


HEADINGS = ["configuration", "librnn", "best peer", "", "ratio", "", "bound", "GFLOP/s", "of peak", "GB/s", "next peers / best"]


def groups(rows: Sequence[Row]) -> Dict[str, List[Row]]:
    found: Dict[str, List[Row]] = {}
    for name in BARS:
        mine = [row for row in rows if group(row.configuration) == name]
        if mine:
            found[name] = mine
    return found


def aligned(lines: Sequence[Sequence[str]]) -> List[str]:
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(lines[0]))]
    left = {0, 3, 5, 10}
    return [
        "  ".join(text.ljust(w) if k in left else text.rjust(w) for k, (text, w) in enumerate(zip(cells, widths))).rstrip()
        for cells in lines
    ]


def table(rows: Sequence[Row], peaks: Mapping[int, float]) -> str:
    """Of one run, for reading in a terminal."""
    out: List[str] = []
    for threads in sorted({row.threads for row in rows}):
        peak = peaks.get(threads)
        measured = f", FMA peak {peak:.0f} GFLOP/s" if peak else ""
        out.append(f"== {threads} thread{'s' if threads > 1 else ''}{measured}; ratio = best of all peers / librnn, minima")
        for name, mine in groups([row for row in rows if row.threads == threads]).items():
            out += ["", f"-- {name}: each at least {BARS[name][0]}, geometric mean at least {BARS[name][1]}"]
            out += aligned([HEADINGS] + [line(row, peak) for row in mine])
        out.append("")
    return "\n".join(out)


def word(passed: bool) -> str:
    return "PASS" if passed else "FAIL"


def verdict_cells(verdict: Verdict) -> List[str]:
    least, mean = BARS[verdict.group]
    worst = verdict.worst
    return [
        verdict.group, str(verdict.threads), str(verdict.count),
        f"{worst.ratio:.2f}" if worst and worst.ratio else "-", f"{least:g}", word(verdict.every_passed),
        f"{verdict.mean:.2f}" if verdict.mean else "-", f"{mean:g}", word(verdict.mean_passed),
        (worst.configuration.name if worst else "") + (f" ({verdict.missing} without a ratio)" if verdict.missing else ""),
    ]  # fmt: skip


VERDICT_HEADINGS = ["group", "threads", "rows", "least", "bar", "", "mean", "bar", "", "the least is"]


def verdict_table(found: Sequence[Verdict]) -> str:
    lines = [VERDICT_HEADINGS] + [verdict_cells(verdict) for verdict in found]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(cells, widths)).rstrip() for cells in lines)


def markdown(rows: Sequence[Row], found: Sequence[Verdict], peaks: Mapping[int, float], facts: Mapping[str, Any]) -> str:
    """The same for docs/performance.md."""

    def block(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> List[str]:
        edge = ["| " + " | ".join(heading) + " |", "|" + " --- |" * len(heading)]
        return edge + ["| " + " | ".join(cells) + " |" for cells in lines]

    out = [f"Measured on {facts['processor']}, {facts['cpus']} cores, {facts['started']}, revision {facts['revision']}, with "
           f"`{facts['command']}`. " + "; ".join(f"{n} thread(s): FMA peak {p:.0f} GFLOP/s" for n, p in peaks.items()) + "."]
    out += ["", *block(VERDICT_HEADINGS, [verdict_cells(verdict) for verdict in found])]
    for threads in sorted({row.threads for row in rows}):
        for name, mine in groups([row for row in rows if row.threads == threads]).items():
            out += ["", f"#### {name}, {threads} thread{'s' if threads > 1 else ''}", ""]
            out += block(HEADINGS, [line(row, peaks.get(threads)) for row in mine])
    return "\n".join(out) + "\n"
