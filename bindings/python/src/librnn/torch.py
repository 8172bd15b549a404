"""Models of PyTorch: a state_dict, a .safetensors file or a checkpoint becomes a librnn model, and back.

PyTorch itself is not needed, and a checkpoint's pickle is not executed. What a state_dict does not say is asked for:

    librnn.torch.load("lstm.pt", batch_first=True)
    librnn.torch.load("gru.safetensors", variant="reset_after", batch_first=False)
    librnn.torch.load("model.pt", batch_first=True, modules=[
        ("embedding", "Embedding"), ("rnn", "GRU", {"variant": "reset_after"}), ("fc", "Linear")])
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, Union

import numpy as np

from ._arrays import real
from ._checkpoint import Contents, StoredModule, contents_of, read_checkpoint
from ._foreign import first_bytes, path_of
from ._network import Model
from ._plan import folded_batch_norm
from ._safetensors import read_safetensors
from .activations import Activation
from .errors import RNNError, argument_error, dtype_error, format_error, shape_error, unsupported
from .layers import CELLS, GRU, LSTM, RNN, RecurrentLayer
from .modules import Embedding, LayerNorm, Linear, Module, ScaleShift
from .sequential import Sequential

__all__ = ["load", "state_dict", "tensors"]

#: The metadata entry that remembers the prefix of each module of a Sequential.
PREFIXES_KEY = "torch.prefixes"
_RECURRENT = re.compile(r"(weight|bias)_(ih|hh|hr)(?:_l(\d{1,4}))?(_reverse)?")
_CELLS: Dict[int, Type[RecurrentLayer]] = {1: RNN, 3: GRU, 4: LSTM}
#: What `modules` may name, beside the cells.
KINDS = ("RNN", "GRU", "LSTM", "Embedding", "Linear", "LayerNorm", "BatchNorm1d")


def load(
    source: Any,
    modules: Any = None,
    *,
    prefix: Optional[str] = None,
    key: Optional[str] = None,
    ignore: Sequence[str] = (),
    variant: Optional[str] = None,
    nonlinearity: Optional[str] = None,
    batch_first: Optional[bool] = None,
    dropout: float = 0.0,
    dtype: Any = None,
) -> Any:
    """A librnn model with the weights of a PyTorch model.

    The tensors tell sizes, number of layers, directions, biases, projection, and the cell: weight_hh has 4, 3 or 1 times as many
    rows as there are hidden units. The rest must be spelled out; the error says what, for the file at hand. Only a module that was
    saved whole, ``torch.save(model, path)``, says itself what its modules of torch.nn are.

    Parameters
    ----------
    source : mapping of str to array or torch.Tensor, or path
        A state_dict; or a .safetensors file; or what torch.save or torch.jit.save wrote, which is read without executing
        anything in it.
    modules : sequence of (prefix, kind) or (prefix, kind, options) or librnn modules; or mapping of prefix to kind; optional
        The modules in the order in which data goes through them. Kinds: RNN, GRU, LSTM (also their cells), Embedding, Linear,
        LayerNorm, BatchNorm1d (over the features, as it runs: it becomes a ScaleShift). Options: ``variant`` of a GRU,
        ``nonlinearity`` of an RNN, ``dropout`` of each of them, ``eps`` of the two norms (required). What has no weights stands
        in between as an object, such as ``librnn.Dropout(0.5)``, ``librnn.LastStep()`` or ``librnn.Activation("relu")``. May be left out for a single recurrent module.
    prefix : str, optional
        Only tensors whose name begins with ``prefix.`` are looked at; it is cut off.
    key : str, optional
        Which dictionary of a checkpoint with several, such as "model_state_dict".
    ignore : sequence of str
        Prefixes of tensors that are left out on purpose. Other tensors that belong to no module are an error.
    variant : {"reset_after", "reset_before"}
        Required for a GRU: torch.nn.GRU is "reset_after", but other models have the same names.
    nonlinearity : {"tanh", "relu"}
        Required for an RNN.
    batch_first : bool
        Required: whether x and y are [N, T, ..].
    dropout : float
        Between recurrent layers, in training. It changes nothing when the model is run.
    dtype : {"float32", "float64"}, optional
        By default that of the tensors; float16 and bfloat16 become float32, exactly.

    Returns
    -------
    RNN, GRU, LSTM
        If there are no `modules`.
    Sequential
        Otherwise.

    Raises
    ------
    RNNError
        Something must be spelled out; a tensor is missing or belongs to no module; a shape does not fit; the file is damaged.
    """
    tensors, stored = _contents(source, key)
    if prefix:
        cut = prefix.rstrip(".") + "."
        chosen = {name[len(cut) :]: value for name, value in tensors.items() if name.startswith(cut)}
        if not chosen:
            raise argument_error(f"no tensor begins with {cut!r}; the modules are: {_overview(tensors)}")
        tensors = chosen
        stored = {(name + ".")[len(cut) :].rstrip("."): module for name, module in stored.items() if (name + ".").startswith(cut)}
    tensors = {name: value for name, value in tensors.items() if not _ignored(name, ignore)}
    choices = {"variant": variant, "nonlinearity": nonlinearity, "dropout": dropout}
    if modules is None:
        return _single(tensors, stored, choices, batch_first, dtype)
    parts = _parts(modules)
    if batch_first is None:
        batch_first = _layout([stored.get(part.prefix) for part in parts if isinstance(part, _Part)])
    missing: List[str] = [] if batch_first is not None else [_ASK_BATCH_FIRST]
    made: List[Any] = []
    prefixes: List[Optional[str]] = []
    used: set = set()
    plans: List[Any] = []
    for part in parts:
        if not isinstance(part, _Part):
            plans.append(part)
            prefixes.append(None)
            continue
        own = _below(tensors, part.prefix)
        used.update(part.prefix + "." + name if part.prefix else name for name in own)
        plans.append(_plan(part, own, stored.get(part.prefix), choices, missing))
        prefixes.append(part.prefix)
    if missing:
        raise _ask(missing)
    leftover = sorted(name for name in tensors if name not in used)
    if leftover:
        raise argument_error(
            f"these tensors belong to no module: {_some(leftover)}; add their modules, or leave them out with ignore=[…]"
        )
    element = _dtype([tensors[name] for name in used if not name.endswith("num_batches_tracked")], dtype)
    for plan in plans:
        made.append(plan if isinstance(plan, (Module, Activation)) else plan.make(element, bool(batch_first)))
    model = Sequential(made, batch_first=bool(batch_first), dtype=element)
    model.metadata[PREFIXES_KEY] = json.dumps(prefixes)
    return model


def tensors(path: Any, *, key: Optional[str] = None) -> Dict[str, np.ndarray]:
    """The tensors in a file of PyTorch by name, without PyTorch, and without executing anything in it.

    For what stands beside the recurrent part, such as the convolutions before it.

    Parameters
    ----------
    path : str or path-like
        A checkpoint of torch.save or torch.jit.save, or a .safetensors file.
    key : str, optional
        Which dictionary of a checkpoint with several.

    Returns
    -------
    dict of str to array
        Read-only; bfloat16, which NumPy lacks, as float32.

    Raises
    ------
    RNNError
        The file is damaged, of another kind, or holds several sets of tensors.
    """
    return _contents(path_of(path, "path"), key).tensors


def state_dict(model: Model, prefixes: Optional[Sequence[Optional[str]]] = None) -> Dict[str, np.ndarray]:
    """The weights of a model, with the names and shapes that PyTorch's ``load_state_dict`` takes.

    ``{name: torch.from_numpy(value) for name, value in librnn.torch.state_dict(model).items()}`` is what PyTorch wants. A single
    bias becomes bias_ih, and bias_hh is zero: the same function in the same bits.

    Parameters
    ----------
    model : RNN, GRU, LSTM, Sequential or Network
    prefixes : sequence of str or None, optional
        The prefix of each module of a Sequential. By default what `load` found, else the position.

    Raises
    ------
    RNNError
        The model has something that torch.nn does not: a reset_before GRU, peepholes, coupled gates, limits, other activations,
        merged directions, one backward direction alone, directions of two sizes, residual layers, a learned initial state, an
        added forget bias, ScaleShift. The message names it.
    """
    if not isinstance(model, Model):
        raise argument_error(f"model is {type(model).__name__}, expected a layer, Sequential or Network")
    nodes = [node for node in json.loads(model._architecture())["nodes"] if node.get("inputs") is not None]
    cut = len(model._prefix)
    own = model.state_dict()
    names = _prefixes(model, nodes, prefixes)
    state: Dict[str, np.ndarray] = {}
    for node, prefix in zip(nodes, names):
        start = (node["name"] + ".")[cut:]
        weights = {name[len(start) :]: value for name, value in own.items() if name.startswith(start)}
        if node["op"] in CELLS:
            _refuse_options(node)
            weights = _double_biases(weights)
        elif weights and node["op"] not in ("linear", "embedding", "layer_norm"):
            raise unsupported(f"{node['name']} is a {node['op']}: torch.nn has no module with these weights")
        for name, value in weights.items():
            full = f"{prefix}.{name}" if prefix else name
            if full in state:
                raise argument_error(f"two modules would both be {full!r}: give other prefixes")
            state[full] = value
    return state


# ------------------------------------------------------------------------------------------ reading tensors


def _contents(source: Any, key: Optional[str]) -> Contents:
    """The tensors by name, of whatever they come from, and modules that were stored whole."""
    if isinstance(source, Mapping):
        if key is not None:
            if not isinstance(source.get(key), Mapping):
                raise argument_error(f"key is {key!r}, but the dictionary has: {_some(sorted(map(str, source)))}")
            source = source[key]
        return Contents({str(name): _array(value, str(name)) for name, value in source.items()}, {})
    if hasattr(source, "state_dict"):
        raise argument_error(f"source is {type(source).__name__}: give its state_dict()")
    path = path_of(source, "source")
    start = first_bytes(path)
    if start[:4] == b"PK\3\4" or start[:1] == b"\x80":
        return contents_of(read_checkpoint(path), key)
    if start[8:9] == b"{":
        tensors, metadata = read_safetensors(path)
        if "librnn.architecture" in metadata:
            raise argument_error(f"{path} is a model file of librnn: read it with librnn.load")
        if key is not None:
            raise argument_error("key names a dictionary of a checkpoint; a safetensors file has only one")
        return Contents(tensors, {})
    raise format_error(f"{path} is neither a checkpoint of PyTorch nor a safetensors file")


def _array(value: Any, name: str) -> np.ndarray:
    """An array, or a torch.Tensor without importing torch."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
        value = value.numpy()
    if isinstance(value, Mapping):
        raise argument_error(f"{name!r} is a dictionary, not a tensor: is this a checkpoint, with the state_dict inside? Give key=")
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise dtype_error(f"{name!r} is {type(value).__name__} with dtype {array.dtype}, expected a tensor of numbers")
    return array


