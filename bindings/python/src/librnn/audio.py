"""Models of audio plug-ins: RTNeural, AIDA-X, GuitarML (Proteus, NeuralPi, Automated-GuitarAmpModelling) and Neural Amp Modeler.

    model = librnn.audio.load("amp.json")
    stream = model.stream()

The formats, as their programs read them:

RTNeural   ``{"in_shape": […, I], "layers": [{"type", "shape", "weights", "activation"}, …]}`` with the layouts of Keras.
AIDA-X     that, with ``in_skip`` (1: the first input is added to the output), ``in_gain`` and ``out_gain`` in dB, and a sample
           rate: with x' = x·in_gain it computes y = (skip·x' + model(x'))·out_gain.
GuitarML   ``{"model_data": {"unit_type", "skip", …}, "state_dict": {"rec.weight_ih_l0", …, "lin.weight", "lin.bias"}}`` with the
           layouts of PyTorch; the first ``skip`` inputs are added to the outputs.
NAM        ``{"version", "architecture": "LSTM", "config", "weights": [numbers]}``: for each layer [W_ih | W_hh], one bias, h_0, c_0;
           then the head. The initial state is part of the model: it becomes a learned initial state.
"""

from __future__ import annotations

import json
import math
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from ._foreign import Json, kind_of, number_array, parse_json, path_of, read_file
from ._plan import Plan
from .activations import Activation
from .errors import format_error, shape_error, unsupported

__all__ = ["load"]

_LARGEST_FILE = 12 << 20


def load(path: Any) -> Any:
    """Read a model file of an audio plug-in.

    Parameters
    ----------
    path : str or path-like
        JSON, whatever its name ends in (.json, .aidax, .nam). The format is told by what is in it.

    Returns
    -------
    Sequential or Network
        x and y are [T, N, features], time-major; ``stream()`` runs it sample by sample. ``metadata`` keeps what the file says of
        itself: "audio.format", "audio.sample_rate", and the rest of its metadata as JSON in "audio.metadata".

    Raises
    ------
    RNNError
        An architecture, layer, version or attribute that is not known, by name; a shape that does not fit; a damaged file.
    """
    name = path_of(path, "path")
    content = Json(parse_json(read_file(name, _LARGEST_FILE), name), name)
    if "architecture" in content and "weights" in content:
        return _nam(content)
    if "model_data" in content and "state_dict" in content:
        return _guitarml(content)
    if "layers" in content and "in_shape" in content:
        return _rtneural(content)
    keys = ", ".join(sorted(content.value)[:10]) or "nothing"
    if any("weight_ih" in key or "weight_hh" in key for key in content.value):
        raise unsupported(
            f"{name} has {keys}: the weights of a PyTorch model, which a program must know beforehand; give them to "
            'librnn.torch.load, json.load(…) and dtype="float32", with what they do not say'
        )
    raise unsupported(
        f"{name} has {keys}: neither RTNeural (in_shape, layers), GuitarML (model_data, state_dict) nor NAM (architecture, weights)"
    )


def _only(content: Json, known: Tuple[str, ...]) -> None:
    """An error for a key that nobody here would honour."""
    for key, value in content.value.items():
        if key not in known and value is not None:
            raise unsupported(f"{content.place} has {key!r}, which is not known")


def _rate(value: Any, place: str) -> Optional[float]:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 < value < 1e9:
        raise format_error(f"{place}: the sample rate is {kind_of(value)}")
    return float(value)


def _metadata(format_name: str, rate: Optional[float], rest: Any) -> Dict[str, str]:
    entries = {"audio.format": format_name}
    if rate is not None:
        entries["audio.sample_rate"] = repr(int(rate) if rate == int(rate) else rate)
    if rest:
        entries["audio.metadata"] = json.dumps(rest)
    return entries


# ---------------------------------------------------------------------------------------- RTNeural and AIDA-X

_ACTIVATIONS = {"tanh": ("tanh",), "relu": ("relu",), "sigmoid": ("sigmoid",), "elu": ("elu", 1.0)}


