"""Random models of Keras, written as files, compute what Keras' equations say, steps that a mask leaves out included."""

import random

import numpy as np
import pytest

import librnn
from helpers import assert_same_bits

pytest.importorskip("h5py")

from kerasfile import calls, functional, h5_file, keras_file, layer, sequential, tensor  # noqa: E402
from kerasmodel import join, run_layer  # noqa: E402

STEPS, ROWS = 7, 4
#: Functions of gates must be bounded, or a state may grow without limit.
GATES = ("sigmoid", "hard_sigmoid", "softsign", "tanh")
FUNCTIONS = (*GATES, "relu", "elu", "linear", "softplus")


class Maker:
    """Draws layers, with their arrays, and knows how many features come next."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.layers = []
        self.size = self.random.randint(1, 4)
        self.turned = False

    def array(self, *shape):
        return self.numbers.normal(0, 0.5, shape).astype(np.float32)

    def add(self, kind, arrays=(), **config):
        entry = layer(kind, f"{kind.lower()}_{len(self.layers)}", **config)
        self.layers.append((entry, list(arrays)))
        return entry

    def cell(self, sequences):
        """Class, configuration and arrays of a recurrent layer."""
        kind, units = self.random.choice(["SimpleRNN", "GRU", "LSTM"]), self.random.randint(1, 5)
        bias, after = self.random.random() < 0.8, self.random.random() < 0.5
        gates = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}[kind]
        # relu and linear as a candidate could grow exponentially; as the last function of an RNN with such small weights they do not.
        config = {"units": units, "use_bias": bias, "return_sequences": sequences, "activation": self.random.choice(FUNCTIONS)}
        if kind != "SimpleRNN":
            config["recurrent_activation"] = self.random.choice(GATES)
        if kind == "GRU":
            config["reset_after"] = after
        return kind, config, lambda: [
            self.array(self.size, gates * units),
            self.array(units, gates * units) * 0.5,
            *([self.array(*((2,) if kind == "GRU" and after else ()), gates * units)] if bias else []),
        ]

    def recurrent(self, sequences, masked, last):
        kind, config, arrays = self.cell(sequences)
        if self.random.random() < 0.4:
            merge, config = self.random.choice(["concat", "sum", "mul", "ave"]), {"name": "inner", **config}
            inner = {"layer": {"class_name": kind, "config": config}, "merge_mode": merge}
            if self.random.random() < 0.5:
                inner["backward_layer"] = {"class_name": kind, "config": {**config, "name": "other", "go_backwards": True}}
            self.add("Bidirectional", arrays() + arrays(), **inner)
            self.size = config["units"] * (2 if merge == "concat" else 1)
            return
        if self.random.random() < 0.25 and (last or not masked):
            # Keras does not turn the mask around for the layer after it: refused, and not drawn.
            config["go_backwards"] = True
        if masked and self.random.random() < 0.2:
            config["zero_output_for_mask"] = True
        self.add(kind, arrays(), **config)
        self.size = config["units"]

    def stepwise(self, sequences):
        choice = self.random.randint(0, 7)
        if choice == 0 or (choice == 1 and not sequences):
            self.dense()
        elif choice == 1:
            units = self.random.randint(1, 5)
            inner = {"class_name": "Dense", "config": {"name": "inner", "units": units, "activation": "tanh", "use_bias": True}}
            self.add("TimeDistributed", [self.array(self.size, units), self.array(units)], layer=inner)
            self.size = units
        elif choice == 2:
            rows = [self.array(self.size) for _ in range(3)] + [np.abs(self.array(self.size)) + 0.1]
            self.add("BatchNormalization", rows, epsilon=1e-3, axis=-1, center=True, scale=True)
        elif choice == 3 and self.size > 1:
            self.add("LayerNormalization", [self.array(self.size), self.array(self.size)], epsilon=1e-3, axis=-1, center=True, scale=True)
        elif choice == 4:
            self.add("Activation", activation=self.random.choice([*FUNCTIONS, "softmax"]))
        elif choice == 5:
            self.add("LeakyReLU", negative_slope=0.25)
        elif choice == 6:
            self.add("Dropout", rate=0.5)

    def dense(self, units=None):
        units, bias = units or self.random.randint(1, 5), self.random.random() < 0.7
        arrays = [self.array(self.size, units), *([self.array(units)] if bias else [])]
        self.add("Dense", arrays, units=units, use_bias=bias, activation=self.random.choice([*FUNCTIONS, "softmax"]))
        self.size = units


def draw(seed):
    """A configuration, the arrays of its layers, x, and what Keras computes of it."""
    maker = Maker(seed)
    chance = maker.random
    of_tokens, masked, sequences = chance.random() < 0.4, chance.random() < 0.5, chance.random() < 0.7
    present = np.ones((ROWS, STEPS), bool)
    if masked:
        # Padding on the right, on the left, holes; the last row has all its steps.
        present[0, 5:] = present[1, :2] = present[2, 3:5] = present[2, 6] = False
    if of_tokens:
        vocabulary = 9
        x = maker.numbers.integers(1, vocabulary, (ROWS, STEPS)) * present
        table = maker.array(vocabulary, maker.size)
        maker.add("Embedding", [table], input_dim=vocabulary, output_dim=maker.size, mask_zero=masked)
    else:
        value = chance.choice([0.0, -1.0])
        x = np.where(present[..., None], maker.array(ROWS, STEPS, maker.size), np.float32(value))
        if masked:
            maker.add("Masking", mask_value=value)
    shape = (None, STEPS) if of_tokens else (None, None, x.shape[-1])
    depth = chance.randint(1, 3)
    for index in range(depth):
        maker.recurrent(sequences or index < depth - 1, masked, index == depth - 1)
        maker.stepwise(sequences or index < depth - 1)
    value = (x if of_tokens else x.astype(np.float64), None)
    for entry, arrays in maker.layers:
        value = run_layer(entry, [array.astype(np.float64) for array in arrays], *value)
    if chance.random() < 0.5:
        return sequential([entry for entry, _ in maker.layers], shape), maker.layers, x, value[0]
    # The same as a functional model, with two branches at the end.
    entries = [
        calls(entry, tensor(maker.layers[index - 1][0]["config"]["name"] if index else "input"))
        for index, (entry, _) in enumerate(maker.layers)
    ]
    trunk, size = maker.layers[-1][0]["config"]["name"], maker.size
    branches = []
    for _ in range(2):
        maker.size = size
        maker.dense(3)
        entry, arrays = maker.layers[-1]
        entries.append(calls(entry, tensor(trunk)))
        branches.append((entry["config"]["name"], run_layer(entry, [array.astype(np.float64) for array in arrays], *value)))
    kind = chance.choice(["Add", "Multiply", "Average", "Concatenate"])
    last = layer(kind, "join", **({"axis": -1} if kind == "Concatenate" else {}))
    entries.append(calls(last, [tensor(name) for name, _ in branches]))
    return functional(entries, [("join", 0)], shape=shape), maker.layers, x, join(kind, [branch for _, branch in branches])[0]


@pytest.mark.parametrize("seed", range(60))
def test_a_random_model_computes_what_keras_equations_say(seed, tmp_path):
    config, layers, x, expected = draw(seed)
    weights = [(entry["class_name"], entry["config"]["name"], arrays) for entry, arrays in layers if arrays]
    models = [
        librnn.keras.load(keras_file(tmp_path / "model.keras", config, weights), dtype="float64"),
        librnn.keras.load(h5_file(tmp_path / "model.h5", config, weights, version="3.15.1"), dtype="float64"),
    ]
    outputs = [model.run(tokens=x) if isinstance(model, librnn.Network) and not model.input_size else model(x) for model in models]
    assert_same_bits(outputs[0][0], outputs[1][0])
    y = outputs[0][0]
    assert y.shape == expected.shape
    # All in float64; a product of a few dozen terms of size 1, through seven steps and three layers.
    assert np.abs(y - expected).max() <= 1e-11 * max(1.0, np.abs(expected).max())
