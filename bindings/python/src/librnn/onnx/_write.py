"""Models of librnn as ONNX files that onnxruntime runs to the same numbers."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from .. import _abi
from .._network import Model, text_of
from ..errors import RNNError, argument_error, unsupported
from ._file import onnx_package
from ._recurrent import ACTIVATIONS, LIBRNN_ORDERS, ORDERS, PEEPHOLES, SLOTS

OLDEST_OPSET, DEFAULT_OPSET = 14, 17
_LAYER_NORM_OPSET = 17
#: A protocol buffer cannot be larger.
_LARGEST_FILE = 2**31 - 1
#: ONNX's operator of each cell.
_OPERATORS = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}
#: librnn's letters of the slots of activations in a model file, by ONNX's operator.
_LETTERS = {"RNN": "h", "GRU": "rzn", "LSTM": "ifgoh"}
_NAMES = {librnn: (name, alpha is not None, beta is not None) for name, (librnn, alpha, beta) in ACTIVATIONS.items()}
#: Attributes of each operator of a model file, beside name, op, version and inputs.
_RECURRENT_KEYS = {
    "hidden_size", "num_layers", "bidirectional", "bias", "dropout", "direction", "merge", "hidden_size_reverse", "residual",
    "learned_initial_state", "recurrent_dropout", "gate_clip", "activations",
}  # fmt: skip
_KEYS: Dict[str, Any] = {
    "input": {"size"}, "token_input": set(), "embedding": {"vocabulary_size", "embedding_size"}, "one_hot": {"size"},
    "linear": {"output_size", "bias"}, "last_step": set(), "first_step": set(), "dropout": {"probability"}, "sum": set(), "product": set(),
    "concat": set(), "slice": {"begin", "end"}, "activation": {"function", "alpha", "beta"}, "softmax": {"log"},
    "layer_norm": {"epsilon"}, "scale_shift": {"bias"}, "reverse": set(),
    "rnn": _RECURRENT_KEYS | {"nonlinearity"}, "gru": _RECURRENT_KEYS | {"variant"},
    "lstm": _RECURRENT_KEYS | {
        "proj_size", "peepholes", "coupled_gates", "cell_clip", "gate_clip_output", "forget_bias",
    },
}  # fmt: skip


def save(
    model: Model,
    path: "Union[str, os.PathLike[str]]",
    *,
    opset: int = DEFAULT_OPSET,
    states: bool = False,
    lengths: bool = False,
) -> None:
    """Write a model as an ONNX file.

    The graph reads what the network reads, under the names of its input nodes (``input`` and ``tokens`` for a layer or a Sequential),
    time first unless the model has ``batch_first``. It gives ``y``, and the final states under the names ``NODE.h_n`` and
    ``NODE.c_n`` [L*D, N, H].

    Parameters
    ----------
    model : RNN, GRU, LSTM, Sequential or Network
        Float64 models become graphs of doubles, which are valid and which onnxruntime does not run.
    path : str or path-like
        Replaced atomically.
    opset : int
        ONNX's operator set, at least 14; 17 for layer normalization.
    states : bool
        The graph has inputs ``NODE.h_0`` and ``NODE.c_0`` for the initial states. Otherwise they are zeros, or learned.
    lengths : bool
        The graph has an input ``lengths`` [N] of int32, at most T each. In onnxruntime the final state of a row of length 0 is 0.

    Raises
    ------
    RNNError
        The model has something that ONNX cannot say, such as a projection or a limit of the cell state: the message names it.
    """
    try:
        target = os.fsdecode(path)
    except TypeError:
        raise argument_error(f"the path is {type(path).__name__}, expected str or a path") from None
    data = to_model(model, opset=opset, states=states, lengths=lengths).SerializeToString()
    directory = os.path.dirname(os.path.abspath(target))
    try:
        handle, temporary = tempfile.mkstemp(prefix=".onnx-", dir=directory)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except (OSError, ValueError) as error:
        raise RNNError(_abi.RNN_ERROR_IO, f"cannot write {target!r}: {error}") from None


def to_model(model: Model, *, opset: int = DEFAULT_OPSET, states: bool = False, lengths: bool = False) -> Any:
    """The ``onnx.ModelProto`` that `save` writes."""
    onnx = onnx_package()
    if not isinstance(model, Model):
        raise argument_error(f"model is {type(model).__name__}, expected a layer, Sequential or Network")
    newest = onnx.defs.onnx_opset_version()
    if not isinstance(opset, int) or not OLDEST_OPSET <= opset <= newest:
        raise argument_error(f"opset is {opset!r}, expected an integer from {OLDEST_OPSET} to {newest}")
    return _Writer(onnx, model, opset, bool(states), bool(lengths)).model_proto()


class _Writer:
    def __init__(self, onnx: Any, model: Model, opset: int, states: bool, lengths: bool) -> None:
        self.onnx = onnx
        self.model = model
        self.opset = opset
        self.states = states
        self.dtype = model.dtype
        self.type = onnx.TensorProto.DOUBLE if model.dtype == np.float64 else onnx.TensorProto.FLOAT
        architecture = json.loads(text_of(_abi.rnn_network_architecture, model._network.value))
        self.architecture: List[Dict[str, Any]] = architecture["nodes"]
        cut = model._prefix
        self.parameters = {cut + name: array for name, array in model.state_dict().items()}
        self.shapes = {info.name: info.shape for info in model._states}
        self.nodes: List[Any] = []
        self.initializers: List[Any] = []
        self.inputs: List[Any] = []
        self.outputs: List[Any] = []
        self.taken: set = {"y", "lengths"}
        self.constants: Dict[Any, str] = {}
        self.bytes = 0
        #: The value that each node of the network becomes, its features, and whether it has all steps.
        self.values: Dict[str, str] = {}
        self.widths: Dict[str, int] = {}
        self.single: Dict[str, bool] = {}
        self.lengths = "lengths" if lengths else ""

    # --------------------------------------------------------------- pieces

    def name(self, wish: str) -> str:
        """A name that nothing else has."""
        unique, count = wish, 1
        while unique in self.taken:
            count += 1
            unique = f"{wish}_{count}"
        self.taken.add(unique)
        return unique

    def constant(self, array: np.ndarray, wish: str) -> str:
        array = np.array(array, order="C")  # ascontiguousarray would give a number an axis
        self.bytes += array.nbytes
        if self.bytes > _LARGEST_FILE - (1 << 20):
            raise unsupported(f"the model's parameters take more than {_LARGEST_FILE} bytes, more than one ONNX file can hold")
        name = self.name(wish)
        self.initializers.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def integers(self, *values: int) -> str:
        """A constant vector of integers, made once."""
        if values not in self.constants:
            self.constants[values] = self.constant(np.array(values, np.int64), "int." + "_".join(map(str, values)))
        return self.constants[values]

    def number(self, value: float) -> str:
        """A constant number of the model's type."""
        key = ("number", value)
        if key not in self.constants:
            self.constants[key] = self.constant(np.array(value, self.dtype), f"number.{value!r}")
        return self.constants[key]

    def add(self, op: str, inputs: Sequence[str], wish: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [self.name(wish if index == 0 else f"{wish}.{index}") for index in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def attribute(self, value: float, what: str) -> float:
        """A number that becomes an attribute, which is a float32."""
        if self.dtype == np.float64 and float(np.float32(value)) != value:
            raise unsupported(
                f"{what} is {value!r}: an attribute of ONNX is a float32, which cannot hold this number of a float64 model"
            )
        return value

    def declare(self, wish: str, kind: int, shape: Sequence[Any], inputs: bool) -> str:
        name = self.name(wish) if inputs else wish
        entry = self.onnx.helper.make_tensor_value_info(name, kind, shape)
        (self.inputs if inputs else self.outputs).append(entry)
        return name

    # ---------------------------------------------------------------- graph

    def model_proto(self) -> Any:
        helper = self.onnx.helper
        if self.lengths:
            self.inputs.append(helper.make_tensor_value_info("lengths", self.onnx.TensorProto.INT32, ["N"]))
        for node in self.architecture:
            unknown = set(node) - {"name", "op", "version", "inputs"} - _KEYS.get(node["op"], set())
            if node["op"] not in _KEYS:
                raise unsupported(f"{node['name']!r} is a {node['op']}, which this writer does not know")
            if unknown:
                raise unsupported(f"{node['name']!r} has {', '.join(sorted(unknown))}, which this writer does not know")
            self.node(node)
        last = self.architecture[-1]["name"]
        self.output(last)
        graph = helper.make_graph(self.nodes, "librnn", self.inputs, self.outputs, self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        proto = helper.make_model(graph, producer_name="librnn", producer_version=_abi.RNN_VERSION_STRING, opset_imports=opsets)
        proto.ir_version = max(8, helper.find_min_ir_version_for(opsets))
        for key, value in self.model.metadata.items():
            if not key.startswith("onnx."):
                proto.metadata_props.add(key=key, value=value)
        return proto

    def output(self, name: str) -> None:
        value, width = self.values[name], self.widths[name]
        if self.single[name]:
            self.nodes.append(self.onnx.helper.make_node("Identity", [value], ["y"], name="y"))
            self.declare("y", self.type, ["N", width], False)
        else:
            if self.lengths and self.architecture[-1]["op"] not in _OPERATORS:
                # After a linear node, padding is not 0 by itself.
                value = self.add("Where", [self.present(), value, self.number(0.0)], "y.present")
            order = [1, 0, 2] if self.model.batch_first else [0, 1, 2]
            self.nodes.append(self.onnx.helper.make_node("Transpose", [value], ["y"], name="y", perm=order))
            self.declare("y", self.type, ["N", "T", width] if self.model.batch_first else ["T", "N", width], False)
        # States last: y is the first output.
        self.outputs.sort(key=lambda entry: entry.name != "y")

    def present(self) -> str:
        """[T, N, 1], whether a row has a step."""
        if "present" not in self.constants:
            first = next(node["name"] for node in self.architecture if node["op"] in ("input", "token_input"))
            shape = self.add("Shape", [self.values[first]], "padding.shape")
            time = self.add("Gather", [shape, self.constant(np.array(0, np.int64), "padding.axis")], "padding.T", axis=0)
            zero, one = (self.constant(np.array(value, np.int64), f"padding.{value}") for value in (0, 1))
            steps = self.add("Unsqueeze", [self.add("Range", [zero, time, one], "padding.t"), self.integers(1)], "padding.steps")
            self.constants["present"] = self.add(
                "Unsqueeze", [self.add("Less", [steps, self.long_lengths()], "padding.less"), self.integers(2)], "padding.present"
            )
        return self.constants["present"]

    def long_lengths(self) -> str:
        if "long" not in self.constants:
            self.constants["long"] = self.add("Cast", ["lengths"], "lengths.int64", to=self.onnx.TensorProto.INT64)
        return self.constants["long"]

    def node(self, node: Mapping[str, Any]) -> None:
        name, op = node["name"], node["op"]
        sources = list(node.get("inputs", []))
        values = [self.values[source] for source in sources]
        width = self.widths[sources[0]] if sources else 0
        single = any(self.single[source] for source in sources)
        if op in ("input", "token_input"):
            axes: List[Any] = ["N", "T"] if self.model.batch_first else ["T", "N"]
            kind = self.type if op == "input" else self.onnx.TensorProto.INT64
            shape = axes + ([node["size"]] if op == "input" else [])
            result = self.declare(name, kind, shape, True)
            if self.model.batch_first:
                result = self.add("Transpose", [result], f"{name}.steps", perm=[1, 0, 2][: len(shape)])
            width = node.get("size", 0)
        elif op == "embedding":
            result = self.add("Gather", [self.parameter(name, "weight"), values[0]], name, axis=0)
            width = node["embedding_size"]
        elif op == "one_hot":
            width = node["size"]
            depth = self.constant(np.array(width, np.int64), f"{name}.depth")
            result = self.add("OneHot", [values[0], depth, self.constant(np.array([0, 1], self.dtype), f"{name}.values")], name)
        elif op in _OPERATORS:
            result, width = self.recurrent(node, values[0])
        elif op == "linear":
            weight = self.constant(self.parameters[f"{name}.weight"].T, f"{name}.weight")
            result = self.add("MatMul", [values[0], weight], f"{name}.product" if node["bias"] else name)
            if node["bias"]:
                result = self.add("Add", [result, self.parameter(name, "bias")], name)
            width = node["output_size"]
        elif op == "dropout":
            result = values[0]
        elif op in ("sum", "product"):
            result = values[0]
            for index, value in enumerate(values[1:]):
                wish = name if index == len(values) - 2 else f"{name}.{index}"
                result = self.add("Add" if op == "sum" else "Mul", [result, value], wish)
        elif op == "concat":
            result = self.add("Concat", values, name, axis=-1)
            width = sum(self.widths[source] for source in sources)
        elif op == "slice":
            result = self.add(
                "Slice", [values[0], self.integers(node["begin"]), self.integers(node["end"]), self.integers(-1)], name
            )
            width = node["end"] - node["begin"]
        elif op == "activation":
            result = self.activation(node, values[0])
        elif op == "softmax":
            result = self.add("LogSoftmax" if node["log"] else "Softmax", values, name, axis=-1)
        elif op == "layer_norm":
            if self.opset < _LAYER_NORM_OPSET:
                raise unsupported(f"{name!r} is a layer_norm: it needs opset={_LAYER_NORM_OPSET} or later, not {self.opset}")
            epsilon = self.attribute(node["epsilon"], f"epsilon of {name!r}")
            result = self.add(
                "LayerNormalization", [values[0], self.parameter(name, "weight"), self.parameter(name, "bias")], name, axis=-1,
                epsilon=epsilon,
            )  # fmt: skip
        elif op == "scale_shift":
            result = self.add("Mul", [values[0], self.parameter(name, "weight")], f"{name}.scaled" if node["bias"] else name)
            if node["bias"]:
                result = self.add("Add", [result, self.parameter(name, "bias")], name)
        elif op == "last_step":
            result, single = self.last_step(name, values[0], width), True
        elif op == "first_step":
            result, single = self.first_step(name, values[0]), True
        else:
            assert op == "reverse"
            result = self.reverse(name, values[0])
        self.values[name], self.widths[name], self.single[name] = result, width, single

    def parameter(self, node: str, name: str) -> str:
        return self.constant(self.parameters[f"{node}.{name}"], f"{node}.{name}")

    def activation(self, node: Mapping[str, Any], value: str) -> str:
        name, function = node["name"], node["function"]
        alpha, beta = (node.get(key, 0.0) for key in ("alpha", "beta"))
        if function == "affine":
            scaled = self.add("Mul", [value, self.number(alpha)], f"{name}.scaled")
            return str(self.add("Add", [scaled, self.number(beta)], name))
        if function == "scaled_tanh":
            tanh = self.add("Tanh", [self.add("Mul", [value, self.number(beta)], f"{name}.scaled")], f"{name}.tanh")
            return str(self.add("Mul", [tanh, self.number(alpha)], name))
        if function not in _NAMES:
            raise unsupported(f"{name!r} is the activation {function}, which this writer does not know")
        op, has_alpha, has_beta = _NAMES[function]
        attributes = {}
        if has_alpha:
            attributes["alpha"] = self.attribute(alpha, f"alpha of {name!r}")
        if has_beta:
            attributes["beta"] = self.attribute(beta, f"beta of {name!r}")
        return str(self.add(op, [value], name, **attributes))

    def last_step(self, name: str, value: str, width: int) -> str:
        if not self.lengths:
            return str(self.add("Gather", [value, self.constant(np.array(-1, np.int64), f"{name}.index")], name, axis=0))
        # The step at length - 1 of each row; 0 for an empty one, whose index -1 would be the last step.
        long = self.long_lengths()
        index = self.add("Unsqueeze", [self.add("Sub", [long, self.integers(1)], f"{name}.t"), self.integers(0, 2)], f"{name}.index")
        shape = self.add("Shape", [value], f"{name}.shape")
        rows = self.add("Slice", [shape, self.integers(1), self.integers(3), self.integers(0)], f"{name}.rows")
        target = self.add("Concat", [self.integers(1), rows], f"{name}.target", axis=0)
        expanded = self.add("Expand", [index, target], f"{name}.indices")
        chosen = self.add("Squeeze", [self.add("GatherElements", [value, expanded], f"{name}.steps", axis=0), self.integers(0)],
                          f"{name}.chosen")  # fmt: skip
        return self.of_present_rows(name, chosen)

    def first_step(self, name: str, value: str) -> str:
        index = self.constant(np.array(0, np.int64), f"{name}.index")
        if not self.lengths:
            return str(self.add("Gather", [value, index], name, axis=0))
        return self.of_present_rows(name, self.add("Gather", [value, index], f"{name}.chosen", axis=0))

    def of_present_rows(self, name: str, value: str) -> str:
        """A step of each row, 0 for a row that has none."""
        some = self.add("Greater", [self.long_lengths(), self.integers(0)], f"{name}.some")
        return str(self.add("Where", [self.add("Unsqueeze", [some, self.integers(1)], f"{name}.present"), value, self.number(0.0)], name))

    def reverse(self, name: str, value: str) -> str:
        if self.lengths:
            return str(self.add("ReverseSequence", [value, self.long_lengths()], name, time_axis=0, batch_axis=1))
        ends = self.integers(-(2**63))
        return str(self.add("Slice", [value, self.integers(-1), ends, self.integers(0), self.integers(-1)], name))

    # ------------------------------------------------------------- recurrent

    def recurrent(self, node: Mapping[str, Any], value: str) -> Tuple[str, int]:
        name, op = node["name"], _OPERATORS[node["op"]]
        for key, why in (
            ("proj_size", "ONNX has no projection"),
            ("cell_clip", "ONNX has no limit of the cell state"),
            ("gate_clip_output", "onnxruntime does not limit the input of h(C)"),
        ):
            if node.get(key):
                raise unsupported(f"{name!r} has {key}: {why}")
        hidden = node["hidden_size"]
        backward_hidden = node.get("hidden_size_reverse") or hidden
        bidirectional = node["bidirectional"]
        layers = node["num_layers"]
        merge = node.get("merge", "concat")
        sizes = [hidden] + ([backward_hidden] if bidirectional else [])
        split = len(set(sizes)) > 1
        initial = self.initial_states(node, op, sizes, split)
        finals: Dict[str, List[str]] = {}
        for layer in range(layers):
            before = value
            place = name if layers == 1 else f"{name}.layer{layer}"
            directions = [[0, 1]] if bidirectional and not split else [[direction] for direction in range(len(sizes))]
            parts = []
            for group in directions:
                backward = group == [1] or node.get("direction") == "reverse"
                which = "bidirectional" if len(group) == 2 else "reverse" if backward else "forward"
                suffix = "_reverse" if split and group == [1] else ""
                y, states = self.cell(
                    node, op, place + suffix, value, layer, group, which, sizes[group[0]],
                    [entry[(layer, suffix)] for entry in initial],
                )  # fmt: skip
                parts.append(y)
                for kind, final in zip("hc", states):
                    finals.setdefault(kind + suffix, []).append(final)
            value = self.merged(place, parts, merge, len(sizes))
            if node.get("residual") and layer:
                value = self.add("Add", [before, value], f"{place}.residual")
        for kind in list(finals):
            state = f"{name}.{kind}"
            pieces = finals[kind]
            target = f"{name}.{kind.replace('_reverse', '')}_n" + ("_reverse" if "_reverse" in kind else "")
            self.taken.add(target)
            self.nodes.append(self.onnx.helper.make_node("Concat", pieces, [target], name=target, axis=0))
            self.declare(target, self.type, [self.shapes[state][0], "N", self.shapes[state][2]], False)
        return value, sum(sizes) if merge == "concat" else hidden

    def initial_states(
        self, node: Mapping[str, Any], op: str, sizes: Sequence[int], split: bool
    ) -> List[Dict[Tuple[int, str], str]]:
        """For h, and c of an LSTM: (layer, suffix) -> the value [D, N, H] that a node of the graph begins with; "": zeros."""
        name, layers = node["name"], node["num_layers"]
        suffixes = ["", "_reverse"] if split else [""]
        count = 1 if split else len(sizes)
        result: List[Dict[Tuple[int, str], str]] = []
        for kind in "hc" if op == "LSTM" else "h":
            entries: Dict[Tuple[int, str], str] = {}
            for index, suffix in enumerate(suffixes):
                size = sizes[index]
                if self.states:
                    given = self.declare(f"{name}.{kind}_0{suffix}", self.type, [layers * count, "N", size], True)
                    for layer in range(layers):
                        entries[layer, suffix] = given if layers == 1 else self.add(
                            "Slice",
                            [given, self.integers(layer * count), self.integers((layer + 1) * count), self.integers(0)],
                            f"{name}.layer{layer}.{kind}_0{suffix}",
                        )
                    continue
                for layer in range(layers):
                    entries[layer, suffix] = ""
                    if node.get("learned_initial_state"):
                        rows = [
                            self.parameters[f"{name}.{kind}_0_l{layer}" + ("_reverse" if direction else suffix)]
                            for direction in range(count)
                        ]
                        learned = self.constant(np.stack(rows)[:, None], f"{name}.{kind}_0_l{layer}{suffix}")
                        entries[layer, suffix] = self.add(
                            "Expand", [learned, self.rows_shape()], f"{name}.layer{layer}.{kind}_0{suffix}"
                        )
            result.append(entries)
        return result

    def rows_shape(self) -> str:
        """[1, N, 1] as a shape."""
        if "rows" not in self.constants:
            first = next(node["name"] for node in self.architecture if node["op"] in ("input", "token_input"))
            shape = self.add("Shape", [self.values[first]], "rows.shape")
            rows = self.add("Slice", [shape, self.integers(1), self.integers(2), self.integers(0)], "rows.N")
            self.constants["rows"] = self.add("Concat", [self.integers(1), rows, self.integers(1)], "rows.target", axis=0)
        return self.constants["rows"]

    def cell(
        self, node: Mapping[str, Any], op: str, place: str, value: str, layer: int, group: Sequence[int], direction: str,
        hidden: int, initial: Sequence[str],
    ) -> Tuple[str, List[str]]:  # fmt: skip
        """One node of the graph: Y [T, D, N, H], and the final states [D, N, H]."""
        name = node["name"]
        gates = len(ORDERS[op])
        suffixes = [f"_l{layer}" + ("_reverse" if index else "") for index in group]

        def stacked(key: str) -> np.ndarray:
            return np.stack([_onnx_rows(op, self.parameters[f"{name}.{key}{suffix}"]) for suffix in suffixes])

        inputs = [
            value,
            self.constant(stacked("weight_ih"), f"{place}.W"),
            self.constant(stacked("weight_hh"), f"{place}.R"),
        ]
        bias: Optional[np.ndarray] = None
        shift = node.get("forget_bias", 0.0)
        if node["bias"] == "double":
            bias = np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1)
        elif node["bias"] == "single":
            first = stacked("bias")
            bias = np.concatenate([first, np.zeros_like(first)], axis=1)
        elif shift:
            bias = np.zeros((len(group), 2 * gates * hidden), self.dtype)
        if shift:
            assert bias is not None
            begin = ORDERS[op].index("f") * hidden
            bias[:, begin : begin + hidden] += shift
        inputs.append("" if bias is None else self.constant(bias, f"{place}.B"))
        inputs += [self.lengths] + list(initial)
        if node.get("peepholes"):
            rows = [self.parameters[f"{name}.weight_peephole{suffix}"][list(PEEPHOLES)].reshape(-1) for suffix in suffixes]
            inputs.append(self.constant(np.stack(rows), f"{place}.P"))
        while not inputs[-1]:
            inputs.pop()
        attributes: Dict[str, Any] = {"hidden_size": hidden, "direction": direction}
        if op == "GRU":
            attributes["linear_before_reset"] = int(node["variant"] == "reset_after")
        if node.get("coupled_gates"):
            attributes["input_forget"] = 1
        if node.get("gate_clip"):
            attributes["clip"] = self.attribute(node["gate_clip"], f"gate_clip of {name!r}")
        attributes.update(self.activations(node, op, group))
        results = self.add(op, inputs, f"{place}.Y", 3 if op == "LSTM" else 2, **attributes)
        return results[0], results[1:]

    def activations(self, node: Mapping[str, Any], op: str, group: Sequence[int]) -> Dict[str, Any]:
        name = node["name"]
        given = node.get("activations")
        if given is None:
            if node.get("nonlinearity") == "relu":
                return {"activations": ["Relu"] * len(group)}
            return {}
        names: List[str] = []
        alphas: List[float] = []
        betas: List[float] = []
        for direction in group:
            functions = dict(zip(_LETTERS[op], given[direction if direction < len(given) else 0]))
            for letters in SLOTS[op]:
                function = functions[letters[0]]
                if any(functions[letter] != function for letter in letters):
                    raise unsupported(
                        f"{name!r} has different activations of the gates {', '.join(letters)}; ONNX has one for all of them"
                    )
                if function["function"] not in _NAMES:
                    raise unsupported(f"{name!r} has the activation {function['function']}, which ONNX does not have")
                onnx_name, has_alpha, has_beta = _NAMES[function["function"]]
                names.append(onnx_name)
                if has_alpha:
                    alphas.append(self.attribute(function["alpha"], f"alpha of {name!r}"))
                if has_beta:
                    betas.append(self.attribute(function["beta"], f"beta of {name!r}"))
        attributes: Dict[str, Any] = {"activations": names}
        if alphas:
            attributes["activation_alpha"] = alphas
        if betas:
            attributes["activation_beta"] = betas
        return attributes

    def merged(self, place: str, parts: Sequence[str], merge: str, directions: int) -> str:
        """Y of all directions, [T, D, N, H] in one or two values, as [T, N, ..]."""
        if directions == 1:
            return str(self.add("Squeeze", [parts[0], self.integers(1)], f"{place}.y"))
        if len(parts) == 1 and merge == "concat":
            together = self.add("Transpose", parts, f"{place}.rows", perm=[0, 2, 1, 3])
            return str(self.add("Reshape", [together, self.integers(0, 0, -1)], f"{place}.y"))
        if len(parts) == 1:
            halves = [
                self.add("Slice", [parts[0], self.integers(index), self.integers(index + 1), self.integers(1)], f"{place}.d{index}")
                for index in range(2)
            ]
        else:
            halves = list(parts)
        flat = [self.add("Squeeze", [half, self.integers(1)], f"{place}.y{index}") for index, half in enumerate(halves)]
        if merge == "concat":
            return str(self.add("Concat", flat, f"{place}.y", axis=-1))
        value = self.add("Mul" if merge == "product" else "Add", flat, f"{place}.y")
        return str(self.add("Mul", [value, self.number(0.5)], f"{place}.mean")) if merge == "mean" else str(value)


def _onnx_rows(op: str, array: np.ndarray) -> np.ndarray:
    """[G*H, ..] in librnn's order of gates, in ONNX's."""
    parts = dict(zip(LIBRNN_ORDERS[op], np.split(array, len(LIBRNN_ORDERS[op]))))
    return np.concatenate([parts[letter] for letter in ORDERS[op]])
