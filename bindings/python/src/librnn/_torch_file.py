"""What a file of PyTorch holds, for people: its modules, what they may be, and the command that converts them.

A state_dict has names and shapes. Those tell some modules for certain (an LSTM, a Linear with a bias) and leave others open; what is
open stands in capitals in the command, and below it what may be put there.
"""

from __future__ import annotations

import re
import shlex
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from . import torch
from ._checkpoint import StoredModule, contents_of, read_checkpoint
from ._foreign import first_bytes, kind_of
from ._safetensors import read_header
from .errors import format_error

#: A tensor's shape and dtype.
Shape = Tuple[Tuple[int, ...], str]
_BATCH_NORM = {"weight", "bias", "running_mean", "running_var"}


class Group(NamedTuple):
    """The tensors under one prefix, which are a module in most files."""

    prefix: str
    shapes: Dict[str, Shape]
    #: "LSTM(40, 32)" if they are those of a recurrent module.
    recurrent: Optional[str]
    #: What the file itself says of it.
    stored: Optional[StoredModule]

    @property
    def features(self) -> Optional[int]:
        """What a recurrent module reads."""
        return None if self.recurrent is None else int(self.recurrent.partition("(")[2].split(",")[0].rstrip(")"))


def shapes_of(path: str, key: Optional[str]) -> Tuple[Dict[str, Shape], Dict[str, StoredModule]]:
    """The tensors in a file, and the modules that were stored whole."""
    if first_bytes(path)[8:9] == b"{":
        header, _, _ = read_header(path)
        return {name: _entry(path, name, entry) for name, entry in header.items()}, {}
    tensors, modules = contents_of(read_checkpoint(path), key)
    return {name: (tuple(value.shape), value.dtype.name) for name, value in tensors.items()}, modules


def describe_tensors(path: str, key: Optional[str] = None, prefix: Optional[str] = None) -> str:
    """The text of ``librnn inspect`` for a file that holds tensors and no architecture."""
    shapes, modules = shapes_of(path, key)
    if prefix:
        cut = prefix.rstrip(".") + "."
        shapes = {name[len(cut) :]: shape for name, shape in shapes.items() if name.startswith(cut)}
        modules = {(name + ".")[len(cut) :].rstrip("."): module for name, module in modules.items() if (name + ".").startswith(cut)}
    groups = _groups(shapes, modules)
    below = f" below {prefix!r}" if prefix else ""
    told = "They say sizes, not what is computed with them." if not modules else "The modules were stored whole, without their code."
    lines = [f"{path}: {len(shapes)} tensors of PyTorch{below}. {told}", ""]
    for group in groups:
        kind = group.recurrent or (group.stored.kind if group.stored else "")
        lines.append(f"  {group.prefix or '(no prefix)'}" + (f": {kind}" if kind else ""))
        lines += [f"    {name} {list(shape)} {dtype}" for name, (shape, dtype) in group.shapes.items()]
    return "\n".join([*lines, "", *_advice(path, key, prefix, groups)]) + "\n"


def _entry(path: str, name: str, entry: Any) -> Shape:
    """A tensor's shape and type in a safetensors header."""
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or len(shape) > 32 or not all(type(extent) is int and 0 <= extent < 2**40 for extent in shape):
        raise format_error(f"{path}: the entry of {name!r} is {kind_of(entry)}, with no shape")
    return tuple(shape), str(entry.get("dtype"))


def _groups(shapes: Mapping[str, Shape], modules: Mapping[str, StoredModule]) -> List[Group]:
    found: Dict[str, Dict[str, Shape]] = {}
    for name, shape in shapes.items():
        # Parametrized weights stand one level below their module.
        prefix = name.partition(".parametrizations.")[0] if ".parametrizations." in name else name.rpartition(".")[0]
        if name.startswith("parametrizations."):
            prefix = ""
        found.setdefault(prefix, {})[name[len(prefix) + 1 if prefix else 0 :]] = shape
    groups = []
    for prefix, own in found.items():
        # Sizes are all that is needed to tell a recurrent module.
        empty = {
            name: np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), shape, (0,) * len(shape))
            for name, (shape, _) in own.items()
        }
        groups.append(Group(prefix, own, torch.recurrent_kind(empty), modules.get(prefix)))
    return groups


# ------------------------------------------------------------------------------------------------- the command


