#!/usr/bin/env python3
"""Writes Tests/Vectors/keras: models that Keras saved, and what Keras computes with them.

    KERAS_BACKEND=torch python make_keras.py       # with Keras 3 and PyTorch: keras3_*
    python make_keras.py                           # with TensorFlow 2.15, whose Keras is 2: keras2_*

The committed files were written with Keras 3.15.1 on PyTorch 2.13.0 and with TensorFlow 2.15.1. Weights and inputs are drawn here,
in float64, so that a comparison is one of rounding errors. NAME.npz has x and y, and for some models further inputs and outputs.
All .keras files but "classifier" are packed again, with compression, to be small.
"""

import os
import sys
import zipfile
from pathlib import Path

import numpy as np

try:
    import keras
except ImportError:
    from tensorflow import keras

FOLDER = Path(__file__).resolve().parent / "keras"
L = keras.layers
MAJOR = int(keras.__version__.split(".")[0])


def draw(model, seed):
    """Weights that leave no gate, bias or statistic at a trivial value."""
    generator = np.random.default_rng(seed)
    values = []
    for weight in model.get_weights():
        values.append(generator.normal(0, 0.6, weight.shape))
    model.set_weights(values)
    for layer in flat(model):
        if isinstance(layer, L.BatchNormalization):
            weights = layer.get_weights()
            weights[-1] = np.abs(weights[-1]) + 0.1
            layer.set_weights(weights)
    return model


def flat(model):
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from flat(layer)
        else:
            yield layer


