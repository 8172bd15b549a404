"""C programs of examples/, compiled against the library that the tests use."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers import ROOT


def compiled(source, folder):
    """The program of one C file."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    library = Path(os.environ.get("LIBRNN_LIBRARY") or ROOT / "build" / "librnn.so").resolve()
    program = folder / Path(source).stem
    subprocess.run(
        [compiler, "-std=c99", "-O2", "-pedantic", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "include", source, library,
         f"-Wl,-rpath,{library.parent}", "-lm", "-o", program], check=True,
    )  # fmt: skip
    return program


def run(program, *arguments, text="", status=0):
    """What it prints, or its errors if it is to fail."""
    result = subprocess.run(
        [program, *map(str, arguments)], input=text if isinstance(text, bytes) else text.encode(), capture_output=True, timeout=60, check=False
    )
    assert result.returncode == status, (result.returncode, result.stderr.decode("utf-8", "replace"))
    return result.stderr.decode() if status else result.stdout if isinstance(text, bytes) else result.stdout.decode()
