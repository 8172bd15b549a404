"""oneDNN's RNN primitives through its C API. Weights are in the layout that the primitive asks for; of a training step, which
has new weights each time, bringing them there is part of the work."""

from __future__ import annotations

import ctypes
import glob
import sys
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..configurations import GATES, Configuration
from ..reference import suffix
from .base import Adapter, Data, copied, directions, reorder, restore

# dnnl_types.h, version 3
F32, TAG_ANY = 3, 1
FORWARD_TRAINING, FORWARD_INFERENCE, BACKWARD = 64, 96, 128
LEFT_TO_RIGHT, BIDIRECTIONAL_CONCAT = 1, 3
ELTWISE_TANH = 0x21
DIFF_WEIGHTS_OVERWRITE = 1
EXEC_ARG_MD = 255
SRC, SRC_ITER, SRC_ITER_C, DST, DST_ITER, DST_ITER_C = 1, 2, 3, 17, 18, 19
WEIGHTS, WEIGHTS_ITER, BIAS, WORKSPACE = 33, 34, 41, 64
DIFF = 128  # added to an argument's number

#: oneDNN: i, f, c, o and u, r, o.
ORDER = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2), "gru-before": (1, 0, 2), "rnn": (0,)}
PRIMITIVE = {"lstm": "lstm", "gru": "lbr_gru", "gru-before": "gru", "rnn": "vanilla_rnn"}


class Argument(ctypes.Structure):
    _fields_ = [("number", ctypes.c_int), ("memory", ctypes.c_void_p)]


class Version(ctypes.Structure):
    _fields_ = [("major", ctypes.c_int), ("minor", ctypes.c_int), ("patch", ctypes.c_int)]


