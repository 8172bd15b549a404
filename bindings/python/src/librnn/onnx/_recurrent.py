"""RNN, GRU and LSTM of ONNX as recurrent nodes of librnn: gate orders, biases, activations, clip.

`conventions` says who decides where the specification is open, or where onnxruntime does something else:

- "onnxruntime": `clip` does not limit the input of h(C); alpha and beta are taken, one after the other, by the functions that
  have one; Affine and ScaledTanh without them have 0, ThresholdedRelu has alpha 0 (measured with onnxruntime 1.32).
- "specification": `clip` limits it; ThresholdedRelu has alpha 1 by default; a list that is longer than the functions that take from it, and Affine or ScaledTanh
  without numbers, are errors, since the text does not say what they mean.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from ..activations import Activation
from ..errors import unsupported
from ._file import Node, allow_attributes, attribute, format_error

ONNXRUNTIME, SPECIFICATION = "onnxruntime", "specification"

#: Gates in ONNX's order, as letters of librnn; `PLACES` are their places in librnn's order.
ORDERS = {"RNN": "h", "GRU": "zrn", "LSTM": "iofg"}
LIBRNN_ORDERS = {"RNN": "h", "GRU": "rzn", "LSTM": "ifgo"}
#: Peepholes of ONNX, i o f, in librnn's order i, f, o.
PEEPHOLES = (0, 2, 1)
#: Which gates the activation functions f, g, h belong to.
SLOTS = {"RNN": ("h",), "GRU": ("rz", "n"), "LSTM": ("ifo", "g", "h")}
DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
#: name -> (librnn's name, default alpha, default beta); None: it takes none; NaN: the specification has no default.
ACTIVATIONS: Dict[str, Tuple[str, Optional[float], Optional[float]]] = {
    "Sigmoid": ("sigmoid", None, None),
    "HardSigmoid": ("hard_sigmoid", 0.2, 0.5),
    "Tanh": ("tanh", None, None),
    "Relu": ("relu", None, None),
    "LeakyRelu": ("leaky_relu", 0.01, None),
    "ThresholdedRelu": ("thresholded_relu", 1.0, None),
    "ScaledTanh": ("scaled_tanh", np.nan, np.nan),
    "Elu": ("elu", 1.0, None),
    "Softsign": ("softsign", None, None),
    "Softplus": ("softplus", None, None),
    "Affine": ("affine", np.nan, np.nan),
}
_LOWER = {name.lower(): name for name in ACTIVATIONS}


class Recurrent(NamedTuple):
    """What a node says about its layer: arguments of the layer's class, and its parameters."""

    cell: str
    hidden_size: int
    input_size: int
    directions: int
    keywords: Dict[str, Any]
    parameters: Dict[str, np.ndarray]
    layout: int


def gate_rows(op: str, array: np.ndarray, hidden: int) -> np.ndarray:
    """[G*H, ..] in ONNX's order of gates, in librnn's."""
    parts = dict(zip(ORDERS[op], np.split(array, len(ORDERS[op]))))
    return np.concatenate([parts[letter] for letter in LIBRNN_ORDERS[op]])


