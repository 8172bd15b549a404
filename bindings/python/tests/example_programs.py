"""Examples and pretrained models as the tests use them: scripts and C programs in processes of their own, packages, traces."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import CONFORMANCE, ROOT

import librnn

#: Where scripts/install-dependencies puts the packages of examples/models.txt.
PACKAGES = ROOT / "build" / "models"


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


def printed(program, *arguments, data=b"", status=0):
    """What a C program writes to stdout, in bytes; its errors, as text, if it is to end with that status."""
    ended = subprocess.run([program, *map(str, arguments)], input=data, capture_output=True, timeout=300)
    assert ended.returncode == status, (ended.returncode, ended.stderr.decode("utf-8", "replace"))
    return ended.stderr.decode() if status else ended.stdout


def filtered(command, samples, before=(), environment=None):
    """What a program that reads samples of 16 bits from stdin writes to stdout, and to stderr as text."""
    ended = subprocess.run(
        [*before, *command], input=np.asarray(samples, "<i2").tobytes(), capture_output=True,
        env={**os.environ, **(environment or {})}, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, ended.stderr.decode()


def sound(seconds, rate=16000, seed=0):
    """Noise of changing loudness, in samples of 16 bits."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    return (generator.standard_normal(time.size) * 4000 * np.sin(3 * time)).astype("<i2")


def filtered_under_valgrind(command, samples):
    """Fails on errors of memory and definite leaks (why only these: cmake/tests.cmake); skips without valgrind."""
    if shutil.which("valgrind") is None:
        pytest.skip("no valgrind")
    valgrind = ["valgrind", "-q", "--error-exitcode=99", "--leak-check=full"]
    kinds = ["--show-leak-kinds=definite,indirect", "--errors-for-leak-kinds=definite,indirect"]
    # Without AVX-512, which valgrind does not know.
    return filtered(command, samples, [*valgrind, *kinds], {"RNN_FORCE_KERNELS": "x86-64-v3"})


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


def allocations(command, samples, folder):
    """How often a program allocates memory while it reads these samples; skips where the C library is not glibc."""
    library = folder / "counter.so"
    if not library.exists():
        (folder / "counter.c").write_text(COUNTER)
        build = ["cc", "-shared", "-fPIC", "-o", library, folder / "counter.c"]
        if subprocess.run(build, capture_output=True).returncode:
            pytest.skip("allocations are counted with glibc and cc only")
    _, err = filtered(command, samples, environment={"LD_PRELOAD": str(library)})
    return int(re.search(r"allocations: (\d+)", err).group(1))
