"""Keras' files: where the configuration stands, and which arrays belong to which layer of it.

.keras       zip of config.json, metadata.json (the version) and model.weights.h5, written by Keras 3 and by Keras 2.12 and later.
.h5          HDF5 with the configuration and the version in attributes, written by every Keras.
.weights.h5  either of the two kinds of weights alone; the configuration comes from elsewhere.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .._foreign import Archive, Json, first_bytes, parse_json, path_of, read_file
from ..errors import argument_error, format_error
from ._hdf5 import File, Group

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_LARGEST_WEIGHTS = 4 << 30


class KerasFile(NamedTuple):
    """A model as it was stored."""

    path: str
    config: Json
    #: The version that wrote it, such as "3.5.0"; None if the file does not tell.
    version: Optional[str]
    weights: "Weights"


class Weights:
    """The arrays of the layers of one model."""

    def layer(self, layer: Json, classes: Mapping[str, int]) -> "LayerWeights":
        """Those of a layer; `classes` counts the layers before it, by class."""
        raise NotImplementedError


class LayerWeights:
    """The arrays of one layer."""

    def arrays(self, part: str = "") -> List[np.ndarray]:
        """In Keras' order; `part` is "", "cell", "layer", "forward" or "backward"."""
        raise NotImplementedError

    def inner(self) -> Weights:
        """Those of a model that is a layer of this one."""
        raise NotImplementedError


def open_keras(path: Any, config: Any, version: Optional[str]) -> KerasFile:
    """Read the configuration and find the weights."""
    path = path_of(path, "path")
    start = first_bytes(path)
    if start[:4] == b"PK\3\4":
        stored, found, h5 = _open_zip(path)
        container: Optional[Group] = h5.root
    elif start[:8] == _HDF5_MAGIC:
        h5 = File(path, path)
        group = h5.root.group("model_weights") if "model_weights" in h5.root else h5.root
        stored, found = h5.root.text("model_config"), h5.root.text("keras_version") or group.text("keras_version")
        container = None if group.texts("layer_names") else group
    else:
        raise format_error(f"{path} is neither a zip archive nor an HDF5 file: no model of Keras")
    if config is not None:
        parsed = _given_config(config)
    elif stored is not None:
        parsed = Json(parse_json(stored, f"the configuration in {path}"), f"the configuration in {path}")
    else:
        raise argument_error(
            f"{path} holds weights only, not what they belong to: save the whole model, or give config=model.to_json()"
        )
    # Weights as Keras 3 and .keras files arrange them have groups named after classes; others a list of layer names.
    weights: Weights = _NamedWeights(group, path) if container is None else _OrderedWeights(container, path)
    return KerasFile(path, parsed, version if version is not None else found, weights)


def _open_zip(path: str) -> Tuple[str, Optional[str], File]:
    with Archive(path) as archive:
        if "config.json" not in archive.names:
            raise format_error(f"{path} is a zip archive, but no model of Keras: it has no config.json")
        text = archive.read("config.json")
        version = None
        if "metadata.json" in archive.names:
            metadata = Json(parse_json(archive.read("metadata.json"), f"metadata.json in {path}"), f"metadata.json in {path}")
            version = metadata.get("keras_version", str, None)
        data = archive.read("model.weights.h5", _LARGEST_WEIGHTS)
    return text.decode("utf-8", "replace"), version, File(data, f"model.weights.h5 in {path}")


def _given_config(config: Any) -> Json:
    """What the caller gave: a dictionary, JSON text, or the path of a file with it."""
    if isinstance(config, str) and config.lstrip().startswith("{"):
        config = parse_json(config, "config")
    elif not isinstance(config, Mapping):
        path = path_of(config, "config")
        config = parse_json(read_file(path, 12 << 20), path)
    return Json(dict(config), "config")


def layer_name(layer: Json) -> str:
    """The name that a layer has in its model."""
    name = layer.value.get("name") or layer.inner("config").get("name", str, "")
    if not isinstance(name, str):
        raise format_error(f"{layer.place}: the name is no string")
    return name


# --------------------------------------------------------------- groups named after classes, in order


