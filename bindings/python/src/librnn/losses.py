"""Losses and their gradients, as PyTorch defines them."""

from __future__ import annotations

import math
from ctypes import byref
from typing import Any, Dict, Optional, Tuple, Union

import numpy as np

from . import _abi
from ._arrays import address, floats, integers, real
from ._builder import choose
from .errors import argument_error, check, shape_error

__all__ = ["cross_entropy", "mse"]

Value = Union[float, np.ndarray]

REDUCTIONS: Dict[str, int] = {
    "mean": _abi.RNN_REDUCTION_MEAN,
    "sum": _abi.RNN_REDUCTION_SUM,
    "none": _abi.RNN_REDUCTION_NONE,
}


def cross_entropy(
    logits: Any,
    targets: Any,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tuple[Value, np.ndarray]:
    """Softmax cross-entropy, ``-w_y log softmax(logits)_y``, and its gradient.

    Parameters
    ----------
    logits : array_like, shape (..., C)
        float64 is computed in double, everything else in float32.
    targets : array_like of int, shape (...)
        In [0, C), or `ignore_index`.
    weight : array_like, shape (C,), optional
        A weight for each class; ones by default.
    ignore_index : int
        Rows with this target count for nothing; their gradient is 0.
    label_smoothing : float
        ε in [0, 1]: the target distribution is (1 - ε) one-hot + ε / C.
    reduction : {"mean", "sum", "none"}
        The mean is over the rows that count, weighted by the weights of their targets; NaN if there are none.

    Returns
    -------
    value : float, or ndarray of float64 in the shape of `targets` for "none"
    gradient : ndarray, shape (..., C)
        d value / d logits; for "none" of each row's own value.
    """
    choose(reduction, REDUCTIONS, "reduction")
    logits = _values(logits, "logits")
    if logits.ndim < 1:
        raise shape_error("logits is one number, expected shape (..., C)")
    targets = integers(targets, "targets")
    rows, classes = math.prod(logits.shape[:-1]), logits.shape[-1]
    if targets.shape != logits.shape[:-1]:
        raise shape_error(f"targets has shape {targets.shape}, expected {logits.shape[:-1]}, as logits without the classes")
    if weight is not None:
        weight = floats(weight, logits.dtype, "weight")
        if weight.shape != (classes,):
            raise shape_error(f"weight has shape {weight.shape}, expected ({classes},), one for each class")
    options = _abi.rnn_cross_entropy_options(
        reduction=REDUCTIONS[reduction],
        has_ignore_index=1,
        ignore_index=index(ignore_index, "ignore_index"),
        label_smoothing=real(label_smoothing, "label_smoothing"),
    )
    loss = np.empty(targets.shape if reduction == "none" else (), np.float64)
    gradient = np.empty_like(logits)
    function = _abi.rnn_loss_cross_entropy_f64 if logits.dtype == np.float64 else _abi.rnn_loss_cross_entropy
    check(
        function(
            rows, classes, address(logits), logits.size, address(targets), targets.size,
            None if weight is None else address(weight), 0 if weight is None else classes,
            address(loss), loss.size, address(gradient), gradient.size, byref(options),
        )  # fmt: skip
    )
    return (loss if reduction == "none" else float(loss)), gradient


def mse(prediction: Any, target: Any, *, reduction: str = "mean") -> Tuple[Value, np.ndarray]:
    """Squared error, ``(prediction - target)²``, and its gradient.

    Parameters
    ----------
    prediction : array_like
        float64 is computed in double, everything else in float32.
    target : array_like
        In the shape of `prediction`.
    reduction : {"mean", "sum", "none"}
        The mean is over all elements; NaN if there are none.

    Returns
    -------
    value : float, or ndarray of float64 in the shape of `prediction` for "none"
    gradient : ndarray
        d value / d prediction; for "none" of each element's own value.
    """
    choose(reduction, REDUCTIONS, "reduction")
    prediction = _values(prediction, "prediction")
    target = floats(target, prediction.dtype, "target")
    if target.shape != prediction.shape:
        raise shape_error(f"target has shape {target.shape}, expected {prediction.shape}, as prediction")
    options = _abi.rnn_mse_options(reduction=REDUCTIONS[reduction])
    loss = np.empty(prediction.shape if reduction == "none" else (), np.float64)
    gradient = np.empty_like(prediction)
    function = _abi.rnn_loss_mse_f64 if prediction.dtype == np.float64 else _abi.rnn_loss_mse
    check(
        function(
            prediction.size, address(prediction), prediction.size, address(target), target.size,
            address(loss), loss.size, address(gradient), gradient.size, byref(options),
        )  # fmt: skip
    )
    return (loss if reduction == "none" else float(loss)), gradient


def _values(values: Any, name: str) -> np.ndarray:
    """A contiguous array: float64 stays, everything else becomes float32."""
    array = np.asarray(values)
    return floats(array, np.dtype(np.float64 if array.dtype == np.float64 else np.float32), name)


def index(value: Any, name: str) -> int:
    """`value` as an int64."""
    try:
        number = value.__index__()
    except (AttributeError, TypeError):
        raise argument_error(f"{name} is {value!r}, expected an integer") from None
    if not -(2**63) <= number < 2**63:
        raise argument_error(f"{name} is {value!r}, expected an integer of 64 bits")
    return int(number)


def optional_index(value: Optional[Any], name: str) -> int:
    """A count for a C option in which 0 stands for None."""
    if value is None:
        return 0
    number = index(value, name)
    if number < 1:
        raise argument_error(f"{name} is {value!r}, expected an integer of at least 1, or None")
    return number
