"""The options of recurrent layers beside sizes and biases: defaults, checks, and their forms in C and in a model file."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from . import _abi
from ._arrays import positive, real
from ._builder import choose
from .activations import Activation, activation_of_file, as_activation
from .errors import argument_error

#: Letter of a gate -> its activation, where it is not the usual one.
GateActivations = Dict[str, Activation]
#: What `activations` of a layer is: for both directions, or for each.
Activations = Union[None, GateActivations, Tuple[GateActivations, GateActivations]]

DIRECTIONS = {"forward": 0, "reverse": 1}
MERGES = {
    "concat": _abi.RNN_MERGE_CONCAT,
    "sum": _abi.RNN_MERGE_SUM,
    "mean": _abi.RNN_MERGE_MEAN,
    "product": _abi.RNN_MERGE_PRODUCT,
}
PADDINGS = {"value": _abi.RNN_PADDING_VALUE, "repeat": _abi.RNN_PADDING_REPEAT}

#: The letters of the gates that have an activation, in the order of the C interface's slots.
SLOTS = {"rnn": "h", "gru": "rzn", "lstm": "ifgoh"}
#: The options of every cell, and their defaults.
COMMON: Dict[str, Any] = {
    "direction": "forward",
    "merge": "concat",
    "hidden_size_reverse": None,
    "residual": False,
    "learn_initial_state": False,
    "recurrent_dropout": 0.0,
    "gate_clip": 0.0,
    "activations": None,
}
#: Those of each cell.
OPTIONS: Dict[str, Dict[str, Any]] = {
    "rnn": COMMON,
    "gru": COMMON,
    "lstm": {
        "proj_size": 0,
        **COMMON,
        "peepholes": False,
        "coupled_gates": False,
        "cell_clip": 0.0,
        "gate_clip_output": False,
        "runtime_forget_bias": 0.0,
    },
}
#: Where a field of `rnn_recurrent_options` and a key of the model file is spelled otherwise than the keyword.
C_NAMES = {"learn_initial_state": "learned_initial_state", "runtime_forget_bias": "forget_bias"}


def usual_activation(cell: str, letter: str, nonlinearity: Optional[str]) -> Activation:
    """The activation that a gate has by itself."""
    if cell == "rnn":
        return Activation(nonlinearity or "tanh")
    return Activation("tanh" if letter in "gnh" else "sigmoid")


def checked(
    cell: str, given: Mapping[str, Any], *, hidden_size: int, bidirectional: bool, nonlinearity: Optional[str]
) -> Dict[str, Any]:
    """The options of a constructor in one form each; an option that is left out is the default.

    Raises
    ------
    RNNError
        An option that has a value which makes no sense, or which makes none together with another.
    """
    options = {**OPTIONS[cell], **given}
    for name, default in OPTIONS[cell].items():
        value = options[name]
        if isinstance(default, bool):
            options[name] = bool(value)
        elif isinstance(default, float):
            options[name] = _number(name, value)
    choose(options["direction"], DIRECTIONS, "direction")
    choose(options["merge"], MERGES, "merge")
    if bidirectional and options["direction"] == "reverse":
        raise argument_error(
            'direction is "reverse" and bidirectional is True: a bidirectional layer has both directions already'
        )
    if not bidirectional:
        for name, meaning in (("merge", "two directions to merge"), ("hidden_size_reverse", "a backward direction")):
            if options[name] != COMMON[name]:
                raise argument_error(f"{name} is {options[name]!r}, but without bidirectional=True there is not {meaning}")
    if "proj_size" in options:
        options["proj_size"] = _size_or_zero(options["proj_size"], "proj_size")
    if options["hidden_size_reverse"] is not None:
        reverse = positive(options["hidden_size_reverse"], "hidden_size_reverse")
        options["hidden_size_reverse"] = None if reverse == hidden_size else reverse
        if reverse != hidden_size and options["merge"] != "concat" and not options.get("proj_size"):
            raise argument_error(
                f"merge is {options['merge']!r} and needs directions of one size, but hidden_size is {hidden_size} and "
                f"hidden_size_reverse {reverse}"
            )
    if options.get("gate_clip_output") and not options["gate_clip"]:
        raise argument_error("gate_clip_output is True, but gate_clip is 0: there is no limit for the input of h(C) to have")
    options["activations"] = as_activations(cell, options["activations"], bidirectional, nonlinearity)
    if options.get("coupled_gates") and any("f" in side for side in sides(options["activations"])):
        raise argument_error("activations has one for 'f', and with coupled_gates=True there is no forget gate: F = 1 - I")
    return options


def as_activations(cell: str, given: Any, bidirectional: bool, nonlinearity: Optional[str]) -> Activations:
    """`activations` in one form: None, a dict, or a pair of dicts where the directions differ; without what is usual."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        sides: Sequence[Any] = (given,)
    elif isinstance(given, (tuple, list)) and len(given) == 2 and all(
        side is None or isinstance(side, Mapping) for side in given
    ):
        if not bidirectional:
            raise argument_error("activations is a pair (forward, backward), but the layer has one direction")
        sides = given
    else:
        raise argument_error(
            f"activations is {given!r}, expected a dict of gate letters to activations, or a pair of them (forward, backward)"
        )
    plain = [_gate_activations(cell, side or {}, nonlinearity) for side in sides]
    if all(side == plain[0] for side in plain):
        return plain[0] or None
    return plain[0], plain[1]


