"""Layers, arrays and comparisons that the tests share."""

import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, NamedTuple

import numpy as np
import pytest

import librnn

ROOT = Path(__file__).resolve().parents[3]
CONFORMANCE = ROOT.parent / "shared" / "conformance"
#: Where scripts/install-dependencies puts the packages of examples/models.txt.
PACKAGES = ROOT / "build" / "models"

#: Every cell: a name for the test, the class, its own keywords.
CELLS = {
    "rnn_tanh": (librnn.RNN, {"nonlinearity": "tanh"}),
    "rnn_relu": (librnn.RNN, {"nonlinearity": "relu"}),
    "gru_before": (librnn.GRU, {"variant": "reset_before"}),
    "gru_after": (librnn.GRU, {"variant": "reset_after"}),
    "lstm": (librnn.LSTM, {}),
}
DTYPES = ("float32", "float64")


def make(cell, *sizes, **keywords):
    kind, options = CELLS[cell]
    return kind(*sizes, **{"seed": 1, **options, **keywords})


def randoms(*shape, seed=0, dtype="float32", scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


def leaves(state):
    """The arrays of a state, however it is nested."""
    if state is None:
        return []
    if isinstance(state, np.ndarray):
        return [state]
    return list(itertools.chain.from_iterable(leaves(part) for part in (state.values() if isinstance(state, dict) else state)))


def random_state(model, batch, seed=0, scale=0.5):
    """A random state, structured as the model's."""
    shape = (batch, 0, model.input_size) if model.batch_first else (0, batch, model.input_size)
    _, zero = model(np.zeros(shape, model.dtype))
    return like(zero, seed, scale)


def like(state, seed=0, scale=1.0):
    """Random numbers in the structure of a state."""
    generator = np.random.default_rng(seed)
    return mapped(lambda a: (generator.standard_normal(a.shape) * scale).astype(a.dtype), state)


def mapped(function, state):
    """`function` of every array of a state."""
    if state is None:
        return None
    if isinstance(state, np.ndarray):
        return function(state)
    if isinstance(state, dict):
        return {key: mapped(function, value) for key, value in state.items()}
    return type(state)(mapped(function, part) for part in state)


def assert_same_bits(actual, expected, name=""):
    """The same shape, dtype and bits, in arrays or nested states; every NaN counts as the same number."""
    actual, expected = leaves(actual), leaves(expected)
    assert len(actual) == len(expected), name
    for a, b in zip(actual, expected):
        assert a.shape == b.shape and a.dtype == b.dtype, (name, a.shape, b.shape, a.dtype, b.dtype)
        integer = np.uint32 if a.dtype == np.float32 else np.uint64
        a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
        same = (a.view(integer) == b.view(integer)) | (np.isnan(a) & np.isnan(b))
        assert same.all(), f"{name}: {np.count_nonzero(~same)} of {a.size} differ, by up to {np.nanmax(np.abs(a - b))}"


def python(code, **environment):
    """Run Python in a process of its own, as this one finds librnn; its output."""
    path = os.pathsep.join([str(Path(librnn.__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)])
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, f"exit {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def traces(model):
    """The folder with what a pretrained model computes in the system that it comes from; skips where there is none."""
    folder = CONFORMANCE / "models" / model
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


def package(name):
    """The wheel of a package of examples/models.txt; skips where it was not downloaded."""
    wheels = sorted(PACKAGES.glob(f"{name.replace('-', '_')}-*.whl"))
    if not wheels:
        pytest.skip(f"{PACKAGES} has no {name}; scripts/install-dependencies downloads it")
    return wheels[-1]


def example(path):
    """A script of the examples as a module; several of them have the same file name."""
    spec = importlib.util.spec_from_file_location(path.replace("/", "_").removesuffix(".py"), ROOT / "examples" / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def script(path, *arguments, check=True, **options):
    """A script of the examples, run in a process of its own, as this one finds librnn."""
    environment = {**os.environ, "PYTHONPATH": str(Path(librnn.__file__).resolve().parents[1])}
    command = [sys.executable, str(ROOT / "examples" / path), *map(str, arguments)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=300, **options)
    assert not check or ended.returncode == 0, ended.stdout + ended.stderr
    return ended


def c_program(source, folder):
    """A C program of the examples, compiled into a folder against the library that the tests use; skips without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    library = Path(os.environ.get("LIBRNN_LIBRARY") or ROOT / "build" / "librnn.so").resolve()
    program = folder / Path(source).stem
    strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2"]
    subprocess.run(
        [compiler, *strict, "-I", ROOT / "include", ROOT / "examples" / source, library, f"-Wl,-rpath,{library.parent}", "-lm",
         "-o", program], check=True,
    )  # fmt: skip
    return program


#: Runs a program, which ends with status 99 on errors of memory and definite leaks. ("Possibly lost": cmake/tests.cmake.)
VALGRIND = [
    "valgrind", "-q", "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=definite,indirect",
    "--errors-for-leak-kinds=definite,indirect",
]  # fmt: skip

#: Counts allocations of the program into which it is loaded, and prints them when that ends.
COUNTER = r"""
#include <stdio.h>
#include <stddef.h>
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
static long count;
void *malloc(size_t size) { count++; return __libc_malloc(size); }
void *calloc(size_t number, size_t size) { count++; return __libc_calloc(number, size); }
void *realloc(void *memory, size_t size) { count++; return __libc_realloc(memory, size); }
void *aligned_alloc(size_t alignment, size_t size) { count++; return __libc_memalign(alignment, size); }
int posix_memalign(void **memory, size_t alignment, size_t size) {
  count++;
  return (*memory = __libc_memalign(alignment, size)) ? 0 : 12;
}
__attribute__((destructor)) static void report(void) { fprintf(stderr, "allocations: %ld\n", count); }
"""


class AllocationCounter(NamedTuple):
    """What a C program has to be run with, so that it says how often it allocated memory."""

    environment: Dict[str, str]

    @staticmethod
    def count(stderr):
        return int(re.search(r"allocations: (\d+)", stderr).group(1))


def allocation_counter(folder):
    """A counter of allocations, compiled into a folder; skips where the C library is not glibc."""
    (folder / "counter.c").write_text(COUNTER)
    library = folder / "counter.so"
    if subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / "counter.c"], capture_output=True).returncode:
        pytest.skip("allocations are counted with glibc and cc only")
    return AllocationCounter({"LD_PRELOAD": str(library)})
