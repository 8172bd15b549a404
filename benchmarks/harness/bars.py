"""Ratios, the bars they are held against, and what makes a run a failed one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from .configurations import Configuration, group

#: Group: (every configuration at least, geometric mean at least). ratio = time of the best peer / time of librnn.
BARS: Dict[str, Tuple[float, float]] = {
    "one step, H to 64": (1.7, 2.2),
    "one step, H to 128": (1.4, 1.5),
    "one step, H above 128": (1.0, 1.1),
    "one step, bf16 weights": (1.5, 1.7),
    "sequences, batch 1": (1.1, 1.3),
    "sequences, batch 2 and more": (1.0, 1.1),
    "training": (1.0, 1.2),
}

OURS = "librnn"


def is_ours(name: str) -> bool:
    """librnn, or another way of calling it ("librnn:bound"), which is shown and is neither a peer nor what the bars are for."""
    return name.split(":")[0] == OURS


@dataclass
class Row:
    """What was measured of one configuration with one number of threads; times are minima in seconds."""

    configuration: Configuration
    threads: int
    times: Dict[str, float] = field(default_factory=dict)
    medians: Dict[str, float] = field(default_factory=dict)
    #: largest error / tolerance of each peer's output
    errors: Dict[str, float] = field(default_factory=dict)
    #: peer: what went wrong; a peer that is here has no valid time
    failures: Dict[str, str] = field(default_factory=dict)

    @property
    def best(self) -> Optional[Tuple[str, float]]:
        """The fastest peer and its time."""
        peers = {name: t for name, t in self.times.items() if not is_ours(name) and name not in self.failures}
        if not peers:
            return None
        name = min(peers, key=lambda key: peers[key])
        return name, peers[name]

    @property
    def ratio(self) -> Optional[float]:
        """How many times as fast as the best peer librnn is; None if one of both is missing."""
        ours, best = self.times.get(OURS), self.best
        if ours is None or best is None or OURS in self.failures:
            return None
        return best[1] / ours

    @property
    def passed(self) -> Optional[bool]:
        return None if self.ratio is None else self.ratio >= BARS[group(self.configuration)][0]


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))


@dataclass
class Verdict:
    """One group with one number of threads against its bars."""

    group: str
    threads: int
    count: int
    missing: int
    worst: Optional[Row]
    mean: Optional[float]

    @property
    def every_passed(self) -> bool:
        """Every configuration reaches its bar; one without a ratio does not."""
        least = BARS[self.group][0]
        return self.missing == 0 and self.worst is not None and (self.worst.ratio or 0.0) >= least

    @property
    def mean_passed(self) -> bool:
        return self.missing == 0 and self.mean is not None and self.mean >= BARS[self.group][1]

    @property
    def passed(self) -> bool:
        return self.every_passed and self.mean_passed


def verdicts(rows: Sequence[Row]) -> List[Verdict]:
    """A verdict for each number of threads and group that has rows, in the order of BARS."""
    found: List[Verdict] = []
    for threads in sorted({row.threads for row in rows}):
        for name in BARS:
            mine = [row for row in rows if row.threads == threads and group(row.configuration) == name]
            if not mine:
                continue
            rated = [row for row in mine if row.ratio is not None]
            worst = min(rated, key=lambda row: row.ratio or 0.0, default=None)
            mean = geometric_mean([row.ratio for row in rated if row.ratio]) if rated else None
            found.append(Verdict(name, threads, len(mine), len(mine) - len(rated), worst, mean))
    return found


def failures(missing: Mapping[str, str], rows: Sequence[Row], allow_missing: bool = False) -> List[str]:
    """Why a run is a failed one, one line for each reason; empty if it is not.

    missing: peer -> why it could not be started. With allow_missing such a peer is no reason, and neither is one that fails
    later; librnn itself, or a wrong result of librnn, always is one.
    """
    reasons = [f"{name} is missing: {why}" for name, why in missing.items() if is_ours(name) or not allow_missing]
    for row in rows:
        for name, why in row.failures.items():
            if is_ours(name) or not allow_missing:
                reasons.append(f"{name} failed on {row.configuration.name}, {row.threads} thread(s): {why}")
    return reasons


def exit_status(
    reasons: Sequence[str], found: Sequence[Verdict], require_bars: bool = False, limits_kept: bool = True
) -> int:
    """1: a failed run; 2: a valid run that misses a bar or another limit, if that is asked; 0 otherwise."""
    if reasons:
        return 1
    return 2 if require_bars and not (limits_kept and all(verdict.passed for verdict in found)) else 0


def as_json(row: Row) -> Dict[str, Any]:
    """A row as it is written to the results file."""
    c, best = row.configuration, row.best
    return {
        "name": c.name, "group": group(c), "kind": c.kind, "cell": c.cell, "T": c.T, "N": c.N, "I": c.I, "H": c.H,
        "L": c.L, "D": c.D, "weights": c.weights, "threads": row.threads, "flops": c.flops, "weight_bytes": c.weight_bytes,
        "minimum_s": row.times, "median_s": row.medians, "error_over_tolerance": row.errors, "failures": row.failures,
        "best_peer": best[0] if best else None, "ratio": row.ratio, "bar": BARS[group(c)][0], "passed": row.passed,
    }  # fmt: skip


def from_json(entry: Mapping[str, Any]) -> Row:
    c = Configuration(*(entry[key] for key in ("kind", "cell", "T", "N", "I", "H", "L", "D", "weights")))
    return Row(
        c, entry["threads"], dict(entry["minimum_s"]), dict(entry["median_s"]), dict(entry["error_over_tolerance"]),
        dict(entry["failures"]),
    )  # fmt: skip
