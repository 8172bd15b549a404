"""ONNX models for the tests: graphs from a few nodes, and the cases of the conformance folders as files."""

import json

import numpy as np
import onnx
from onnx import helper, numpy_helper

from helpers import CONFORMANCE, ROOT

VECTORS = ROOT / "Tests" / "Vectors" / "onnx"
#: Names of the inputs and outputs of each operator, in order.
INPUTS = {
    "RNN": ["X", "W", "R", "B", "sequence_lens", "initial_h"],
    "GRU": ["X", "W", "R", "B", "sequence_lens", "initial_h"],
    "LSTM": ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"],
}
OUTPUTS = {"RNN": ["Y", "Y_h"], "GRU": ["Y", "Y_h"], "LSTM": ["Y", "Y_h", "Y_c"]}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def info(name, array_or_dtype, shape=()):
    """An input or output: like an array, or of a dtype and shape (names stand for sizes)."""
    if isinstance(array_or_dtype, np.ndarray):
        array_or_dtype, shape = array_or_dtype.dtype, array_or_dtype.shape
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(array_or_dtype)), shape)


def graph(nodes, inputs, outputs, constants=None, opset=17, ir_version=8, domains=(), with_hidden_size=True):
    """A model of nodes (op, inputs, outputs, attributes…); inputs are infos or {name: (dtype, shape)}, outputs names."""
    made = []
    for op, sources, results, *attributes in nodes:
        domain, _, op = op.rpartition("::")
        keywords = dict(attributes[0]) if attributes else {}
        if op in GATES and with_hidden_size and sources[2] in (constants or {}):
            # onnxruntime wants it, although the specification does not.
            keywords.setdefault("hidden_size", int(constants[sources[2]].shape[-1]))
        made.append(helper.make_node(op, sources, results, name=f"n{len(made)}", domain=domain or None, **keywords))
    entries = [info(name, *kind) for name, kind in inputs.items()] if isinstance(inputs, dict) else inputs
    results = [
        onnx.ValueInfoProto(name=name) if isinstance(name, str) else name for name in outputs
    ]
    for entry in results:
        if not entry.HasField("type"):
            entry.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    tensors = [numpy_helper.from_array(np.array(array, order="C"), name) for name, array in (constants or {}).items()]
    opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid(domain, 1) for domain in domains]
    return helper.make_model(helper.make_graph(made, "g", entries, results, tensors), opset_imports=opsets, ir_version=ir_version)


def weights(op, hidden=4, features=3, directions=1, dtype="float32", seed=0, **more):
    """Random W, R, B and, on request, P, initial_h and initial_c (with their number of rows)."""
    generator = np.random.default_rng(seed)
    G = GATES[op]
    shapes = {
        "W": (directions, G * hidden, features), "R": (directions, G * hidden, hidden), "B": (directions, 2 * G * hidden),
    }  # fmt: skip
    if more.get("P"):
        shapes["P"] = (directions, 3 * hidden)
    for name in ("initial_h", "initial_c"):
        if more.get(name):
            shapes[name] = (directions, more[name], hidden)
    return {name: generator.uniform(-0.7, 0.7, shape).astype(dtype) for name, shape in shapes.items()}


def recurrent(op, inputs, constants, attributes, outputs=None, opset=14, with_hidden_size=True):
    """A model of one node; inputs are {name: array like the input}."""
    names = INPUTS[op]
    given = {*inputs, *constants}
    sources = [name if name in given else "" for name in names]
    while not sources[-1]:
        sources.pop()
    outputs = OUTPUTS[op] if outputs is None else outputs
    results = [name if name in outputs else "" for name in OUTPUTS[op]]
    entries = [info(name, array) for name, array in inputs.items()]
    kind = inputs["X"].dtype if "X" in inputs else np.dtype("float32")
    return graph(
        [(op, sources, results, attributes)], entries, [info(name, kind, None) for name in outputs], constants, opset,
        with_hidden_size=with_hidden_size,
    )  # fmt: skip


def conformance(folder):
    """Names of the cases of a conformance folder; none where the folder is absent."""
    path = CONFORMANCE / folder
    return sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []


def conformance_case(folder, name):
    """meta, inputs and outputs of a case."""
    path = CONFORMANCE / folder / name
    meta = json.loads((path / "meta.json").read_text())
    with np.load(path / "tensors.npz") as file:
        arrays = {key: file[key] for key in file}
    inputs = {key[3:]: array for key, array in arrays.items() if key.startswith("in_")}
    outputs = {key[4:]: array for key, array in arrays.items() if key.startswith("out_")}
    return meta, inputs, outputs
