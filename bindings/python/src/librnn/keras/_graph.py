"""From the configuration of a Keras model to a plan: which layer reads which, in what order of time, under which mask.

Two things of Keras have no node of their own here. A layer with go_backwards gives its outputs in the order in which it computed
them; a `Value` remembers that as `turned`, and a reversal becomes a node only where the order shows: at the end. A mask is made of
the input by Masking or mask_zero and travels with the values; the model keeps it as a rule.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .._foreign import Json, kind_of
from .._mask import MaskRule
from .._plan import Plan
from ..errors import format_error, unsupported
from ..network import Network
from ._files import LayerWeights, NoWeights, Weights, layer_name

MODELS = ("Sequential", "Functional", "Model")
_MOST_LAYERS = 1000
#: Nodes that treat each step alike, so that what they make of zeros can be computed beforehand.
_STEPWISE_NODES = (
    "linear", "activation", "softmax", "layer_norm", "scale_shift", "dropout", "concat", "sum", "product", "slice", "reverse",
)  # fmt: skip


class Value(NamedTuple):
    """A tensor of Keras: what a layer gives or reads."""

    #: "features" or "state" (of a node); "pending" (an input that is not yet known to be tokens or a state); "compare", "mask",
    #: "spread" and "likes" (Keras' computation of a mask).
    kind: str
    node: str = ""
    #: Has an axis of time.
    steps: bool = True
    #: In the reverse order of time.
    turned: bool = False
    #: The mask that travels with it.
    mask: Optional["Mask"] = None
    #: Of a state: "h" or "c", and the direction.
    which: str = "h"
    direction: int = 0
    #: Masking was applied, and nothing recurrent has read it yet.
    unmasked: bool = False


class Mask(NamedTuple):
    """Steps where an input of the model has another value: "token" or "value", and the node of the input."""

    kind: str
    value: float
    node: str


class Layer(NamedTuple):
    """A layer, its configuration and its arrays."""

    kind: str
    name: str
    config: Json
    weights: LayerWeights
    #: The module that its class is from; operations on tensors are no layers.
    module: str = ""

    @property
    def place(self) -> str:
        return f"layer {self.name!r} ({self.kind})"


class Call(NamedTuple):
    """One use of a layer: tensors, other arguments in their place, and keywords; references are ("ref", layer, node, tensor)."""

    arguments: List[Any]
    keywords: Dict[str, Any]


def is_operation(kind: str, module: str) -> bool:
    """Whether a node is an operation on tensors of Keras 3, not a layer."""
    return module.startswith(("keras.src.ops", "keras.ops")) or kind in (
        "NotEqual", "Any", "ExpandDims", "ZerosLike", "OnesLike", "LogicalOr",
    )  # fmt: skip


class Graph:
    """The plan in the making, and what is known of the whole model."""

    def __init__(self, path: str, version: Optional[str], dtype: str) -> None:
        self.path = path
        self.version = version
        self.plan = Plan(dtype)
        #: Node -> Keras' name of the layer.
        self.names: Dict[str, str] = {}
        #: Masks under which recurrent layers run; one for all.
        self.masks: List[Optional[Mask]] = []
        #: Recurrent nodes whose output is zero at steps that the mask leaves out; others repeat.
        self.zeroing: Dict[str, bool] = {}
        self.time_major: Optional[bool] = None

    def fail(self, layer: Layer, text: str) -> Exception:
        return unsupported(f"{self.path}: {layer.place}: {text}")

    def add(
        self,
        kind: str,
        layer: Layer,
        sources: Sequence[Value],
        arguments: Dict[str, Any],
        size: int,
        parameters: Optional[Dict[str, np.ndarray]] = None,
    ) -> str:
        node = self.plan.add(kind, layer.name, [source.node for source in sources], arguments, size, parameters)
        self.names[node] = layer.name
        return node

    def size(self, value: Value) -> int:
        return self.plan.size(value.node)

    def straight(self, value: Value) -> Value:
        """The value in the order of time."""
        if not value.turned:
            return value
        node = self.plan.add("reverse", value.node + ".turned", [value.node], {}, self.size(value))
        return value._replace(node=node, turned=False)

    def features(self, layer: Layer, value: Value) -> Value:
        """The value as features, or an error that says why it is none."""
        if value.kind == "pending":
            raise self.fail(layer, "it reads an input without an axis of time, or of integers that no Embedding reads")
        if value.kind == "state":
            return self._state_features(layer, value)
        if value.kind != "features":
            raise self.fail(layer, "it reads a mask")
        return value

    def _state_features(self, layer: Layer, value: Value) -> Value:
        """The final h of a layer, which is its output at the last step that it computed."""
        if value.which != "h":
            raise self.fail(layer, "it reads the cell state of an LSTM; librnn gives that as state, not as features")
        node = self.plan.nodes[value.node]
        hidden = node.arguments["hidden_size"]
        source = value.node
        if node.arguments.get("bidirectional"):
            if node.arguments.get("merge", "concat") != "concat":
                raise self.fail(layer, "it reads the state of a Bidirectional whose outputs are added or multiplied")
            begin = hidden * value.direction
            end = hidden if value.direction == 0 else self.size(value)
            source = self.plan.add("slice", value.node + ".direction", [source], {"begin": begin, "end": end}, end - begin)
        backwards = value.direction == 1 or node.arguments.get("direction") == "reverse"
        kind = "first_step" if backwards else "last_step"
        name = self.plan.add(kind, value.node + ".state", [source], {}, self.plan.size(source))
        return Value("features", name, steps=False)

    # ------------------------------------------------------------------------------------------------- masks

    def rule(self, output: Value) -> Optional[MaskRule]:
        """How the model makes its mask, and what it gives where a step is left out."""
        masks = set(self.masks)
        if masks <= {None}:
            if output.unmasked:
                raise unsupported(f"{self.path}: Masking without a recurrent layer after it sets steps to 0; librnn leaves them out")
            return None
        if len(masks) > 1:
            raise unsupported(f"{self.path}: some recurrent layers have a mask and some not, or another; librnn has one for all")
        mask = masks.pop()
        assert mask is not None
        padding, fill = "value", None
        if output.steps:
            head, leaves = self._head(output.node)
            ways = {self.zeroing.get(leaf) for leaf in leaves}
            # Of something else than recurrent layers, or of layers of both ways, Keras computes what no rule gives: these are 0.
            if ways in ({True}, {False}):
                padding = "value" if ways == {True} else "repeat"
                fill = self._of_zeros(output.node, head, leaves)
        begin = 0
        for name, inner in self.plan.nodes.items():
            if name == mask.node:
                break
            if inner.kind == self.plan.nodes[mask.node].kind:
                begin += inner.size
        columns = (begin, begin + self.plan.size(mask.node))
        return MaskRule(mask.kind, mask.value, columns, padding, fill, output.turned)

    def _head(self, output: str) -> Tuple[List[str], List[str]]:
        """The nodes between the output and what they read from elsewhere, in order, and the latter: mostly recurrent nodes."""
        kinds = {name: node.kind for name, node in self.plan.nodes.items()}
        wanted = {output}
        for name in reversed(self.plan.nodes):
            if name in wanted and kinds[name] in _STEPWISE_NODES:
                wanted.update(self.plan.nodes[name].sources)
        names = [name for name in self.plan.nodes if name in wanted]
        head = [name for name in names if kinds[name] in _STEPWISE_NODES]
        return head, [name for name in names if name not in head]

    def _of_zeros(self, output: str, head: List[str], leaves: List[str]) -> Optional[List[float]]:
        """What the layers after the last recurrent ones make of zeros, which is what those give before their first step."""
        if not head:
            return None
        part = Plan(self.plan.dtype)
        size = max(self.plan.size(leaf) for leaf in leaves)
        zeros = part.add("input", "input", [], {"size": size}, size)
        names = {}
        for leaf in leaves:
            width = self.plan.size(leaf)
            names[leaf] = part.add("slice", leaf, [zeros], {"begin": 0, "end": width}, width)
        for name in head:
            inner = self.plan.nodes[name]
            # The order of steps that are all alike is no matter.
            if inner.kind == "reverse":
                names[name] = names[inner.sources[0]]
            else:
                sources = [names[source] for source in inner.sources]
                names[name] = part.add(inner.kind, name, sources, inner.arguments, inner.size, inner.parameters)
        made = part.build(names[output])
        run = made.run if isinstance(made, Network) else made
        y = run(np.zeros((1, 1, size), self.plan.dtype))[0]
        return [float(number) for number in y[0, 0]] if y.any() else None


# ------------------------------------------------------------------------------------ reading the configuration


def run_model(graph: Graph, config: Json, weights: Weights, given: Optional[List[Value]]) -> List[Value]:
    """The outputs of a model; `given` are the inputs of a model in a model."""
    kind = config.get("class_name", str)
    if kind not in MODELS:
        raise unsupported(f"{graph.path}: the model is of class {kind!r}, expected Sequential or Functional")
    # A Sequential of Keras up to 2.2 is a plain list of layers.
    listed = config.value.get("config")
    if isinstance(listed, list):
        inner = Json({"layers": listed}, config.place)
    else:
        inner = config.inner("config")
    entries = inner.get("layers", list)
    if not 1 <= len(entries) <= _MOST_LAYERS:
        raise format_error(f"{graph.path}: a model of {len(entries)} layers")
    layers: List[Tuple[Json, Layer]] = []
    classes: Dict[str, int] = {}
    for index, entry in enumerate(entries):
        json_entry = Json(entry, f"{inner.place}: layers[{index}]")
        class_name = json_entry.get("class_name", str)
        own = json_entry.value.get("config")
        configuration = Json(own if isinstance(own, dict) else {}, f"{graph.path}: layer {layer_name_or(json_entry, index)!r}")
        module = json_entry.get("module", str, "")
        name = layer_name_or(json_entry, index)
        if is_operation(class_name, module):
            own_weights: LayerWeights = NoWeights(f"{graph.path}: the operation {name!r} has no weights")
        else:
            own_weights = weights.layer(json_entry, classes)
            classes[class_name] = classes.get(class_name, 0) + 1
        layer = Layer(class_name, name, configuration, own_weights, module)
        layers.append((json_entry, layer))
    if kind == "Sequential":
        return _run_sequential(graph, inner, layers, given)
    return _run_functional(graph, inner, layers, given)


def layer_name_or(entry: Json, index: int) -> str:
    """A layer's name; old files leave it out."""
    own = entry.value.get("config")
    if not entry.value.get("name") and not (isinstance(own, dict) and own.get("name")):
        return f"{entry.get('class_name', str).lower()}_{index}"
    return layer_name(entry)


