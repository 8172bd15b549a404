"""One ONNX model of the work, and the three that run it: ONNX Runtime, OpenVINO, tract."""

from __future__ import annotations

import os
import tempfile
from typing import Any, Dict, List, Optional

import numpy as np

from ..configurations import Configuration
from .base import STATES, Adapter, Data, copied, directions, reorder

#: ONNX: i, o, f, c and z, r, h.
ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "gru-before": (1, 0, 2), "rnn": (0,)}


def model(c: Configuration, data: Data) -> bytes:
    """sequence: x -> y [T, N, D*H]. step: x, h_in (c_in) -> h_out (c_out)."""
    from onnx import TensorProto, helper, numpy_helper

    order, names = ORDER[c.cell], STATES[c.cell]
    nodes: List[Any] = []
    constants: List[Any] = []
    current = "x"
    for layer in range(c.L):
        sets = directions(c, data, layer)
        arrays = {
            "W": np.stack([reorder(s["weight_ih"], order) for s in sets]),
            "R": np.stack([reorder(s["weight_hh"], order) for s in sets]),
            "B": np.stack([np.concatenate([reorder(s["bias_ih"], order), reorder(s["bias_hh"], order)]) for s in sets]),
        }
        constants += [numpy_helper.from_array(array, f"{name}{layer}") for name, array in arrays.items()]
        attributes: Dict[str, Any] = {"hidden_size": c.H, "direction": "bidirectional" if c.D == 2 else "forward"}
        if c.cell.startswith("gru"):
            attributes["linear_before_reset"] = int(c.cell == "gru")
        inputs = [current, f"W{layer}", f"R{layer}", f"B{layer}"]
        operator = {"lstm": "LSTM", "gru": "GRU", "gru-before": "GRU", "rnn": "RNN"}[c.cell]
        if c.kind == "step":
            inputs += ["", *(f"{name}_in" for name in names)]
            nodes.append(helper.make_node(operator, inputs, ["", *(f"{name}_out" for name in names)], **attributes))
            continue
        nodes.append(helper.make_node(operator, inputs, [f"raw{layer}"], **attributes))  # [T, D, N, H]
        current = "y" if layer == c.L - 1 else f"y{layer}"
        nodes.append(helper.make_node("Transpose", [f"raw{layer}"], [f"turned{layer}"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", [f"turned{layer}", "shape"], [current]))
    f32 = TensorProto.FLOAT
    x = helper.make_tensor_value_info("x", f32, [c.T, c.N, c.I])
    if c.kind == "step":
        ends = [[helper.make_tensor_value_info(f"{n}_{side}", f32, [1, 1, c.H]) for n in names] for side in ("in", "out")]
        graph = helper.make_graph(nodes, "step", [x, *ends[0]], ends[1], constants)
    else:
        constants.append(numpy_helper.from_array(np.array([c.T, c.N, c.D * c.H], np.int64), "shape"))
        y = helper.make_tensor_value_info("y", f32, [c.T, c.N, c.D * c.H])
        graph = helper.make_graph(nodes, "sequence", [x], [y], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


class ONNXRuntime(Adapter):
    """Inputs and outputs bound beforehand; a step alternates between two bindings of the state."""

    kinds = ("step", "sequence")

    def setup(self, threads: int) -> str:
        import onnxruntime

        self.runtime, self.threads = onnxruntime, threads
        return str(onnxruntime.__version__)

    def build(self, c: Configuration, data: Data) -> None:
        self._c = c
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        session = self.runtime.InferenceSession(model(c, data), options, providers=["CPUExecutionProvider"])
        value = self.runtime.OrtValue.ortvalue_from_numpy
        x = value(np.ascontiguousarray(data["x"]))
        run_bound = session.run_with_iobinding
        if c.kind == "sequence":
            self._y = value(np.zeros((c.T, c.N, c.D * c.H), np.float32))
            binding = session.io_binding()
            binding.bind_ortvalue_input("x", x)
            binding.bind_ortvalue_output("y", self._y)
            self.run = lambda: run_bound(binding)
            return
        names = STATES[c.cell]
        self._states = [{n: value(np.zeros((1, 1, c.H), np.float32)) for n in names} for _ in range(2)]
        bindings = []
        for index in range(2):
            binding = session.io_binding()
            binding.bind_ortvalue_input("x", x)
            for name in names:
                binding.bind_ortvalue_input(f"{name}_in", self._states[index][name])
                binding.bind_ortvalue_output(f"{name}_out", self._states[1 - index][name])
            bindings.append(binding)
        self._present = 0

        def run() -> None:
            present = self._present
            run_bound(bindings[present])
            self._present = 1 - present

        self.run = run

    def state(self) -> List[np.ndarray]:
        return [copied(a.numpy()).reshape(1, -1) for a in self._states[self._present].values()]

    def outputs(self) -> Dict[str, np.ndarray]:
        return {"y": copied(self._y.numpy())}


class OpenVINO(Adapter):
    """LATENCY hint, one stream, f32: by default it computes in bf16 where the processor can. Tensors are shared."""

    kinds = ("step", "sequence")

    def setup(self, threads: int) -> str:
        import openvino

        self.openvino, self.core, self.threads = openvino, openvino.Core(), threads
        return str(openvino.__version__)

    def build(self, c: Configuration, data: Data) -> None:
        tensor = self.openvino.Tensor
        self._c = c
        options = {
            "INFERENCE_NUM_THREADS": self.threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
        }  # fmt: skip
        self._x = np.ascontiguousarray(data["x"])
        self._compiled = compiled = self.core.compile_model(self.core.read_model(model(c, data)), "CPU", options)
        x = tensor(self._x, shared_memory=True)
        if c.kind == "sequence":
            self._request = request = compiled.create_infer_request()
            request.set_tensor("x", x)
            infer = request.infer
            self.run = lambda: infer(None, share_outputs=True)
            return
        names = STATES[c.cell]
        self._arrays = [{n: np.zeros((1, 1, c.H), np.float32) for n in names} for _ in range(2)]
        tensors = [{n: tensor(a, shared_memory=True) for n, a in arrays.items()} for arrays in self._arrays]
        calls = []
        for index in range(2):
            request = compiled.create_infer_request()
            request.set_tensor("x", x)
            for name in names:
                request.set_tensor(f"{name}_in", tensors[index][name])
                request.set_tensor(f"{name}_out", tensors[1 - index][name])
            calls.append(request.infer)
        self._present = 0

        def run() -> None:
            present = self._present
            calls[present](None, share_outputs=True)
            self._present = 1 - present

        self.run = run

    def state(self) -> List[np.ndarray]:
        return [copied(a).reshape(1, -1) for a in self._arrays[self._present].values()]

    def outputs(self) -> Dict[str, np.ndarray]:
        return {"y": copied(self._request.get_tensor("y").data)}


class Tract(Adapter):
    """tract (Rust). It has one thread."""

    kinds = ("step", "sequence")
    cells = ("lstm", "gru", "rnn")

    @classmethod
    def limit(cls, configuration: Configuration) -> Optional[str]:
        return super().limit(configuration)

    def setup(self, threads: int) -> str:
        import tract

        self.tract = tract
        return str(tract.version())

    def build(self, c: Configuration, data: Data) -> None:
        self._c = c
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.onnx")
            with open(path, "wb") as file:
                file.write(model(c, data))
            runnable = self.tract.onnx().load(path).into_model().into_runnable()
        value = self.tract.Tensor.from_numpy
        x = value(np.ascontiguousarray(data["x"]))
        if c.kind == "sequence":

            def run() -> None:
                self._y = runnable.run([x])[0]

        else:
            self._state = [value(np.zeros((1, 1, c.H), np.float32)) for _ in STATES[c.cell]]

            def run() -> None:
                self._state = runnable.run([x, *self._state])

        self.run = run

    def state(self) -> List[np.ndarray]:
        return [copied(a.to_numpy()).reshape(1, -1) for a in self._state]

    def outputs(self) -> Dict[str, np.ndarray]:
        return {"y": copied(self._y.to_numpy())}
