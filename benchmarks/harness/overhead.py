"""What a call from Python costs over the same call from C.

    python3 overhead.py SECONDS     run by itself: one line of JSON, µs of each call from Python

The networks are those of benchmarks/c/bench.c --calls: an LSTM of 16 units on 16 inputs, one row and one step, so that the
call weighs as much as it ever does.
"""

from __future__ import annotations

import json
import sys
import timeit
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence


@dataclass(frozen=True)
class Case:
    """A statement in Python, the call of bench.c that does the same, and what may lie between them (µs), if that is limited."""

    statement: str
    c_call: str
    limit: Optional[float] = None


CASES = [
    Case("stream.step()", "rnn_stream_step", 0.5),
    Case("stream.step(x)", "rnn_stream_step", 1.0),
    Case("layer(x)", "rnn_network_run_arrays", 5.0),
    Case("layer(x, (h, c))", "rnn_network_run_arrays, from a state"),
    Case("sequential(x)", "rnn_network_run_arrays, with a linear layer"),
    Case("network.run(x)", "rnn_network_run_arrays, with a linear layer"),
    Case("cell(x, (h, c))", "rnn_lstm_forward"),
]


def names() -> Dict[str, Dict[str, Any]]:
    """What each statement of CASES refers to."""
    import librnn
    import numpy as np

    librnn.set_num_threads(1)
    layer = librnn.LSTM(16, 16, seed=1)
    builder = librnn.NetworkBuilder()
    builder.linear("linear", builder.recurrent("lstm", builder.input("x", 16), librnn.LSTM(16, 16, seed=1)), 4)
    x, h, c = (np.full((1, 1, 16), value, np.float32) for value in (1.0, 0.5, 0.25))
    sequence = {"x": x, "h": h, "c": c, "layer": layer, "network": builder.build(seed=1),
                "sequential": librnn.Sequential([layer, librnn.Linear(16, 4, seed=1)])}  # fmt: skip
    step = {"x": x[0], "h": h[0], "c": c[0], "stream": layer.stream(), "cell": librnn.LSTMCell(16, 16, seed=1)}
    step["stream"].input[...] = step["x"]
    return {case.statement: step if case.statement.split("(")[0] in ("stream.step", "cell") else sequence for case in CASES}


def least(seconds: float, count: int = 200) -> Dict[str, float]:
    """µs of each statement, without the loop around it: minima over samples in turns, as others run on the machine too."""
    found = names()
    timers = {statement: timeit.Timer(statement, globals=scope) for statement, scope in found.items()}
    timers["pass"] = timeit.Timer("pass")
    best = dict.fromkeys(timers, float("inf"))
    end = timeit.default_timer() + seconds * len(timers)
    while timeit.default_timer() < end:
        for statement, timer in timers.items():
            best[statement] = min(best[statement], *timer.repeat(5, count))
    return {statement: 1e6 * (best[statement] - best["pass"]) / count for statement in found}


@dataclass(frozen=True)
class Overhead:
    """A case and its measured times, µs."""

    case: Case
    python: float
    c: float

    @property
    def difference(self) -> float:
        return self.python - self.c

    @property
    def passed(self) -> Optional[bool]:
        """None where nothing is asked."""
        return None if self.case.limit is None else self.difference < self.case.limit


def overheads(python: Mapping[str, float], c: Mapping[str, float]) -> List[Overhead]:
    """Each case whose two times are there."""
    return [
        Overhead(case, python[case.statement], c[case.c_call])
        for case in CASES
        if case.statement in python and case.c_call in c
    ]


def text(found: Sequence[Overhead]) -> str:
    lines = [f"{'calls, µs':18s} {'Python':>8s} {'C':>8s} {'over C':>8s} {'below':>6s}"]
    for one in found:
        verdict = "" if one.passed is None else f" {one.case.limit:6g} {'PASS' if one.passed else 'FAIL'}"
        lines.append(f"  {one.case.statement:16s} {one.python:8.3f} {one.c:8.3f} {one.difference:8.3f}{verdict}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(json.dumps(least(float(sys.argv[1]))))
