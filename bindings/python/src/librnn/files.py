"""Model files: safetensors with the architecture and metadata of the model (docs/format.md)."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, List, Optional, Union

import numpy as np

from . import _abi
from ._arrays import address
from ._handle import Handle, create
from ._mask import MASK_KEY, MaskRule
from ._network import LAYOUT_KEY, Model, text_of
from ._options import from_file, output_width
from .activations import activation_of_file
from .errors import argument_error, check
from .layers import BIAS_NAMES, CELLS, plain_bias
from .modules import Embedding, LayerNorm, Linear, ScaleShift
from .network import Network
from .sequential import Sequential, Spec


def save(model: Model, path: "Union[str, os.PathLike[str]]") -> None:
    """Write a model file, atomically: a reader sees the old file or the new one, never a part.

    Parameters
    ----------
    model : RNN, GRU, LSTM, Sequential or Network
        With its weights and metadata. The seed is not kept.
    path : str or path-like
    """
    if not isinstance(model, Model):
        raise argument_error(f"model is {type(model).__name__}, expected a layer, Sequential or Network")
    check(_abi.rnn_network_save(model._network.value, _path(path), None))


def load(source: "Union[str, os.PathLike[str], bytes, bytearray, memoryview]") -> Any:
    """Read a model file.

    Parameters
    ----------
    source : str, path-like or bytes
        A path, or the file's contents.

    Returns
    -------
    RNN, GRU, LSTM, Sequential or Network
        A layer for a file that `save` made of a layer, a Sequential for a chain of modules that are named 0, 1, …, otherwise
        a Network.

    Raises
    ------
    RNNError
        The file cannot be read, is damaged, lies about itself, or needs something that this version does not compute.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = np.frombuffer(source, np.uint8)
        network = create(
            _abi.rnn_network_destroy, _abi.rnn_network_load_memory, address(data), data.size, None
        )
    else:
        network = create(_abi.rnn_network_destroy, _abi.rnn_network_load, _path(source), None)
    return model_of(network)


def model_of(network: Handle) -> Any:
    """The model that a network is: a layer, a Sequential, or a Network."""
    nodes = json.loads(text_of(_abi.rnn_network_architecture, network.value))["nodes"]
    model: Model
    specs = _chain(nodes)
    if specs is not None and len(specs) == 1 and nodes[1]["name"] == nodes[1]["op"] and specs[0][0] in CELLS:
        kind, node = specs[0]
        model = CELLS[kind]._from_network(network, node)
    elif specs is not None and len(specs) == 1 and nodes[1]["name"] == nodes[1]["op"] and specs[0][0] in MODULES:
        kind, node = specs[0]
        model = MODULES[kind]._from_network(network, node)
    elif specs is not None and [node["name"] for node in nodes[1:]] == [str(i) for i in range(len(specs))]:
        model = Sequential._from_network(network, specs)
    else:
        model = Network._from_network(network)
    layout = model.metadata.get(LAYOUT_KEY)
    if layout is not None:
        model._set_batch_first(layout == "1")
    rule = model.metadata.get(MASK_KEY)
    if rule is not None:
        model._mask_rule = MaskRule.of_text(rule, model.input_size, model._token_count, model.output_size)
    return model


MODULES: Dict[str, Any] = {
    "linear": Linear, "embedding": Embedding, "layer_norm": LayerNorm, "scale_shift": ScaleShift,
}  # fmt: skip


def _path(path: Any) -> bytes:
    try:
        encoded = os.fsencode(path)
    except TypeError:
        raise argument_error(f"the path is {type(path).__name__}, expected str or a path") from None
    if b"\0" in encoded:
        raise argument_error("the path contains a NUL character")
    return encoded


def _chain(nodes: List[Dict[str, Any]]) -> Optional[List[Spec]]:
    """The modules of a network in which each node reads the one before, or None."""
    if not nodes or nodes[0]["op"] not in ("input", "token_input"):
        return None
    width = nodes[0].get("size", 0)
    specs: List[Spec] = []
    for before, node in zip(nodes, nodes[1:]):
        if node.get("inputs") != [before["name"]]:
            return None
        kind = node["op"]
        spec: Dict[str, Any]
        if kind in CELLS:
            spec = {
                "input_size": width,
                "hidden_size": node["hidden_size"],
                "num_layers": node["num_layers"],
                "bias": plain_bias(BIAS_NAMES[node["bias"]], node.get("variant")),
                "dropout": float(node["dropout"]),
                "bidirectional": node["bidirectional"],
                **from_file(kind, node),
            }
            for choice in ("nonlinearity", "variant"):
                if choice in node:
                    spec[choice] = node[choice]
            width = output_width(spec)
        elif kind == "embedding":
            spec = {"vocabulary": node["vocabulary_size"], "size": node["embedding_size"]}
            width = node["embedding_size"]
        elif kind == "one_hot":
            spec = {"size": node["size"]}
            width = node["size"]
        elif kind == "linear":
            spec = {"input_size": width, "output_size": node["output_size"], "bias": node["bias"]}
            width = node["output_size"]
        elif kind == "dropout":
            spec = {"p": float(node["probability"])}
        elif kind == "activation":
            spec = activation_of_file(node)._node()
        elif kind == "softmax":
            spec = {"log": node["log"]}
        elif kind == "layer_norm":
            spec = {"size": width, "eps": float(node["epsilon"])}
        elif kind == "scale_shift":
            spec = {"size": width, "bias": node["bias"]}
        elif kind == "slice":
            spec = {"begin": node["begin"], "end": node["end"]}
            width = node["end"] - node["begin"]
        elif kind in ("last_step", "first_step", "reverse"):
            spec = {}
        else:
            return None
        specs.append((kind, spec))
    return specs
