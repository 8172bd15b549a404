"""rnn.h agrees with itself and with the library: exports, version, initializers, documentation."""

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import header  # noqa: E402
from header import HEADER  # noqa: E402

LIBRARY = os.environ.get("LIBRNN_LIBRARY") or str(header.ROOT / "build" / "librnn.so")


def test_exports_are_the_functions_of_the_header():
    listed = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], capture_output=True, text=True, check=True).stdout
    symbols = [line.split() for line in listed.splitlines()]
    exported = {name.split("@")[0] for _, kind, name in symbols if kind != "A"}  # A: the name of the symbol version
    assert exported == set(HEADER.functions)
    assert {kind for _, kind, name in symbols} <= {"T", "A"}


def test_no_function_escapes_the_reader():
    """The reader of this folder finds every declaration, so that what is derived from it is complete."""
    code = re.sub(r"/\*.*?\*/", " ", header.PATH.read_text(encoding="utf-8"), flags=re.S)
    code = re.sub(r"^#.*$", " ", code, flags=re.M)
    assert set(re.findall(r"\b(rnn_\w+)\s*\(", code)) == set(HEADER.functions)
    assert len(HEADER.structs) == code.count("typedef struct") - len(HEADER.handles)


@pytest.mark.parametrize("name", list(HEADER.functions))
def test_functions_are_documented(name):
    documentation = HEADER.functions[name].documentation
    assert documentation, f"{name} has no comment"
    assert re.search(r"@since \d+\.\d+", documentation), f"{name} does not say @since"
    if name.endswith("_f64"):
        assert "The same in double." in documentation


def test_twins_differ_in_the_element_type_only():
    for name, function in HEADER.functions.items():
        if name.endswith("_f64"):
            single = HEADER.functions[name[:-4]]
            as_double = [(re.sub(r"\bfloat\b", "double", each.type), each.name) for each in single.parameters]
            assert as_double == [(each.type, each.name) for each in function.parameters]


def test_results_of_calls_are_checked():
    """Every rnn_status is declared RNN_CHECKED, and nothing else is."""
    text = header.PATH.read_text(encoding="utf-8")
    assert not re.findall(r"^RNN_API\s+rnn_status\s", text, re.M)
    assert not re.findall(r"^RNN_CHECKED\s+(?!rnn_status\s)", text, re.M)


def test_version():
    constants = HEADER.constants
    major, minor, patch = (constants[f"RNN_VERSION_{part}"] for part in ("MAJOR", "MINOR", "PATCH"))
    text = re.search(r'#define RNN_VERSION_STRING "(.*)"', header.PATH.read_text(encoding="utf-8"))[1]
    assert text == f"{major}.{minor}.{patch}"
    assert constants["RNN_VERSION_NUMBER"] == 10000 * major + 100 * minor + patch
    library = header.load(LIBRARY)
    assert library.rnn_version().decode() == text
    assert library.rnn_version_number() == constants["RNN_VERSION_NUMBER"]


def test_status_values_are_not_reused_and_have_names():
    library = header.load(LIBRARY)
    statuses = {name: value for name, value in HEADER.constants.items() if name == "RNN_OK" or name.startswith("RNN_ERROR_")}
    assert len(set(statuses.values())) == len(statuses)
    for name, value in statuses.items():
        assert library.rnn_status_name(value).decode() == name
    assert library.rnn_status_name(-1000) == b"unknown status"


def test_initializers_fill_every_field():
    for name, struct in HEADER.structs.items():
        macro = HEADER.initializers[name.upper() + "_INIT"]
        inner = macro[1:-1]
        while "{" in inner:
            inner = re.sub(r"\{[^{}]*\}", "0", inner)
        assert len(inner.split(",")) == len(struct._fields_), name
        assert f"sizeof({name})" in inner


def test_structs_have_no_holes():
    """A hole would be bytes of the caller's stack that a later field could not use."""
    for name, struct in HEADER.structs.items():
        assert struct._fields_[0] == ("struct_size", ctypes.c_size_t), name
        assert ctypes.sizeof(struct) == sum(ctypes.sizeof(kind) for _, kind in struct._fields_), name