def _rtneural(content: Json) -> Any:
    gains = {}
    for key in ("in_gain", "out_gain"):
        decibels = content.get(key, (int, float), 0.0)
        if not -1e9 < decibels < 300:
            raise format_error(f"{content.place}: {key} is {decibels} dB")
        # AIDA-X takes everything up to -90 dB for silence.
        gains[key] = 10.0 ** (decibels / 20.0) if decibels > -90 else 0.0
    skip = content.get("in_skip", int, 0)
    if skip not in (0, 1):
        raise unsupported(f"{content.place}: in_skip is {skip}; AIDA-X knows 0 and 1")
    shape = content.get("in_shape", list)
    if not shape or len(shape) > 3 or type(shape[-1]) is not int or not 1 <= shape[-1] < 2**31:
        raise unsupported(f"{content.place}: in_shape is {shape!r}, expected [null, null, size]")
    layers = content.get("layers", list)
    if not 1 <= len(layers) <= 500:
        raise format_error(f"{content.place} has {len(layers)} layers")

    plan = Plan("float32")
    size = int(shape[-1])
    x = plan.add("input", "input", [], {"size": size}, size)
    if gains["in_gain"] != 1.0:
        x = plan.scale(x, "in_gain", np.full(size, gains["in_gain"]))
    node = x
    for index, value in enumerate(layers):
        node = _rtneural_layer(plan, Json(value, f"{content.place}: layers[{index}]"), node)
    if skip:
        # "skip: the first input element": the audio, where further inputs are controls.
        width = plan.size(node)
        if width != 1:
            raise shape_error(f"{content.place}: in_skip is 1, but the model has {width} outputs")
        first = x if size == 1 else plan.add("slice", "first_input", [x], {"begin": 0, "end": 1}, 1)
        node = plan.add("sum", "skip", [node, first], {}, 1)
    if gains["out_gain"] != 1.0:
        node = plan.scale(node, "out_gain", np.full(plan.size(node), gains["out_gain"]))
    metadata = content.value.get("metadata")
    rate = metadata.get("samplerate") if isinstance(metadata, dict) else None
    if rate is None:
        rate = content.value.get("samplerate")
    kind = "AIDA-X" if any(key in content for key in ("in_skip", "in_gain", "out_gain", "metadata")) else "RTNeural"
    return plan.build(node, metadata=_metadata(kind, _rate(rate, content.place), metadata))


def _rtneural_layer(plan: Plan, layer: Json, source: str) -> str:
    """Add one layer; `layer.place` names it in errors."""
    kind = layer.get("type", str)
    inputs = plan.size(source)
    dimensions = layer.get("shape", list)
    if not dimensions or type(dimensions[-1]) is not int or not 1 <= dimensions[-1] < 2**20 or len(dimensions) > 3:
        raise unsupported(f"{layer.place} ({kind}): shape is {dimensions!r}, expected [null, null, size]")
    outputs = int(dimensions[-1])
    activation = layer.get("activation", str, "")
    weights = layer.get("weights", list, [])
    if kind in ("dense", "time-distributed-dense"):
        kernel, bias = _counted(weights, 2, layer)
        parameters = {
            "weight": number_array(kernel, (inputs, outputs), f"{layer.place}: kernel").T,
            "bias": number_array(bias, (outputs,), f"{layer.place}: bias"),
        }
        node = plan.add("linear", "dense", [source], {"output_size": outputs, "bias": True}, outputs, parameters)
        return _rtneural_activation(plan, layer, node, activation)
    if kind in ("gru", "lstm"):
        # The script that writes these files copies Keras' activation of the candidate; RTNeural itself computes tanh.
        if activation not in ("", "tanh"):
            raise unsupported(f"{layer.place} ({kind}): activation {activation!r}; RTNeural computes tanh")
        kernel, recurrent, bias = _counted(weights, 3, layer)
        gates = 3 if kind == "gru" else 4
        shapes = (outputs * gates,) if kind == "lstm" else (2, outputs * gates)
        return plan.keras_recurrent(
            "lstm" if kind == "lstm" else "gru",
            kind,
            source,
            [
                number_array(kernel, (inputs, gates * outputs), f"{layer.place}: kernel"),
                number_array(recurrent, (outputs, gates * outputs), f"{layer.place}: recurrent kernel"),
                number_array(bias, shapes, f"{layer.place}: bias"),
            ],
            {} if kind == "lstm" else {"variant": "reset_after"},
            layer.place,
        )
    if outputs != inputs:
        raise shape_error(f"{layer.place} ({kind}): shape says {outputs}, but {inputs} come in")
    if kind == "activation":
        return _rtneural_activation(plan, layer, source, activation)
    if kind == "batchnorm":
        epsilon = layer.get("epsilon", (int, float))
        if len(weights) not in (2, 4):
            raise format_error(f"{layer.place} (batchnorm) has {len(weights)} weights, expected 4, or 2 without gamma and beta")
        rows = [number_array(row, (inputs,), f"{layer.place}: weights[{i}]", np.float64) for i, row in enumerate(weights)]
        gamma, beta = rows[:2] if len(rows) == 4 else (np.ones(inputs), np.zeros(inputs))
        return plan.batch_norm(source, "batchnorm", gamma, beta, rows[-2], rows[-1], float(epsilon), layer.place)
    if kind == "prelu":
        (alphas,) = _counted(weights, 1, layer)
        # Keras shares the slopes over time: [1, size], or [1, 1].
        row = alphas[0] if isinstance(alphas, list) and len(alphas) == 1 else None
        if not isinstance(row, list) or len(row) not in (1, inputs):
            raise format_error(f"{layer.place} (prelu): the slopes are not [1, {inputs}]")
        slopes = number_array(row, (len(row),), f"{layer.place}: slopes")
        if not (slopes == slopes[0]).all():
            raise unsupported(f"{layer.place} (prelu): slopes that differ between features")
        return plan.activation(source, Activation("leaky_relu", float(slopes[0])), "prelu")
    raise unsupported(f"{layer.place}: librnn has no layer {kind!r}")


