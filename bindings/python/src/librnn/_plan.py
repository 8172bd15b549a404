"""The network that a reader of another system's file makes: its nodes, one after the other, with weights; then a model of them.

`Plan` gives each node a legal and unique name and knows its number of features. What comes out is what `librnn.load` gives for
the same network: a layer for one recurrent node, a Sequential for a chain, else a Network.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ._mask import MASK_KEY, MaskRule
from .activations import Activation
from .network_builder import NetworkBuilder
from .errors import RNNError, format_error, shape_error, unsupported
from .files import model_of
from .layers import CELLS

#: Where the gates of librnn stand among those of Keras: GRU z r h, LSTM i f c o.
_KERAS_GATES = {"rnn": (0,), "gru": (1, 0, 2), "lstm": (0, 1, 2, 3)}


class PlannedNode(NamedTuple):
    """A node: its operator's arguments and its weights."""

    kind: str
    sources: Tuple[str, ...]
    arguments: Dict[str, Any]
    parameters: Dict[str, np.ndarray]
    #: Features of its output.
    size: int


class Plan:
    """Nodes in the order in which they are computed."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.nodes: Dict[str, PlannedNode] = {}

    def size(self, name: str) -> int:
        return self.nodes[name].size

    def add(
        self,
        kind: str,
        hint: str,
        sources: Sequence[str],
        arguments: Mapping[str, Any],
        size: int,
        parameters: Optional[Mapping[str, np.ndarray]] = None,
    ) -> str:
        """Add a node; its name, which is `hint` as far as that is legal and free."""
        name = base = re.sub(r"[^A-Za-z0-9_.-]", "_", hint)[:100] or kind
        number = 1
        while name in self.nodes:
            number += 1
            name = f"{base}_{number}"
        if not 1 <= size < 2**31:
            raise shape_error(f"{hint} would have {size} features")
        self.nodes[name] = PlannedNode(kind, tuple(sources), dict(arguments), dict(parameters or {}), size)
        return name

    def tokens_of(self, hint: str) -> str:
        """The token input of that name; the same each time."""
        for name, node in self.nodes.items():
            if node.kind == "tokens" and node.arguments.get("of") == hint:
                return name
        return self.add("tokens", hint, [], {"of": hint}, 1)

    def activation(self, source: str, activation: Activation, hint: str) -> str:
        return self.add("activation", hint, [source], {"activation": activation}, self.size(source))

    def scale(self, source: str, hint: str, weight: np.ndarray, bias: Optional[np.ndarray] = None) -> str:
        """y = x · weight + bias, feature by feature; rounded here from float64."""
        parameters = {"weight": np.asarray(weight, np.float64)}
        if bias is not None:
            parameters["bias"] = np.asarray(bias, np.float64)
        largest = float(np.finfo(self.dtype).max)
        for name, values in parameters.items():
            if not (np.abs(values) <= largest).all():
                raise format_error(f"{hint}: its {name} holds a number that no {self.dtype} can be")
        return self.add("scale_shift", hint, [source], {"bias": bias is not None}, self.size(source), parameters)

    def batch_norm(
        self,
        source: str,
        hint: str,
        gamma: np.ndarray,
        beta: np.ndarray,
        mean: np.ndarray,
        variance: np.ndarray,
        epsilon: float,
        place: str,
    ) -> str:
        """Batch normalisation as it runs, as one product and one sum."""
        return self.scale(source, hint, *folded_batch_norm(gamma, beta, mean, variance, epsilon, place))

    def keras_recurrent(
        self,
        cell: str,
        hint: str,
        source: str,
        arrays: Sequence[np.ndarray],
        arguments: Mapping[str, Any],
        place: str,
        backward: Optional[Sequence[np.ndarray]] = None,
    ) -> str:
        """A recurrent node from Keras' kernel [I, G·H], recurrent kernel [H, G·H] and bias; for two directions both sets."""
        inputs = self.size(source)
        parameters: Dict[str, np.ndarray] = {}
        hidden = []
        for suffix, weights in (("", arrays), ("_reverse", backward)):
            if weights is None:
                continue
            units = int(np.shape(weights[1])[0]) if len(weights) > 1 and np.ndim(weights[1]) == 2 else 0
            hidden.append(units)
            named = keras_weights(cell, list(weights), inputs, arguments.get("variant"), place)
            parameters.update({f"{name}_l0{suffix}": value for name, value in named.items()})
        arguments = dict(arguments, hidden_size=hidden[0])
        if backward is not None:
            arguments["bidirectional"] = True
            if hidden[1] != hidden[0]:
                arguments["hidden_size_reverse"] = hidden[1]
        arguments["bias"] = "double" if "bias_ih_l0" in parameters else "single" if "bias_l0" in parameters else False
        size = sum(hidden) if arguments.get("merge", "concat") == "concat" else hidden[0]
        return self.add(cell, hint, [source], arguments, size, parameters)

    # --------------------------------------------------------------------------------------------- the model

    def build(
        self,
        output: str,
        *,
        batch_first: bool = False,
        metadata: Optional[Mapping[str, str]] = None,
        mask: Optional[MaskRule] = None,
    ) -> Any:
        """The model whose output is the node of that name."""
        nodes = self._needed(output)
        names = self.final_names(output)
        builder = NetworkBuilder(self.dtype)
        parameters: Dict[str, np.ndarray] = {}
        for name in nodes:
            node = self.nodes[name]
            _emit(builder, names[name], node, [names[source] for source in node.sources])
            parameters.update({f"{names[name]}.{key}": value for key, value in node.parameters.items()})
        network = builder.build(parameters)
        model = model_of(network._network)
        if batch_first:
            model._remember_batch_first()
        for key, value in (metadata or {}).items():
            model.metadata[key] = value
        if mask is not None:
            model.metadata[MASK_KEY] = mask.text()
            model._mask_rule = mask
        return model

    def _needed(self, output: str) -> List[str]:
        """The nodes that the output depends on, and all inputs, in order; the output is the last."""
        wanted = {output}
        for name in reversed(self.nodes):
            if name in wanted:
                wanted.update(self.nodes[name].sources)
        unread = [name for name, node in self.nodes.items() if not node.sources and name not in wanted]
        if unread:
            raise unsupported(f"nothing reads the input {', '.join(unread)}")
        if not self.nodes[output].sources:
            raise unsupported("the model gives back its input")
        return [name for name in self.nodes if name in wanted and name != output] + [output]

    def final_names(self, output: str) -> Dict[str, str]:
        """Names under which the network is a layer or a Sequential, where it can be."""
        nodes = self._needed(output)
        chain = all(self.nodes[after].sources == (before,) for before, after in zip(nodes, nodes[1:]))
        if not chain:
            return {name: name for name in nodes}
        first, rest = nodes[0], nodes[1:]
        names = {first: "tokens" if self.nodes[first].kind == "tokens" else "input"}
        if len(rest) == 1 and self.nodes[rest[0]].kind in CELLS:
            names[rest[0]] = self.nodes[rest[0]].kind
        else:
            names.update({name: str(index) for index, name in enumerate(rest)})
        return names