def read_recurrent(
    node: Node, conventions: str, W: np.ndarray, R: np.ndarray, B: Optional[np.ndarray], P: Optional[np.ndarray]
) -> Recurrent:
    """The layer of a node with weights W [D, G*H, I], R [D, G*H, H], biases B [D, 2*G*H], peepholes P [D, 3*H]."""
    op = node.op
    allow_attributes(
        node, "activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout",
        *(("linear_before_reset",) if op == "GRU" else ("input_forget",) if op == "LSTM" else ()),
    )  # fmt: skip
    direction = attribute(node, "direction", str, "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        raise format_error(f"{node}: direction is {direction!r}, expected forward, reverse or bidirectional")
    layout = attribute(node, "layout", int, 0)
    if layout not in (0, 1):
        raise format_error(f"{node}: layout is {layout}, expected 0 or 1")
    directions = 2 if direction == "bidirectional" else 1
    gates = len(ORDERS[op])
    if R.ndim != 3 or R.shape[0] != directions or R.shape[2] == 0 or R.shape[1] != gates * R.shape[2]:
        raise format_error(f"{node}: R has the shape {R.shape}, expected [{directions}, {gates}*H, H]")
    hidden = int(R.shape[2])
    told = attribute(node, "hidden_size", int)
    if told is not None and told != hidden:
        raise format_error(f"{node}: hidden_size is {told}, and R has the shape {R.shape}")
    if W.ndim != 3 or W.shape[:2] != (directions, gates * hidden) or W.shape[2] == 0:
        raise format_error(f"{node}: W has the shape {W.shape}, expected [{directions}, {gates * hidden}, I]")
    for name, array, expected in (("B", B, (directions, 2 * gates * hidden)), ("P", P, (directions, 3 * hidden))):
        if array is not None and array.shape != expected:
            raise format_error(f"{node}: {name} has the shape {array.shape}, expected {list(expected)}")
    for name, array in (("R", R), ("B", B), ("P", P)):
        if array is not None and array.dtype != W.dtype:
            raise format_error(f"{node}: {name} is {array.dtype}, and W is {W.dtype}")
    if W.dtype.name not in ("float32", "float64"):
        raise unsupported(f"{node}: weights of type {W.dtype}, expected float or double")

    keywords: Dict[str, Any] = {"bidirectional": directions == 2}
    if direction == "reverse":
        keywords["direction"] = "reverse"
    clip = attribute(node, "clip", float)
    if clip is not None:
        if not 0 < clip < np.inf:
            raise unsupported(f"{node}: clip is {clip}, expected a number above 0 (onnxruntime refuses others, too)")
        keywords["gate_clip"] = clip
        if op == "LSTM" and conventions == SPECIFICATION:
            keywords["gate_clip_output"] = True
    after = False
    if op == "GRU":
        after = bool(_flag(node, "linear_before_reset"))
        keywords["variant"] = "reset_after" if after else "reset_before"
    if op == "LSTM":
        if _flag(node, "input_forget"):
            keywords["coupled_gates"] = True
        if P is not None:
            keywords["peepholes"] = True
    activations = _activations(node, conventions, directions)
    if op == "RNN" and activations in ({"h": Activation("relu")}, ({"h": Activation("relu")},) * 2):
        keywords["nonlinearity"] = "relu"
    elif activations is not None:
        if keywords.get("coupled_gates"):  # F = 1 - I: there is no function of its own
            for functions in activations if isinstance(activations, tuple) else (activations,):
                del functions["f"]
        keywords["activations"] = activations
    # One bias a gate where the second is zero; the reset-after GRU needs both for its candidate.
    single = B is not None and not after and not B[:, gates * hidden :].any()
    keywords["bias"] = False if B is None else "single" if single else "double"

    parameters: Dict[str, np.ndarray] = {}
    for index in range(directions):
        suffix = "_l0_reverse" if index else "_l0"
        parameters["weight_ih" + suffix] = gate_rows(op, W[index], hidden)
        parameters["weight_hh" + suffix] = gate_rows(op, R[index], hidden)
        if B is not None:
            first, second = np.split(B[index], 2)
            parameters["bias" + suffix if single else "bias_ih" + suffix] = gate_rows(op, first, hidden)
            if not single:
                parameters["bias_hh" + suffix] = gate_rows(op, second, hidden)
        if P is not None:
            parameters["weight_peephole" + suffix] = P[index].reshape(3, hidden)[list(PEEPHOLES)]
    return Recurrent(op, hidden, int(W.shape[2]), directions, keywords, parameters, layout)


def _flag(node: Node, name: str) -> int:
    value = attribute(node, name, int, 0)
    if value not in (0, 1):
        raise format_error(f"{node}: {name} is {value}, expected 0 or 1")
    return int(value)


def _activations(node: Node, conventions: str, directions: int) -> Any:
    """A dict of gate letters for each direction; None if all are the default."""
    names = attribute(node, "activations", [str])
    alphas: List[float] = list(attribute(node, "activation_alpha", [float], []))
    betas: List[float] = list(attribute(node, "activation_beta", [float], []))
    slots = SLOTS[node.op]
    if names is None:
        names = list(DEFAULTS[node.op]) * directions
    if len(names) != len(slots) * directions:
        raise format_error(f"{node}: activations is {names}, expected {len(slots) * directions} names")
    read: List[Activation] = []
    alpha_left, beta_left = iter(alphas), iter(betas)
    for name in names:
        known = _LOWER.get(str(name).lower())
        if known is None or (conventions == SPECIFICATION and known != name):
            raise unsupported(f"{node}: activations has {name!r}, expected one of {', '.join(ACTIVATIONS)}")
        librnn_name, default_alpha, default_beta = ACTIVATIONS[known]
        alpha = _number(node, known, "alpha", default_alpha, alpha_left, conventions)
        beta = _number(node, known, "beta", default_beta, beta_left, conventions)
        read.append(Activation(librnn_name, alpha, beta))
    for what, values, left in (("activation_alpha", alphas, alpha_left), ("activation_beta", betas, beta_left)):
        if conventions == SPECIFICATION and next(left, None) is not None:
            raise unsupported(
                f"{node}: {what} has {len(values)} numbers, more than the functions {names} take; the specification does not "
                'say what that means (conventions="onnxruntime" does)'
            )
    result = []
    for index in range(directions):
        chosen = read[index * len(slots) : (index + 1) * len(slots)]
        result.append({letter: function for letters, function in zip(slots, chosen) for letter in letters})
    default = [Activation(ACTIVATIONS[name][0]) for name in DEFAULTS[node.op]]
    if read == default * directions:
        return None
    return tuple(result) if directions == 2 else result[0]


def _number(
    node: Node, name: str, which: str, default: Optional[float], left: Any, conventions: str
) -> Optional[float]:
    """The next alpha or beta, for a function that takes one."""
    if default is None:
        return None
    value = next(left, None)
    if value is None:
        if name == "ThresholdedRelu" and conventions == ONNXRUNTIME:
            return 0.0
        if default != default:
            if conventions == SPECIFICATION:
                raise unsupported(
                    f"{node}: {name} has no {which}, and the specification has no default "
                    '(conventions="onnxruntime": 0)'
                )
            return 0.0
        return default
    if not np.isfinite(value):
        raise unsupported(f"{node}: activation_{which} has {value}")
    return float(value)


def state_rows(array: np.ndarray, directions: int, hidden: int, layout: int, what: str) -> np.ndarray:
    """An initial state [D, N, H], or [N, D, H] with layout 1, as [D, N, H]."""
    if layout == 1 and array.ndim == 3:
        array = array.transpose(1, 0, 2)
    if array.ndim != 3 or array.shape[0] != directions or array.shape[2] != hidden:
        raise format_error(f"{what} has the shape {array.shape}, expected [{directions}, N, {hidden}] (layout 0)")
    return array