class OneDNN(Adapter):
    @classmethod
    def limit(cls, configuration: Configuration) -> Optional[str]:
        c = configuration
        if c.L > 1 and (c.I != c.H or c.D != 1):
            return "a primitive is a stack of equal layers"
        return super().limit(c)

    def setup(self, threads: int) -> str:
        found = sorted(glob.glob(sys.prefix + "/lib/libdnnl.so.3*"))
        if not found:
            raise ImportError(f"no libdnnl.so.3 in {sys.prefix}/lib")
        self.library = library = ctypes.CDLL(found[0])
        library.dnnl_primitive_desc_query_md.restype = ctypes.c_void_p
        library.dnnl_memory_desc_get_size.restype = ctypes.c_size_t
        library.dnnl_version.restype = ctypes.POINTER(Version)
        self.engine, self.stream = ctypes.c_void_p(), ctypes.c_void_p()
        self.check(library.dnnl_engine_create(ctypes.byref(self.engine), 1, ctypes.c_size_t(0)))
        self.check(library.dnnl_stream_create(ctypes.byref(self.stream), self.engine, 1))
        version = library.dnnl_version().contents
        return f"{version.major}.{version.minor}.{version.patch}"

    @staticmethod
    def check(status: int) -> None:
        if status:
            raise RuntimeError(f"oneDNN gives status {status}")

    # ---- descriptors and memory

    def descriptor(self, dims: Sequence[int], strides: Optional[Sequence[int]] = None, any_layout: bool = False) -> Any:
        """Of float32: row-major, by strides, or for the primitive to choose."""
        out, sizes = ctypes.c_void_p(), (ctypes.c_int64 * 12)(*dims)
        if any_layout:
            call = self.library.dnnl_memory_desc_create_with_tag(ctypes.byref(out), len(dims), sizes, F32, TAG_ANY)
        else:
            plain = [int(np.prod(dims[k + 1 :])) for k in range(len(dims))]
            steps = (ctypes.c_int64 * 12)(*(strides or plain))
            call = self.library.dnnl_memory_desc_create_with_strides(ctypes.byref(out), len(dims), sizes, F32, steps)
        self.check(call)
        return out

    def memory(self, descriptor: Any, values: Optional[np.ndarray] = None) -> Tuple[Any, np.ndarray]:
        """A memory object on an aligned array of our own (zeros, or a copy of `values`), and that array, flat."""
        size = self.library.dnnl_memory_desc_get_size(descriptor) // 4
        room = np.zeros(size + 16, np.float32)
        start = (-room.ctypes.data % 64) // 4
        array = room[start : start + size]
        if values is not None:
            array[:] = values.reshape(-1)
        self._kept.append(array)
        out = ctypes.c_void_p()
        self.check(
            self.library.dnnl_memory_create(ctypes.byref(out), descriptor, self.engine, ctypes.c_void_p(array.ctypes.data))
        )
        return out, array

    def primitive(self, description: Any) -> Any:
        out = ctypes.c_void_p()
        self.check(self.library.dnnl_primitive_create(ctypes.byref(out), description))
        return out

    def call(self, primitive: Any, arguments: Dict[int, Any]) -> Tuple[Any, ...]:
        """What `execute` takes, made beforehand."""
        array = (Argument * len(arguments))()
        for slot, (number, memory) in zip(array, arguments.items()):
            slot.number, slot.memory = number, memory.value
        return primitive, self.stream, len(arguments), array

    def description(
        self, c: Configuration, kind: int, layer: Sequence[Any], states: Sequence[Any], weights: Sequence[Any],
        final: Sequence[Any], differences: Optional[Sequence[Any]] = None, hint: Any = None,
    ) -> Any:  # fmt: skip
        """A primitive descriptor. layer: source, bias, destination; states and final: initial and final h (and c), or None."""
        source, bias, destination = layer
        unused = [None, None] if c.cell == "lstm" else []  # peepholes and projection
        out = ctypes.c_void_p()
        arguments: List[Any] = [ctypes.byref(out), self.engine, kind]
        if c.cell == "rnn":
            arguments.append(ELTWISE_TANH)
        arguments.append(BIDIRECTIONAL_CONCAT if c.D == 2 else LEFT_TO_RIGHT)
        arguments += [source, *states, *weights, *unused, bias, destination, *final]
        if differences is not None:
            d_source, d_weights, d_weights_iter, d_bias, d_destination = differences
            arguments += [d_source, *states, d_weights, d_weights_iter, *unused, d_bias, d_destination]
            arguments += [None] * len(final)
        arguments.append(DIFF_WEIGHTS_OVERWRITE if differences is not None else 0)
        if c.cell == "rnn":
            arguments += [ctypes.c_float(0), ctypes.c_float(0)]
        if differences is not None:
            arguments.append(hint)
        arguments.append(None)
        direction = "forward" if differences is None else "backward"
        self.check(getattr(self.library, f"dnnl_{PRIMITIVE[c.cell]}_{direction}_primitive_desc_create")(*arguments))
        return out

    def packed(self, description: Any, plain: Sequence[Tuple[Any, Any]]) -> Tuple[List[Any], List[Tuple[Any, ...]]]:
        """Memory for both weights in the layout of the primitive, and the calls that bring them there."""
        memories, calls = [], []
        for number, (plain_descriptor, plain_memory) in zip((WEIGHTS, WEIGHTS_ITER), plain):
            wanted = ctypes.c_void_p(self.library.dnnl_primitive_desc_query_md(description, EXEC_ARG_MD, number))
            memory, _ = self.memory(wanted)
            out = ctypes.c_void_p()
            self.check(
                self.library.dnnl_reorder_primitive_desc_create(
                    ctypes.byref(out), plain_descriptor, self.engine, wanted, self.engine, None
                )
            )
            calls.append(self.call(self.primitive(out), {SRC: plain_memory, DST: memory}))
            memories.append(memory)
        return memories, calls

    # ---- the work

    def build(self, c: Configuration, data: Data) -> None:
        self._c, self._kept = c, []
        gates, order = GATES[c.cell], ORDER[c.cell]
        execute = self.library.dnnl_primitive_execute

        def stacked(name: str) -> np.ndarray:
            return np.stack([np.stack([reorder(s[name], order) for s in directions(c, data, la)]) for la in range(c.L)])

        one, two = stacked("bias_ih"), stacked("bias_hh")
        bias = one + two
        if c.cell == "gru":  # four: those of the candidate's two products stay apart
            bias = np.concatenate([bias[..., : 2 * c.H], one[..., 2 * c.H :], two[..., 2 * c.H :]], -1)

        def rows(inputs: int) -> Any:
            """Weights [L, D, inputs, G, H] that lie in memory as PyTorch's, [L, D, G, H, inputs]."""
            block = gates * c.H * inputs
            return self.descriptor([c.L, c.D, inputs, gates, c.H], [c.D * block, block, 1, c.H * inputs, inputs])

        source, destination = self.descriptor([c.T, c.N, c.I]), self.descriptor([c.T, c.N, c.D * c.H])
        bias_like = self.descriptor([c.L, c.D, bias.shape[-1] // c.H, c.H])
        state = self.descriptor([c.L, c.D, c.N, c.H])
        count = 2 if c.cell == "lstm" else 1
        chosen = [self.descriptor([c.L, c.D, inputs, gates, c.H], any_layout=True) for inputs in (c.I, c.H)]
        layer = (source, bias_like, destination)
        training, stepping = c.kind == "training", c.kind == "step"
        # oneDNN 3.2 gives a wrong gradient of the recurrent weights where the initial state is left out: zeros, then.
        states = [state if training or stepping else None] * count
        final = [state if stepping else None] * count
        forward = self.description(c, FORWARD_TRAINING if training else FORWARD_INFERENCE, layer, states, chosen, final)
        plain = [(rows(inputs), self.memory(rows(inputs), stacked(name))[0])
                 for inputs, name in ((c.I, "weight_ih"), (c.H, "weight_hh"))]  # fmt: skip
        weights, preparations = self.packed(forward, plain)
        for call in preparations:
            self.check(execute(*call))
        y, self._y = self.memory(destination)
        common = {
            SRC: self.memory(source, data["x"])[0], WEIGHTS: weights[0], WEIGHTS_ITER: weights[1],
            BIAS: self.memory(bias_like, bias)[0], DST: y,
        }  # fmt: skip
        primitive = self.primitive(forward)
        if stepping:
            pairs = [[self.memory(state) for _ in range(count)] for _ in range(2)]
            self._states = [[array for _, array in pair] for pair in pairs]
            calls = []
            for index in range(2):
                ends = {}
                for k in range(count):
                    ends[SRC_ITER + k], ends[DST_ITER + k] = pairs[index][k][0], pairs[1 - index][k][0]
                calls.append(self.call(primitive, {**common, **ends}))
            self._present = 0

            def run() -> None:
                present = self._present
                if execute(*calls[present]):
                    raise RuntimeError("oneDNN does not execute")
                self._present = 1 - present

            self.run = run
            return
        if not training:
            sequence = self.call(primitive, common)

            def run_sequence() -> None:
                if execute(*sequence):
                    raise RuntimeError("oneDNN does not execute")

            self.run = run_sequence
            return
        zeros = {SRC_ITER + k: self.memory(state)[0] for k in range(count)}
        wanted = ctypes.c_void_p(self.library.dnnl_primitive_desc_query_md(forward, EXEC_ARG_MD, WORKSPACE))
        workspace = {WORKSPACE: self.memory(wanted)[0]}
        gradient_of = [self.descriptor([c.L, c.D, inputs, gates, c.H]) for inputs in (c.I, c.H)]
        backward = self.description(
            c, BACKWARD, layer, states, chosen, final, (source, *gradient_of, bias_like, destination), forward
        )
        back_weights, more = self.packed(backward, plain)
        made = {
            "weight_ih": self.memory(gradient_of[0]), "weight_hh": self.memory(gradient_of[1]),
            "bias_ih": self.memory(bias_like),
        }  # fmt: skip
        self._gradients = {name: array for name, (_, array) in made.items()}
        differences = {
            DIFF + SRC: self.memory(source)[0], DIFF + DST: self.memory(destination, data["dy"])[0],
            DIFF + WEIGHTS: made["weight_ih"][0], DIFF + WEIGHTS_ITER: made["weight_hh"][0],
            DIFF + BIAS: made["bias_ih"][0], **{DIFF + number: self.memory(state)[0] for number in zeros},
        }  # fmt: skip
        turned = {**common, WEIGHTS: back_weights[0], WEIGHTS_ITER: back_weights[1]}
        calls = [
            *preparations, *more, self.call(primitive, {**common, **zeros, **workspace}),
            self.call(self.primitive(backward), {**turned, **zeros, **workspace, **differences}),
        ]  # fmt: skip

        def run_training() -> None:
            for call in calls:
                if execute(*call):
                    raise RuntimeError("oneDNN does not execute")

        self.run = run_training

    def state(self) -> List[np.ndarray]:
        return [copied(array).reshape(1, -1) for array in self._states[self._present]]

    def outputs(self) -> Dict[str, np.ndarray]:
        c, found = self._c, {"y": copied(self._y).reshape(self._c.T, self._c.N, -1)}
        if c.kind == "training":
            gates, order = GATES[c.cell], ORDER[c.cell]
            for name, inputs in (("weight_ih", c.I), ("weight_hh", c.H)):
                stack = self._gradients[name].reshape(c.L, c.D, inputs, gates * c.H)
                for layer in range(c.L):
                    for d in range(c.D):
                        found[name + suffix(layer, d)] = restore(copied(stack[layer, d].T), order)
            biases = self._gradients["bias_ih"].reshape(c.L, c.D, -1)[..., : gates * c.H]
            for layer in range(c.L):
                for d in range(c.D):
                    found["bias_ih" + suffix(layer, d)] = restore(copied(biases[layer, d]), order)
        return found
