"""The first programs of README.md, word for word: compiled and run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import librnn

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = str(Path(librnn.__file__).resolve().parents[1])


def program(language):
    """The one block of that language under "First programs"."""
    section = (ROOT / "README.md").read_text().split("## First programs")[1].split("\n## ")[0]
    (block,) = re.findall(rf"```{language}\n(.*?)```", section, re.S)
    return block


def run(command, folder, **environment):
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, env={**os.environ, **environment}, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_c_program_compiles_and_prints_two_numbers(tmp_path):
    library = ROOT / "build"
    if not (library / "librnn.so").exists():
        pytest.skip("build/librnn.so is not there: run make build")
    (tmp_path / "first.c").write_text(program("c"))
    run(["cc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}", "first.c", f"-L{library}",
         "-lrnn", f"-Wl,-rpath,{library}", "-o", "first"], tmp_path)
    first, second = run(["./first"], tmp_path).split()
    assert abs(float(first)) < 10 and abs(float(second)) < 10
    assert (tmp_path / "model.safetensors").exists()


def test_the_cpp_program_compiles_and_prints_two_numbers(tmp_path):
    library = ROOT / "build"
    if not (library / "librnn.so").exists() or shutil.which("g++") is None:
        pytest.skip("build/librnn.so or g++ is not there")
    (tmp_path / "first.cpp").write_text(program("cpp"))
    run(["g++", "-std=c++17", "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}", "first.cpp", f"-L{library}",
         "-lrnn", f"-Wl,-rpath,{library}", "-o", "first"], tmp_path)
    first, second = run(["./first"], tmp_path).split()
    assert abs(float(first)) < 10 and abs(float(second)) < 10


def test_the_python_program_runs(tmp_path):
    (tmp_path / "first.py").write_text(program("python"))
    run([sys.executable, "first.py"], tmp_path, PYTHONPATH=PACKAGE)
    assert (tmp_path / "gru.safetensors").exists()


def test_the_swift_program_compiles_and_runs_the_model_of_the_python_program(tmp_path):
    if shutil.which("swift") is None:
        pytest.skip("no swift in PATH")
    (tmp_path / "Sources" / "first").mkdir(parents=True)
    (tmp_path / "Package.swift").write_text(
        "// swift-tools-version: 6.2\n"
        "import PackageDescription\n"
        f'let package = Package(name: "first", dependencies: [.package(name: "librnn", path: "{ROOT}")], targets: [\n'
        '  .executableTarget(name: "first", dependencies: [.product(name: "RNN", package: "librnn")])])\n')
    (tmp_path / "Sources" / "first" / "main.swift").write_text(program("swift") + "\nprint(output.count)\n")
    (tmp_path / "first.py").write_text(program("python"))
    run([sys.executable, "first.py"], tmp_path, PYTHONPATH=PACKAGE)
    # [T, N, H] = 5 steps, one row, 16 units
    assert run(["swift", "run", "--quiet", "first"], tmp_path).split()[-1] == "80"
