"""What each layer of Keras is in librnn. A layer, an attribute or a value that is not here is refused by name.

Attributes that act only in training (dropout inside of recurrent layers, regularizers, initializers, constraints) and those that
choose how Keras computes (unroll, implementation) change nothing in a model that runs; they are let go.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from .._foreign import Json, kind_of
from ..activations import Activation
from ..errors import RNNError, argument_error, format_error, shape_error
from ._files import LayerWeights
from ._graph import MODELS, Graph, Layer, Mask, Value, is_operation, run_model

_ALWAYS = {
    "name", "trainable", "dtype", "batch_input_shape", "batch_shape", "input_shape", "input_dtype", "seed", "build_config",
    "activity_regularizer", "input_length", "ragged", "sparse", "autocast",
}  # fmt: skip
#: Endings of attributes that only training knows.
_TRAINING = ("_initializer", "_regularizer", "_constraint")
_RECURRENT = {
    "units", "activation", "recurrent_activation", "use_bias", "unit_forget_bias", "dropout", "recurrent_dropout", "implementation",
    "return_sequences", "return_state", "go_backwards", "stateful", "unroll", "time_major", "reset_after", "zero_output_for_mask",
    "use_cudnn", "enable_caching_device", "input_dim",
}  # fmt: skip
_POLICIES = ("float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")
_ACTIVATIONS: Dict[str, Tuple[Any, ...]] = {
    "sigmoid": ("sigmoid",), "tanh": ("tanh",), "relu": ("relu",), "elu": ("elu", 1.0), "softplus": ("softplus",),
    "softsign": ("softsign",), "silu": ("silu",), "swish": ("silu",), "gelu": ("gelu",), "selu": ("selu",),
    "exponential": ("exponential",), "leaky_relu": ("leaky_relu", 0.2),
}  # fmt: skip
Handler = Callable[[Graph, Layer, List[Value], Dict[str, Any]], List[Value]]


def apply(graph: Graph, layer: Layer, arguments: List[Any], keywords: Dict[str, Any]) -> List[Value]:
    """The outputs of a layer for its arguments."""
    numbers = any(type(value) in (int, float) for value in _flat(arguments))
    of_masks = any(isinstance(value, Value) and value.kind in ("mask", "spread", "likes") for value in _flat(arguments))
    if is_operation(layer.kind, layer.module) or of_masks or numbers:
        # An .h5 file leaves the module out.
        return _operation(graph, layer, arguments)
    layer = _without_cell(graph, layer)
    _check_dtype(graph, layer)
    for key, value in keywords.items():
        if key not in ("mask", "training", "initial_state") and value is not None:
            raise graph.fail(layer, f"it is called with {key}={kind_of(value)}")
    inputs = _flat(arguments)
    if not inputs or not all(isinstance(value, Value) for value in inputs):
        raise graph.fail(layer, "it is called with something else than tensors")
    mask = keywords.get("mask")
    if isinstance(mask, Value):
        if mask.kind != "mask":
            raise graph.fail(layer, "its mask is computed from other values than those of an input")
        inputs[0] = inputs[0]._replace(mask=mask.mask)
    if layer.kind in MODELS:
        entry = Json({"class_name": layer.kind, "config": layer.config.value}, layer.config.place)
        return run_model(graph, entry, layer.weights.inner(), inputs)
    handler = _HANDLERS.get(layer.kind)
    if handler is None:
        extra = ": it holds Python code, which is not run" if layer.kind == "Lambda" else ""
        raise graph.fail(layer, f"librnn has no such layer{extra}")
    return handler(graph, layer, inputs, keywords)


def _without_cell(graph: Graph, layer: Layer) -> Layer:
    """An RNN around a cell as the layer of that cell, RNN(LSTMCell(4)) as LSTM(4): its arrays stand in the same place."""
    if layer.kind != "RNN":
        return layer
    cell = layer.config.inner("cell")
    kind = cell.get("class_name", str)
    if kind not in ("SimpleRNNCell", "GRUCell", "LSTMCell"):
        raise graph.fail(layer, f"it runs a {kind}; expected a SimpleRNNCell, GRUCell or LSTMCell")
    own = {key: value for key, value in layer.config.value.items() if key != "cell"}
    inner = cell.inner("config").value
    # The cell computes; its name means nothing, and its dtype is that of the layer.
    return layer._replace(kind=kind[: -len("Cell")], config=Json({**inner, **own}, layer.config.place))


def _flat(value: Any) -> List[Any]:
    return [leaf for inner in value for leaf in _flat(inner)] if isinstance(value, list) else [value]


def _check_dtype(graph: Graph, layer: Layer) -> None:
    policy = layer.config.value.get("dtype")
    if isinstance(policy, dict):
        inner = policy.get("config")
        policy = inner.get("name") if isinstance(inner, dict) else policy.get("class_name")
    if policy is not None and policy not in _POLICIES and not (layer.kind == "InputLayer" or str(policy).startswith("int")):
        raise graph.fail(layer, f"it computes in {policy!r}")
    if isinstance(policy, str) and policy.startswith("int") and "from" in policy:
        raise graph.fail(layer, f"it computes in {policy!r}: quantized weights are not converted")


def _known(graph: Graph, layer: Layer, *names: str) -> None:
    """An error for an attribute that is set and not honoured here."""
    for key, value in layer.config.value.items():
        if key in _ALWAYS or key in names or key.endswith(_TRAINING) or not value:
            continue
        raise graph.fail(layer, f"the attribute {key} = {kind_of(value)} is not known")


def _one(graph: Graph, layer: Layer, inputs: List[Value]) -> Value:
    if len(inputs) != 1:
        raise graph.fail(layer, f"it reads {len(inputs)} tensors")
    return graph.features(layer, inputs[0])


def _last_axis(graph: Graph, layer: Layer, value: Value, key: str = "axis") -> None:
    axis = layer.config.value.get(key, -1)
    if isinstance(axis, list) and len(axis) == 1:
        axis = axis[0]
    if axis not in (-1, 2 if value.steps else 1):
        raise graph.fail(layer, f"{key} is {kind_of(axis)}, expected the features, which are the last")


def _arrays(graph: Graph, layer: Layer, shapes: Sequence[Tuple[int, ...]], names: Sequence[str]) -> List[np.ndarray]:
    """The layer's arrays, which must be of these shapes."""
    arrays = layer.weights.arrays()
    if len(arrays) != len(shapes):
        raise format_error(f"{graph.path}: {layer.place} has {len(arrays)} arrays, expected {', '.join(names) or 'none'}")
    for name, array, shape in zip(names, arrays, shapes):
        if array.shape != shape:
            raise shape_error(f"{graph.path}: {layer.place}: {name} has shape {array.shape}, expected {shape}")
    return arrays


