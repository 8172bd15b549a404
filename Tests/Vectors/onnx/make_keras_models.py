"""Makes keras2_*.onnx, keras3_*.onnx and their .npz: `python make_keras_models.py [NAME ...]` with tensorflow-cpu, tf_keras and tf2onnx.

Small models of Keras 2 (tf_keras) and Keras 3, converted by tf2onnx 1.17. It makes a Loop of SimpleRNN, of GRU with reset_after=False, of
every GRU of Keras 3, and of LSTMs with other activations. The .npz holds x and y.
"""

import importlib
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf2onnx  # noqa: E402

tf_keras = importlib.import_module("tf_keras")

HERE = Path(__file__).resolve().parent
N, T, I, H = 3, 7, 5, 6


def cases(k):
    L = k.layers
    features, tokens = k.Input((T, I)), k.Input((T,), dtype="int32")
    yield "lstm", [features, L.LSTM(H, return_sequences=True)]
    yield "lstm_classifier", [features, L.LSTM(H), L.Dense(3, activation="softmax")]
    yield "lstm_backwards", [features, L.LSTM(H, return_sequences=True, go_backwards=True)]
    if k is tf_keras:
        yield "gru", [features, L.GRU(H, return_sequences=True)]
        yield "both_directions", [
            features, L.Bidirectional(L.LSTM(H, return_sequences=True)), L.TimeDistributed(L.Dense(4, activation="relu")),
        ]  # fmt: skip
        yield "tokens", [tokens, L.Embedding(11, I), L.Bidirectional(L.GRU(H)), L.Dense(1, activation="sigmoid")]
        yield "loop", [features, L.SimpleRNN(H, return_sequences=True)]
        yield "simple_rnn_both_directions", [features, L.Bidirectional(L.SimpleRNN(H, return_sequences=True)), L.Dense(2)]
        yield "simple_rnn_classifier", [features, L.SimpleRNN(H, activation="elu"), L.Dense(2)]
        yield "gru_reset_before", [features, L.GRU(H, return_sequences=True, reset_after=False)]
        yield "gru_without_bias", [features, L.GRU(H, return_sequences=True, use_bias=False)]
        yield "normalized", [features, L.LSTM(H, return_sequences=True), L.LayerNormalization(), L.Dense(3)]
    else:
        yield "simple_rnn_backwards", [features, L.SimpleRNN(H, return_sequences=True, go_backwards=True)]
        yield "gru_twice", [features, L.GRU(H, return_sequences=True), L.GRU(4), L.Dense(3)]
        yield "gru_of_seven_steps", [features, L.GRU(H, return_sequences=True)]
        yield "gru_both_directions", [features, L.Bidirectional(L.GRU(H, return_sequences=True)), L.Dense(2)]
        yield "gru_reset_before", [tokens, L.Embedding(11, I), L.GRU(H, return_sequences=True, reset_after=False)]
        yield "lstm_hard_sigmoid", [features, L.LSTM(H, return_sequences=True, recurrent_activation="hard_sigmoid")]
        yield "normalized", [features, L.LSTM(H, return_sequences=True), L.LayerNormalization(), L.BatchNormalization(), L.Dense(3)]
        yield "tokens", [tokens, L.Embedding(11, I), L.LSTM(H, return_sequences=True), L.Dense(4, activation="tanh")]


def main():
    for version, k in (("keras2", tf_keras), ("keras3", keras)):
        k.utils.set_random_seed(0)
        for name, layers in cases(k):
            if sys.argv[1:] and f"{version}_{name}" not in sys.argv[1:]:
                continue
            model = k.Sequential(layers)
            if name == "normalized" or "rnn" in name or "gru_" in name or "lstm_hard" in name:  # away from ones and zeros
                model.set_weights([w + np.random.default_rng(i).uniform(0.1, 0.5, w.shape) for i, w in enumerate(model.get_weights())])
            source = model.inputs[0]
            generator = np.random.default_rng(1)
            x = generator.standard_normal((N, T, I)).astype("float32") if len(source.shape) == 3 else (
                generator.integers(0, 11, (N, T)).astype("int32")
            )
            shape = (None, T if "steps" in name else None) + tuple(source.shape[2:])
            tf2onnx.convert.from_function(
                tf.function(lambda x, model=model: model(x, training=False)),
                input_signature=[tf.TensorSpec(shape, source.dtype, name="x")], opset=15,
                output_path=str(HERE / f"{version}_{name}.onnx"),
            )  # fmt: skip
            np.savez_compressed(HERE / f"{version}_{name}.npz", x=x, y=model(x).numpy())


if __name__ == "__main__":
    main()