def _run_sequential(
    graph: Graph, config: Json, layers: List[Tuple[Json, Layer]], given: Optional[List[Value]]
) -> List[Value]:
    from ._layers import apply

    value: Optional[Value] = None
    if given is not None:
        if len(given) != 1:
            raise unsupported(f"{graph.path}: a Sequential with {len(given)} inputs")
        value = given[0]
    outputs: List[Value] = [] if value is None else [value]
    for entry, layer in layers:
        if layer.kind == "InputLayer":
            if value is None:
                value = input_value(graph, layer, input_shape(layer.config, config))
                outputs = [value]
            continue
        if value is None:
            shape = input_shape(layer.config, config)
            if shape is None:
                shape = _shape_of_first(graph, layer)
            value = input_value(graph, layer._replace(name="input"), shape)
        outputs = apply(graph, layer, [value], {})
        value = outputs[0]
    return outputs


def _shape_of_first(graph: Graph, layer: Layer) -> List[Any]:
    """The shape of x as the first layer's weights tell it."""
    if layer.kind == "Embedding":
        return [None, None]
    first = {"Bidirectional": "forward", "TimeDistributed": "layer", "Dense": ""}.get(layer.kind, "cell")
    arrays = layer.weights.arrays(first)
    if not arrays or arrays[0].ndim != 2:
        raise graph.fail(layer, "neither the configuration nor the weights of the first layer tell the size of x")
    return [None, None, arrays[0].shape[0]]


