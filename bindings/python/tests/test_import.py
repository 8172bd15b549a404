"""What `import librnn` brings along, and what it leaves for later."""

import json
import os
import subprocess
import sys

import pytest

import librnn

#: The parts about files of others and figures: most programs need none of them.
LATER = ["audio", "keras", "onnx", "plot", "torch"]
#: Optional dependencies, and what makes importing slow.
HEAVY = ["h5py", "matplotlib", "onnx", "onnxruntime", "rich", "safetensors", "tensorflow", "torch"]


def in_a_fresh_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_loads_no_optional_dependency_and_none_of_the_parts_for_later():
    loaded = in_a_fresh_process("import json, sys, librnn; print(json.dumps(sorted(sys.modules)))")
    unwanted = HEAVY + ["librnn." + part for part in LATER]
    assert [name for name in unwanted if name in loaded] == []


@pytest.mark.parametrize("part", LATER)
def test_a_part_for_later_is_there_as_soon_as_it_is_named(part):
    code = f"import json, librnn; before = dir(librnn); print(json.dumps([librnn.{part}.__name__, {part!r} in before]))"
    assert in_a_fresh_process(code) == ["librnn." + part, True]


@pytest.mark.parametrize("part", LATER)
def test_a_part_for_later_can_be_imported_from_the_package(part):
    code = f"import json; from librnn import {part}; import librnn; print(json.dumps({part} is librnn.{part}))"
    assert in_a_fresh_process(code) is True


def test_a_star_import_has_every_name():
    code = "import json\nfrom librnn import *\nimport librnn\nprint(json.dumps([n for n in librnn.__all__ if n not in globals()]))"
    assert in_a_fresh_process(code) == []


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'librnn' has no attribute 'tensorflow'"):
        librnn.tensorflow  # noqa: B018
