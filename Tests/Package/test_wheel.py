"""`pip install .` gives a package that works: from the top of the repository and from bindings/python."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import numpy, librnn
y, h = librnn.GRU(3, 4, seed=1)(numpy.ones((5, 2, 3), numpy.float32))
assert y.shape == (5, 2, 4) and h.shape == (1, 2, 4)
print(librnn.__file__)
print(librnn.stream.Stream.__mro__[1].__module__)
"""


@pytest.mark.parametrize("folder", [ROOT, ROOT / "bindings" / "python"], ids=["top", "bindings-python"])
def test_wheel(folder, tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    # The build requirements are in this Python already: no network is needed.
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, folder], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith("librnn-") and "-py3-none-" in wheel.name and "-any" not in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert {"librnn/__init__.py", "librnn/py.typed", "librnn/librnn.so"} <= set(names)
    native = (ROOT / "build" / "_native.abi3.so").exists()
    assert ("librnn/_native.abi3.so" in names) == native
    assert {Path(name).name for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}

    installed = tmp_path / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--target", installed, wheel], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "LIBRNN_LIBRARY"}
    environment["PYTHONPATH"] = str(installed)
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stdout
    assert done.stdout.split()[-1] == ("librnn._native" if native else "librnn._stepper")
