"""rnn.hpp has all of rnn.h: each function, constant and field. A new one cannot be forgotten there."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import header  # noqa: E402
from header import HEADER  # noqa: E402

TEXT = header.PATH.with_suffix(".hpp").read_text(encoding="utf-8")
CODE = re.sub(r"/\*.*?\*/|//[^\n]*", " ", TEXT, flags=re.S)

#: Section 2 of rnn.h, the cells on the caller's arrays: C++ calls the C functions.
CELL_FUNCTION = re.compile(r"rnn_(vanilla|gru|lstm)_(forward|backward)(_f64)?$")

#: What another name stands for: std::optional for a flag and a value, vectors for a rank and a shape, spans for counts.
IN_ANOTHER_FORM = {
    ("rnn_tensor_info", "rank"), ("rnn_tensor_info", "name"), ("rnn_tensor_info", "shape"),
    ("rnn_tensor_info", "offset"), ("rnn_tensor_info", "element_count"),
}


def words(text):
    return set(re.findall(r"\w+", text))


@pytest.mark.parametrize("name", [name for name in HEADER.functions if not CELL_FUNCTION.match(name)])
def test_each_function_is_called(name):
    assert name in words(CODE), f"{name} is in rnn.h and not in rnn.hpp"


def test_each_constant_has_an_enumerator():
    """RNN_MERGE_SUM is an enumerator sum of an enum class whose values are the constants RNN_MERGE_*."""
    apart = re.compile(r"RNN_(OK|ERROR_\w+|VERSION_\w+|ACTIVATION_SLOTS|FLOW_GATES)$")
    found = {}
    for body in re.findall(r"enum class \w+ : std::int32_t \{(.*?)\};", CODE, re.S):
        for enumerator, constant in re.findall(r"(\w+) = (RNN_\w+)", body):
            found[constant] = enumerator
    for constant in HEADER.constants:
        if apart.match(constant):
            continue
        assert constant in found, f"{constant} is in rnn.h and in no enum class of rnn.hpp"
        assert constant.lower().endswith("_" + found[constant].rstrip("_")), f"{found[constant]} is not {constant}"
    assert set(found) <= set(HEADER.constants)


@pytest.mark.parametrize("name", [name for name in HEADER.structs if name.endswith("_options")])
def test_each_option_is_passed_on(name):
    """The function c() of the C++ struct sets every field of the C struct."""
    body = re.search(rf"{name} c\(\) const noexcept \{{(.*?)\n  \}}", CODE, re.S)
    if name in ("rnn_state_options",):  # an argument of State's constructor
        assert "options.batch_size = rows;" in CODE
        return
    assert body, f"rnn.hpp has nothing for {name}"
    for field, *_ in HEADER.structs[name]._fields_:
        if field != "struct_size" and not field.startswith("reserved"):
            assert re.search(rf"\boptions\.{field}\b[^=;]* = ", body[1]), f"{name}.{field} is not set by rnn.hpp"


@pytest.mark.parametrize("name", [name for name in HEADER.structs if name.endswith(("_info", "_report"))])
def test_each_field_of_a_result_is_passed_on(name):
    variable = "report" if name.endswith("_report") else "info"
    for field, *_ in HEADER.structs[name]._fields_:
        if field == "struct_size" or field.startswith("reserved"):
            continue
        if (name, field) in IN_ANOTHER_FORM:
            assert re.search(rf"\binfo\.{field}\b", CODE), f"{name}.{field} is not read by rnn.hpp"
        else:
            assert re.search(rf"\bresult\.{field} = [^;]*\b{variable}\.{field}\b", CODE), f"{name}.{field} is not read by rnn.hpp"


def test_twins_are_not_mixed_up():
    """Functions<float> has the functions of float, Functions<double> the same ones of double."""
    single, twice = (dict(re.findall(r"static constexpr auto (\w+) = (\w+);", body))
                     for body in re.findall(r"struct Functions<\w+> \{(.*?)\n\};", CODE, re.S))
    assert {key: value + "_f64" for key, value in single.items()} == twice
