"""Runs librnn and the peers round-robin over the configurations and checks what they give."""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from . import configurations, reference
from .adapters import ADAPTERS
from .bars import Row, is_ours
from .configurations import Configuration
from .processes import ROOT, Process, child_environment, default_command, pinned, python_of


@dataclass
class Settings:
    """How long and how often; see `run.py --help`."""

    seconds: float = 0.3
    rounds: int = 5
    #: Calls of a sample: short ones are timed in groups of about this many seconds.
    sample: float = 1e-4
    #: Pause after each block: a pool that spins on after its work (30-40 ms in ONNX Runtime) would disturb the next.
    settle: Callable[[int], float] = field(default=lambda threads: 0.06 if threads > 1 else 0.002)
    build_timeout: float = 240.0


class References:
    """What a configuration should give, kept on disk between runs: the large ones take seconds."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        sources = [Path(module.__file__).read_bytes() for module in (reference, configurations) if module.__file__]
        self._prefix = hashlib.sha256(b"".join(sources)).hexdigest()[:12]
        self._folder = folder
        for old in folder.glob("*.npz"):
            if not old.name.startswith(self._prefix):
                old.unlink()

    def get(self, c: Configuration, data: reference.Arrays) -> reference.Expected:
        path = self._folder / f"{self._prefix} {c.name}.npz"
        if path.exists():
            with np.load(path) as file:
                arrays = {name: file[name] for name in file.files if name != "tolerances"}
                return reference.Expected(arrays, dict(zip(arrays, file["tolerances"].tolist())))
        made = reference.expected(c, data)
        part = path.with_name("part-" + path.name)
        np.savez(part, tolerances=np.array([made.tolerances[name] for name in made.arrays]), **made.arrays)
        part.replace(path)
        return made


class Runner:
    """One number of threads. A context: leaving it ends the workers."""

    def __init__(
        self, threads: int, names: Sequence[str], settings: Settings, log: IO[bytes],
        command: Callable[[str, int], Sequence[str]] = lambda name, threads: default_command(
            python_of(ADAPTERS[name].environment), name, threads
        ),
    ) -> None:  # fmt: skip
        self.threads, self.names, self.settings, self.log, self.command = threads, list(names), settings, log, command
        self.versions: Dict[str, str] = {}
        self.missing: Dict[str, str] = {}
        self._processes: Dict[str, Process] = {}
        self._stack = ExitStack()
        self._references = References(ROOT / "build/bench/references")

    def __enter__(self) -> "Runner":
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        for name in self.names:
            why = self._start(name)
            if why:
                self.missing[name] = why
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._processes.values():
            process.quit()
        self._stack.close()

    def _start(self, name: str) -> Optional[str]:
        """Start a worker; why it does not, if it does not."""
        environment = child_environment(self.threads, ADAPTERS[name].variables(self.threads))
        try:
            process = Process(self.command(name, self.threads), environment, pinned(self.threads), self.log)
        except OSError as error:
            return str(error)
        answer = process.read(self.settings.build_timeout)
        if not answer["ok"]:
            process.quit()
            return str(answer["error"])
        self._processes[name], self.versions[name] = process, answer["version"]
        return None

    def measure(self, c: Configuration) -> Row:
        """Build all, then blocks of time in turns, beginning with another one each round; check what came out."""
        row, s = Row(c, self.threads), self.settings
        plain = c.peer  # weights and data are the same however librnn stores them
        data = reference.make_data(plain)
        wanted = None if c.kind == "step" else self._references.get(plain, data)
        file = self._folder / "data.npz"
        np.savez(file, **data)
        estimates: Dict[str, float] = {}
        for name in self.names:
            if name in self.missing or ADAPTERS[name].limit(c):
                continue
            process = self._processes[name]
            if process.dead:  # by an earlier configuration, which has the failure; it gets another chance
                why = self._start(name)
                if why:
                    row.failures[name] = why
                    continue
                process = self._processes[name]
            work = c if is_ours(name) else plain
            sample = s.sample if c.kind == "step" else 10 * s.sample
            fields = [work.kind, work.cell, work.T, work.N, work.I, work.H, work.L, work.D, work.weights]
            answer = process.ask("build", s.build_timeout, configuration=fields, data=str(file), sample=sample)
            if answer["ok"]:
                estimates[name] = answer["estimate"]
            else:
                row.failures[name] = answer["error"]
        times = self._turns(row, estimates)
        for name in estimates:
            process = self._processes[name]
            if name not in row.failures:
                row.times[name], row.medians[name] = min(times[name]), statistics.median(times[name])
                self._check(row, name, process, data, wanted)
            process.ask("free", 60)
        return row

    def _turns(self, row: Row, estimates: Dict[str, float]) -> Dict[str, List[float]]:
        s, order = self.settings, list(estimates)
        times: Dict[str, List[float]] = {name: [] for name in order}
        for index in range(s.rounds):
            first = index % max(1, len(order))
            for name in order[first:] + order[:first]:
                slow = estimates[name] > s.seconds and len(times[name]) >= 3  # three runs of a slow one are enough
                if name in row.failures or slow:
                    continue
                answer = self._processes[name].ask("block", seconds=s.seconds / s.rounds)
                if answer["ok"]:
                    times[name] += answer["times"]
                else:
                    row.failures[name] = answer["error"]
                time.sleep(s.settle(self.threads))
        return times

    def _check(
        self, row: Row, name: str, process: Process, data: reference.Arrays, wanted: Optional[reference.Expected]
    ) -> None:
        file = self._folder / "result.npz"
        answer = process.ask("result", file=str(file))
        if not answer["ok"]:
            row.failures[name] = answer["error"]
            return
        with np.load(file) as arrays:
            found, where = check(row.configuration, data, wanted, dict(arrays))
        row.errors[name] = found
        if not found <= 1:
            row.failures[name] = f"wrong result: {where} is off by {found:.3g} times the tolerance"


def check(
    c: Configuration, data: reference.Arrays, wanted: Optional[reference.Expected], arrays: reference.Arrays
) -> Tuple[float, str]:
    """Largest error / tolerance and the array that has it. bf16 weights: 8 bits of a significand for 24, so 2^16 times as much."""
    if wanted is None:
        found, where = reference.step_error(c.peer, data, arrays["before"], arrays["after"]), "the state after a step"
    else:
        found, where = reference.error(wanted, arrays)
    return (found / 2**16 if c.weights == "bf16" else found), where


def select(
    rows: Sequence[Configuration], kinds: Sequence[str], cells: Sequence[str], match: str
) -> List[Configuration]:
    """The rows that the options of the command line leave."""
    chosen: List[Configuration] = []
    for row in rows:
        if (not kinds or row.kind in kinds) and (not cells or row.cell in cells) and match in row.name:
            chosen.append(row)
    return chosen


def time_left(done: int, total: int, elapsed: float) -> Any:
    """Seconds, from the mean so far; None before there is one."""
    return None if not done else elapsed / done * (total - done)
