"""librnn: recurrent neural networks on the CPU.

Train and run RNN, GRU and LSTM with NumPy arrays in and out. Layers have the shapes and parameter names of torch.nn; states
and outputs have the same bits however a sequence is cut, batched or padded.

>>> import librnn, numpy as np
>>> gru = librnn.GRU(8, 16, seed=1)
>>> y, h_n = gru(np.zeros((5, 3, 8), np.float32))
>>> y.shape, h_n.shape
((5, 3, 16), (1, 3, 16))
"""

from __future__ import annotations

from typing import Optional

from . import _abi
from .cells import GRUCell, LSTMCell, RNNCell
from .errors import RNNError, check
from .files import load, save
from .layers import GRU, LSTM, RNN
from .modules import Dropout, Embedding, LastStep, Linear, OneHot
from .network import Network
from .sequential import Sequential
from .stream import Stream
from .training import GradientFlow, Gradients, Tape

__version__ = _abi.RNN_VERSION_STRING

__all__ = [
    "RNN",
    "GRU",
    "LSTM",
    "RNNCell",
    "GRUCell",
    "LSTMCell",
    "Sequential",
    "Embedding",
    "OneHot",
    "Dropout",
    "Linear",
    "LastStep",
    "Network",
    "Stream",
    "Tape",
    "Gradients",
    "GradientFlow",
    "RNNError",
    "save",
    "load",
    "kernels",
    "blas",
    "__version__",
]


def kernels() -> str:
    """The kernels in use: "x86-64-v4", "x86-64-v3", "baseline", …; a lower one is forced by RNN_FORCE_KERNELS."""
    return str(_abi.rnn_kernels_name().decode())


def blas(name: Optional[str] = None) -> str:
    """Who computes large matrix products, after choosing it.

    Parameters
    ----------
    name : {"none", "openblas"}, optional
        "none" is librnn's own kernels, the default; "openblas" the OpenBLAS of the system, which does not keep the same bits.
        None only asks. The choice is the whole process's.

    Returns
    -------
    str
        "none", or OpenBLAS's own description of itself.
    """
    if name is not None:
        check(_abi.rnn_blas_set(str(name).encode()))
    return str(_abi.rnn_blas_name().decode())