def input_shape(*configs: Json) -> Optional[List[Any]]:
    """The shape of an input with its batch axis, where a configuration has it."""
    for config in configs:
        for key in ("batch_shape", "batch_input_shape", "build_input_shape"):
            shape = config.value.get(key)
            if isinstance(shape, list):
                return shape
    return None


def input_value(graph: Graph, layer: Layer, shape: Optional[List[Any]]) -> Value:
    """An input of the model: features [N, T, F] at once, [N, ..] when something tells what it is."""
    if layer.config.value.get("sparse") or layer.config.value.get("ragged"):
        raise graph.fail(layer, "a sparse or ragged input")
    if shape is None:
        raise graph.fail(layer, "it has no shape")
    if len(shape) == 2:
        return Value("pending", layer.name)
    if len(shape) != 3:
        raise graph.fail(layer, f"an input of shape {tuple(shape)}; librnn reads [N, T, features] or tokens [N, T]")
    if type(shape[2]) is not int or not 1 <= shape[2] < 2**31:
        raise graph.fail(layer, f"the last axis of x is {kind_of(shape[2])}, expected a number of features")
    return Value("features", graph.add("input", layer, [], {"size": shape[2]}, shape[2]))


# ------------------------------------------------------------------------------------------- functional models


def _run_functional(
    graph: Graph, config: Json, layers: List[Tuple[Json, Layer]], given: Optional[List[Value]]
) -> List[Value]:
    from ._layers import apply

    inputs = _references(config.value.get("input_layers"), graph)
    values: Dict[Tuple[str, int], Value] = {}
    by_name = {layer.name: (entry, layer) for entry, layer in layers}
    if len(by_name) != len(layers):
        raise format_error(f"{graph.path}: two layers have one name")
    if given is not None and len(given) != len(inputs):
        raise unsupported(f"{graph.path}: a model with {len(inputs)} inputs is given {len(given)}")
    for index, (name, _, _) in enumerate(inputs):
        if name not in by_name:
            raise format_error(f"{graph.path}: the input {name!r} is no layer")
        layer = by_name[name][1]
        values[name, 0] = given[index] if given is not None else input_value(graph, layer, input_shape(layer.config))
    waiting = [(entry, layer) for entry, layer in layers if (layer.name, 0) not in values]
    while waiting:
        later = []
        for entry, layer in waiting:
            call = _call(graph, entry, layer)
            needed = [found for found in _walk(call) if _is_reference(found)]
            if any((name, tensor) not in values for _, name, _, tensor in needed):
                later.append((entry, layer))
                continue
            resolved = _resolve(call.arguments, values)
            keywords = {key: _resolve(value, values) for key, value in call.keywords.items()}
            for tensor, value in enumerate(apply(graph, layer, resolved, keywords)):
                values[layer.name, tensor] = value
        if len(later) == len(waiting):
            names = ", ".join(repr(layer.name) for _, layer in later[:5])
            raise format_error(f"{graph.path}: the layers {names} read each other, or what is not there")
        waiting = later
    outputs = _references(config.value.get("output_layers"), graph)
    missing = [name for name, _, tensor in outputs if (name, tensor) not in values]
    if missing or not outputs:
        raise format_error(f"{graph.path}: the output {', '.join(missing) or 'list'} is missing")
    return [values[name, tensor] for name, _, tensor in outputs]


