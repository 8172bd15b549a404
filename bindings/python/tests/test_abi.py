"""_abi.py says what rnn.h says."""

import ctypes
import re
import shutil
import subprocess

import pytest

from helpers import ROOT
from librnn import _abi

HEADER = ROOT / "include" / "rnn.h"
pytestmark = pytest.mark.skipif(not HEADER.exists(), reason="include/rnn.h is not there: not a checkout")


def header():
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(encoding="utf-8"), flags=re.S)
    return re.sub(r"\\\n", "", text)


def spelled(declaration):
    """A parameter's type in one spelling: "const float *" for "const float*input"."""
    words = re.sub(r"\s*(\*+)\s*", r" \1 ", declaration).split()
    if re.fullmatch(r"\w+", words[-1]) and len(words) > 1:
        words.pop()
    return " ".join(words).replace("* const *", "*const *")


def declared_functions():
    found = {}
    pattern = r"(?:RNN_API|RNN_CHECKED)\s+([\w\s]+?[\s*]+)(rnn_\w+)\s*\(([^)]*)\)\s*;"
    for result, name, arguments in re.findall(pattern, header()):
        arguments = arguments.strip()
        types = () if arguments in ("", "void") else tuple(spelled(a) for a in arguments.split(","))
        found[name] = (spelled(result + " x"), types)
    return found


def test_every_function_of_the_header_is_declared_with_its_types():
    functions = declared_functions()
    assert len(functions) > 70
    assert set(_abi.FUNCTIONS) == set(functions)
    for name, declaration in functions.items():
        assert _abi.FUNCTIONS[name] == declaration, name


def test_ctypes_gets_as_many_arguments_as_the_header_has_and_every_pointer_as_a_pointer():
    for name, (result, arguments) in declared_functions().items():
        function = getattr(_abi, name)
        assert len(function.argtypes) == len(arguments), name
        for ctype, spelling in zip(function.argtypes, arguments):
            assert (ctype in (ctypes.c_void_p, ctypes.c_char_p)) == spelling.endswith("*"), (name, spelling)
        assert (function.restype is None) == (result == "void"), name


def test_every_constant_has_the_headers_value():
    constants = {}
    for name, value in re.findall(r"#define[ \t]+(RNN_\w+)[ \t]+(\S.*)", header()):
        if "{" in value or name in ("RNN_CHECKED", "RNN_API"):
            continue
        value = re.sub(r"\(rnn_status\)", "", value).strip("() ")
        constants[name] = value.strip('"') if value.startswith('"') else int(value)
    assert len(constants) > 30
    assert {name: getattr(_abi, name, None) for name in constants} == constants
    ours = {name for name in vars(_abi) if name.startswith("RNN_")}
    assert ours == set(constants)


def structs():
    return {
        name: [" ".join(field.split()) for field in body.split(";") if field.strip()]
        for name, body in re.findall(r"typedef struct \w+ \{(.*?)\}\s*(\w+);", header(), flags=re.S)
        for name, body in [(body, name)]
    }


def test_every_struct_has_the_headers_fields_in_order():
    declared = structs()
    ours = {name for name, kind in vars(_abi).items() if isinstance(kind, type) and issubclass(kind, _abi.Sized)}
    assert set(declared) == ours - {"Sized"}
    types = {
        "size_t": ctypes.c_size_t, "int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64, "uint64_t": ctypes.c_uint64,
        "double": ctypes.c_double,
        "const char *": ctypes.c_char_p, "double *": ctypes.c_void_p, "const uint8_t *": ctypes.c_void_p,
    }  # fmt: skip

    def sized(kind, counts):
        for count in reversed(re.findall(r"\w+", counts)):
            kind *= int(count) if count.isdigit() else getattr(_abi, count)
        return kind

    for name, fields in declared.items():
        expected = []
        for field in fields:
            kind, field_name, counts = re.fullmatch(r"(.*?)(\w+)((?:\[\w+\])*)", field).groups()
            expected.append((field_name, sized(types[kind.strip()], counts)))
        ours = [(field, kind) for field, kind in getattr(_abi, name)._fields_]
        assert [f for f, _ in ours] == [f for f, _ in expected], name
        for (field, kind), (_, wanted) in zip(ours, expected):
            assert kind is wanted or (kind._type_, kind._length_) == (wanted._type_, wanted._length_), (name, field)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_every_struct_has_the_size_and_offsets_of_the_c_compiler(tmp_path):
    lines = ['#include <stdio.h>', '#include "rnn.h"', "int main(void) {"]
    for name, fields in structs().items():
        lines.append(f'printf("{name} size %zu\\n", sizeof({name}));')
        for field in fields:
            field = re.search(r"(\w+)(?:\[\w+\])*$", field).group(1)
            lines.append(f'printf("{name} {field} %zu\\n", offsetof({name}, {field}));')
    source = tmp_path / "layout.c"
    source.write_text("\n".join(lines + ["return 0; }"]))
    program = tmp_path / "layout"
    subprocess.run(["cc", "-I", str(HEADER.parent), str(source), "-o", str(program)], check=True)
    for line in subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout.splitlines():
        name, field, number = line.split()
        struct = getattr(_abi, name)
        ours = ctypes.sizeof(struct) if field == "size" else getattr(struct, field).offset
        assert ours == int(number), line


def test_the_constants_are_named_as_the_library_names_them():
    for name, value in vars(_abi).items():
        if name.startswith("RNN_ERROR_") or name == "RNN_OK":
            assert _abi.rnn_status_name(value).decode() == name
    assert _abi.rnn_status_name(-9999).decode() == "unknown status"
