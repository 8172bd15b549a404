"""Tokens from logits."""

from __future__ import annotations

from ctypes import byref, c_int64
from typing import Any

from . import _abi
from ._arrays import address, real, unsigned
from .errors import argument_error, check, shape_error
from .losses import _values


def sample(
    logits: Any,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    greedy: bool = False,
    seed: int = 0,
    position: int = 0,
) -> int:
    """Draw a token from ``softmax(logits / temperature)``.

    The draw is a function of (seed, position), the same in every language and on every machine: give each token of a text
    the next position.

    Parameters
    ----------
    logits : array_like, shape (C,)
        Not NaN; -inf for a token that must not come.
    temperature : float
        Above 0; below 1 for the likely, above 1 for the unlikely.
    top_k : int
        Only the k most likely; 0 for all.
    top_p : float
        In (0, 1]: only the most likely whose probabilities add up to it (nucleus sampling).
    greedy : bool
        The most likely, of equals the first: the limit of temperature 0.
    seed, position : int

    Returns
    -------
    int
    """
    logits = _values(logits, "logits")
    if logits.ndim != 1:
        raise shape_error(f"logits has shape {logits.shape}, expected (C,), those of one step of one row")
    temperature, top_p = real(temperature, "temperature"), real(top_p, "top_p")
    # 0 is the default in C.
    if temperature == 0:
        raise argument_error("temperature is 0, expected above 0; greedy=True takes the most likely")
    if top_p == 0:
        raise argument_error("top_p is 0, expected above 0 and at most 1")
    options = _abi.rnn_sample_options(
        temperature=temperature, top_k=unsigned(top_k, "top_k"), top_p=top_p, greedy=int(bool(greedy)),
        seed=unsigned(seed, "seed"), position=unsigned(position, "position"),
    )  # fmt: skip
    token = c_int64()
    function = _abi.rnn_logits_sample_f64 if logits.dtype == "float64" else _abi.rnn_logits_sample
    check(function(address(logits), logits.size, byref(options), byref(token)))
    return token.value