def _dtype(arrays: Sequence[np.ndarray], dtype: Any) -> str:
    """The dtype of a model with these weights."""
    if dtype is not None:
        return str(dtype)
    kinds = sorted({array.dtype.name for array in arrays})
    for name in kinds:
        if name not in ("float16", "float32", "float64"):
            raise dtype_error(f"there are tensors of {name}: quantized weights are not converted; give dtype= to take them as they are")
    if "float64" in kinds and len(kinds) > 1:
        raise dtype_error(f"the tensors have the dtypes {', '.join(kinds)}: say which the model shall have with dtype=")
    return "float64" if kinds == ["float64"] else "float32"


def _ignored(name: str, ignore: Sequence[str]) -> bool:
    if isinstance(ignore, str):
        raise argument_error(f"ignore is {ignore!r}, expected a list of prefixes")
    return any(name == each.rstrip(".") or name.startswith(each.rstrip(".") + ".") for each in ignore)


def _below(tensors: Mapping[str, np.ndarray], prefix: str) -> Dict[str, np.ndarray]:
    """The tensors of the module of that name."""
    if not prefix:
        return {name: value for name, value in tensors.items() if "." not in name}
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + ".")}


# ---------------------------------------------------------------------------------------- what is asked for

_ASK_BATCH_FIRST = "batch_first=True or False: whether x and y are [N, T, ..] or [T, N, ..]"


