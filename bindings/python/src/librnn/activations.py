"""Activation functions: the name and the numbers of one, for a module of a Sequential and for the gates of a recurrent layer."""

from __future__ import annotations

import math
from typing import Any, Dict, Mapping, Optional, Tuple

from . import _abi
from ._arrays import real
from .errors import argument_error

#: name -> the constant of the C interface, and the default of alpha and beta: None where the function has no such number, REQUIRED
#: where every framework takes another, so that a default would be a guess.
REQUIRED = math.nan
_KINDS: Dict[str, Tuple[int, Optional[float], Optional[float]]] = {
    "sigmoid": (_abi.RNN_ACTIVATION_SIGMOID, None, None),
    "hard_sigmoid": (_abi.RNN_ACTIVATION_HARD_SIGMOID, REQUIRED, REQUIRED),
    "tanh": (_abi.RNN_ACTIVATION_TANH, None, None),
    "relu": (_abi.RNN_ACTIVATION_RELU, None, None),
    "leaky_relu": (_abi.RNN_ACTIVATION_LEAKY_RELU, 0.01, None),
    "thresholded_relu": (_abi.RNN_ACTIVATION_THRESHOLDED_RELU, 1.0, None),
    "scaled_tanh": (_abi.RNN_ACTIVATION_SCALED_TANH, REQUIRED, REQUIRED),
    "elu": (_abi.RNN_ACTIVATION_ELU, 1.0, None),
    "softsign": (_abi.RNN_ACTIVATION_SOFTSIGN, None, None),
    "softplus": (_abi.RNN_ACTIVATION_SOFTPLUS, None, None),
    "affine": (_abi.RNN_ACTIVATION_AFFINE, REQUIRED, REQUIRED),
}


class Activation:
    """An element-wise function y = f(x), and its kind of node in a `Sequential`: features [.., F] to [.., F].

    Cannot be changed; two with the same name and numbers are equal.

    Parameters
    ----------
    name : str
        ======================  ==============================  ========================
        name                    f(x)                            numbers
        ======================  ==============================  ========================
        ``"sigmoid"``           1 / (1 + e^-x)
        ``"hard_sigmoid"``      max(0, min(1, αx + β))          alpha and beta, required
        ``"tanh"``              tanh x
        ``"relu"``              max(0, x)
        ``"leaky_relu"``        x for x >= 0, else αx           alpha = 0.01
        ``"thresholded_relu"``  x for x > α, else 0             alpha = 1
        ``"scaled_tanh"``       α tanh(βx)                      alpha and beta, required
        ``"elu"``               x for x >= 0, else α (e^x - 1)  alpha = 1
        ``"softsign"``          x / (1 + \\|x\\|)
        ``"softplus"``          ln(1 + e^x)
        ``"affine"``            αx + β                          alpha and beta, required
        ======================  ==============================  ========================

        hard_sigmoid is another function in each framework: α 0.2 in ONNX and Keras up to 2, 1/6 in Keras 3 and PyTorch.
    alpha, beta : float, optional
        Finite numbers, only for the functions that have them.

    Attributes
    ----------
    name : str
    alpha, beta : float
        0 where the function has none.
    """

    __slots__ = ("name", "alpha", "beta")
    name: str
    alpha: float
    beta: float

    _kind = "activation"

    def __init__(self, name: str, alpha: Optional[float] = None, beta: Optional[float] = None) -> None:
        if not isinstance(name, str) or name not in _KINDS:
            known = ", ".join(repr(known) for known in _KINDS)
            raise argument_error(f"activation is {name!r}, expected one of {known}")
        _, default_alpha, default_beta = _KINDS[name]
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "alpha", _number(name, "alpha", alpha, default_alpha))
        object.__setattr__(self, "beta", _number(name, "beta", beta, default_beta))

    @property
    def code(self) -> int:
        """``RNN_ACTIVATION_*`` of the C interface."""
        return _KINDS[self.name][0]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"an Activation cannot be changed: make another one with {name}={value!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("an Activation cannot be changed")

    def __eq__(self, other: Any) -> Any:
        if not isinstance(other, Activation):
            return NotImplemented
        return (self.name, self.alpha, self.beta) == (other.name, other.alpha, other.beta)

    def __hash__(self) -> int:
        return hash((self.name, self.alpha, self.beta))

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.name, *self._numbers().values())

    def _numbers(self) -> Dict[str, float]:
        """The numbers that the function has."""
        _, alpha, beta = _KINDS[self.name]
        numbers = {}
        if alpha is not None:
            numbers["alpha"] = self.alpha
        if beta is not None:
            numbers["beta"] = self.beta
        return numbers

    def _node(self) -> Dict[str, Any]:
        """The constructor's arguments."""
        return {"name": self.name, **self._numbers()}

    def __repr__(self) -> str:
        numbers = "".join(f", {name}={value!r}" for name, value in self._numbers().items())
        return f"Activation({self.name!r}{numbers})"


def as_activation(value: Any, argument: str) -> Activation:
    """`value`, an Activation, the name of one, or a mapping as a model file has it, as an Activation."""
    if isinstance(value, Activation):
        return value
    if isinstance(value, str):
        return Activation(value)
    if isinstance(value, Mapping):
        return Activation(**value)
    raise argument_error(f"{argument} is {value!r}, expected the name of an activation or an Activation")


def activation_of_file(object: Mapping[str, Any]) -> Activation:
    """An activation as a model file has it; of a gate a number that is 0 is left out."""
    name = object["function"]
    _, alpha, beta = _KINDS[name]
    numbers = {key: float(object.get(key, 0.0)) for key, default in (("alpha", alpha), ("beta", beta)) if default is not None}
    return Activation(name, **numbers)


def _number(name: str, number: str, value: Optional[float], default: Optional[float]) -> float:
    if value is None:
        if default is None:
            return 0.0
        if default is REQUIRED:
            raise argument_error(f"activation {name!r}: {number} is missing; frameworks differ in it, so it has no default")
        return default
    if default is None:
        raise argument_error(f"activation {name!r} has no {number}, got {number}={value!r}")
    result = real(value, number)
    if not math.isfinite(result):
        raise argument_error(f"activation {name!r}: {number} is {value!r}, expected a finite number")
    return result
