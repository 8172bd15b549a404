"""Every function of rnn.h, with every kind of bad argument (bad_arguments.py), in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from header import HEADER  # noqa: E402


@pytest.mark.parametrize("name", list(HEADER.functions))
def test_bad_arguments(name):
    script = Path(__file__).with_name("bad_arguments.py")
    environment = dict(os.environ, SWIFT_BACKTRACE="enable=no")
    try:
        done = subprocess.run([sys.executable, str(script), name], capture_output=True, text=True, timeout=300, env=environment)
    except subprocess.TimeoutExpired as expired:
        last = (expired.stdout or b"").decode().splitlines()[-1:]
        pytest.fail(f"hung at: {last}", pytrace=False)
    lines = done.stdout.splitlines()
    if done.returncode < 0:
        pytest.fail(f"the process died of signal {-done.returncode} at: {lines[-1] if lines else 'start'}\n{done.stderr}", pytrace=False)
    complaints = [f"{case}\n{line}" for case, line in zip(lines, lines[1:]) if line.startswith("  WRONG")]
    if done.returncode != 0:
        pytest.fail("\n".join([*complaints, *lines[-1:], done.stderr]), pytrace=False)
