"""TensorFlow: Keras' layers in a tf.function, with and without XLA; its fused LSTM kernel; LiteRT on a converted model."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

import numpy as np

from ..configurations import Configuration
from ..reference import suffix
from .base import STATES, Adapter, Data, copied, directions, reorder, restore

#: Keras: i, f, c, o and z, r, h.
ORDER = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2), "gru-before": (1, 0, 2), "rnn": (0,)}


def keras_weights(cell: str, s: Dict[str, np.ndarray]) -> List[np.ndarray]:
    order = ORDER[cell]
    w, r = (np.ascontiguousarray(reorder(s[name], order).T) for name in ("weight_ih", "weight_hh"))
    biases = [reorder(s[name], order) for name in ("bias_ih", "bias_hh")]
    return [w, r, np.stack(biases) if cell == "gru" else biases[0] + biases[1]]


class Keras(Adapter):
    """keras.layers.LSTM, GRU, SimpleRNN, batch-major as Keras wants it; a step is the cell."""

    environment = "tensorflow"
    xla = False

    @staticmethod
    def variables(threads: int) -> Dict[str, str]:
        return {
            "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow",
            "TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(threads),
        }  # fmt: skip

    def setup(self, threads: int) -> str:
        import keras
        import tensorflow

        self.tf, self.keras, self.threads = tensorflow, keras, threads
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
        return f"{keras.__version__} on TensorFlow {tensorflow.__version__}"

    def options(self, c: Configuration) -> Dict[str, Any]:
        return {"reset_after": c.cell == "gru"} if c.cell.startswith("gru") else {}

    def function(self, c: Configuration, data: Data) -> Any:
        """The tf.function of a step or a sequence; sets x, and the state of a step."""
        tf, layers = self.tf, self.keras.layers
        self._c = c
        compiled = True if self.xla else None
        if c.kind == "step":
            kind = {"lstm": layers.LSTMCell, "rnn": layers.SimpleRNNCell}.get(c.cell, layers.GRUCell)
            cell = kind(c.H, **self.options(c))
            cell.build((1, c.I))
            cell.set_weights(keras_weights(c.cell, directions(c, data, 0)[0]))
            self._x = tf.constant(data["x"][0])
            self._state = [tf.zeros((1, c.H)) for _ in STATES[c.cell]]
            if c.cell == "lstm":
                return tf.function(lambda x, h, c: cell(x, [h, c])[1], jit_compile=compiled)
            return tf.function(lambda x, h: cell(x, [h])[1], jit_compile=compiled)
        kind = {"lstm": layers.LSTM, "rnn": layers.SimpleRNN}.get(c.cell, layers.GRU)
        given = self.keras.Input(batch_shape=(c.N, c.T, c.I))
        y, stack = given, []
        for _ in range(c.L):
            layer = kind(c.H, return_sequences=True, **self.options(c))
            if c.D == 2:
                layer = layers.Bidirectional(layer, merge_mode="concat")
            y = layer(y)
            stack.append(layer)
        self._model = model = self.keras.Model(given, y)
        for index, layer in enumerate(stack):
            layer.set_weights([a for s in directions(c, data, index) for a in keras_weights(c.cell, s)])
        self._x = tf.constant(np.ascontiguousarray(data["x"].swapaxes(0, 1)))
        self._dy = tf.constant(np.ascontiguousarray(data["dy"].swapaxes(0, 1)))
        self._variables = [variable.value for variable in model.trainable_variables]
        if c.kind == "sequence":
            return tf.function(lambda x: model(x, training=False), jit_compile=compiled)

        def training(x: Any, dy: Any) -> Any:
            with tf.GradientTape() as tape:
                y = model(x, training=True)
            return y, tape.gradient(y, self._variables, output_gradients=dy)

        return tf.function(training, jit_compile=compiled)

    def build(self, c: Configuration, data: Data) -> None:
        function = self.function(c, data)
        x = self._x
        if c.kind == "step":

            def run() -> None:
                self._state = function(x, *self._state)

        elif c.kind == "sequence":

            def run() -> None:
                self._y = function(x)

        else:
            dy = self._dy

            def run() -> None:
                self._y, self._gradients = function(x, dy)

        self.run = run

    def state(self) -> List[np.ndarray]:
        return [copied(a.numpy()) for a in self._state]

    def outputs(self) -> Dict[str, np.ndarray]:
        c, found = self._c, {"y": copied(self._y.numpy().swapaxes(0, 1))}
        if c.kind == "training":
            order = ORDER[c.cell]
            for index in range(c.L * c.D):
                w, r, b = (g.numpy() for g in self._gradients[3 * index : 3 * index + 3])
                end = suffix(index // c.D, index % c.D)
                found["weight_ih" + end] = restore(copied(w.T), order)
                found["weight_hh" + end] = restore(copied(r.T), order)
                found["bias_ih" + end] = restore(copied(b[0] if b.ndim == 2 else b), order)
        return found


class KerasXLA(Keras):
    """The same with jit_compile=True."""

    xla = True


class BlockLSTM(Keras):
    """tf.raw_ops.BlockLSTMV2, TensorFlow's fused LSTM kernel. Not for training: its gradients were wrong in a comparison."""

    kinds = ("step", "sequence")
    cells = ("lstm",)

    def function(self, c: Configuration, data: Data) -> Any:
        tf = self.tf
        self._c = c
        stacks = [
            [
                (tf.constant(np.concatenate([s["weight_ih"].T, s["weight_hh"].T])), tf.constant(s["bias_ih"] + s["bias_hh"]))
                for s in directions(c, data, layer)
            ]
            for layer in range(c.L)
        ]
        peephole, zeros = tf.zeros((c.H,)), tf.zeros((c.N, c.H))

        def block(x: Any, w: Any, b: Any, h: Any, state: Any) -> Any:
            return tf.raw_ops.BlockLSTMV2(
                seq_len_max=tf.constant(c.T, tf.int64), x=x, cs_prev=state, h_prev=h, w=w, wci=peephole, wcf=peephole,
                wco=peephole, b=b, cell_clip=0.0, use_peephole=False,
            )  # fmt: skip

        self._x = tf.constant(data["x"])
        if c.kind == "step":
            (w, b) = stacks[0][0]
            self._state = [zeros, tf.zeros((c.N, c.H))]

            def step(x: Any, h: Any, state: Any) -> Any:
                result = block(x, w, b, h, state)
                return result.h[0], result.cs[0]

            return tf.function(step)

        def sequence(x: Any) -> Any:
            for weights in stacks:
                outputs = []
                for d, (w, b) in enumerate(weights):
                    y = block(tf.reverse(x, [0]) if d else x, w, b, zeros, zeros).h
                    outputs.append(tf.reverse(y, [0]) if d else y)
                x = tf.concat(outputs, 2) if c.D == 2 else outputs[0]
            return x

        return tf.function(sequence)

    def outputs(self) -> Dict[str, np.ndarray]:
        return {"y": copied(self._y.numpy())}