def _gate_activations(cell: str, given: Mapping[Any, Any], nonlinearity: Optional[str]) -> GateActivations:
    letters = SLOTS[cell]
    unknown = [repr(letter) for letter in given if not (isinstance(letter, str) and len(letter) == 1 and letter in letters)]
    if unknown:
        known = ", ".join(repr(letter) for letter in letters)
        raise argument_error(f"activations has {', '.join(unknown)}, expected the letters of the gates: {known}")
    result = {}
    for letter in letters:
        value = given.get(letter)
        if value is None:
            continue
        if isinstance(value, (tuple, list)):
            if not 1 <= len(value) <= 3:
                raise argument_error(f"activations[{letter!r}] is {value!r}, expected (name, alpha, beta)")
            value = Activation(*value)
        activation = as_activation(value, f"activations[{letter!r}]")
        if activation != usual_activation(cell, letter, nonlinearity):
            result[letter] = activation
    return result


def sides(activations: Activations) -> Tuple[GateActivations, GateActivations]:
    """The activations of the forward and of the backward direction."""
    if activations is None:
        return {}, {}
    return activations if isinstance(activations, tuple) else (activations, activations)


def fill(fields: _abi.rnn_recurrent_options, cell: str, node: Mapping[str, Any]) -> None:
    """Put the options of a layer's node into the struct of the C interface."""
    fields.reverse = DIRECTIONS[node.get("direction", "forward")]
    fields.merge = MERGES[node.get("merge", "concat")]
    fields.hidden_size_reverse = node.get("hidden_size_reverse") or 0
    for name, default in OPTIONS[cell].items():
        if name in node and isinstance(default, (bool, int, float)):
            value = node[name]
            setattr(fields, C_NAMES.get(name, name), int(value) if isinstance(default, (bool, int)) else value)
    directions = 2 if node["bidirectional"] else 1
    for direction, side in enumerate(sides(node.get("activations"))[:directions]):
        for slot, letter in enumerate(SLOTS[cell]):
            if letter in side:
                fields.activations[direction][slot] = side[letter].code
                fields.activation_alpha[direction][slot] = side[letter].alpha
                fields.activation_beta[direction][slot] = side[letter].beta


def from_file(cell: str, node: Mapping[str, Any]) -> Dict[str, Any]:
    """The options of a node as a model file has them; the library has checked it."""
    options = dict(OPTIONS[cell])
    for name, default in options.items():
        key = C_NAMES.get(name, name)
        if key in node and name != "activations":
            options[name] = float(node[key]) if isinstance(default, float) else node[key]
    if options["hidden_size_reverse"] in (0, node["hidden_size"]):
        options["hidden_size_reverse"] = None
    options["activations"] = _activations_of_file(cell, node)
    return options


def _activations_of_file(cell: str, node: Mapping[str, Any]) -> Activations:
    listed: Optional[List[List[Mapping[str, Any]]]] = node.get("activations")
    if listed is None:
        return None
    given = [{letter: activation_of_file(slot) for letter, slot in zip(SLOTS[cell], side)} for side in listed]
    pair: Any = given[0] if len(given) == 1 else tuple(given)
    return as_activations(cell, pair, len(given) == 2, node.get("nonlinearity"))


def output_width(node: Mapping[str, Any]) -> int:
    """Features of a layer's output: of both directions side by side, unless they are merged otherwise."""
    forward = node.get("proj_size") or node["hidden_size"]
    if not node["bidirectional"] or node.get("merge", "concat") != "concat":
        return int(forward)
    return int(forward + (node.get("proj_size") or node.get("hidden_size_reverse") or node["hidden_size"]))


def _number(name: str, value: Any) -> float:
    number = real(value, name)
    if name == "runtime_forget_bias":
        if not math.isfinite(number):
            raise argument_error(f"{name} is {value!r}, expected a finite number")
    elif name == "recurrent_dropout":
        if not 0 <= number < 1:
            raise argument_error(f"{name} is {value!r}, expected at least 0 and below 1")
    elif not (number >= 0 and math.isfinite(number)):
        raise argument_error(f"{name} is {value!r}, expected a finite number above 0, or 0 for no limit")
    return number


def _size_or_zero(value: Any, name: str) -> int:
    if isinstance(value, int) and value == 0:
        return 0
    try:
        return positive(value, name)
    except Exception:
        raise argument_error(f"{name} is {value!r}, expected an integer above 0, or 0 for none") from None
