"""Writes model files by hand, with json and struct alone: docs/format.md without the library's help."""

import json
import struct

import numpy as np


def safetensors(header, data=b"", length=None):
    """A safetensors file of a header (an object or its text) and the tensors' bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def model(nodes, tensors, *, dtype="float32", output=None, version="1", metadata=None, architecture=None):
    """A model file of nodes (dicts) and tensors (name -> array): header as an object, data as bytes."""
    code = {"float32": "F32", "float64": "F64"}[dtype]
    if architecture is None:
        architecture = json.dumps({"dtype": dtype, "nodes": nodes, "outputs": [output or nodes[-1]["name"]]})
    header = {"__metadata__": {"librnn.format_version": version, "librnn.architecture": architecture, **(metadata or {})}}
    data = b""
    for name, array in tensors.items():
        array = np.ascontiguousarray(array, dtype)
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    return header, data


def gru_nodes(**changes):
    """One GRU layer of 2 features and 3 hidden units."""
    node = {
        "name": "gru", "op": "gru", "version": 1, "inputs": ["input"], "variant": "reset_before", "hidden_size": 3,
        "num_layers": 1, "bidirectional": False, "bias": "single", "dropout": 0.0,
    }  # fmt: skip
    return [{"name": "input", "op": "input", "version": 1, "size": 2}, {**node, **changes}]


def gru_tensors(seed=0):
    generator = np.random.default_rng(seed)
    shapes = {"gru.weight_ih_l0": (9, 2), "gru.weight_hh_l0": (9, 3), "gru.bias_l0": (9,)}
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
