"""Clipping of gradients: by the norm of all, by the norm of each, by value."""

from __future__ import annotations

from ctypes import byref, c_size_t, c_void_p
from dataclasses import dataclass
from typing import Any, Callable, List, Mapping, Optional, Tuple, Union

import numpy as np

from . import _abi
from ._arrays import address, real
from .errors import argument_error, check, dtype_error
from .training import Gradients


@dataclass(frozen=True)
class ClipReport:
    """What clipping found and did.

    Attributes
    ----------
    total_norm : float
        Norm of all gradients together, before clipping.
    scale : float
        What every gradient was multiplied by; 1 if there was nothing to clip, or a gradient is not finite. Of
        `clip_grad_norm_each` the smallest; of `clip_grad_value` 1.
    largest : str or None
        Name of the gradient with the largest norm.
    largest_norm : float
        Its norm, before clipping.
    non_finite : bool
        Some gradient is infinite or NaN. Nothing was changed then, and the step should be left out.
    non_finite_name : str or None
        The first such gradient.
    """

    total_norm: float
    scale: float
    largest: Optional[str]
    largest_norm: float
    non_finite: bool
    non_finite_name: Optional[str]


GradientsToClip = Union[Mapping[str, np.ndarray], Gradients]


def clip_grad_norm(gradients: GradientsToClip, max_norm: float, norm_type: float = 2.0) -> ClipReport:
    """Clip gradients together, in place: each times ``min(1, max_norm / (total_norm + 1e-6))``, as PyTorch does.

    The norm is computed in double, and of huge float64 gradients relative to the largest, so that no square overflows.

    Parameters
    ----------
    gradients : dict of str to ndarray, or what `backward` returns
        Changed in place; float32 or float64, all of one kind. If one of them is infinite or NaN, none is changed.
    max_norm : float
        At least 0; ``math.inf`` only measures.
    norm_type : float
        p of the norm, at least 1; ``math.inf`` for the largest magnitude.

    Returns
    -------
    ClipReport
    """
    limits = real(max_norm, "max_norm"), real(norm_type, "norm_type")
    return _clip(gradients, _abi.rnn_gradients_clip, _abi.rnn_gradients_clip_f64, limits)


def clip_grad_norm_each(gradients: GradientsToClip, max_norm: float, norm_type: float = 2.0) -> ClipReport:
    """Clip each gradient by its own norm, in place: times ``min(1, max_norm / (its norm + 1e-6))``.

    A gradient that explodes then leaves the others as they are.

    Parameters
    ----------
    gradients, max_norm, norm_type
        As for `clip_grad_norm`.

    Returns
    -------
    ClipReport
        `total_norm` is that of all gradients together, before; `scale` the smallest of the factors.
    """
    limits = real(max_norm, "max_norm"), real(norm_type, "norm_type")
    return _clip(gradients, _abi.rnn_gradients_clip_each, _abi.rnn_gradients_clip_each_f64, limits)


def clip_grad_value(gradients: GradientsToClip, clip_value: float) -> ClipReport:
    """Clip every element to [-clip_value, clip_value], in place, as PyTorch does.

    Parameters
    ----------
    gradients
        As for `clip_grad_norm`.
    clip_value : float
        At least 0; ``math.inf`` only measures.

    Returns
    -------
    ClipReport
        With Euclidean norms from before clipping; `scale` is 1.
    """
    limits = (real(clip_value, "clip_value"),)
    return _clip(gradients, _abi.rnn_gradients_clip_value, _abi.rnn_gradients_clip_value_f64, limits)


def _clip(
    gradients: GradientsToClip, single: Callable[..., Any], double: Callable[..., Any], limits: Tuple[float, ...]
) -> ClipReport:
    arrays = gradients.parameters if isinstance(gradients, Gradients) else gradients
    if not isinstance(arrays, Mapping):
        raise argument_error(f"gradients is {type(gradients).__name__}, expected a dict of names to arrays")
    names = list(arrays)
    dtypes = set()
    for name, array in arrays.items():
        check_in_place(array, f"gradient {name}")
        dtypes.add(array.dtype)
    if len(dtypes) > 1:
        raise dtype_error("some gradients are float32 and some float64, expected one kind")
    # A strided array is clipped in a copy, and written back.
    whole: List[np.ndarray] = [np.ascontiguousarray(arrays[name]) for name in names]
    spans = sorted((address(array), array.nbytes, name) for array, name in zip(whole, names) if array.size)
    for (begin, size, name), (following, _, other) in zip(spans, spans[1:]):
        if begin + size > following:
            raise argument_error(f"gradients {name} and {other} share memory: they would be clipped twice")
    pointers = (c_void_p * len(names))(*[address(array) for array in whole])
    counts = (c_size_t * len(names))(*[array.size for array in whole])
    report = _abi.rnn_clip_report()
    function = double if np.dtype(np.float64) in dtypes else single
    check(
        function(
            byref(pointers) if names else None, byref(counts) if names else None, len(names), *limits, byref(report),
        )  # fmt: skip
    )
    for name, array in zip(names, whole):
        if array is not arrays[name]:
            arrays[name][...] = array
    bad = bool(report.non_finite)
    return ClipReport(
        total_norm=report.total_norm,
        scale=report.scale,
        largest=names[report.largest_index] if names else None,
        largest_norm=report.largest_norm,
        non_finite=bad,
        non_finite_name=names[report.non_finite_index] if bad else None,
    )


def check_in_place(array: Any, name: str) -> None:
    """An array that can be changed in place, or an error."""
    if not isinstance(array, np.ndarray):
        raise argument_error(f"{name} is {type(array).__name__}, expected a NumPy array, which is changed in place")
    if array.dtype not in (np.float32, np.float64):
        raise dtype_error(f"{name} has dtype {array.dtype}, expected float32 or float64")
    if not array.flags.writeable:
        raise argument_error(f"{name} is read-only, and would be changed in place")
