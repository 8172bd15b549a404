"""What `run.py` does once it runs in the environment of the harness."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence

from . import bars, chart, footprint, machine, report
from .adapters import ADAPTERS
from .bars import OURS, Row, is_ours
from .configurations import grid, quick_grid
from .processes import ROOT
from .runner import Runner, Settings, select, time_left


def split(text: str) -> List[str]:
    return [part for part in text.split(",") if part]


def chosen_peers(text: str) -> List[str]:
    """librnn and the peers that are named; "torch" stands for all its ways."""
    wanted = split(text)
    unknown = [w for w in wanted if not any(w in (name, name.split(":")[0]) for name in ADAPTERS)]
    if unknown:
        raise SystemExit(f"no such peer: {', '.join(unknown)}; there are {', '.join(ADAPTERS)}")
    return [n for n in ADAPTERS if is_ours(n) or not wanted or n in wanted or n.split(":")[0] in wanted]


@contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """A bar with the time left in a terminal, otherwise a line for each row. Call it with what was done."""
    start, done = time.monotonic(), 0
    if sys.stdout.isatty():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = [BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(True)]
        with Progress(*columns, TextColumn("{task.description}")) as shown:
            task = shown.add_task("", total=total)

            def advance(text: str) -> None:
                shown.console.print(text, highlight=False, markup=False)
                shown.advance(task)

            yield advance
        return

    def say(text: str) -> None:
        nonlocal done
        done += 1
        left = time_left(done, total, time.monotonic() - start)
        print(f"[{done}/{total}, {left / 60:.0f} min left] {text}", flush=True)

    yield say


def one_line(row: Row) -> str:
    ours, best = row.times.get(OURS), row.best
    text = f"{row.configuration.name:44s} {row.threads} thr  librnn {report.duration(ours) if ours else 'failed':>9s}"
    if best:
        text += f"  best {report.duration(best[1]):>9s} {best[0]}"
    if row.ratio:
        text += f"  ratio {row.ratio:.2f}" + ("" if row.passed else "  (below its bar)")
    return text + "".join(f"\n    FAILED {name}: {why}" for name, why in row.failures.items())


def write(path: Path, facts: Mapping[str, Any], rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({**facts, "rows": [bars.as_json(row) for row in rows]}, indent=1) + "\n")
    part.replace(path)


def measure(options: argparse.Namespace, facts: Dict[str, Any]) -> List[Row]:
    quick = options.quick
    rows = select((quick_grid if quick else grid)(), split(options.kinds), split(options.cells), options.match)
    if not rows:
        raise SystemExit("no configuration is left: see --list")
    settings = Settings(seconds=options.seconds or (0.1 if quick else 0.3), rounds=options.rounds or (3 if quick else 5))
    counts = [int(count) for count in split(options.threads)]
    found: List[Row] = []
    facts["missing"], facts["peers"] = {}, {}
    with progress(len(rows) * len(counts)) as advance, open(options.output / "peers.log", "wb") as log:
        for count in counts:
            with Runner(count, chosen_peers(options.peers), settings, log) as runner:
                facts["peers"].update(runner.versions)
                facts["missing"].update(runner.missing)
                for name, why in runner.missing.items():
                    print(f"MISSING {name}: {why}", flush=True)
                if (runner.missing and not options.allow_missing) or OURS in runner.missing:
                    return found
                for configuration in rows:
                    found.append(runner.measure(configuration))
                    advance(one_line(found[-1]))
                    write(options.output / "results.json", facts, found)
    return found


def conclude(options: argparse.Namespace, facts: Dict[str, Any], rows: List[Row]) -> int:
    peaks = {int(count): peak for count, peak in facts["peaks"].items()}
    found = bars.verdicts(rows)
    peers = ", ".join(sorted({name.split(":")[0] for name in facts["peers"] if not is_ours(name)}))
    caption = f"float32, minima of one run on {facts['processor']}, {facts['cpus']} cores, {facts['started'][:10]}; peers: {peers}"
    chart.draw(rows, options.output / "chart.png", caption)
    (options.output / "results.md").write_text(report.markdown(rows, found, peaks, facts))
    print("\n" + report.table(rows, peaks))
    print(report.verdict_table(found))
    other = facts.get("footprint")
    if other:
        print("\n" + footprint.text(other))
    reasons = bars.failures(facts["missing"], rows, options.allow_missing)
    reasons += [f"footprint: {fault}" for fault in (other or {}).get("faults", [])]
    if not rows:
        reasons.append("nothing was measured")
    for reason in reasons:
        print("FAILED RUN: " + reason)
    print(f"\nwritten: {options.output}/results.json, results.md, chart.png")
    if max(facts["load"][0], facts.get("load_after", [0])[0]) > 1.5 * facts["cpus"]:
        print("the machine was busy: do not trust the figures")
    kept = not other or footprint.passed(other)
    return bars.exit_status(reasons, found, options.require_bars, kept)


def main(options: argparse.Namespace) -> int:
    if options.list:
        for name, adapter in ADAPTERS.items():
            print(f"{name:18s} {', '.join(adapter.kinds):26s} {' '.join((adapter.__doc__ or '').split())}")
        for row in (quick_grid if options.quick else grid)():
            print(row.name)
        return 0
    options.output.mkdir(parents=True, exist_ok=True)
    if options.report:
        facts = json.loads(options.report.read_text())
        return conclude(options, facts, [bars.from_json(entry) for entry in facts["rows"]])
    facts = {
        **machine.describe(ROOT), "started": time.strftime("%Y-%m-%d %H:%M"),
        "command": "make bench" + (f' BENCH_ARGS="{" ".join(a for a in sys.argv[1:] if a != "--no-install")}"'
                                   if len(sys.argv) > 2 else ""),
    }  # fmt: skip
    counts = [int(count) for count in split(options.threads)]
    facts["peaks"] = footprint.peaks(counts)
    if not options.no_footprint:
        facts["footprint"] = footprint.measure(quick=options.quick)
    rows = measure(options, facts)
    # The clock may have changed: the peak is the better of before and after.
    after = footprint.peaks(counts)
    facts["peaks"] = {count: max(facts["peaks"][count], after[count]) for count in counts}
    facts["load_after"] = machine.describe(ROOT)["load"]
    write(options.output / "results.json", facts, rows)
    return conclude(options, facts, rows)