class _OrderedWeights(Weights):
    """layers/CLASS, layers/CLASS_1, …: the folders count the layers of a class, whatever the layers' names are."""

    def __init__(self, group: Group, path: str) -> None:
        self._path = path
        place = next((name for name in ("layers", "_layer_checkpoint_dependencies") if name in group), None)
        # Without either no layer has weights; some need none.
        self._group = group if place is None else group.group(place)
        numbered: Dict[str, List[Tuple[int, str]]] = {}
        for name in self._group.names if place is not None else ():
            # Keras 2 counts some layers twice, so the numbers have gaps; their order counts.
            match = re.fullmatch(r"(.*?)(?:_(\d+))?", name)
            assert match is not None
            numbered.setdefault(match[1], []).append((int(match[2] or 0) if len(match[2] or "") < 9 else 0, name))
        self._folders = {base: [name for _, name in sorted(names)] for base, names in numbered.items()}

    def layer(self, layer: Json, classes: Mapping[str, int]) -> LayerWeights:
        kind = layer.get("class_name", str)
        base = _snake_case("Functional" if kind == "Model" else kind)
        folders = self._folders.get(base, [])
        index = classes.get(kind, 0)
        # A class whose own name ends in a number, such as a user's, would be ambiguous; none that is read here does.
        if index >= len(folders):
            return NoWeights(f"{self._path}: the weights of {layer_name(layer)!r} ({kind}) are missing")
        folder = self._group.group(folders[index])
        written = folder.group("vars").text("name") if folder.has("vars") else None
        name = layer_name(layer)
        if written is not None and written != name:
            raise format_error(
                f"{self._path}: the weights in {folder.path} say that they belong to {written!r}, but the layer there is {name!r}"
            )
        return _OrderedLayer(folder, self._path)


def _snake_case(name: str) -> str:
    """As Keras names its folders: GRU is gru, SimpleRNN simple_rnn, CuDNNLSTM cu_dnnlstm."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


_PLACES = {"": "vars", "cell": "cell/vars", "layer": "layer/vars"}


class _OrderedLayer(LayerWeights):
    def __init__(self, group: Group, path: str) -> None:
        self._group, self._path = group, path

    def arrays(self, part: str = "") -> List[np.ndarray]:
        place = _PLACES.get(part) or f"{part}_layer/cell/vars"
        if not self._group.has(place):
            # Layers of one implementation (CuDNN) have no cell of their own.
            place = place.replace("cell/", "")
            if not self._group.has(place):
                return []
        group = self._group.group(place)
        names = group.names
        if sorted(names) != sorted(str(index) for index in range(len(names))):
            raise format_error(f"{self._path}: {group.path} has the arrays {', '.join(sorted(names)[:10])}, expected 0, 1, …")
        return [group.array(str(index)) for index in range(len(names))]

    def inner(self) -> Weights:
        return _OrderedWeights(self._group, self._path)


class NoWeights(LayerWeights):
    """A layer without a folder. Layers without arrays need none."""

    def __init__(self, message: str) -> None:
        self._message = message

    def arrays(self, part: str = "") -> List[np.ndarray]:
        raise format_error(self._message)

    def inner(self) -> Weights:
        raise format_error(self._message)


# --------------------------------------------------------------------------- groups named after layers


class _NamedWeights(Weights):
    """model_weights/LAYER with an attribute that lists its arrays in order."""

    def __init__(self, group: Group, path: str) -> None:
        self._group, self._path = group, path
        self._names = group.texts("layer_names")

    def layer(self, layer: Json, classes: Mapping[str, int]) -> LayerWeights:
        name = layer_name(layer)
        if name not in self._names:
            return NoWeights(f"{self._path}: the weights of {name!r} ({layer.get('class_name', str)}) are missing")
        group = self._group.group(name)
        return _NamedLayer(group, group.texts("weight_names"), self._path)


class _NamedLayer(LayerWeights):
    def __init__(self, group: Group, names: Sequence[str], path: str) -> None:
        self._group, self._names, self._path = group, list(names), path

    def arrays(self, part: str = "") -> List[np.ndarray]:
        names = self._names
        if part in ("forward", "backward"):
            if len(names) % 2:
                raise format_error(f"{self._path}: {self._group.path} has {len(names)} arrays for two directions")
            half = len(names) // 2
            names = names[:half] if part == "forward" else names[half:]
        return [self._group.array(name) for name in names]

    def inner(self) -> Weights:
        return _NestedWeights(self)


class _NestedWeights(Weights):
    """The layers of a model in a model: all arrays in one list, with the layer's name in theirs."""

    def __init__(self, outer: _NamedLayer) -> None:
        self._outer = outer

    def layer(self, layer: Json, classes: Mapping[str, int]) -> LayerWeights:
        outer, name = self._outer, layer_name(layer)
        names = [each for each in outer._names if name in each.split("/")[:-1]]
        return _NamedLayer(outer._group, names, outer._path)