def features(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def masked(seed, value):
    """Padding on the right, on the left, holes, and a row without any step."""
    x = features(seed, 5, 6, 3)
    for row, steps in enumerate(([4, 5], [0, 1], [2, 3], [], range(6))):
        x[row, list(steps)] = value
    return x


def tokens(seed):
    ids = np.random.default_rng(seed).integers(1, 9, (5, 6))
    for row, steps in enumerate(([4, 5], [0, 1], [2, 3], [], range(6))):
        ids[row, list(steps)] = 0
    return ids


def sequential(*layers, shape=(None, 3)):
    return keras.Sequential([keras.Input(shape), *layers])


def cases():
    """Name, model, inputs, formats."""
    yield "classifier", sequential(
        L.Embedding(9, 4, mask_zero=True),
        L.Bidirectional(L.LSTM(3, return_sequences=True)),
        L.Dropout(0.25),
        L.GRU(4),
        L.Dense(3, activation="softmax"),
        shape=(6,),
    ), [tokens(1)], (".keras", ".h5")

    # Names that say nothing, or the wrong thing, about classes and order.
    yield "names", sequential(
        L.LSTM(3, return_sequences=True, name="lstm_7"),
        L.GRU(4, return_sequences=True, name="lstm"),
        L.LSTM(2, return_sequences=True, name="dense"),
        L.Dense(3, activation="tanh", name="lstm_1"),
        L.Dense(2, name="a-b"),
    ), [features(2, 4, 5, 3)], (".keras", ".h5")

    yield "hard", sequential(
        L.LSTM(3, recurrent_activation="hard_sigmoid", return_sequences=True),
        L.GRU(3, recurrent_activation="hard_sigmoid", activation="softsign", reset_after=False, return_sequences=True),
        L.SimpleRNN(3, activation="elu", use_bias=False, return_sequences=True),
        L.Dense(2, activation="hard_sigmoid"),
    ), [features(3, 4, 5, 3)], (".keras", ".h5")

    x = keras.Input((6, 3))
    y = L.Masking(-1.0)(x)
    y = L.Dense(4, activation="relu")(y)
    y = L.GRU(4, return_sequences=True, name="kept")(y)
    y = L.TimeDistributed(L.Dense(3))(y)
    y = L.LayerNormalization()(y)
    yield "masking", keras.Model(x, y), [masked(4, -1.0)], (".keras", ".h5")

    for merge in ("concat", "sum", "mul", "ave"):
        for sequences in (True, False):
            yield f"both_{merge}_{'all' if sequences else 'last'}", sequential(
                L.Masking(), L.Bidirectional(L.GRU(3, return_sequences=sequences), merge_mode=merge), L.Dense(2)
            ), [masked(5, 0.0)], (".keras",)

    x = keras.Input((6, 3))
    forward, backward = L.Bidirectional(L.SimpleRNN(3, return_sequences=True), merge_mode=None)(x)
    y = L.Concatenate()([L.Multiply()([forward, backward]), L.Average()([forward, x]), x])
    yield "graph", keras.Model(x, L.Add()([y, L.Dense(9)(y)])), [features(6, 4, 6, 3)], (".keras", ".h5")

    yield "backwards", sequential(
        L.LSTM(3, go_backwards=True, return_sequences=True),
        L.GRU(4, return_sequences=True),
        L.BatchNormalization(),
        L.LSTM(3, go_backwards=True, return_sequences=True),
        L.GRU(2, go_backwards=True, return_sequences=True),
        L.Dense(2, activation="sigmoid"),
    ), [features(7, 4, 5, 3)], (".keras", ".h5")

    yield "backwards_masked", sequential(
        L.Masking(), L.GRU(3, go_backwards=True, return_sequences=True), L.Dense(2)
    ), [masked(8, 0.0)], (".keras",)

    yield "backwards_last", sequential(L.Masking(), L.LSTM(3, go_backwards=True), L.Dense(2)), [masked(9, 0.0)], (".keras",)

    x, h, c = keras.Input((5, 3)), keras.Input((4,)), keras.Input((4,))
    outputs = L.LSTM(4, return_sequences=True, return_state=True)(x, initial_state=[h, c])
    yield "states", keras.Model([x, h, c], outputs), [features(10 + i, 4, *s) for i, s in enumerate([(5, 3), (4,), (4,)])], (".keras", ".h5")

    inner = keras.Sequential(
        [keras.Input((5, 4)), L.GRU(4, return_sequences=True), L.BatchNormalization(), L.Dense(3)], name="inner"
    )
    x = keras.Input((5, 3))
    yield "nested", keras.Model(x, L.LSTM(3)(inner(L.Dense(4)(x)))), [features(13, 4, 5, 3)], (".keras", ".h5")

    # Joins under a mask: Keras 3 writes how it makes the mask of a concatenation into the graph.
    x = keras.Input((6, 3))
    y = L.Masking()(x)
    y = L.Concatenate()([L.GRU(3, return_sequences=True)(y), L.SimpleRNN(2, return_sequences=True)(y)])
    z = L.LSTM(5, return_sequences=True)(y)
    y = L.Add()([y, z])
    y = L.Concatenate()([L.GRU(2, return_sequences=True)(y), z])
    yield "joined", keras.Model(x, L.TimeDistributed(L.Dense(2))(y)), [masked(16, 0.0)], (".keras", ".h5")

    yield "cells", sequential(
        L.RNN(L.LSTMCell(4, activation="softsign"), return_sequences=True),
        L.RNN(L.GRUCell(3, reset_after=False), return_sequences=True, go_backwards=True),
        L.Bidirectional(L.RNN(L.SimpleRNNCell(2)), merge_mode="sum"),
    ), [features(17, 4, 5, 3)], (".keras", ".h5")

    if MAJOR < 3:
        # The layers that ran on Nvidia's cuDNN. They do not run here; Keras itself converts their weights for the layers that do.
        from tensorflow.compat.v1.keras.layers import CuDNNGRU, CuDNNLSTM

        kept = keras.Sequential([CuDNNLSTM(3, return_sequences=True, input_shape=(5, 3)), CuDNNGRU(4, return_sequences=True)])
        draw(kept, 14)
        kept.save(FOLDER / "keras2_cudnn.h5")
        runs = keras.Sequential(
            [L.LSTM(3, return_sequences=True, input_shape=(5, 3)), L.GRU(4, return_sequences=True, reset_after=True)]
        )
        runs.load_weights(FOLDER / "keras2_cudnn.h5")
        x = features(15, 4, 5, 3)
        np.savez(FOLDER / "keras2_cudnn.npz", x=x, y=np.asarray(runs(x)))


def main():
    keras.backend.set_floatx("float64")
    FOLDER.mkdir(exist_ok=True)
    only = sys.argv[1:]
    for index, (name, model, inputs, formats) in enumerate(cases()):
        if only and name not in only:
            continue
        draw(model, 100 + index)
        outputs = model(inputs if len(inputs) > 1 else inputs[0])
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        arrays = {("x" if i == 0 else f"x{i}"): value for i, value in enumerate(inputs)}
        arrays.update({("y" if i == 0 else f"y{i}"): to_numpy(value) for i, value in enumerate(outputs)})
        path = FOLDER / f"keras{MAJOR}_{name}"
        for suffix in formats:
            model.save(str(path) + suffix)
            if suffix == ".keras" and name != "classifier":
                pack(Path(str(path) + suffix))
        np.savez(str(path) + ".npz", **arrays)
        print(path.name, {key: value.shape for key, value in arrays.items()})


def pack(path):
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def to_numpy(value):
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
