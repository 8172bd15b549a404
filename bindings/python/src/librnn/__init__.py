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

import importlib
from typing import TYPE_CHECKING, Any, List, Optional

from . import _abi, losses, optim
from ._arrays import positive
from .activations import Activation
from .cells import GRUCell, LSTMCell, RNNCell
from .clipping import ClipReport, clip_grad_norm, clip_grad_norm_each, clip_grad_value
from .errors import RNNError, check
from .files import load, save
from .layers import GRU, LSTM, RNN
from .modules import Dropout, Embedding, FirstStep, LastStep, LayerNorm, Linear, OneHot, Reverse, ScaleShift, Slice, Softmax
from .network import Network
from .network_builder import NetworkBuilder
from .sampling import sample
from .sequential import Sequential
from .stream import Stream
from .trainer import EpochReport, History, StepReport, Trainer
from .training import GradientFlow, Gradients, Tape

if TYPE_CHECKING:
    from . import audio, keras, onnx, plot, torch

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
    "Activation",
    "Softmax",
    "LayerNorm",
    "ScaleShift",
    "Slice",
    "FirstStep",
    "Reverse",
    "Network",
    "NetworkBuilder",
    "Stream",
    "Tape",
    "Gradients",
    "GradientFlow",
    "Trainer",
    "StepReport",
    "EpochReport",
    "History",
    "losses",
    "onnx",
    "optim",
    "plot",
    "torch",
    "keras",
    "audio",
    "clip_grad_norm",
    "clip_grad_norm_each",
    "clip_grad_value",
    "ClipReport",
    "sample",
    "RNNError",
    "save",
    "load",
    "set_num_threads",
    "get_num_threads",
    "kernels",
    "blas",
    "__version__",
]


#: Parts that are imported when they are first named: files of others and figures, of which most programs need none.
_LATER = ("audio", "keras", "onnx", "plot", "torch")


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> List[str]:
    return sorted({*globals(), *_LATER})


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


def set_num_threads(n: int) -> None:
    """The most threads that one call may use, of all models of the process; the caller's is one of them.

    The number changes no bit. The default is RNN_NUM_THREADS in the environment, else the processors that the process may
    use. Small work uses fewer; streams are not affected.

    Parameters
    ----------
    n : int
        1 to 1024.
    """
    check(_abi.rnn_threads_set(positive(n, "n")))


def get_num_threads() -> int:
    """The most threads that one call may use."""
    return int(_abi.rnn_threads_get())