def _ask(missing: Sequence[str]) -> RNNError:
    return argument_error("the weights do not say everything; spell out " + "; and ".join(missing))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _overview(tensors: Mapping[str, np.ndarray]) -> str:
    """The modules that the names tell of, with their sizes."""
    groups: Dict[str, List[str]] = {}
    for name in tensors:
        groups.setdefault(name.rpartition(".")[0], []).append(name)
    shown = []
    for prefix, names in list(groups.items())[:30]:
        kind = recurrent_kind({name[len(prefix) + 1 if prefix else 0 :]: tensors[name] for name in names})
        sizes = ", ".join(f"{name.rpartition('.')[2]} {list(tensors[name].shape)}" for name in names[:2])
        shown.append(f"{prefix!r} ({kind or sizes})")
    return ", ".join(shown) + (" and more" if len(groups) > 30 else "")


def recurrent_kind(tensors: Mapping[str, np.ndarray]) -> Optional[str]:
    """ "LSTM(40, 32)" for the weights of one, else None."""
    try:
        return _Recurrent.of(tensors, "").text()
    except RNNError:
        return None


# ------------------------------------------------------------------------------------------------- modules


_MODULE_OPTIONS = {
    "RNN": ("nonlinearity", "dropout"), "GRU": ("variant", "dropout"), "LSTM": ("dropout",), "LayerNorm": ("eps",),
    "BatchNorm1d": ("eps",),
}  # fmt: skip