class LiteRT(Keras):
    """ai-edge-litert's interpreter (XNNPACK) on what TensorFlow converts the Keras model to."""

    kinds = ("step", "sequence")

    def setup(self, threads: int) -> str:
        super().setup(threads)
        from importlib.metadata import version

        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter
        return version("ai-edge-litert")

    def build(self, c: Configuration, data: Data) -> None:
        function = self.function(c, data)
        tf, names = self.tf, STATES[c.cell]
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        given = [tf.TensorSpec(self._x.shape, tf.float32, name="x")]
        if c.kind == "step":
            given += [tf.TensorSpec((1, c.H), tf.float32, name=name) for name in names]
        frozen = convert_variables_to_constants_v2(function.get_concrete_function(*given), lower_control_flow=False)
        content = tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
        self._interpreter = run_it = self.interpreter(model_content=content, num_threads=self.threads)
        run_it.allocate_tensors()
        inputs = self.indices(run_it.get_input_details(), ("x", *names) if c.kind == "step" else ("x",))
        # Outputs have names of the converter's, numbered in their order.
        self._outputs = outputs = [d["index"] for d in sorted(run_it.get_output_details(), key=lambda d: d["name"])]
        run_it.set_tensor(inputs[0], self._x.numpy())
        invoke, set_tensor, get_tensor = run_it.invoke, run_it.set_tensor, run_it.get_tensor
        if c.kind == "sequence":
            self.run = invoke
            return
        for index in inputs[1:]:
            set_tensor(index, np.zeros((1, c.H), np.float32))
        self._inputs = inputs
        pairs = list(zip(inputs[1:], outputs))

        def run() -> None:
            invoke()
            for target, source in pairs:
                set_tensor(target, get_tensor(source))

        self.run = run

    @staticmethod
    def indices(details: Sequence[Dict[str, Any]], names: Sequence[str]) -> List[int]:
        """The tensors whose names end in these (the converter puts "serving_default_" before and ":0" behind)."""
        found = {detail["name"].split(":")[0].rsplit("_", 1)[-1]: detail["index"] for detail in details}
        return [found[name] for name in names]

    def state(self) -> List[np.ndarray]:
        return [copied(self._interpreter.get_tensor(index)) for index in self._inputs[1:]]

    def outputs(self) -> Dict[str, np.ndarray]:
        return {"y": copied(self._interpreter.get_tensor(self._outputs[0]).swapaxes(0, 1))}
