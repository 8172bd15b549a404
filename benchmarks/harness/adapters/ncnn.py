"""ncnn: its model files written by hand; storage in half precision switched off."""

from __future__ import annotations

import os
import struct
import tempfile
from typing import Dict, List, Optional

import numpy as np

from ..configurations import Configuration
from .base import STATES, Adapter, Data, copied, directions, reorder

#: ncnn: LSTM i, f, o, g; GRU r, z, n (reset-after only).
ORDER = {"lstm": (0, 1, 3, 2), "gru": (0, 1, 2), "rnn": (0,)}
HALF_PRECISION = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage", "use_int8_inference")


class NCNN(Adapter):
    kinds = ("step", "sequence")
    cells = ("lstm", "gru", "rnn")

    @classmethod
    def limit(cls, configuration: Configuration) -> Optional[str]:
        return super().limit(configuration) or ("has no batches" if configuration.N > 1 else None)

    def setup(self, threads: int) -> str:
        import ncnn

        self.ncnn, self.threads = ncnn, threads
        return str(ncnn.__version__)

    def files(self, c: Configuration, data: Data) -> "tuple[str, bytes]":
        """The .param and the .bin of the work."""
        order, names = ORDER[c.cell], STATES[c.cell] if c.kind == "step" else ()
        lines = ["Input x 0 1 x", *(f"Input {name}_in 0 1 {name}_in" for name in names)]
        binary, bottom = b"", "x"
        for layer in range(c.L):
            sets = directions(c, data, layer)
            bottoms, tops = [bottom, *(f"{n}_in" for n in names)], [f"y{layer}", *(f"{n}_out" for n in names)]
            size = sum(s["weight_ih"].size for s in sets)
            counts = f"{len(bottoms)} {len(tops)}"
            ends = " ".join(bottoms + tops)
            lines.append(f"{c.cell.upper()} layer{layer} {counts} {ends} 0={c.H} 1={size} 2={2 if c.D == 2 else 0}")
            biases = []
            for s in sets:
                one, two = (reorder(s[name], order) for name in ("bias_ih", "bias_hh"))
                if c.cell == "gru":  # r, z: their sums; n: both
                    biases.append(np.concatenate([(one + two)[: 2 * c.H], one[2 * c.H :], two[2 * c.H :]]))
                else:
                    biases.append(one + two)
            parts = ([reorder(s["weight_ih"], order) for s in sets], biases, [reorder(s["weight_hh"], order) for s in sets])
            for part in parts:
                binary += struct.pack("<I", 0) + b"".join(np.ascontiguousarray(a, np.float32).tobytes() for a in part)
            bottom = f"y{layer}"
        blobs = 1 + len(names) + c.L * (1 + len(names))
        return f"7767517\n{len(lines)} {blobs}\n" + "\n".join(lines) + "\n", binary

    def build(self, c: Configuration, data: Data) -> None:
        self._c = c
        self._net = net = self.ncnn.Net()
        net.opt.num_threads, net.opt.use_vulkan_compute = self.threads, False
        for name in HALF_PRECISION:
            if hasattr(net.opt, name):
                setattr(net.opt, name, False)
        text, binary = self.files(c, data)
        with tempfile.TemporaryDirectory() as folder:
            paths = [os.path.join(folder, name) for name in ("net.param", "net.bin")]
            with open(paths[0], "w") as file:
                file.write(text)
            with open(paths[1], "wb") as file:
                file.write(binary)
            if net.load_param(paths[0]) or net.load_model(paths[1]):
                raise RuntimeError("ncnn does not load the model")
        # A Mat on an array does not keep it: clones own their memory.
        x = self.ncnn.Mat(np.ascontiguousarray(data["x"][:, 0])).clone()
        top, names = f"y{c.L - 1}", STATES[c.cell] if c.kind == "step" else ()
        zeros = np.zeros((1, c.H), np.float32)
        self._state = {name: self.ncnn.Mat(zeros).clone() for name in names}
        self._x = x

        def run() -> None:
            extractor = net.create_extractor()
            extractor.input("x", x)
            for name in names:
                extractor.input(f"{name}_in", self._state[name])
            self._y = extractor.extract(top)[1]
            for name in names:
                self._state[name] = extractor.extract(f"{name}_out")[1]

        self.run = run

    def state(self) -> List[np.ndarray]:
        return [copied(np.array(mat)).reshape(1, -1) for mat in self._state.values()]

    def outputs(self) -> Dict[str, np.ndarray]:
        return {"y": copied(np.array(self._y)).reshape(self._c.T, 1, -1)}
