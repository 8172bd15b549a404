"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Dict


def first(path: str, key: str) -> str:
    try:
        with open(path) as file:
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith(key)), "?")
    except OSError:
        return "?"


def revision(root: Path) -> str:
    """The commit, with + if the tree differs from it."""
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True).stdout.strip()

    return (git("rev-parse", "--short=12", "HEAD") or "?") + ("+" if git("status", "--porcelain") else "")


def describe(root: Path) -> Dict[str, Any]:
    return {
        "processor": first("/proc/cpuinfo", "model name"),
        "flags": sorted(set(first("/proc/cpuinfo", "flags").split()) & {"avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni"}),
        "cpus": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "revision": revision(root),
        "load": os.getloadavg(),
    }
