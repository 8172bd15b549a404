"""The process of one peer: reads commands, a JSON object a line, from standard input and answers on standard output.

    build  {configuration, data, sample}   make it ready; how long a run takes; what the first steps gave
    block  {seconds}                       times of runs, in seconds each
    result {file}                          what the last timed runs gave, into an .npz file
    free, quit
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from typing import Any, Callable, Dict, List

import numpy as np

from .adapters import ADAPTERS
from .adapters.base import Adapter
from .configurations import Configuration

#: Steps that are looked at, one by one, before and after timing.
CHECKED_STEPS = 4


def transitions(adapter: Adapter, count: int = CHECKED_STEPS) -> Dict[str, np.ndarray]:
    """The state before and after each of some steps, [steps, states, H]."""
    before, after = [], []
    for _ in range(count):
        before.append(np.concatenate(adapter.state()))
        adapter.run()
        after.append(np.concatenate(adapter.state()))
    return {"before": np.stack(before), "after": np.stack(after)}


def warm_estimate(run: Callable[[], Any]) -> float:
    """Seconds of one run, warm."""
    clock = time.perf_counter
    for _ in range(2):
        run()
    start = clock()
    run()
    once = clock() - start
    if once > 2e-3:
        return once
    count = max(3, int(1e-2 / max(once, 1e-7)))
    start = clock()
    for _ in range(count):
        run()
    return (clock() - start) / count


def block(run: Callable[[], Any], seconds: float, inner: int, warm: bool) -> List[float]:
    """Times of one run, each the mean of `inner` runs in a row, for about `seconds`; at least one."""
    clock, times, repeat = time.perf_counter, [], range(inner)
    if warm:
        for _ in range(min(inner, 10)):
            run()
    end = clock() + seconds
    while True:
        start = clock()
        for _ in repeat:
            run()
        stop = clock()
        times.append((stop - start) / inner)
        if stop >= end:
            return times


class Worker:
    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.first: Dict[str, np.ndarray] = {}
        self.kind, self.inner, self.estimate = "", 1, 0.0

    def build(self, configuration: List[Any], data: str, sample: float) -> Dict[str, Any]:
        c = Configuration(*configuration)
        self.kind = c.kind
        with np.load(data) as arrays:
            self.adapter.build(c, dict(arrays))
        with self.adapter.context():
            self.first = transitions(self.adapter) if c.kind == "step" else {}
            self.estimate = warm_estimate(self.adapter.run)
        self.inner = max(1, int(sample / max(self.estimate, 1e-7)))
        return {"estimate": self.estimate}

    def block(self, seconds: float) -> Dict[str, Any]:
        with self.adapter.context():
            gc.collect()
            gc.disable()
            try:
                return {"times": block(self.adapter.run, seconds, self.inner, self.estimate < seconds / 4)}
            finally:
                gc.enable()

    def result(self, file: str) -> Dict[str, Any]:
        with self.adapter.context():
            if self.kind == "step":
                last = transitions(self.adapter)
                np.savez(file, **{name: np.concatenate([self.first[name], last[name]]) for name in last})
            else:
                np.savez(file, **self.adapter.outputs())
        return {}

    def free(self) -> Dict[str, Any]:
        self.adapter.free()
        gc.collect()
        return {}


def main(name: str, threads: int) -> None:
    # What a peer prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(message: Dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    worker = Worker(ADAPTERS[name]())
    try:
        answer({"ok": True, "version": worker.adapter.setup(threads)})
    except Exception as error:  # any fault of a peer is reported, not ours to sort
        traceback.print_exc()
        answer({"ok": False, "error": f"{type(error).__name__}: {error}"[:300]})
        return
    commands = {"build": worker.build, "block": worker.block, "result": worker.result, "free": worker.free}
    for line in sys.stdin:
        message = json.loads(line)
        command = message.pop("command")
        if command == "quit":
            return
        try:
            answer({"ok": True, **commands[command](**message)})
        except Exception as error:
            traceback.print_exc()
            answer({"ok": False, "error": f"{type(error).__name__}: {error}"[:300]})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
