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

__all__ = ["cross_entropy", "mse", "ctc"]

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


def ctc(
    logits: Any,
    targets: Any,
    input_lengths: Any = None,
    target_lengths: Any = None,
    *,
    blank: int = 0,
    zero_infinity: bool = False,
    reduction: str = "mean",
) -> Tuple[Value, np.ndarray]:
    """Connectionist temporal classification and its gradient: labels in order, without their places in time.

    -log of the sum of the probabilities of all alignments. An alignment gives each step a label or the blank; equal
    neighbours are one label, and then the blanks fall out. A row has none, and an infinite loss, if its steps are fewer
    than its labels and a blank between each two equal neighbours.

    `torch.nn.functional.ctc_loss` takes ``log_softmax(logits)``; this takes the logits.

    Parameters
    ----------
    logits : array_like, shape (T, N, C) or, for one row, (T, C)
        Before the softmax. float64 is computed in double; of float32 the softmax is in float32 and the sums over alignments
        in double.
    targets : array_like of int, shape (N, S) or (sum of target_lengths,); for one row (S,)
        Labels in [0, C) other than the blank. Two dimensions are padded: what lies behind a row's target length is not read.
        One dimension is the rows one after the other, as in PyTorch.
    input_lengths : array_like of int, shape (N,), optional
        Steps of each row, 0 to T; all T by default. What lies behind is not read, and its gradient is 0.
    target_lengths : array_like of int, shape (N,), optional
        Labels of each row; all S by default. Several rows in one dimension need it.
    blank : int
        The class of no label.
    zero_infinity : bool
        A row of infinite loss has loss 0 and gradient 0. Otherwise its gradient is NaN in its steps, as PyTorch's.
    reduction : {"mean", "sum", "none"}
        The mean is PyTorch's: the loss of each row over its target length (at least 1), then the mean of the rows.

    Returns
    -------
    value : float, or ndarray of float64 of shape (N,), for one row (), for "none"
    gradient : ndarray, in the shape of `logits`
        d value / d logits; for "none" of each row's own value.

    Examples
    --------
    Of nine alignments with equal probabilities three are label 1: "1 1", "1 -" and "- 1".

    >>> import librnn, numpy as np
    >>> value, gradient = librnn.losses.ctc(np.zeros((2, 1, 3)), [[1]])
    >>> print(f"{np.exp(-value):.4f}")
    0.3333
    """
    choose(reduction, REDUCTIONS, "reduction")
    logits = _values(logits, "logits")
    if logits.ndim not in (2, 3):
        raise shape_error(f"logits has shape {logits.shape}, expected (T, N, C) or (T, C)")
    time, classes = logits.shape[0], logits.shape[-1]
    batch = logits.shape[1] if logits.ndim == 3 else 1
    targets = integers(targets, "targets")
    concatenated = logits.ndim == 3 and targets.ndim == 1
    if logits.ndim == 2 and targets.ndim == 1:
        targets = targets[None]
    if not concatenated and (targets.ndim != 2 or targets.shape[0] != batch):
        expected = f"({batch}, S) or (sum of target_lengths,)" if logits.ndim == 3 else "(S,)"
        raise shape_error(f"targets has shape {targets.shape}, expected {expected}")
    if concatenated and target_lengths is None:
        if batch != 1:
            raise argument_error("target_lengths is None, expected the number of labels of each row: targets has one dimension")
        target_lengths = [targets.size]
    inputs = None if input_lengths is None else _lengths(input_lengths, batch, "input_lengths")
    outputs = None if target_lengths is None else _lengths(target_lengths, batch, "target_lengths")
    if concatenated and outputs is not None and targets.size > outputs.sum():
        raise shape_error(f"targets has {targets.size} labels, expected {outputs.sum()}, the sum of target_lengths")
    options = _abi.rnn_ctc_options(
        reduction=REDUCTIONS[reduction],
        zero_infinity=1 if zero_infinity else 0,
        blank=index(blank, "blank"),
        concatenated=1 if concatenated else 0,
    )
    loss = np.empty(logits.shape[1:-1] if reduction == "none" else (), np.float64)
    gradient = np.empty_like(logits)
    function = _abi.rnn_loss_ctc_f64 if logits.dtype == np.float64 else _abi.rnn_loss_ctc
    check(
        function(
            time, batch, classes, 0 if concatenated else targets.shape[1], address(logits), logits.size,
            address(targets), targets.size, None if inputs is None else address(inputs), 0 if inputs is None else batch,
            None if outputs is None else address(outputs), 0 if outputs is None else batch,
            address(loss), loss.size, address(gradient), gradient.size, byref(options),
        )  # fmt: skip
    )
    return (loss if reduction == "none" else float(loss)), gradient


def _lengths(lengths: Any, batch: int, name: str) -> np.ndarray:
    """int64 [batch]; one number will do for one row. Their range is for the library to check."""
    array = integers(lengths, name)
    if array.ndim == 0 and batch == 1:
        array = array.reshape(1)
    if array.shape != (batch,):
        raise shape_error(f"{name} has shape {array.shape}, expected ({batch},), one number for each row")
    return array


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
