"""The other limits: loading, memory, size, and (overhead.py) what a call from Python costs over the same call from C."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

from . import overhead
from .processes import ROOT, child_environment, pinned

#: Measure: (at most, unit, what it is).
LIMITS = {
    "load_ms": (15.0, "ms", "load of librnn.so"),
    "resident_mb": (25.0, "MB", "resident memory after LSTM steps, a C program"),
    "size_mb": (10.0, "MB", "librnn.so, stripped"),
}
#: Without a limit: for comparison.
FACTS = {
    "first_result_ms": ("ms", "load to the first result, a C program"),
    "import_ms": ("ms", "import librnn, after NumPy"),
    "python_resident_mb": ("MB", "resident memory of the same in Python, over NumPy's"),
}

IMPORT = """
import json, time
import numpy as np
def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))
before, start = resident(), time.perf_counter()
import librnn
loaded = time.perf_counter() - start
stream = librnn.LSTM(64, 64, seed=1).stream()
x = np.ones((1, 64), np.float32)
for _ in range(10): stream.step(x)
print(json.dumps({"import_ms": 1e3 * loaded, "python_resident_mb": resident() - before}))
"""


def output(command: Sequence[str], threads: int = 1) -> Any:
    cpus = pinned(threads)
    environment = child_environment(threads, {"PYTHONPYCACHEPREFIX": str(ROOT / "build/bench/pycache")})
    # Importing is timed as it is where the package is installed: compiled.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    result = subprocess.run(
        list(command), capture_output=True, text=True, check=True, env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, set(cpus)),
    )  # fmt: skip
    return json.loads(result.stdout)


def peaks(counts: Sequence[int]) -> Dict[int, float]:
    """Number of threads: GFLOP/s of multiply-adds."""
    found = output([str(ROOT / "build/bench/rnn-peak"), *map(str, counts)], max(counts))
    return {int(count): float(rate) for count, rate in found["fma_gflops"].items()}


def measure(quick: bool = False) -> Dict[str, Any]:
    """Every measure of LIMITS and FACTS, and the calls; the best of some fresh processes. `faults`: what could not be measured."""
    library, times = (ROOT / "build/librnn.so").resolve(), 3 if quick else 10
    found: Dict[str, float] = {"size_mb": library.stat().st_size / 1e6}
    calls: Dict[str, Dict[str, float]] = {}
    faults: List[str] = []

    def least(command: Sequence[str], count: int) -> Dict[str, float]:
        every = [output(command) for _ in range(count)]
        return {key: min(one[key] for one in every) for key in every[0]}

    try:
        program = least([str(ROOT / "build/bench/rnn-footprint"), str(library)], times)
        found.update({key: program[key] for key in ("load_ms", "first_result_ms", "resident_mb")})
        found.update(least([sys.executable, "-c", IMPORT], times))
        calls["c"] = least([str(ROOT / "build/bench/rnn-bench"), "--calls"], max(2, times // 3))
        calls["python"] = least([sys.executable, str(overhead.__file__), "0.2" if quick else "0.5"], max(2, times // 3))
    except (OSError, subprocess.CalledProcessError, KeyError, ValueError) as error:
        faults.append(f"{error} {getattr(error, 'stderr', '') or ''}".strip())
    return {"values": found, "calls": calls, "faults": faults}


@dataclass
class Held:
    """A measure against its limit; `passed` is None where there is no limit."""

    text: str
    value: float
    unit: str
    limit: float
    passed: Any


def held(measured: Mapping[str, Any]) -> List[Held]:
    values = measured["values"]
    found = [
        Held(text, values[key], unit, limit, values[key] < limit)
        for key, (limit, unit, text) in LIMITS.items()
        if key in values
    ]
    return found + [Held(text, values[key], unit, 0.0, None) for key, (unit, text) in FACTS.items() if key in values]


def calls(measured: Mapping[str, Any]) -> List[overhead.Overhead]:
    """The calls from Python beside those from C."""
    times = measured.get("calls", {})
    return overhead.overheads(times.get("python", {}), times.get("c", {}))


def passed(measured: Mapping[str, Any]) -> bool:
    """Whether every limit is kept."""
    return all(one.passed is not False for one in [*held(measured), *calls(measured)])


def text(measured: Mapping[str, Any]) -> str:
    lines = ["footprint"]
    for one in held(measured):
        verdict = "" if one.passed is None else f"  below {one.limit:g} {one.unit}: {'PASS' if one.passed else 'FAIL'}"
        lines.append(f"  {one.text:50s} {one.value:8.3f} {one.unit}{verdict}")
    return "\n".join([*lines, "", overhead.text(calls(measured))])


def main(quick: bool, require_bars: bool) -> int:
    """Only this, without the peers: `run.py --only-footprint`. The statuses are those of a whole run."""
    measured = measure(quick)
    print(text(measured))
    for fault in measured["faults"]:
        print("FAILED RUN: " + fault)
    if measured["faults"]:
        return 1
    return 2 if require_bars and not passed(measured) else 0
