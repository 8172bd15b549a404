"""librnn through its Python package: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

from typing import Any, Dict, List

import numpy as np

from ..configurations import Configuration
from ..reference import suffix
from .base import Adapter, Data, copied


class LibRNN(Adapter):
    """A step is step(x): x is copied in, the result out."""

    @staticmethod
    def variables(threads: int) -> Dict[str, str]:
        return {"RNN_NUM_THREADS": str(threads)}

    def setup(self, threads: int) -> str:
        import librnn

        self.library, self.threads = librnn, threads
        librnn.set_num_threads(threads)
        return f"{librnn.__version__}, kernels {librnn.kernels()}"

    def layer(self, c: Configuration, data: Data) -> Any:
        kind, options = {
            "lstm": ("LSTM", {}),
            "gru": ("GRU", {"variant": "reset_after"}),
            "gru-before": ("GRU", {"variant": "reset_before"}),
            "rnn": ("RNN", {"nonlinearity": "tanh"}),
        }[c.cell]
        layer = getattr(self.library, kind)(c.I, c.H, c.L, bidirectional=c.D == 2, **options)
        state = {}
        for index in range(c.L):
            for direction in range(c.D):
                end = suffix(index, direction)
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    state[name + end] = data[name + end]
                if c.cell == "gru-before":  # one bias, and that of the recurrent product is zero
                    state["bias" + end] = state.pop("bias_ih" + end)
                    del state["bias_hh" + end]
        layer.load_state_dict(state)
        return layer

    def build(self, c: Configuration, data: Data) -> None:
        self._c = c
        self._layer = layer = self.layer(c, data)
        x, dy = np.ascontiguousarray(data["x"]), np.ascontiguousarray(data["dy"])
        if c.kind == "step":
            self._stream = self.stream(layer, c)
            step, row = self._stream.step, x[0]

            def run() -> None:
                self._y = step(row)

        elif c.kind == "sequence":

            def run() -> None:
                self._y = layer(x)[0]

        else:

            def run() -> None:
                self._y, _, tape = layer.forward_train(x)
                # As PyTorch, JAX and TensorFlow here: of the parameters, not of x. (oneDNN's primitive always computes both.)
                self._gradients = layer.backward(tape, dy, input_gradient=False).parameters

        self.run = run

    def stream(self, layer: Any, c: Configuration) -> Any:
        """With all threads; librnn uses them where that helps."""
        stored = {"weight_storage": "bfloat16"} if c.weights == "bf16" else {}
        return layer.stream(batch=1, num_threads=self.threads, **stored)

    def state(self) -> List[np.ndarray]:
        states = self._stream.state
        return [copied(a).reshape(1, -1) for a in (states if isinstance(states, tuple) else (states,))]

    def outputs(self) -> Dict[str, np.ndarray]:
        found = {"y": copied(self._y)}
        if self._c.kind == "training":
            for name, gradient in self._gradients.items():
                if name.startswith("bias_l"):
                    name = "bias_ih" + name[len("bias") :]
                found[name] = copied(gradient)
        return found


class LibRNNBound(LibRNN):
    """A step on the stream's own arrays, step(): the twin of ONNX Runtime's and oneDNN's bound memory."""

    kinds = ("step",)

    def build(self, c: Configuration, data: Data) -> None:
        super().build(c, data)
        self._stream.input[...] = data["x"][0]
        self.run = self._stream.step
