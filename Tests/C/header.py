"""Reads include/rnn.h: its constants, structs and functions, each function with its documentation."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "include" / "rnn.h"

SCALARS = {
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "uint8_t": ctypes.c_uint8,
    "char": ctypes.c_char,
    "size_t": ctypes.c_size_t,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "rnn_status": ctypes.c_int32,
}


@dataclass(frozen=True)
class Parameter:
    """One parameter; `type` is spelled "const float *", "rnn_state **", "size_t", …"""

    type: str
    name: str

    @property
    def is_pointer(self) -> bool:
        return self.type.endswith("*")

    @property
    def target(self) -> str:
        """What the pointer points to, without const: "float", "rnn_state *"."""
        return re.sub(r"\bconst\b", "", self.type[:-1]).strip()

    @property
    def is_const(self) -> bool:
        return self.type.startswith("const ")


@dataclass(frozen=True)
class Function:
    result: str
    name: str
    parameters: Tuple[Parameter, ...]
    documentation: Optional[str]


def _normal_type(text: str) -> str:
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\s*\*\s*", "*", text)
    return re.sub(r"(?<=[\w])\*", " *", text)


class Header:
    def __init__(self, text: str):
        self.constants = self._read_constants(text)
        self.handles = sorted(re.findall(r"^typedef struct (\w+) \1;", text, re.M))
        self.structs = self._read_structs(text, self.constants)
        self.initializers = dict(re.findall(r"#define (RNN_\w+_INIT) (\{.*\})", text.replace("\\\n", "")))
        self.functions = self._read_functions(text)

    @staticmethod
    def _read_constants(text: str) -> Dict[str, int]:
        found = {}
        for name, value in re.findall(r"^#define (RNN_\w+) (?:\(\(rnn_status\))?(-?\d+)\)?\s*$", text, re.M):
            found[name] = int(value)
        return found

    @staticmethod
    def _read_structs(text: str, constants: Dict[str, int]) -> Dict[str, type]:
        text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
        structs: Dict[str, type] = {}
        for body, name in re.findall(r"typedef struct \w+ \{(.*?)\} (\w+);", text, re.S):
            fields: List[tuple] = []
            for declaration in filter(None, (part.strip() for part in body.split(";"))):
                kind, field, lengths = re.fullmatch(r"(.*?)(\w+)((?:\[\w+\])*)", declaration, re.S).groups()
                kind = _normal_type(kind)
                ctype = ctypes.c_void_p if kind.endswith("*") else SCALARS[kind]
                # a[2][5] is two of five.
                for length in reversed(re.findall(r"\w+", lengths)):
                    ctype = ctype * (int(length) if length.isdigit() else constants[length])
                fields.append((field, ctype))
            structs[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
        return structs

    @staticmethod
    def _read_functions(text: str) -> Dict[str, Function]:
        """A comment belongs to the declarations that follow it without an empty line or another comment between."""
        pattern = re.compile(
            r"(?P<comment>/\*.*?\*/)|(?P<gap>\n[ \t]*\n)"
            r"|(?P<declaration>^(?:RNN_API|RNN_CHECKED)\s+(?P<result>[\w \*]+?)\s*(?P<name>rnn_\w+)\((?P<parameters>[^)]*)\);)",
            re.S | re.M,
        )
        functions: Dict[str, Function] = {}
        comment = None
        for match in pattern.finditer(text):
            if match["comment"]:
                comment = match["comment"] if match["comment"].startswith("/**") else None
            elif match["gap"]:
                comment = None
            else:
                parameters = []
                listed = re.sub(r"\s+", " ", match["parameters"]).strip()
                for part in [] if listed == "void" else listed.split(","):
                    kind, name = re.fullmatch(r"(.*?)(\w+)", part.strip()).groups()
                    parameters.append(Parameter(_normal_type(kind), name))
                functions[match["name"]] = Function(
                    _normal_type(match["result"]), match["name"], tuple(parameters), comment)
        return functions


HEADER = Header(PATH.read_text(encoding="utf-8"))


def ctype(type_name: str):
    """How ctypes passes a parameter or result of this type: every pointer but a returned text as an address."""
    if type_name == "void":
        return None
    return ctypes.c_void_p if type_name.endswith("*") else SCALARS[type_name]


def load(path: str) -> ctypes.CDLL:
    """The library, with the argument types of the header."""
    library = ctypes.CDLL(path)
    for function in HEADER.functions.values():
        symbol = getattr(library, function.name)
        symbol.restype = ctypes.c_char_p if function.result == "const char *" else ctype(function.result)
        symbol.argtypes = [ctype(parameter.type) for parameter in function.parameters]
    return library