def _references(listed: Any, graph: Graph) -> List[Tuple[str, int, int]]:
    """[name, node, tensor], or a list of them; also a dictionary."""
    if isinstance(listed, dict):
        listed = list(listed.values())
    if not isinstance(listed, list) or not listed:
        raise format_error(f"{graph.path}: the inputs or outputs of the model are {kind_of(listed)}")
    if isinstance(listed[0], str):
        listed = [listed]
    found = []
    for entry in listed:
        # Keras 3 nests a single reference once more than needed.
        while isinstance(entry, list) and len(entry) == 1:
            entry = entry[0]
        if not (isinstance(entry, list) and len(entry) >= 3 and isinstance(entry[0], str) and type(entry[2]) is int):
            raise format_error(f"{graph.path}: an input or output of the model is {kind_of(entry)}")
        found.append((entry[0], entry[1], entry[2]))
    return found


def _is_reference(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 4 and value[0] == "ref"


def _call(graph: Graph, entry: Json, layer: Layer) -> Call:
    """The one use of a layer."""
    nodes = entry.get("inbound_nodes", list, [])
    if len(nodes) != 1:
        if not nodes:
            raise graph.fail(layer, "nothing flows into it")
        raise graph.fail(layer, f"it is used {len(nodes)} times; librnn has no shared layers")
    node = nodes[0]
    if isinstance(node, dict):
        call = Json(node, entry.place)
        return Call(_parse3(graph, layer, call.get("args", list, [])), _parse3(graph, layer, call.get("kwargs", dict, {})))
    # Keras 2: a list of [name, node, tensor, keywords]; older files of one list, newer ones with a single tensor unwrapped.
    if isinstance(node, list) and node and isinstance(node[0], str):
        node = [node]
    if not isinstance(node, list) or not node:
        raise format_error(f"{graph.path}: {layer.place}: its input is {kind_of(node)}")
    references, keywords = [], {}
    for tensor in node:
        references.append(_reference2(graph, layer, tensor))
        if len(tensor) > 3 and isinstance(tensor[3], dict):
            keywords.update({key: _parse2(value) for key, value in tensor[3].items()})
    return Call([references[0] if len(references) == 1 else references], keywords)


def _reference2(graph: Graph, layer: Layer, tensor: Any) -> Tuple[str, str, int, int]:
    if not (isinstance(tensor, list) and len(tensor) >= 3 and isinstance(tensor[0], str) and type(tensor[2]) is int):
        raise format_error(f"{graph.path}: {layer.place}: its input is {kind_of(tensor)}")
    # The number of the use is not looked at: a layer that is used twice is refused, and Keras 2 counts the uses of a model in
    # a model from 1.
    return ("ref", tensor[0], 0, tensor[2])


def _parse2(value: Any) -> Any:
    """A keyword of Keras 2: a tensor is [name, node, tensor]."""
    if isinstance(value, list):
        if len(value) == 3 and isinstance(value[0], str) and type(value[1]) is int and type(value[2]) is int:
            return ("ref", value[0], value[1], value[2])
        return [_parse2(inner) for inner in value]
    return value


def _parse3(graph: Graph, layer: Layer, value: Any) -> Any:
    """An argument of Keras 3: a tensor is an object with its history."""
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        history = Json(value, layer.place).inner("config").get("keras_history", list)
        return _reference2(graph, layer, history)
    if isinstance(value, dict):
        return {key: _parse3(graph, layer, inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_parse3(graph, layer, inner) for inner in value]
    return value


def _walk(value: Any) -> List[Any]:
    """All leaves of a call."""
    if isinstance(value, Call):
        return _walk(value.arguments) + _walk(value.keywords)
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _walk(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _walk(inner)]
    return [value]


def _resolve(value: Any, values: Dict[Tuple[str, int], Value]) -> Any:
    """References replaced by values."""
    if _is_reference(value):
        return values[value[1], value[3]]
    if isinstance(value, dict):
        return {key: _resolve(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolve(inner, values) for inner in value]
    return value
