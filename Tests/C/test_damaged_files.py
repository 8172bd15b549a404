"""Model files that are cut off, changed or lie about themselves are refused, without a crash or a read past their end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files(seed):
    script = Path(__file__).with_name("damaged_files.py")
    environment = dict(os.environ, SWIFT_BACKTRACE="enable=no")
    done = subprocess.run([sys.executable, str(script), str(seed)], capture_output=True, text=True, timeout=300, env=environment)
    last = done.stdout.splitlines()[-1:] or ["start"]
    if last != ["passed"]:
        pytest.fail(f"ended with {done.returncode} at the file (in hexadecimal) {last[0]}\n{done.stderr}", pytrace=False)