class _Part(NamedTuple):
    """A module that the caller named."""

    prefix: str
    kind: str
    options: Dict[str, Any]


def _parts(modules: Any) -> List[Union[_Part, Module, Activation]]:
    """The caller's modules, checked."""
    if isinstance(modules, Mapping):
        modules = [(prefix, *(kind if isinstance(kind, (tuple, list)) else (kind,))) for prefix, kind in modules.items()]
    if isinstance(modules, (str, bytes)) or not isinstance(modules, Sequence):
        raise argument_error(f"modules is {type(modules).__name__}, expected a list of (prefix, kind) or (prefix, kind, options)")
    parts: List[Union[_Part, Module, Activation]] = []
    for index, entry in enumerate(modules):
        if isinstance(entry, (Module, Activation)):
            parts.append(entry)
            continue
        if not isinstance(entry, (tuple, list)) or not 2 <= len(entry) <= 3 or not isinstance(entry[0], str):
            raise argument_error(
                f"modules[{index}] is {entry!r}, expected (prefix, kind), (prefix, kind, options), or a module without weights"
            )
        prefix, kind = entry[0].rstrip("."), entry[1]
        options = dict(entry[2]) if len(entry) == 3 else {}
        kind = getattr(kind, "__name__", kind)
        plain = kind[:-4] if kind in ("RNNCell", "GRUCell", "LSTMCell") else kind
        if plain not in KINDS:
            raise unsupported(f"modules[{index}] is of kind {kind!r}, expected one of {', '.join(KINDS)}")
        known = _MODULE_OPTIONS.get(plain, ())
        wrong = sorted(set(options).difference(known))
        if wrong:
            raise argument_error(f"modules[{index}] ({kind}) has no option {', '.join(wrong)}; it has {', '.join(known) or 'none'}")
        parts.append(_Part(prefix, plain, options))
    return parts


