"""The parent's side of a worker: a pinned process, questions and answers with a time limit."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, IO, List, Optional, Sequence, Union

HARNESS = Path(__file__).resolve().parent
ROOT = HARNESS.parents[1]


def child_environment(threads: int, extra: Dict[str, str]) -> Dict[str, str]:
    """The parent's, without what would change a BLAS, with the number of threads."""
    kept = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "PYTHONPATH")}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        kept[name] = str(threads)
    kept["PYTHONPATH"] = f"{ROOT / 'bindings/python/src'}{os.pathsep}{HARNESS.parent}"
    kept.setdefault("LIBRNN_LIBRARY", str(ROOT / "build/librnn.so"))
    return {**kept, **extra}


def default_command(python: Union[str, Path], name: str, threads: int) -> List[str]:
    return [str(python), "-m", "harness.worker", name, str(threads)]


class Process:
    """A worker. Once it has died, has hung or could not start, every answer is its last error."""

    def __init__(
        self, command: Sequence[str], environment: Dict[str, str], cpus: Optional[Sequence[int]], log: Union[IO[bytes], int]
    ) -> None:
        self.dead: Optional[str] = None
        self._rest = b""
        pin = (lambda: os.sched_setaffinity(0, set(cpus))) if cpus else None
        self._process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, preexec_fn=pin
        )

    def read(self, timeout: float) -> Dict[str, Any]:
        assert self._process.stdout is not None
        end, descriptor = time.monotonic() + timeout, self._process.stdout.fileno()
        while b"\n" not in self._rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                return self._die(f"no answer within {timeout:.0f} s")
            more = os.read(descriptor, 1 << 16)
            if not more:
                return self._die(f"the process ended ({self._process.wait()})")
            self._rest += more
        line, self._rest = self._rest.split(b"\n", 1)
        answer: Dict[str, Any] = json.loads(line)
        return answer

    def ask(self, command: str, timeout: float = 120, **message: Any) -> Dict[str, Any]:
        if self.dead:
            return {"ok": False, "error": self.dead}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write((json.dumps({"command": command, **message}) + "\n").encode())
            self._process.stdin.flush()
        except OSError:
            return self._die("the process ended")
        return self.read(timeout)

    def _die(self, why: str) -> Dict[str, Any]:
        self.dead = why
        self._process.kill()
        self._process.wait()
        return {"ok": False, "error": why}

    def quit(self) -> None:
        if self.dead is None:
            self.ask_nothing()
        self.dead = self.dead or "has been ended"

    def ask_nothing(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b'{"command": "quit"}\n')
            self._process.stdin.close()
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._die("did not end by itself")


def pinned(threads: int) -> List[int]:
    """The last processors that this process may use: the first ones serve interrupts more often."""
    return sorted(os.sched_getaffinity(0))[-threads:]


def python_of(environment: str) -> Path:
    return ROOT / "build/bench-venv" / environment / "bin/python"


if sys.platform != "linux":  # sched_setaffinity
    raise ImportError("the benchmark needs Linux")
