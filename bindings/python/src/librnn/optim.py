"""Optimizers: SGD, Adam, AdamW and RMSprop, with PyTorch's update rules.

>>> import librnn
>>> model = librnn.GRU(8, 16)
>>> optimizer = librnn.optim.Adam(model, lr=1e-3)

>>> y, h_n, tape = model.forward_train(x)                          # doctest: +SKIP
>>> loss, grad_y = librnn.losses.mse(y, target)                    # doctest: +SKIP
>>> optimizer.step(model.backward(tape, grad_y))                   # doctest: +SKIP
"""

from __future__ import annotations

from ctypes import byref
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

import numpy as np

from . import _abi
from ._arrays import address, floats, real
from ._handle import Handle, create
from ._network import Model
from .cells import Cell
from .clipping import check_in_place
from .errors import argument_error, check, shape_error
from .training import Gradients

__all__ = ["Optimizer", "SGD", "Adam", "AdamW", "RMSprop"]

Target = Union[Model, Cell, Mapping[str, np.ndarray]]


class Optimizer:
    """What all optimizers share. Not made directly.

    Parameters
    ----------
    target : a model or cell, or dict of str to ndarray
        What is updated: the weights of a model or cell, which follows at once, or arrays in place.
    """

    _kind: int

    def __init__(self, target: Target, lr: float, **options: Any) -> None:
        self._model: Optional[Model] = None
        self._cell: Optional[Cell] = None
        self._arrays: Dict[str, np.ndarray] = {}
        if isinstance(target, Model):
            self._model = target
        elif isinstance(target, Cell):
            self._cell = target
        elif isinstance(target, Mapping):
            for name, array in target.items():
                check_in_place(array, f"parameter {name}")
                if not array.flags.c_contiguous or not array.flags.aligned:
                    raise argument_error(f"parameter {name} is not contiguous, and is changed in place")
            self._arrays = dict(target)
        else:
            raise argument_error(f"target is {type(target).__name__}, expected a model or a dict of names to arrays")
        self._lr = real(lr, "lr")
        self._options = options
        self._optimizers: List[Handle] = []
        # The library checks the numbers now; memory is taken by the first step.
        self._make(_abi.RNN_DTYPE_FLOAT32, 0).close()

    def _c_options(self) -> "_abi.rnn_optimizer_options":
        return _abi.rnn_optimizer_options(kind=self._kind, learning_rate=_meant(self._lr), **self._options)

    def _make(self, dtype: int, count: int) -> Handle:
        options = self._c_options()
        return create(_abi.rnn_optimizer_destroy, _abi.rnn_optimizer_create, dtype, count, byref(options))

    @property
    def lr(self) -> float:
        """The learning rate. Set it at any time, for a schedule; a `Trainer` follows."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        before, self._lr = self._lr, real(value, "lr")
        try:
            self._make(_abi.RNN_DTYPE_FLOAT32, 0).close()
            for optimizer in self._optimizers:
                check(_abi.rnn_optimizer_learning_rate_set(optimizer.value, self._lr))
        except BaseException:
            self._lr = before
            raise

    def step(self, gradients: Union[Mapping[str, Any], Gradients]) -> None:
        """One update of all parameters.

        Parameters
        ----------
        gradients : dict of str to array, or what `backward` returns
            One for each parameter, by its name and in its shape. An infinite or NaN gradient goes into the weights;
            `clip_grad_norm` finds it.

        Raises
        ------
        RNNError
            A name is missing or too many, or a shape differs. The weights are then unchanged.
        """
        values = gradients.parameters if isinstance(gradients, Gradients) else gradients
        if not isinstance(values, Mapping):
            raise argument_error(f"gradients is {type(gradients).__name__}, expected a dict of names to arrays")
        if self._model is not None:
            self._step_model(self._model, values)
        elif self._cell is not None:
            weights = self._cell.state_dict()
            self._step_arrays(weights, values)
            self._cell._replace(weights)
        else:
            self._step_arrays(self._arrays, values)

    def _step_model(self, model: Model, values: Mapping[str, Any]) -> None:
        cut = len(model._prefix)
        _check_names(values, [info.name[cut:] for info in model._parameters])
        flat = np.empty(model._parameter_elements, model.dtype)
        for name, offset, count, shape in model._parameters:
            flat[offset : offset + count] = _gradient(values[name[cut:]], model.dtype, shape, name[cut:]).reshape(-1)
        double = model.dtype == np.float64
        if not self._optimizers:
            self._optimizers = [
                self._make(_abi.RNN_DTYPE_FLOAT64 if double else _abi.RNN_DTYPE_FLOAT32, model._parameter_elements)
            ]
        if not flat.size:
            return
        function = _abi.rnn_optimizer_step_f64 if double else _abi.rnn_optimizer_step
        weights = np.empty_like(flat)
        with model._lock:
            model._get_parameters(weights)
            check(function(self._optimizers[0].value, address(weights), weights.size, address(flat), flat.size))
            model._set_parameters(weights)

    def _step_arrays(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> None:
        _check_names(values, list(arrays))
        gradients = {name: _gradient(values[name], array.dtype, array.shape, name) for name, array in arrays.items()}
        for name, array in arrays.items():
            if np.may_share_memory(gradients[name], array):
                gradients[name] = gradients[name].copy()
        if not self._optimizers:
            self._optimizers = [
                self._make(_abi.RNN_DTYPE_FLOAT64 if array.dtype == np.float64 else _abi.RNN_DTYPE_FLOAT32, array.size)
                for array in arrays.values()
            ]
        for optimizer, (name, array) in zip(self._optimizers, arrays.items()):
            function = _abi.rnn_optimizer_step_f64 if array.dtype == np.float64 else _abi.rnn_optimizer_step
            if array.size:
                check(function(optimizer.value, address(array), array.size, address(gradients[name]), array.size))

    def close(self) -> None:
        """Free the memory now rather than with the last reference."""
        for optimizer in self._optimizers:
            optimizer.close()

    def __repr__(self) -> str:
        model = self._model if self._model is not None else self._cell
        target = type(model).__name__ if model is not None else f"{len(self._arrays)} arrays"
        return f"<{type(self).__name__} of {target}, lr {self._lr:g}>"


class SGD(Optimizer):
    """Stochastic gradient descent.

    ``b = momentum b + (1 - dampening) g;  p = p - lr b``, with `nesterov` ``p - lr (g + momentum b)``. The first gradient
    enters b undamped; `weight_decay` adds ``weight_decay p`` to g.
    """

    _kind = _abi.RNN_OPTIMIZER_SGD

    def __init__(
        self,
        target: Target,
        lr: float,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(
            target, lr, momentum=real(momentum, "momentum"), dampening=real(dampening, "dampening"),
            weight_decay=real(weight_decay, "weight_decay"), nesterov=int(bool(nesterov)),
        )  # fmt: skip


class Adam(Optimizer):
    """Adam: ``m = β1 m + (1 - β1) g;  v = β2 v + (1 - β2) g²;  p = p - lr m̂ / (√v̂ + eps)``.

    `weight_decay` adds ``weight_decay p`` to g; `amsgrad` uses the largest v so far. Kingma and Ba 2014, arXiv:1412.6980.
    """

    _kind = _abi.RNN_OPTIMIZER_ADAM

    def __init__(
        self,
        target: Target,
        lr: float = 1e-3,
        betas: Tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise argument_error(f"betas is {betas!r}, expected two numbers")
        super().__init__(
            target, lr, beta1=_meant(real(betas[0], "betas[0]")), beta2=_meant(real(betas[1], "betas[1]")),
            epsilon=_meant(real(eps, "eps")), weight_decay=real(weight_decay, "weight_decay"),
            amsgrad=int(bool(amsgrad)),
        )  # fmt: skip


class AdamW(Adam):
    """Adam with decoupled weight decay: ``p = (1 - lr weight_decay) p`` first. Loshchilov and Hutter, arXiv:1711.05101."""

    _kind = _abi.RNN_OPTIMIZER_ADAMW

    def __init__(
        self,
        target: Target,
        lr: float = 1e-3,
        betas: Tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(target, lr, betas, eps, weight_decay, amsgrad)


class RMSprop(Optimizer):
    """RMSprop: ``v = α v + (1 - α) g²;  p = p - lr g / (√v + eps)``; with `centered`, √(v - ḡ²)."""

    _kind = _abi.RNN_OPTIMIZER_RMSPROP

    def __init__(
        self,
        target: Target,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(
            target, lr, alpha=_meant(real(alpha, "alpha")), epsilon=_meant(real(eps, "eps")),
            weight_decay=real(weight_decay, "weight_decay"), momentum=real(momentum, "momentum"),
            centered=int(bool(centered)),
        )  # fmt: skip


def _meant(value: float) -> float:
    """A number for an option in which 0 stands for the default.

    The smallest denormal is 0 in librnn's floating-point mode, so that it computes what 0 would.
    """
    return value if value != 0 else 5e-324


def _check_names(values: Mapping[str, Any], expected: List[str]) -> None:
    missing = [name for name in expected if name not in values]
    unexpected = [str(name) for name in values if name not in expected]
    if missing or unexpected:
        lines = ["the gradients do not fit the parameters"]
        if missing:
            lines.append("missing: " + ", ".join(missing))
        if unexpected:
            lines.append("unexpected: " + ", ".join(unexpected))
        raise shape_error("; ".join(lines))


def _gradient(value: Any, dtype: np.dtype, shape: Tuple[int, ...], name: str) -> np.ndarray:
    array = floats(value, dtype, f"gradient {name}")
    if array.shape != shape:
        raise shape_error(f"gradient {name} has shape {array.shape}, expected {shape}")
    return array
