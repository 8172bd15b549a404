"""Files as Keras writes them, from configurations and arrays."""

import io
import json
import zipfile

import h5py
import numpy as np

#: Of classes whose folder is not their name in small letters.
FOLDERS = {
    "SimpleRNN": "simple_rnn", "TimeDistributed": "time_distributed", "BatchNormalization": "batch_normalization",
    "LayerNormalization": "layer_normalization",
}  # fmt: skip
CELLS = ("GRU", "LSTM", "SimpleRNN")


def layer(kind, name, **config):
    """The entry of a layer."""
    return {"module": "keras.layers", "class_name": kind, "config": {"name": name, **config}, "registered_name": None}


def lstm(name="lstm", units=3, **config):
    return layer("LSTM", name, **{"units": units, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True,
                                  "return_sequences": True, **config})  # fmt: skip


def gru(name="gru", units=3, **config):
    return layer("GRU", name, **{"units": units, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True,
                                 "return_sequences": True, "reset_after": True, **config})  # fmt: skip


def dense(name="dense", units=2, **config):
    return layer("Dense", name, **{"units": units, "activation": "linear", "use_bias": True, **config})


def sequential(layers, shape=(None, None, 4)):
    entry = [] if shape is None else [layer("InputLayer", "input", batch_shape=list(shape))]
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "model", "layers": entry + list(layers)}}


def tensor(name, index=0):
    return {"class_name": "__keras_tensor__", "config": {"shape": [None, None, 4], "dtype": "float32", "keras_history": [name, 0, index]}}


def calls(entry, *arguments, **keywords):
    """A layer in a functional model."""
    return {**entry, "name": entry["config"]["name"], "inbound_nodes": [{"args": list(arguments), "kwargs": keywords}]}


def functional(layers, outputs, inputs=("input",), shape=(None, None, 4)):
    entries = [{**layer("InputLayer", name, batch_shape=list(shape)), "name": name, "inbound_nodes": []} for name in inputs]
    return {
        "class_name": "Functional",
        "config": {
            "name": "model", "layers": entries + list(layers), "input_layers": [[name, 0, 0] for name in inputs],
            "output_layers": [[name, 0, index] for name, index in outputs],
        },
    }  # fmt: skip


def arrays(kind, inputs, units=3, seed=0, variant="after", bias=True):
    """Random arrays of a layer."""
    generator = np.random.default_rng(seed)
    gates = {"GRU": 3, "LSTM": 4, "SimpleRNN": 1}.get(kind, 1)
    shapes = [(inputs, gates * units)] + ([(units, gates * units)] if kind in CELLS else [])
    if bias:
        shapes.append((2, gates * units) if kind == "GRU" and variant == "after" else (gates * units,))
    return [generator.standard_normal(shape).astype(np.float32) * 0.5 for shape in shapes]


def parts(kind, values):
    """The arrays of the layers in a layer: of both directions of a Bidirectional, else of one."""
    half = len(values) // 2
    return (values[:half], values[half:]) if kind == "Bidirectional" else (values,)


def weights_file(layers, attribute=True, **dataset):
    """model.weights.h5: layers are (kind, name, arrays)."""
    buffer = io.BytesIO()
    counts = {}
    with h5py.File(buffer, "w") as file:
        root = file.create_group("layers")
        for kind, name, values in layers:
            folder = FOLDERS.get(kind, kind.lower())
            number = counts[folder] = counts.get(folder, -1) + 1
            group = root.create_group(folder + (f"_{number}" if number else ""))
            own = group.create_group("vars")
            if attribute:
                own.attrs["name"] = name
            places = {"Bidirectional": ("forward_layer/cell/vars", "backward_layer/cell/vars"), "TimeDistributed": ("layer/vars",)}
            for place, part in zip(places.get(kind, ["cell/vars" if kind in CELLS else "vars"]), parts(kind, values)):
                inner = own if place == "vars" else group.create_group(place)
                for index, value in enumerate(part):
                    inner.create_dataset(str(index), data=value, **dataset)
    return buffer.getvalue()


def keras_file(path, config, layers, version="3.15.1", compression=zipfile.ZIP_STORED, **keywords):
    """A .keras file; `layers` are (kind, name, arrays), or the bytes of model.weights.h5."""
    weights = layers if isinstance(layers, bytes) else weights_file(layers, **keywords)
    with zipfile.ZipFile(path, "w", compression) as archive:
        if version is not None:
            archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        archive.writestr("model.weights.h5", weights)
    return path


def h5_file(path, config, layers, version="2.15.0", **dataset):
    """An .h5 file; `layers` are (kind, name, arrays), of a Bidirectional those of both directions."""
    with h5py.File(path, "w") as file:
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        if version is not None:
            file.attrs["keras_version"] = version
        root = file.create_group("model_weights") if config is not None else file
        root.attrs["layer_names"] = np.array([name.encode() for _, name, _ in layers])
        for kind, name, values in layers:
            group = root.create_group(name)
            paths = [f"{name}/{kind.lower()}_cell/{part}:0" for part in ("kernel", "recurrent_kernel", "bias")[: len(values)]]
            if kind not in CELLS or len(paths) < len(values):
                paths = [f"{name}/{index}:0" for index in range(len(values))]
            if kind in CELLS and len(values) == 2:
                paths = paths[:2]
            group.attrs["weight_names"] = np.array([each.encode() for each in paths])
            for each, value in zip(paths, values):
                group.create_dataset(each, data=value, **dataset)
    return path
