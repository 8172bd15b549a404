"""Scratch environments with the peers at pinned versions: build/bench-venv/NAME for each benchmarks/environments/NAME.txt.
Standard library only: this runs before anything is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict, List, Tuple

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build/bench-venv"
REQUIREMENTS = ROOT / "benchmarks/environments"


def names() -> List[str]:
    return sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))


def requirements(text: str) -> List[Tuple[str, ...]]:
    """Each line's requirement and, behind "# or", what may stand for it."""
    found = []
    for line in text.splitlines():
        wanted, _, comment = line.partition("#")
        if wanted.strip():
            other = re.match(r"\s*or\s+(\S+)", comment)
            found.append((wanted.strip(), *([other.group(1)] if other else [])))
    return found


def pip(python: Path, *arguments: str) -> bool:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    return subprocess.run(command).returncode == 0


def install(name: str, run_pip: Callable[..., bool] = pip) -> List[str]:
    """Make an environment what its file says; returns what could not be installed. Does nothing if it is there."""
    text = (REQUIREMENTS / f"{name}.txt").read_text()
    folder = FOLDER / name
    stamp, python = folder / "installed-requirements.txt", folder / "bin/python"
    if stamp.exists() and stamp.read_text() == text:
        return []
    print(f"installing the peers of benchmarks/environments/{name}.txt into {folder.relative_to(ROOT)}", flush=True)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    wanted = requirements(text)
    failed: List[str] = []
    if not run_pip(python, *(line[0] for line in wanted)):
        # One by one, so that what cannot be had is named and does not take the rest with it.
        for alternatives in wanted:
            if not any(run_pip(python, requirement) for requirement in alternatives):
                failed.append(alternatives[0])
    if not failed:
        stamp.write_text(text)
    return failed


def install_all() -> Dict[str, List[str]]:
    """Environment: what is missing of it."""
    return {name: install(name) for name in names()}