# ------------------------------------------------------------------------------------------------ activations


def _activation(graph: Graph, layer: Layer, name: Any, key: str) -> Optional[Activation]:
    """An activation by Keras' name; None for the identity."""
    if name is None or name == "linear":
        return None
    if not isinstance(name, str):
        inner = name.get("config") if isinstance(name, dict) else None
        shown = inner if isinstance(inner, str) else name.get("class_name") if isinstance(name, dict) else kind_of(name)
        raise graph.fail(layer, f"{key} is {shown!r}, which is not one of Keras' named functions")
    if name == "hard_sigmoid":
        return Activation("hard_sigmoid", 0.2 if _major(graph, layer, key) < 3 else 1 / 6, 0.5)
    if name not in _ACTIVATIONS:
        raise graph.fail(layer, f"{key} is {name!r}, which librnn does not compute")
    try:
        return Activation(*_ACTIVATIONS[name])
    except RNNError:
        raise graph.fail(layer, f"{key} is {name!r}, which librnn does not compute") from None


def _major(graph: Graph, layer: Layer, key: str) -> int:
    """The version of Keras that wrote the file, because it meant another function by the same name."""
    version = graph.version
    digits = "" if version is None else version.split(".")[0]
    if not digits.isdigit():
        raise argument_error(
            f"{graph.path}: {layer.place}: {key} is hard_sigmoid, and the file does not tell which Keras wrote it: give "
            'keras_version="2" for max(0, min(1, 0.2 x + 0.5)), keras_version="3" for max(0, min(1, x / 6 + 0.5))'
        )
    return int(digits)


def _activated(graph: Graph, layer: Layer, value: Value, key: str = "activation") -> Value:
    """The value after the layer's activation."""
    name = layer.config.value.get(key)
    if name in ("softmax", "log_softmax"):
        node = graph.add("softmax", layer, [value], {"log": name == "log_softmax"}, graph.size(value))
        return value._replace(node=node)
    activation = _activation(graph, layer, name, key)
    if activation is None:
        return value
    return _elementwise(graph, layer, value, activation)


