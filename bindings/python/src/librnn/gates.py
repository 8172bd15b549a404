"""Between the letters of the equations and PyTorch's parameters.

The equations are in the row-vector convention, H_t = φ(X_t W_xh + H_{t-1} W_hh + b_h): W_x* is [I, H], W_h* is [H, H], b
is [1, H]. The parameters stack the gates' transposes: weight_ih [G*H, I], weight_hh [G*H, H], bias [G*H].
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from ._arrays import floats
from .errors import argument_error, shape_error

Gates = Dict[str, np.ndarray]
#: One layer: its gates, or a pair of them, forward and backward.
LayerGates = Union[Gates, Tuple[Gates, Gates]]

#: The letters of each cell's gates in the order of the stacked rows: PyTorch's r, z, n and i, f, g, o.
LETTERS = {"rnn": "h", "gru": "rzh", "lstm": "ifco"}
#: Options of a layer that `from_gates` takes from the letters.
DERIVED = {
    "hidden_size_reverse": "the shapes of the backward direction",
    "learn_initial_state": "h_0",
    "peepholes": "w_ci, w_cf and w_co",
    "proj_size": "W_hr",
}


def suffix(layer: int, direction: int) -> str:
    """PyTorch's ending of a parameter's name."""
    return f"_l{layer}" + ("_reverse" if direction else "")


def as_layers(layers: Any, gates: Mapping[str, Any]) -> List[Tuple[Mapping[str, Any], ...]]:
    """The argument of `from_gates` as a list of layers, each a tuple of one or two directions."""
    if layers is None:
        layers = dict(gates)
    elif gates:
        raise argument_error(f"gates come as keywords or as the first argument, not both: {', '.join(gates)}")
    if not isinstance(layers, list):
        layers = [layers]
    result: List[Tuple[Mapping[str, Any], ...]] = []
    for index, layer in enumerate(layers):
        directions = layer if isinstance(layer, (tuple, list)) else (layer,)
        if len(directions) not in (1, 2) or not all(isinstance(gates, Mapping) for gates in directions):
            raise argument_error(f"layer {index} is {type(layer).__name__}, expected a dict of gates or a pair of them")
        result.append(tuple(directions))
    if not result:
        raise argument_error("from_gates needs at least one layer")
    if len({len(directions) for directions in result}) > 1:
        raise argument_error("some layers have one direction and some two")
    return result


def bias_letters(cell: str, variant: Optional[str], names: Sequence[str]) -> Tuple[str, List[str]]:
    """The kind of bias, "none", "single" or "double", that the letters of one direction show, and its names."""
    given = [name for name in names if name.startswith("b_")]
    if not given:
        return "none", []
    if variant == "reset_after" and ("b_xh" in given or "b_hh" in given):
        return "double", ["b_r", "b_z", "b_xh", "b_hh"]
    return "single", ["b_" + letter for letter in LETTERS[cell]]


def _extra_letters(cell: str, names: Sequence[str]) -> List[str]:
    """The names of what not every layer has: all of a group if there is one of it."""
    groups = [("h_0", "c_0"), ("w_ci", "w_cf", "w_co"), ("W_hr",)] if cell == "lstm" else [("h_0",)]
    return [name for group in groups if any(name in names for name in group) for name in group]


def to_parameters(
    cell: str,
    variant: Optional[str],
    gates: Mapping[str, Any],
    dtype: np.dtype,
    first: Sequence[str],
    place: str,
    *,
    coupled: bool = False,
) -> Dict[str, np.ndarray]:
    """weight_ih, weight_hh and the other parameters of one direction of one layer, without suffix.

    `first`: the names of the first layer's letters, which all layers must share. `coupled`: there is no forget gate.
    """
    letters = LETTERS[cell]
    kind, biases = bias_letters(cell, variant, list(gates))
    bias, _ = bias_letters(cell, variant, first)
    extras = _extra_letters(cell, list(gates))
    wanted = ["W_x" + letter for letter in letters] + ["W_h" + letter for letter in letters] + biases + extras
    unused = {"W_xf", "W_hf", "b_f", "w_cf"} if coupled else set()
    wanted = [name for name in wanted if name not in unused]
    missing = [name for name in wanted if name not in gates]
    unexpected = [name for name in gates if name not in wanted]
    if missing or unexpected or kind != bias or extras != _extra_letters(cell, first):
        text = f"the gates of {place} are not those of {cell.upper()}" + (f" {variant}" if variant else "")
        if missing:
            text += "; missing: " + ", ".join(missing)
        if unexpected:
            text += "; unexpected: " + ", ".join(map(str, unexpected))
            if coupled:
                text += " (with coupled_gates there is no forget gate)"
        if not missing and not unexpected and kind != bias:
            text += f"; the first layer has bias {bias!r} and this one {kind!r}"
        elif not missing and not unexpected:
            others = _extra_letters(cell, first)
            text += f"; the first layer has {', '.join(others) or 'no more'} and this one {', '.join(extras) or 'no more'}"
        raise argument_error(text)
    arrays = {name: floats(gates[name], dtype, name) for name in wanted}
    width = arrays["W_x" + letters[0]]
    if width.ndim != 2:
        raise shape_error(f"W_x{letters[0]} of {place} has shape {width.shape}, expected (I, H)")
    size, hidden = width.shape
    projected = hidden
    if "W_hr" in extras:
        if arrays["W_hr"].ndim != 2:
            raise shape_error(f"W_hr of {place} has shape {arrays['W_hr'].shape}, expected ({hidden}, P)")
        projected = arrays["W_hr"].shape[1]
    for name, array in arrays.items():
        if not name.startswith("W_"):
            count = projected if name == "h_0" else hidden
            if array.shape not in ((count,), (1, count)):
                raise shape_error(f"{name} of {place} has shape {array.shape}, expected (1, {count}) or ({count},)")
            arrays[name] = array.reshape(count)
        else:
            shape = (hidden, projected) if name == "W_hr" else (size if name.startswith("W_x") else projected, hidden)
            if array.shape != shape:
                raise shape_error(f"{name} of {place} has shape {array.shape}, expected {shape}")
    for name in unused:
        arrays[name] = np.zeros((size, hidden) if name == "W_xf" else (projected, hidden) if name == "W_hf" else hidden, dtype)
    result = {
        "weight_ih": np.concatenate([arrays["W_x" + letter].T for letter in letters]),
        "weight_hh": np.concatenate([arrays["W_h" + letter].T for letter in letters]),
    }
    if kind == "single":
        result["bias"] = np.concatenate([arrays["b_" + letter] for letter in letters])
    elif kind == "double":
        zeros = np.zeros(hidden, dtype)
        result["bias_ih"] = np.concatenate([arrays["b_r"], arrays["b_z"], arrays["b_xh"]])
        result["bias_hh"] = np.concatenate([zeros, zeros, arrays["b_hh"]])
    if "W_hr" in extras:
        result["weight_hr"] = arrays["W_hr"].T
    if "w_ci" in extras:
        result["weight_peephole"] = np.stack([arrays["w_ci"], arrays["w_cf"], arrays["w_co"]])
    for name in ("h_0", "c_0"):
        if name in extras:
            result[name] = arrays[name]
    return result


def from_parameters(
    cell: str, variant: Optional[str], parameters: Mapping[str, np.ndarray], end: str, *, coupled: bool = False
) -> Gates:
    """The gates of one direction of one layer, b as [1, H]; the inverse of `to_parameters`.

    Two biases that are simply added come as one: the sum in float64, rounded once.
    """
    letters = LETTERS[cell]
    gates: Gates = {}
    for side, name in (("x", "weight_ih"), ("h", "weight_hh")):
        for letter, rows in zip(letters, np.split(parameters[name + end], len(letters))):
            gates[f"W_{side}{letter}"] = np.ascontiguousarray(rows.T)
    if "bias" + end in parameters:
        for letter, rows in zip(letters, np.split(parameters["bias" + end], len(letters))):
            gates["b_" + letter] = rows.reshape(1, -1).copy()
    elif "bias_ih" + end in parameters:
        inputs, states = parameters["bias_ih" + end], parameters["bias_hh" + end]
        total = (inputs.astype(np.float64) + states.astype(np.float64)).astype(inputs.dtype)
        for letter, rows in zip(letters, np.split(total, len(letters))):
            gates["b_" + letter] = rows.reshape(1, -1).copy()
        if variant == "reset_after":
            hidden = len(inputs) // 3
            del gates["b_h"]
            gates["b_xh"] = inputs[2 * hidden :].reshape(1, -1).copy()
            gates["b_hh"] = states[2 * hidden :].reshape(1, -1).copy()
    if "weight_peephole" + end in parameters:
        for letter, row in zip("ifo", parameters["weight_peephole" + end]):
            gates["w_c" + letter] = row.reshape(1, -1).copy()
    if "weight_hr" + end in parameters:
        gates["W_hr"] = np.ascontiguousarray(parameters["weight_hr" + end].T)
    for name in ("h_0", "c_0"):
        if name + end in parameters:
            gates[name] = parameters[name + end].reshape(1, -1).copy()
    if coupled:
        for name in ("W_xf", "W_hf", "b_f", "w_cf"):
            gates.pop(name, None)
    return gates