def _advice(path: str, key: Optional[str], prefix: Optional[str], groups: List[Group]) -> List[str]:
    """A command to edit, and what its words in capitals stand for."""
    if any("parametrizations." in name for group in groups for name in group.shapes):
        return [
            "There are parametrizations, such as weight normalization. Remove them in PyTorch before the weights are saved:",
            "torch.nn.utils.parametrize.remove_parametrizations.",
        ]
    kinds = {group.prefix: _module(group, groups) for group in groups}
    # A part of a module that is left out, such as the out_proj of an attention, is left out with it.
    left_out = [group for group in groups if kinds[group.prefix] is None]
    modules = [
        group for group in groups
        if group not in left_out and not any(group.prefix.startswith(other.prefix + ".") for other in left_out if other.prefix)
    ]  # fmt: skip
    if not modules:
        return ["None of these is a module of librnn."]
    command = ["librnn", "convert", shlex.quote(path), "OUT.safetensors"]
    command += ["--key", shlex.quote(key)] if key else []
    if len(groups) == 1 and groups[0].recurrent:
        command += ["--prefix", shlex.quote(prefix)] if prefix else []
        command += [*_layout(groups), *(f"--{name} {word}" for name, word in _open(groups[0]))]
        line = " ".join(command)
        legend = _legend(line)
        if not legend:
            return ["To convert it:", "", f"  {line}"]
        return ["To convert it, fill in what is in capitals:", "", f"  {line}", "", *legend]
    common = _common([group.prefix for group in modules])
    command += ["--prefix", shlex.quote(_joined(prefix, common))] if _joined(prefix, common) else []
    lines = [" ".join([*command, *_layout(groups)])]
    for group in modules:
        own = group.prefix[len(common) + 1 if common else 0 :]
        lines.append("    --module " + shlex.quote(f"{own}={kinds[group.prefix]}"))
    below = [group for group in left_out if not common or group.prefix.startswith(common + ".")]
    for group in below:
        own = group.prefix[len(common) + 1 if common else 0 :]
        lines += [f"    --ignore {shlex.quote(name)}" for name in ([own] if own else group.shapes)]
    legend = _legend("\n".join(lines))
    fill = ", and fill in what is in capitals" if legend else ""
    text = [f"To convert it, put its modules into the order in which data goes through them{fill}:", ""]
    text += [f"  {line}" + (" \\" if line is not lines[-1] else "") for line in lines]
    text += [*([""] if legend else []), *legend, ""]
    text.append(
        "What has no weights goes in between without a prefix: --module =LastStep, =Activation:name=relu, =Dropout:p=0.5, =Softmax"
    )
    if below:
        text.append("What is ignored here is no module of librnn: a program that needs it computes it itself.")
    alone = next((_joined(prefix, group.prefix) for group in modules if group.recurrent), "")
    if alone:
        text.append(f"One module alone: --prefix {shlex.quote(alone)} and no --module.")
    return text


def _layout(groups: List[Group]) -> List[str]:
    """The option of the layout, if the file does not tell it."""
    told = {layout for layout in (torch.stored_layout(group.stored) for group in groups) if layout is not None}
    return [] if len(told) == 1 else ["LAYOUT"]


def _open(group: Group) -> List[Tuple[str, str]]:
    """The options that neither tensors nor the file tell of a module, and the words that stand for them."""
    kind = _kind(group)
    wanted = {"GRU": [("variant", "VARIANT")], "RNN": [("nonlinearity", "FUNCTION")]}.get(kind, [] if kind else [("eps", "EPS")])
    told = torch.stored_options(group.stored)
    return [(name, word) for name, word in wanted if name not in told]


def _joined(*parts: Optional[str]) -> str:
    return ".".join(part.rstrip(".") for part in parts if part)


def _kind(group: Group) -> str:
    """The cell of a recurrent module."""
    return (group.recurrent or "").partition("(")[0]


def _module(group: Group, groups: List[Group]) -> Optional[str]:
    """KIND:OPTIONS as ``--module`` takes it, with capitals for what is open; None for what librnn has no module for."""
    options = "".join(f":{name}={word}" for name, word in _open(group))
    if group.recurrent:
        return _kind(group) + options
    ranks = {name: len(shape) for name, (shape, _) in group.shapes.items()}
    names = set(ranks)
    if names == {"weight", "bias"} and ranks == {"weight": 2, "bias": 1}:
        return "Linear"
    if names == {"weight", "bias"} and ranks == {"weight": 1, "bias": 1}:
        return "LayerNorm" + options
    if _BATCH_NORM <= names <= _BATCH_NORM | {"num_batches_tracked"} and ranks["weight"] == 1:
        return "BatchNorm1d" + options
    if names == {"weight"} and ranks["weight"] == 2:
        if group.stored is not None and group.stored.kind in ("torch.nn.modules.sparse.Embedding", "torch.nn.modules.linear.Linear"):
            return group.stored.kind.rpartition(".")[2]
        rows, columns = group.shapes["weight"][0]
        read = {other.features for other in groups if other.recurrent}
        # As a table it gives `columns` features, as a matrix `rows`: one of them is what the recurrent module reads.
        if (rows in read) != (columns in read):
            return "Embedding" if columns in read else "Linear"
        return "KIND"
    return None


_LEGEND = {
    "LAYOUT": "LAYOUT   --batch-first or --time-first: whether x is [N, T, ..] or [T, N, ..] in Python; in C either can be chosen",
    "VARIANT": "VARIANT  reset_after (torch.nn.GRU) or reset_before",
    "FUNCTION": "FUNCTION tanh (the default of torch.nn.RNN) or relu",
    "EPS": "EPS      the epsilon; the default of torch.nn.LayerNorm and BatchNorm1d is 1e-5",
    "KIND": "KIND     Embedding or Linear (a Linear without a bias looks the same)",
}


def _legend(command: str) -> List[str]:
    """What the words in capitals stand for."""
    return [f"  {text}" for word, text in _LEGEND.items() if re.search(rf"[= ]{word}\b", command)]


def _common(prefixes: List[str]) -> str:
    """The longest dotted prefix that all modules have, and that leaves each a name."""
    parts = [prefix.split(".") for prefix in prefixes]
    shared = []
    for column in zip(*parts):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    shortest = min(len(part) for part in parts)
    return ".".join(shared[: shortest - 1])