def _elementwise(graph: Graph, layer: Layer, value: Value, activation: Activation) -> Value:
    return value._replace(node=graph.add("activation", layer, [value], {"activation": activation}, graph.size(value)))


def _apply_activation(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    _known(graph, layer, "activation")
    return [_activated(graph, layer, _one(graph, layer, inputs))]


def _number(graph: Graph, layer: Layer, keys: Sequence[str], default: float) -> float:
    """A number under one of several names; Keras 3 renamed some, and stored others as arrays."""
    for key in keys:
        value = layer.config.value.get(key)
        if isinstance(value, dict) and isinstance(value.get("config"), dict):
            value = value["config"].get("value")
        if value is not None:
            if type(value) not in (int, float) or not math.isfinite(value):
                raise graph.fail(layer, f"{key} is {kind_of(value)}, expected a number")
            return float(value)
    return default


def _relu(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    _known(graph, layer, "negative_slope")
    slope = _number(graph, layer, ["negative_slope"], 0.0)
    activation = Activation("leaky_relu", slope) if slope else Activation("relu")
    return [_elementwise(graph, layer, _one(graph, layer, inputs), activation)]


def _leaky_relu(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    _known(graph, layer, "negative_slope", "alpha")
    return [_elementwise(graph, layer, _one(graph, layer, inputs), Activation("leaky_relu", _number(graph, layer, ["negative_slope", "alpha"], 0.3)))]


def _elu(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    _known(graph, layer, "alpha")
    return [_elementwise(graph, layer, _one(graph, layer, inputs), Activation("elu", _number(graph, layer, ["alpha"], 1.0)))]


def _thresholded_relu(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    _known(graph, layer, "theta")
    theta = _number(graph, layer, ["theta"], 1.0)
    return [_elementwise(graph, layer, _one(graph, layer, inputs), Activation("thresholded_relu", theta))]


def _softmax(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    _known(graph, layer, "axis")
    value = _one(graph, layer, inputs)
    _last_axis(graph, layer, value)
    return [value._replace(node=graph.add("softmax", layer, [value], {"log": False}, graph.size(value)))]


# -------------------------------------------------------------------------------------------- steps one by one


def _dense(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    _known(graph, layer, "units", "activation", "use_bias", "input_dim")
    value = _one(graph, layer, inputs)
    units, bias = layer.config.size("units"), layer.config.get("use_bias", bool, True)
    shapes = [(graph.size(value), units)] + ([(units,)] if bias else [])
    arrays = _arrays(graph, layer, shapes, ["kernel", "bias"][: len(shapes)])
    parameters = {"weight": np.ascontiguousarray(arrays[0].T)}
    if bias:
        parameters["bias"] = arrays[1]
    node = graph.add("linear", layer, [value], {"output_size": units, "bias": bias}, units, parameters)
    return [_activated(graph, layer, value._replace(node=node, unmasked=False))]


def _embedding(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    _known(graph, layer, "input_dim", "output_dim", "mask_zero")
    if len(inputs) != 1 or inputs[0].kind != "pending":
        raise graph.fail(layer, "it reads something else than an input of integers [N, T]")
    value = inputs[0]
    node = graph.plan.tokens_of(value.node)
    shape = (layer.config.size("input_dim"), layer.config.size("output_dim"))
    (table,) = _arrays(graph, layer, [shape], ["embeddings"])
    source = Value("features", node)
    made = graph.add("embedding", layer, [source], {"vocabulary": shape[0], "size": shape[1]}, shape[1], {"weight": table})
    mask = Mask("token", 0.0, node) if layer.config.get("mask_zero", bool, False) else None
    return [Value("features", made, mask=mask or inputs[0].mask)]


def _masking(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    _known(graph, layer, "mask_value")
    value = _one(graph, layer, inputs)
    if graph.plan.nodes[value.node].kind != "input":
        raise graph.fail(layer, "it masks what a layer computed; librnn makes masks of x")
    return [value._replace(mask=Mask("value", _number(graph, layer, ["mask_value"], 0.0), value.node), unmasked=True)]


def _nothing(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    """A layer that acts in training only."""
    return [_one(graph, layer, inputs)]


def _dropout(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    _known(graph, layer, "rate", "p", "noise_shape")
    value, rate = _one(graph, layer, inputs), _number(graph, layer, ["rate", "p"], 0.0)
    if layer.config.value.get("noise_shape") or not 0 < rate < 1:
        # Masks that are shared between elements exist only in training.
        return [value]
    return [value._replace(node=graph.add("dropout", layer, [value], {"p": rate}, graph.size(value)))]


def _time_distributed(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    _known(graph, layer, "layer")
    value = _one(graph, layer, inputs)
    if not value.steps:
        raise graph.fail(layer, "what it reads has no axis of time")
    inner = _inner_layer(layer, "layer", "layer")
    if inner.kind not in _STEPWISE:
        raise graph.fail(layer, f"a {inner.kind} for each step; expected one of {', '.join(sorted(_STEPWISE))}")
    _check_dtype(graph, inner)
    # Inside, there is no axis of time: an axis of 1 is that of the features.
    outputs = _HANDLERS[inner.kind](graph, inner, [value._replace(steps=False)], {})
    return [output._replace(steps=True) for output in outputs]


class _Part(LayerWeights):
    """The arrays of a layer inside of another."""

    def __init__(self, outer: LayerWeights, part: str) -> None:
        self._outer, self._part = outer, part

    def arrays(self, part: str = "") -> List[np.ndarray]:
        return self._outer.arrays(self._part)


def _inner_layer(layer: Layer, key: str, part: str) -> Layer:
    entry = layer.config.inner(key)
    return Layer(
        entry.get("class_name", str), layer.name, Json(entry.get("config", dict), f"{layer.config.place}: {key}"), _Part(layer.weights, part)
    )


def _batch_normalization(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    _known(graph, layer, "axis", "momentum", "epsilon", "center", "scale", "synchronized", "renorm_momentum", "virtual_batch_size", "mode")
    value = _one(graph, layer, inputs)
    _last_axis(graph, layer, value)
    size = graph.size(value)
    names = [name for name in ("gamma", "beta") if layer.config.get({"gamma": "scale", "beta": "center"}[name], bool, True)]
    names += ["moving_mean", "moving_variance"]
    arrays = dict(zip(names, _arrays(graph, layer, [(size,)] * len(names), names)))
    node = graph.plan.batch_norm(
        value.node, layer.name, arrays.get("gamma", np.ones(size)), arrays.get("beta", np.zeros(size)), arrays["moving_mean"],
        arrays["moving_variance"], _number(graph, layer, ["epsilon"], 1e-3), f"{graph.path}: {layer.place}",
    )  # fmt: skip
    return [_named(graph, layer, value, node)]


def _named(graph: Graph, layer: Layer, value: Value, node: str) -> Value:
    graph.names[node] = layer.name
    return value._replace(node=node, unmasked=False)


def _layer_normalization(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    _known(graph, layer, "axis", "epsilon", "center", "scale")
    value = _one(graph, layer, inputs)
    _last_axis(graph, layer, value)
    size = graph.size(value)
    names = [name for name in ("gamma", "beta") if layer.config.get({"gamma": "scale", "beta": "center"}[name], bool, True)]
    arrays = dict(zip(names, _arrays(graph, layer, [(size,)] * len(names), names)))
    parameters = {"weight": arrays.get("gamma", np.ones(size)), "bias": arrays.get("beta", np.zeros(size))}
    arguments = {"eps": _number(graph, layer, ["epsilon"], 1e-3)}
    return [_named(graph, layer, value, graph.add("layer_norm", layer, [value], arguments, size, parameters))]


def _rescaling(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    _known(graph, layer, "scale", "offset")
    value = _one(graph, layer, inputs)
    rows = []
    for key, default in (("scale", 1.0), ("offset", 0.0)):
        given = layer.config.value.get(key, default)
        rows.append(_row(graph, layer, key, given, graph.size(value)))
    return [_named(graph, layer, value, graph.plan.scale(value.node, layer.name, *rows))]


def _row(graph: Graph, layer: Layer, key: str, given: Any, size: int) -> np.ndarray:
    """A number of the configuration for each feature, or one for all."""
    listed = given if isinstance(given, list) else [given]
    while len(listed) == 1 and isinstance(listed[0], list):
        listed = listed[0]
    if len(listed) not in (1, size) or not all(type(number) in (int, float) and math.isfinite(number) for number in listed):
        raise graph.fail(layer, f"{key} is {kind_of(given)}, expected a number or one for each feature")
    return np.broadcast_to(np.array(listed, np.float64), (size,))


def _normalization(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    _known(graph, layer, "axis", "mean", "variance", "invert")
    value = _one(graph, layer, inputs)
    _last_axis(graph, layer, value)
    size = graph.size(value)
    if layer.config.value.get("mean") is not None:
        rows = [_row(graph, layer, key, layer.config.value.get(key), size) for key in ("mean", "variance")]
    else:
        rows = [np.asarray(array, np.float64).reshape(-1) for array in layer.weights.arrays()[:2]]
    if len(rows) != 2 or any(row.shape not in ((1,), (size,)) for row in rows):
        raise graph.fail(layer, "its mean and variance are not one number for each feature")
    if not all(np.isfinite(row).all() for row in rows) or (rows[1] < 0).any():
        raise graph.fail(layer, "its mean or variance is no number, or below 0")
    mean, deviation = np.broadcast_to(rows[0], (size,)), np.broadcast_to(np.maximum(np.sqrt(rows[1]), 1e-7), (size,))
    if layer.config.value.get("invert"):
        node = graph.plan.scale(value.node, layer.name, deviation, mean)
    else:
        node = graph.plan.scale(value.node, layer.name, 1 / deviation, -mean / deviation)
    return [_named(graph, layer, value, node)]


# ------------------------------------------------------------------------------------------- several tensors


def _joined(graph: Graph, layer: Layer, inputs: List[Value]) -> Tuple[List[Value], Value]:
    """The tensors, in one order of time, and what their sum is but for its node."""
    values = [graph.features(layer, value) for value in inputs]
    if len({value.turned for value in values}) > 1:
        if any(value.mask for value in values):
            raise graph.fail(layer, "it joins values of both orders of time, under a mask")
        values = [graph.straight(value) for value in values]
    if len({value.steps for value in values}) > 1:
        raise graph.fail(layer, "it joins values with and without an axis of time")
    masks = {value.mask for value in values if value.mask is not None}
    if len(masks) > 1:
        raise graph.fail(layer, "it joins values of two masks")
    mask = masks.pop() if masks else None
    if mask is not None and any(value.mask is None for value in values) and (graph.version or "2").startswith("3"):
        # Keras 2 takes the mask of those that have one. Keras 3 has none then: a sum gives none, a concatenation one of all steps.
        if mask.kind == "value" and mask.value != 0:
            text = "it joins values with and without a mask, after Masking has set steps to 0; librnn does not set them"
            raise graph.fail(layer, text)
        mask = None
    return values, values[0]._replace(mask=mask, unmasked=any(value.unmasked for value in values))


def _joining(kind: str) -> Handler:
    def handler(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
        _known(graph, layer, "axis")
        values, joined = _joined(graph, layer, inputs)
        if len(values) == 1:
            return values
        sizes = [graph.size(value) for value in values]
        if kind == "concat":
            _last_axis(graph, layer, joined)
        elif len(set(sizes)) > 1:
            raise graph.fail(layer, f"it joins {sizes} features; librnn does not repeat features to fit")
        size = sum(sizes) if kind == "concat" else sizes[0]
        node = graph.add("sum" if kind == "mean" else kind, layer, values, {}, size)
        joined = joined._replace(node=node)
        if kind == "mean":
            joined = _elementwise(graph, layer, joined, Activation("affine", 1 / len(values), 0.0))
        return [joined]

    return handler


def _mask_operation(graph: Graph, layer: Layer, tensors: List[Value]) -> Optional[Value]:
    """How Keras 3 makes the mask of a concatenation or a sum of those of its inputs: the same as theirs, if they have one mask.

    any(concatenate([expand_dims(mask) | zeros_like(x), …])) is the mask again: "spread" over the features, and "likes" for what has
    the shape of x.
    """
    axis = layer.config.value.get("axis")
    if layer.kind == "ZerosLike" and len(tensors) == 1:
        return Value("likes", which="zeros")
    if layer.kind == "OnesLike" and len(tensors) == 1:
        return Value("likes", which="ones")
    masks = {value.mask for value in tensors if value.kind in ("mask", "spread")}
    if len(masks) != 1 or not all(value.kind in ("mask", "spread", "likes") for value in tensors):
        return None
    likes = {value.which for value in tensors if value.kind == "likes"}
    kinds = {value.kind for value in tensors if value.kind != "likes"}
    if len(kinds) != 1:
        return None
    one = next(value for value in tensors if value.kind != "likes")
    if layer.kind == "ExpandDims" and axis in (-1, 2) and kinds == {"mask"} and not likes:
        return one._replace(kind="spread")
    if layer.kind == "LogicalOr" and likes <= {"zeros"}:
        return one
    if layer.kind == "Concatenate" and axis in (-1, 2) and kinds == {"spread"} and not likes:
        return one
    if layer.kind == "Any" and axis in (-1, 2) and kinds == {"spread"} and not likes:
        return one._replace(kind="mask")
    return None


def _operation(graph: Graph, layer: Layer, arguments: List[Any]) -> List[Value]:
    """An operation on tensors that Keras 3 keeps as a node: how it makes masks, and sums and products with numbers."""
    tensors = [value for value in _flat(arguments) if isinstance(value, Value)]
    numbers = [value for value in _flat(arguments) if type(value) in (int, float)]
    if layer.kind == "NotEqual" and len(tensors) == len(numbers) == 1:
        value = tensors[0]
        if value.kind == "pending":
            return [Value("mask", value.node, mask=Mask("token", float(numbers[0]), graph.plan.tokens_of(value.node)))]
        if value.kind == "features" and graph.plan.nodes[value.node].kind == "input":
            return [Value("compare", value.node, mask=Mask("value", float(numbers[0]), value.node))]
    if layer.kind == "Any" and len(tensors) == 1 and tensors[0].kind == "compare" and layer.config.value.get("axis") in (-1, 2):
        return [tensors[0]._replace(kind="mask")]
    mask = _mask_operation(graph, layer, tensors) if not numbers else None
    if mask is not None:
        return [mask]
    if layer.kind in ("Add", "Multiply") and len(tensors) == len(numbers) == 1:
        value = graph.features(layer, tensors[0])
        pair = (1.0, float(numbers[0])) if layer.kind == "Add" else (float(numbers[0]), 0.0)
        return [_elementwise(graph, layer, value, Activation("affine", *pair))]
    if layer.kind in ("Add", "Multiply") and len(tensors) == 2 and not numbers:
        return _HANDLERS[layer.kind](graph, layer._replace(config=Json({}, layer.config.place)), tensors, {})
    raise graph.fail(layer, "librnn does not compute this operation on tensors")


# ------------------------------------------------------------------------------------------------- recurrent


def _cell(graph: Graph, layer: Layer) -> Tuple[str, Dict[str, Any]]:
    """The kind of cell, and the arguments that the configuration gives it."""
    config, arguments = layer.config, {}
    _known(graph, layer, *_RECURRENT)
    if layer.kind in ("CuDNNGRU", "CuDNNLSTM"):
        return ("gru", {"variant": "reset_after"}) if layer.kind == "CuDNNGRU" else ("lstm", {})
    cell = {"SimpleRNN": "rnn", "GRU": "gru", "LSTM": "lstm"}[layer.kind]
    if "activation" not in config or (cell != "rnn" and "recurrent_activation" not in config):
        raise graph.fail(layer, "the configuration does not tell its activations")
    candidate = _gate(graph, layer, "activation")
    if cell == "rnn":
        if candidate.name in ("tanh", "relu"):
            return cell, {"nonlinearity": candidate.name}
        return cell, {"nonlinearity": "tanh", "activations": {"h": candidate}}
    gate = _gate(graph, layer, "recurrent_activation")
    letters = ("rz", "n") if cell == "gru" else ("ifo", "gh")
    activations = {letter: gate for letter in letters[0] if gate != Activation("sigmoid")}
    activations.update({letter: candidate for letter in letters[1] if candidate != Activation("tanh")})
    if activations:
        arguments["activations"] = activations
    if cell == "gru":
        # Files of before Keras 2.2 (reset_after came then) do not have the key.
        arguments["variant"] = "reset_after" if config.get("reset_after", bool, False) else "reset_before"
    return cell, arguments


def _gate(graph: Graph, layer: Layer, key: str) -> Activation:
    found = _activation(graph, layer, layer.config.value.get(key), key)
    return Activation("affine", 1.0, 0.0) if found is None else found


def _weights_of(graph: Graph, layer: Layer, arrays: List[np.ndarray]) -> List[np.ndarray]:
    """The arrays in the layout of Keras' own layers, from that or from CuDNN's, as the size of the bias tells."""
    config = layer.config
    bias = config.get("use_bias", bool, True) or layer.kind.startswith("CuDNN")
    place = f"{graph.path}: {layer.place}"
    if len(arrays) != (3 if bias else 2):
        names = "kernel, recurrent kernel" + (", bias" if bias else "")
        raise format_error(f"{place} has {len(arrays)} arrays, expected {names}")
    units = config.size("units")
    if arrays[1].ndim != 2 or arrays[1].shape[0] != units:
        raise shape_error(f"{place}: the recurrent kernel has shape {arrays[1].shape}, and there are {units} units")
    gates = {"GRU": 3, "CuDNNGRU": 3, "LSTM": 4, "CuDNNLSTM": 4}.get(layer.kind, 1)
    if gates == 1 or not bias or arrays[2].shape != (2 * gates * units,):
        if layer.kind.startswith("CuDNN"):
            raise shape_error(f"{place}: the bias has shape {arrays[2].shape}, expected {(2 * gates * units,)}")
        return arrays
    if layer.kind == "GRU" and not config.get("reset_after", bool, False):
        raise format_error(f"{place}: the weights are CuDNN's, but reset_after is not set")
    kernel, recurrent, both = arrays
    if kernel.shape != (kernel.shape[0], gates * units) or recurrent.shape != (units, gates * units):
        raise shape_error(f"{place}: kernels of shape {kernel.shape} and {recurrent.shape} for {units} units")
    # CuDNN keeps each gate's kernel transposed, in memory of the same shape.
    kernel = np.hstack([part.T.reshape(part.shape, order="F") for part in np.hsplit(kernel, gates)])
    recurrent = np.hstack([part.T for part in np.hsplit(recurrent, gates)])
    if gates == 3:
        return [kernel, recurrent, both.reshape(2, gates * units)]
    # In double, rounded once.
    return [kernel, recurrent, both.reshape(2, -1).astype(np.float64).sum(axis=0).astype(both.dtype)]


def _begin(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> Value:
    """What a recurrent layer reads, after checks of states, masks and layout."""
    value = graph.features(layer, inputs[0])
    if not value.steps:
        raise graph.fail(layer, "what it reads has no axis of time")
    states = _flat(keywords.get("initial_state") or []) + inputs[1:]
    for state in states:
        if not isinstance(state, Value):
            raise graph.fail(layer, "its initial state is no tensor")
        if state.kind != "pending":
            raise graph.fail(
                layer, "its initial state is computed by other layers: convert both parts as models of their own, and hand over the state"
            )
    time_major = bool(layer.config.value.get("time_major"))
    if graph.time_major not in (None, time_major):
        raise graph.fail(layer, "some layers are time_major and some not")
    graph.time_major = time_major
    if value.turned and value.mask is not None:
        raise graph.fail(layer, "it reads what a layer with go_backwards computed, under a mask that Keras does not turn around")
    graph.masks.append(value.mask)
    return value


def _recurrent(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    value = _begin(graph, layer, inputs, keywords)
    cell, arguments = _cell(graph, layer)
    # Reading backwards what is in reverse order is reading forwards.
    backwards = layer.config.get("go_backwards", bool, False) != value.turned
    if backwards:
        arguments["direction"] = "reverse"
    arrays = _weights_of(graph, layer, layer.weights.arrays("cell"))
    node = graph.plan.keras_recurrent(cell, layer.name, value.node, arrays, arguments, f"{graph.path}: {layer.place}")
    graph.names[node] = layer.name
    graph.zeroing[node] = layer.config.get("zero_output_for_mask", bool, False)
    states = [Value("state", node, which=which) for which in ("h", "c")[: 2 if cell == "lstm" else 1]]
    if layer.config.get("return_sequences", bool, False):
        output = Value("features", node, turned=backwards, mask=value.mask)
    else:
        output = graph.features(layer, states[0])
        graph.names[output.node] = layer.name
    return [output] + (states if layer.config.get("return_state", bool, False) else [])


_MERGES = {"concat": "concat", "sum": "sum", "ave": "mean", "mul": "product"}


def _bidirectional(graph: Graph, layer: Layer, inputs: List[Value], keywords: Dict[str, Any]) -> List[Value]:
    _known(graph, layer, "layer", "backward_layer", "merge_mode")
    merge = layer.config.value.get("merge_mode", "concat")
    if merge is not None and (not isinstance(merge, str) or merge not in _MERGES):
        raise graph.fail(layer, f"merge_mode is {kind_of(merge)}")
    forward = _inner_layer(layer, "layer", "forward")
    backward = _inner_layer(layer, "backward_layer", "backward") if "backward_layer" in layer.config else forward._replace(
        weights=_Part(layer.weights, "backward"), config=_opposite(forward.config)
    )
    forward, backward = _without_cell(graph, forward), _without_cell(graph, backward)
    for part in (forward, backward):
        if part.kind not in ("SimpleRNN", "GRU", "LSTM", "CuDNNGRU", "CuDNNLSTM"):
            raise graph.fail(layer, f"it wraps a {part.kind}")
        _check_dtype(graph, part)
    value = _begin(graph, layer._replace(config=forward.config), inputs, keywords)
    cell, arguments = _cell(graph, forward)
    other_cell, other = _cell(graph, backward)
    for key in ("return_sequences", "return_state", "use_bias"):
        if forward.config.value.get(key) != backward.config.value.get(key):
            raise graph.fail(layer, f"its directions differ in {key}")
    if (cell, arguments.get("variant"), arguments.get("nonlinearity")) != (other_cell, other.get("variant"), other.get("nonlinearity")):
        raise graph.fail(layer, "its directions are different cells")
    ways = [part.config.get("go_backwards", bool, False) for part in (forward, backward)]
    if ways != [False, True]:
        raise graph.fail(layer, f"its layers have go_backwards {ways[0]} and {ways[1]}")
    value = graph.straight(value)
    if arguments.get("activations") or other.get("activations"):
        arguments["activations"] = (arguments.get("activations") or {}, other.get("activations") or {})
    sequences = forward.config.get("return_sequences", bool, False)
    # The last steps of both directions are at different ends: merged after they are chosen.
    arguments["merge"] = _MERGES[merge] if sequences and merge is not None else "concat"
    arrays = [_weights_of(graph, part, part.weights.arrays()) for part in (forward, backward)]
    place = f"{graph.path}: {layer.place}"
    units = [part.config.size("units") for part in (forward, backward)]
    if units[0] != units[1] and merge not in ("concat", None):
        raise graph.fail(layer, f"its directions have {units[0]} and {units[1]} units and cannot be joined by {merge}")
    node = graph.plan.keras_recurrent(cell, layer.name, value.node, arrays[0], arguments, place, arrays[1])
    graph.names[node] = layer.name
    graph.zeroing[node] = True
    states = [
        Value("state", node, which=which, direction=direction)
        for direction in (0, 1)
        for which in ("h", "c")[: 2 if cell == "lstm" else 1]
    ]
    if sequences:
        outputs = [Value("features", node, mask=value.mask)]
        if merge is None:
            edges = [0, units[0], sum(units)]
            outputs = [
                outputs[0]._replace(
                    node=graph.add("slice", layer, outputs, {"begin": begin, "end": end}, end - begin)
                )
                for begin, end in zip(edges, edges[1:])
            ]
    else:
        outputs = [graph.features(layer, state) for state in states if state.which == "h"]
        if merge is not None:
            kind = {"concat": "concat", "sum": "sum", "ave": "mean", "mul": "product"}[merge]
            outputs = _joining(kind)(graph, layer._replace(config=Json({}, layer.config.place)), outputs, {})
    return outputs + (states if forward.config.get("return_state", bool, False) else [])


def _opposite(config: Json) -> Json:
    """The configuration of the backward layer where the file leaves it out."""
    return Json({**config.value, "go_backwards": not config.value.get("go_backwards", False)}, config.place)


_HANDLERS: Dict[str, Handler] = {
    "Dense": _dense,
    "Embedding": _embedding,
    "Masking": _masking,
    "Dropout": _dropout,
    **{name: _nothing for name in ("SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization", "Identity")},
    "TimeDistributed": _time_distributed,
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "Activation": _apply_activation,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "ThresholdedReLU": _thresholded_relu,
    "Softmax": _softmax,
    "Add": _joining("sum"),
    "Concatenate": _joining("concat"),
    "Multiply": _joining("product"),
    "Average": _joining("mean"),
    **{name: _recurrent for name in ("SimpleRNN", "GRU", "LSTM", "CuDNNGRU", "CuDNNLSTM")},
    "Bidirectional": _bidirectional,
}
#: What TimeDistributed may wrap.
_STEPWISE = {
    "Dense", "Dropout", "BatchNormalization", "LayerNormalization", "Activation", "ReLU", "LeakyReLU", "ELU", "ThresholdedReLU",
    "Softmax", "Rescaling", "Normalization", "Identity", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization",
}  # fmt: skip
