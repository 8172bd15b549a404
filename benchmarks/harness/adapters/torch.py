"""PyTorch, eager: nn.LSTM, GRU, RNN; the cells, traced; LSTM without oneDNN."""

from __future__ import annotations

from typing import Any, ContextManager, Dict, List

import numpy as np

from ..configurations import Configuration
from .base import Adapter, Data, copied

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Torch(Adapter):
    """nn.LSTM (which goes through oneDNN), nn.GRU, nn.RNN; a step is T = 1."""

    cells = ("lstm", "gru", "rnn")

    def setup(self, threads: int) -> str:
        import torch

        self.torch = torch
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        return str(torch.__version__)

    def build(self, c: Configuration, data: Data) -> None:
        torch = self.torch
        self._c = c
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[c.cell]
        self._module = module = kind(c.I, c.H, c.L, bidirectional=c.D == 2)
        module.load_state_dict({name: torch.from_numpy(data[name].copy()) for name in module.state_dict()})
        x, dy = torch.from_numpy(data["x"].copy()), torch.from_numpy(data["dy"].copy())
        if c.kind == "training":
            names, parameters = zip(*module.named_parameters())
            self._names = names

            def run() -> None:
                self._y, _ = module(x)
                self._gradients = torch.autograd.grad(self._y, parameters, dy)

        elif c.kind == "sequence":
            module.eval()

            def run() -> None:
                self._y, _ = module(x)

        else:
            module.eval()
            zeros = torch.zeros(1, 1, c.H)
            self._state = (zeros, zeros.clone()) if c.cell == "lstm" else zeros

            def run() -> None:
                self._y, self._state = module(x, self._state)

        self.run = run

    def context(self) -> ContextManager[Any]:
        training = self.__dict__.get("_c") is not None and self._c.kind == "training"
        return self.torch.enable_grad() if training else self.torch.inference_mode()

    def state(self) -> List[np.ndarray]:
        states = self._state if isinstance(self._state, tuple) else (self._state,)
        return [copied(a.numpy()).reshape(1, -1) for a in states]

    def outputs(self) -> Dict[str, np.ndarray]:
        found = {"y": copied(self._y.detach().numpy())}
        if self._c.kind == "training":
            found.update({name: copied(g.numpy()) for name, g in zip(self._names, self._gradients)})
        return found


class TorchATen(Torch):
    """LSTM by ATen's own code and its BLAS: oneDNN switched off."""

    kinds = ("sequence", "training")
    cells = ("lstm",)

    def setup(self, threads: int) -> str:
        version = super().setup(threads)
        self.torch.backends.mkldnn.set_flags(False)
        return version


class TorchCell(Torch):
    """nn.LSTMCell, GRUCell, RNNCell through torch.jit.trace and freeze, which is a little faster than the eager cell."""

    kinds = ("step",)

    def build(self, c: Configuration, data: Data) -> None:
        import warnings

        torch = self.torch
        warnings.simplefilter("ignore")
        self._c = c
        kind = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell, "rnn": torch.nn.RNNCell}[c.cell]
        module = kind(c.I, c.H).eval()
        module.load_state_dict({name: torch.from_numpy(data[name + "_l0"].copy()) for name in NAMES})
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        x, zeros = torch.from_numpy(data["x"][0].copy()), torch.zeros(1, c.H)
        self._state = (zeros, zeros.clone()) if c.cell == "lstm" else zeros
        with torch.no_grad():
            traced = torch.jit.freeze(torch.jit.trace(module, (x, self._state)))
            for _ in range(3):  # the first calls optimise
                traced(x, self._state)

        def run() -> None:
            self._state = traced(x, self._state)

        self.run = run
