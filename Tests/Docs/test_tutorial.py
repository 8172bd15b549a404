"""Every script of the tutorial runs, and prints what its page shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import librnn

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "tutorial"
SCRIPTS = sorted(FOLDER.glob("[0-9]_*.py"))


def test_there_are_seven():
    assert [path.name[0] for path in SCRIPTS] == list("1234567")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_runs(script, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(librnn.__file__).resolve().parents[1])}
    run = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=120
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert not run.stderr
    # The page shows lines of the output; numbers may differ in another place.
    printed = [shape(line) for line in run.stdout.splitlines()]
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert script.name in page
    section = page.split(f"]({script.name})", 1)[1].split("\n## ", 1)[0]
    for block in re.findall(r"```text\n(.*?)```", section, re.S):
        for line in block.splitlines():
            assert shape(line) in printed, line


def shape(line):
    """A line without its numbers and spaces."""
    return re.sub(r"[-+]?\d[\d.,]*(e[-+]?\d+)?", "0", line).replace(" ", "")