def folded_batch_norm(
    gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray, epsilon: float, place: str
) -> Tuple[np.ndarray, np.ndarray]:
    """y = γ (x - μ) / √(σ² + ε) + β as y = x · weight + bias, computed in float64; all arrays [F]."""
    gamma, beta, mean, variance = (np.asarray(row, np.float64) for row in (gamma, beta, mean, variance))
    if not (variance + epsilon > 0).all():
        raise format_error(f"{place}: a variance below 0")
    weight = gamma / np.sqrt(variance + epsilon)
    return weight, beta - mean * weight


def _emit(builder: NetworkBuilder, name: str, node: PlannedNode, sources: List[str]) -> None:
    """Add a planned node to the library's builder."""
    arguments = node.arguments
    if node.kind == "input":
        builder.input(name, arguments["size"])
    elif node.kind == "tokens":
        builder.tokens(name)
    elif node.kind in CELLS:
        builder.recurrent(name, sources[0], (node.kind, arguments))
    elif node.kind in ("concat", "sum", "product"):
        getattr(builder, node.kind)(name, sources)
    elif node.kind == "activation":
        builder.activation(name, sources[0], arguments["activation"])
    else:
        getattr(builder, node.kind)(name, sources[0], **arguments)


def keras_weights(
    cell: str, arrays: List[np.ndarray], inputs: int, variant: Optional[str], place: str
) -> Dict[str, np.ndarray]:
    """Keras' arrays of one direction as weight_ih, weight_hh and biases, gates in librnn's order."""
    gates = len(_KERAS_GATES[cell])
    if len(arrays) not in (2, 3):
        raise format_error(f"{place} has {len(arrays)} arrays, expected kernel, recurrent kernel and, if it has one, bias")
    hidden = arrays[1].shape[0] if arrays[1].ndim == 2 else 0
    expected = [(inputs, gates * hidden), (hidden, gates * hidden)]
    for name, array, shape in zip(("kernel", "recurrent kernel"), arrays, expected):
        if array.shape != shape or hidden == 0:
            raise shape_error(f"{place}: the {name} has shape {array.shape}, expected {shape if hidden else '[H, G*H]'}")

    def rows(matrix: np.ndarray) -> np.ndarray:
        # [.., G*H] in Keras' order of gates to [G*H, ..] in ours.
        blocks = matrix.T.reshape(gates, hidden, *matrix.shape[:-1])
        return np.ascontiguousarray(blocks[list(_KERAS_GATES[cell])]).reshape(gates * hidden, *matrix.shape[:-1])

    named = {"weight_ih": rows(arrays[0]), "weight_hh": rows(arrays[1])}
    if len(arrays) == 3:
        bias = arrays[2]
        shape = (2, gates * hidden) if variant == "reset_after" else (gates * hidden,)
        if bias.shape != shape:
            hint = ""
            if cell == "gru":
                hint = '; a GRU with reset_after=True has (2, 3*units), one with reset_after=False (3*units,)'
            raise shape_error(f"{place}: the bias has shape {bias.shape}, expected {shape}{hint}")
        if variant == "reset_after":
            named["bias_ih"], named["bias_hh"] = rows(bias[0]), rows(bias[1])
        else:
            named["bias"] = rows(bias)
    return named