def _counted(weights: List[Any], count: int, layer: Json) -> List[Any]:
    if len(weights) != count:
        raise format_error(f"{layer.place} has {len(weights)} weights, expected {count}")
    return weights


def _rtneural_activation(plan: Plan, layer: Json, source: str, name: str) -> str:
    if name in ("", "linear"):
        return source
    if name == "softmax":
        return plan.add("softmax", "softmax", [source], {"log": False}, plan.size(source))
    if name not in _ACTIVATIONS:
        raise unsupported(f"{layer.place}: RTNeural has no activation {name!r}")
    return plan.activation(source, Activation(*_ACTIVATIONS[name]), name)


# ------------------------------------------------------------------------------------------------- GuitarML


def _guitarml(content: Json) -> Any:
    data, state = content.inner("model_data"), content.inner("state_dict")
    _only(
        data,
        ("model", "input_size", "skip", "output_size", "unit_type", "num_layers", "hidden_size", "bias_fl", "sample_rate", "samplerate"),
    )
    model = data.get("model", str, "SimpleRNN")
    if model != "SimpleRNN":
        raise unsupported(f"{data.place}: librnn knows no model {model!r} of GuitarML, only SimpleRNN")
    kind = data.get("unit_type", str)
    if kind not in ("LSTM", "GRU"):
        # RNN would not say whether it is tanh or relu.
        raise unsupported(f"{data.place}: unit_type is {kind!r}, expected LSTM or GRU")
    inputs, hidden, outputs = data.size("input_size"), data.size("hidden_size"), data.size("output_size", 1)
    layers, skip, bias = data.size("num_layers", 1), data.get("skip", int, 0), data.get("bias_fl", (bool, int), True)
    gates = 4 if kind == "LSTM" else 3
    parameters: Dict[str, np.ndarray] = {}
    expected = {}
    for layer in range(min(layers, 1000)):
        expected[f"rec.weight_ih_l{layer}"] = (gates * hidden, inputs if layer == 0 else hidden)
        expected[f"rec.weight_hh_l{layer}"] = (gates * hidden, hidden)
        # The recurrent part always has biases; bias_fl is that of the output.
        expected[f"rec.bias_ih_l{layer}"] = expected[f"rec.bias_hh_l{layer}"] = (gates * hidden,)
    expected["lin.weight"] = (outputs, hidden)
    if bias:
        expected["lin.bias"] = (outputs,)
    _same_names(state, list(expected))
    for name, shape in expected.items():
        parameters[name] = number_array(state.get(name, list), shape, f"{state.place}: {name}")
    if not 0 <= skip <= inputs or (skip and skip not in (1, outputs) and outputs != 1):
        raise unsupported(f"{data.place}: skip is {skip} with {inputs} inputs and {outputs} outputs")

    plan = Plan("float32")
    x = plan.add("input", "input", [], {"size": inputs}, inputs)
    arguments = {"hidden_size": hidden, "num_layers": layers, "bias": "double"}
    if kind == "GRU":
        arguments["variant"] = "reset_after"
    weights = {name[len("rec.") :]: value for name, value in parameters.items() if name.startswith("rec.")}
    node = plan.add(kind.lower(), "rec", [x], arguments, hidden, weights)
    weights = {name[len("lin.") :]: value for name, value in parameters.items() if name.startswith("lin.")}
    node = plan.add("linear", "lin", [node], {"output_size": outputs, "bias": bool(bias)}, outputs, weights)
    if skip:
        node = plan.add("sum", "skip", [node, _skipped(plan, x, inputs, skip, outputs, data)], {}, outputs)
    rate = data.value.get("sample_rate", data.value.get("samplerate"))
    rest = content.value.get("metadata")
    if rate is None and isinstance(rest, dict):
        rate = rest.get("sample_rate", rest.get("samplerate"))
    return plan.build(node, metadata=_metadata("GuitarML", _rate(rate, data.place), rest))