class _Recurrent(NamedTuple):
    """What the tensors of a recurrent module say."""

    kind: Type[RecurrentLayer]
    sizes: Dict[str, Any]
    weights: Dict[str, np.ndarray]

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray], place: str) -> "_Recurrent":
        """From names and shapes. What is inconsistent beyond the shapes that are used here is found when weights are loaded."""
        weights: Dict[str, np.ndarray] = {}
        for name, value in tensors.items():
            match = _RECURRENT.fullmatch(name)
            if match is None:
                hint = ""
                if "parametrizations" in name or name.endswith(("_g", "_v", "_raw")):
                    hint = "; weight normalization must be removed in PyTorch first"
                raise unsupported(f"{place}{name} is no tensor of a recurrent module{hint}")
            what, which, layer, reverse = match.groups()
            weights[f"{what}_{which}_l{int(layer or 0)}{reverse or ''}"] = value
        if len(weights) != len(tensors):
            raise argument_error(f"{place or 'the tensors'}: a cell and a layer under one prefix")
        for needed in ("weight_ih_l0", "weight_hh_l0"):
            if needed not in weights:
                raise argument_error(f"{place}{needed} is missing: no recurrent module")
            if weights[needed].ndim != 2 or 0 in weights[needed].shape:
                raise shape_error(f"{place}{needed} has shape {weights[needed].shape}, expected [G*H, size]")
        rows = weights["weight_hh_l0"].shape[0]
        projection = weights.get("weight_hr_l0")
        if projection is not None and projection.ndim != 2:
            raise shape_error(f"{place}weight_hr_l0 has shape {projection.shape}, expected [P, H]")
        hidden = projection.shape[1] if projection is not None else weights["weight_hh_l0"].shape[1]
        kind = _CELLS.get(rows // hidden if hidden and rows % hidden == 0 else 0)
        if kind is None or (projection is not None and kind is not LSTM):
            raise shape_error(
                f"{place}weight_hh_l0 has shape {weights['weight_hh_l0'].shape}: {rows} rows are not 4 (LSTM), 3 (GRU) or 1 (RNN) "
                f"times {hidden} hidden units"
            )
        sizes: Dict[str, Any] = {
            "input_size": weights["weight_ih_l0"].shape[1],
            "hidden_size": hidden,
            "num_layers": 1 + max(int(name.split("_l")[1].split("_")[0]) for name in weights),
            "bidirectional": any(name.endswith("_reverse") for name in weights),
            "bias": any(name.startswith("bias_") for name in weights),
        }
        if projection is not None:
            sizes["proj_size"] = projection.shape[0]
        if sizes["num_layers"] > 1000:
            raise shape_error(f"{place}{sizes['num_layers']} layers, the limit is 1000")
        return cls(kind, sizes, weights)

    def text(self) -> str:
        extra = "".join(f", {key}={self.sizes[key]!r}" for key in ("num_layers", "proj_size") if self.sizes.get(key, 1) != 1)
        extra += ", bidirectional=True" if self.sizes["bidirectional"] else ""
        return f"{self.kind.__name__}({self.sizes['input_size']}, {self.sizes['hidden_size']}{extra})"


class _Plan(NamedTuple):
    """A module that can be made."""

    kind: Any
    arguments: Dict[str, Any]
    weights: Dict[str, np.ndarray]

    def make(self, dtype: str, batch_first: bool) -> Any:
        arguments = dict(self.arguments, dtype=dtype)
        if issubclass(self.kind, RecurrentLayer):
            arguments["batch_first"] = batch_first
        module = self.kind(**arguments, init="zeros")
        module.load_state_dict(self.weights)
        return module


#: Of PyTorch's own classes: which option is which attribute.
_ATTRIBUTES = {"nonlinearity": "nonlinearity", "dropout": "dropout", "eps": "eps"}


def stored_options(module: Optional[StoredModule]) -> Dict[str, Any]:
    """What a module of PyTorch that was stored whole says of the options here; nothing of classes that are not PyTorch's."""
    if module is None or not module.kind.startswith("torch.nn.modules."):
        return {}
    told = {option: module.options[name] for option, name in _ATTRIBUTES.items() if name in module.options}
    if module.kind in ("torch.nn.modules.rnn.GRU", "torch.nn.modules.rnn.GRUCell"):
        told["variant"] = "reset_after"
    return told


def _agreed(options: Mapping[str, Any], module: Optional[StoredModule], name: str) -> Dict[str, Any]:
    """The caller's options and those of a stored module, which must not say different things. Dropout is the caller's to choose."""
    told = stored_options(module)
    for option, value in told.items():
        given = options.get(option)
        if option != "dropout" and given is not None and given != value:
            raise argument_error(f"{option} is {given!r} for {name}, but the file says {value!r}")
    # A dropout of 0 is what nobody chose.
    return {**told, **{option: given for option, given in options.items() if given is not None and (option != "dropout" or given)}}


def stored_layout(module: Optional[StoredModule]) -> Optional[bool]:
    """batch_first of a recurrent module of PyTorch that was stored whole."""
    if module is None or not module.kind.startswith("torch.nn.modules.rnn."):
        return None
    layout = module.options.get("batch_first")
    return layout if isinstance(layout, bool) else None


def _layout(modules: Sequence[Optional[StoredModule]]) -> Optional[bool]:
    """The batch_first that stored modules agree upon."""
    found = {layout for layout in map(stored_layout, modules) if layout is not None}
    return found.pop() if len(found) == 1 else None


def _plan_recurrent(
    found: _Recurrent, options: Mapping[str, Any], module: Optional[StoredModule], place: str, missing: List[str]
) -> _Plan:
    """A recurrent module; what it needs and nobody said is added to `missing`."""
    name = place.rstrip(".") or "the module"
    options = _agreed(options, module, name)
    arguments = {**found.sizes, "dropout": options.get("dropout") or 0.0}
    if found.kind is GRU:
        arguments["variant"] = options.get("variant")
        if arguments["variant"] is None:
            missing.append(
                f'variant="reset_after" or "reset_before" for {name}, a GRU: torch.nn.GRU and cuDNN are "reset_after", the textbook\'s '
                'is "reset_before", and no weights convert one into the other'
            )
        elif arguments["variant"] == "reset_before" and arguments["bias"]:
            # PyTorch's names are kept; the two are simply added.
            arguments["bias"] = "double"
    elif found.kind is RNN:
        arguments["nonlinearity"] = options.get("nonlinearity")
        if arguments["nonlinearity"] is None:
            missing.append(f'nonlinearity="tanh" or "relu" for {name}, an RNN')
    return _Plan(found.kind, arguments, found.weights)


def _single(
    tensors: Dict[str, np.ndarray],
    stored: Mapping[str, StoredModule],
    choices: Dict[str, Any],
    batch_first: Optional[bool],
    dtype: Any,
) -> Any:
    """The one recurrent module that there is."""
    prefixes = {name.rpartition(".")[0] for name in tensors}
    prefix = prefixes.pop() if len(prefixes) == 1 else None
    if prefix is None:
        wrapped = next((name for name in tensors if "parametrizations." in name), None)
        if wrapped is not None:
            raise unsupported(
                f"{wrapped} is a parametrization, such as that of weight normalization: remove it in PyTorch first, with "
                "torch.nn.utils.parametrize.remove_parametrizations"
            )
        if not tensors:
            raise argument_error("there are no tensors")
        raise argument_error(
            "there are several modules; name those that make the model, in order, with modules=[(prefix, kind), …], or one with "
            f"prefix=…: {_overview(tensors)}"
        )
    place = f"{prefix}." if prefix else ""
    own = _below(tensors, prefix)
    try:
        found = _Recurrent.of(own, place)
    except RNNError as error:
        if not any(_RECURRENT.fullmatch(name) for name in own):
            raise argument_error(
                f"{_overview(tensors)} is no recurrent module; say what it is with modules=[(prefix, kind), …]"
            ) from None
        raise error
    missing: List[str] = []
    plan = _plan_recurrent(found, choices, stored.get(prefix), place, missing)
    for option, kind in (("variant", GRU), ("nonlinearity", RNN)):
        if choices[option] is not None and found.kind is not kind:
            raise argument_error(f"{option} is {choices[option]!r}, but the weights are those of {found.text()}")
    if batch_first is None:
        batch_first = stored_layout(stored.get(prefix))
    if batch_first is None:
        missing.append(_ASK_BATCH_FIRST)
    if missing:
        raise _ask(missing)
    return plan.make(_dtype(list(own.values()), dtype), bool(batch_first))


#: The tensors of a module: those it must have, and those it may have.
_TENSORS: Dict[str, Tuple[Tuple[str, ...], Tuple[str, ...]]] = {
    "Embedding": (("weight",), ()),
    "Linear": (("weight",), ("bias",)),
    "LayerNorm": (("weight", "bias"), ()),
    "BatchNorm1d": (("running_mean", "running_var"), ("weight", "bias", "num_batches_tracked")),
}


def _plan(
    part: _Part, own: Dict[str, np.ndarray], module: Optional[StoredModule], choices: Mapping[str, Any], missing: List[str]
) -> _Plan:
    """The module that the caller named, from its tensors."""
    place = f"{part.prefix}." if part.prefix else ""
    if not own:
        raise argument_error(f"there is no tensor of {part.prefix!r} ({part.kind})")
    if part.kind in ("RNN", "GRU", "LSTM"):
        found = _Recurrent.of(own, place)
        if found.kind.__name__ != part.kind:
            raise argument_error(f"{part.prefix!r} is said to be {part.kind}, but its weights are those of {found.text()}")
        return _plan_recurrent(found, {**choices, **part.options}, module, place, missing)
    needed, optional = _TENSORS[part.kind]
    if not set(needed) <= set(own) <= {*needed, *optional}:
        raise argument_error(f"{part.prefix!r} ({part.kind}) has the tensors {_some(sorted(own))}, expected {', '.join(needed)}")
    options = _agreed(part.options, module, part.prefix or "the module")
    if part.kind in ("LayerNorm", "BatchNorm1d") and options.get("eps") is None:
        missing.append(f'{{"eps": …}} for {part.prefix or "the module"}, a {part.kind} (torch.nn.{part.kind} has 1e-5 by default)')
    if part.kind == "BatchNorm1d":
        return _plan_batch_norm(own, options.get("eps"), place)
    weight = own["weight"]
    rank = 1 if part.kind == "LayerNorm" else 2
    if weight.ndim != rank or 0 in weight.shape:
        raise shape_error(f"{place}weight has shape {weight.shape}, expected {rank} dimensions for {part.kind}")
    if part.kind == "Embedding":
        return _Plan(Embedding, {"vocabulary": weight.shape[0], "size": weight.shape[1]}, own)
    if part.kind == "Linear":
        arguments = {"input_size": weight.shape[1], "output_size": weight.shape[0], "bias": "bias" in own}
        return _Plan(Linear, arguments, own)
    return _Plan(LayerNorm, {"size": weight.shape[0], "eps": options.get("eps")}, own)


def _plan_batch_norm(own: Dict[str, np.ndarray], eps: Any, place: str) -> _Plan:
    """The statistics folded into one product and one sum, rounded once."""
    mean, variance = own["running_mean"], own["running_var"]
    weight, bias = own.get("weight", np.ones_like(mean)), own.get("bias", np.zeros_like(mean))
    for name, value in (("weight", weight), ("bias", bias), ("running_mean", mean), ("running_var", variance)):
        if value.ndim != 1 or value.shape != mean.shape or value.size == 0:
            raise shape_error(f"{place}{name} has shape {value.shape}, expected one number for each feature")
    # Without eps the error comes later, together with what else must be spelled out.
    factor, term = folded_batch_norm(weight, bias, mean, variance, real(1.0 if eps is None else eps, "eps"), place.rstrip("."))
    return _Plan(ScaleShift, {"size": mean.size}, {"weight": factor, "bias": term})


# ------------------------------------------------------------------------------------------------ back again

_OPTIONS = {
    "merge": "concat", "hidden_size_reverse": None, "residual": False, "learned_initial_state": False, "peepholes": False,
    "coupled_gates": False, "cell_clip": 0.0, "gate_clip": 0.0, "gate_clip_output": False, "forget_bias": 0.0, "activations": None,
}  # fmt: skip


def _refuse_options(node: Mapping[str, Any]) -> None:
    """An error that names what torch.nn does not have."""
    if node.get("variant", "reset_after") != "reset_after":
        raise unsupported(
            f"{node['name']} is a reset_before GRU: torch.nn.GRU is reset_after, and no weights convert one into the other"
        )
    if node.get("direction", "forward") != "forward":
        raise unsupported(f"{node['name']} reads backwards only: torch.nn has no such layer")
    for option, plain in _OPTIONS.items():
        if node.get(option, plain) not in (plain, None):
            raise unsupported(f"{node['name']} has {option} {node[option]!r}: torch.nn has no such layer")


def _double_biases(weights: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """bias_lk as bias_ih_lk and a bias_hh_lk of zeros."""
    double: Dict[str, np.ndarray] = {}
    for name, value in weights.items():
        if name.startswith("bias_l"):
            double[name.replace("bias_l", "bias_ih_l", 1)] = value
            double[name.replace("bias_l", "bias_hh_l", 1)] = np.zeros_like(value)
        else:
            double[name] = value
    return double


def _prefixes(model: Model, nodes: Sequence[Mapping[str, Any]], given: Optional[Sequence[Optional[str]]]) -> List[str]:
    """The prefix of each node."""
    if isinstance(model, Sequential):
        if given is None and PREFIXES_KEY in model.metadata:
            given = json.loads(model.metadata[PREFIXES_KEY])
        if given is not None:
            if isinstance(given, str) or len(given) != len(nodes):
                raise argument_error(f"prefixes has {len(given)} entries, expected one for each of {len(nodes)} modules")
            return ["" if prefix is None else str(prefix) for prefix in given]
    elif given is not None:
        raise argument_error("prefixes are for a Sequential; other models have names of their own")
    return [node["name"] if not model._prefix else "" for node in nodes]