def _skipped(plan: Plan, x: str, inputs: int, skip: int, outputs: int, data: Json) -> str:
    """x[:, :, :skip], which PyTorch broadcasts over the outputs."""
    if skip != outputs:
        raise unsupported(f"{data.place}: skip is {skip}, but there are {outputs} outputs to add them to")
    return x if skip == inputs else plan.add("slice", "skipped", [x], {"begin": 0, "end": skip}, skip)


def _same_names(state: Json, expected: List[str]) -> None:
    missing = [name for name in expected if name not in state]
    extra = [name for name in state.value if name not in expected]
    if missing or extra:
        raise format_error(
            f"{state.place}: " + "; ".join(
                text + ", ".join(names[:10]) for text, names in (("missing: ", missing), ("unexpected: ", extra)) if names
            )
        )


# ------------------------------------------------------------------------------------- Neural Amp Modeler


def _nam(content: Json) -> Any:
    _only(content, ("version", "architecture", "config", "weights", "metadata", "sample_rate"))
    version = content.get("version", str)
    parts = version.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise format_error(f"{content.place}: version is {kind_of(version)}, expected such as \"0.5.4\"")
    if parts[0] != "0" or not 5 <= int(parts[1]) <= 7:
        raise unsupported(f"{content.place}: version {version} of the format; known are 0.5 to 0.7")
    architecture = content.get("architecture", str)
    if architecture != "LSTM":
        raise unsupported(f"{content.place}: architecture {architecture!r}; librnn runs LSTM, not convolutions")
    config = content.inner("config")
    _only(config, ("input_size", "hidden_size", "num_layers", "in_channels", "out_channels"))
    inputs, hidden, layers = config.size("input_size"), config.size("hidden_size"), config.size("num_layers")
    outputs = config.size("out_channels", 1)
    if config.size("in_channels", 1) != inputs:
        raise unsupported(f"{config.place}: {config.size('in_channels', 1)} channels, but input_size {inputs}")
    if layers > 1000:
        raise unsupported(f"{config.place}: {layers} layers, the limit is 1000")
    values = content.get("weights", list)
    count = outputs * (hidden + 1)
    for layer in range(layers):
        count += 4 * hidden * ((inputs if layer == 0 else hidden) + hidden) + 6 * hidden
    if len(values) != count:
        raise format_error(f"{content.place} has {len(values)} weights, but an LSTM of these sizes has {count}")
    flat = number_array(values, (count,), f"{content.place}: weights")
    position = 0

    def take(*shape: int) -> np.ndarray:
        nonlocal position
        begin, position = position, position + math.prod(shape)
        return flat[begin:position].reshape(shape)

    parameters: Dict[str, np.ndarray] = {}
    for layer in range(layers):
        width = inputs if layer == 0 else hidden
        both = take(4 * hidden, width + hidden)
        parameters[f"weight_ih_l{layer}"], parameters[f"weight_hh_l{layer}"] = both[:, :width], both[:, width:]
        parameters[f"bias_l{layer}"] = take(4 * hidden)
        parameters[f"h_0_l{layer}"], parameters[f"c_0_l{layer}"] = take(hidden), take(hidden)
    head = {"weight": take(outputs, hidden), "bias": take(outputs)}

    plan = Plan("float32")
    x = plan.add("input", "input", [], {"size": inputs}, inputs)
    arguments = {"hidden_size": hidden, "num_layers": layers, "bias": "single", "learn_initial_state": True}
    node = plan.add("lstm", "lstm", [x], arguments, hidden, parameters)
    node = plan.add("linear", "head", [node], {"output_size": outputs, "bias": True}, outputs, head)
    rate = _rate(content.value.get("sample_rate"), content.place)
    return plan.build(node, metadata=_metadata("NAM", rate, content.value.get("metadata")))
