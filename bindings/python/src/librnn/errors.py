"""The exception of this package, and the one place that turns a status of the C interface into it."""

from __future__ import annotations

from typing import Tuple

from . import _abi

_NAMES = {value: name for name, value in vars(_abi).items() if name.startswith("RNN_ERROR_")}


class RNNError(ValueError):
    """Something that librnn refused, with the reason.

    Mistakes found in Python before the call (a shape, a dtype, a missing name) and those that the library finds are the
    same exception with the same codes. It is a `ValueError`, because nearly all of them are a wrong argument.

    Parameters
    ----------
    code : int
        One of rnn.h's ``RNN_ERROR_*``; negative.
    message : str
        The argument, what was expected, what came.

    Attributes
    ----------
    code : int
    message : str
    status : str
        The constant's name, such as ``"RNN_ERROR_SHAPE"``.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = int(code)
        self.message = str(message)

    @property
    def status(self) -> str:
        return _NAMES.get(self.code, "unknown status")

    def __str__(self) -> str:
        return f"{self.message} ({self.status})"

    def __reduce__(self) -> Tuple[type, Tuple[int, str]]:
        return type(self), (self.code, self.message)


def last_error(status: int) -> RNNError:
    """The error of the call that just returned `status` on this thread."""
    message = _abi.rnn_last_error_message()
    return RNNError(status, message.decode("utf-8", "replace"))


def check(status: int) -> None:
    """Raise `RNNError` unless `status` is ``RNN_OK``."""
    if status:
        raise last_error(status)


def shape_error(message: str) -> RNNError:
    return RNNError(_abi.RNN_ERROR_SHAPE, message)


def dtype_error(message: str) -> RNNError:
    return RNNError(_abi.RNN_ERROR_DTYPE, message)


def argument_error(message: str) -> RNNError:
    return RNNError(_abi.RNN_ERROR_INVALID_ARGUMENT, message)


def unsupported(message: str) -> RNNError:
    return RNNError(_abi.RNN_ERROR_UNSUPPORTED, message)


def format_error(message: str) -> RNNError:
    return RNNError(_abi.RNN_ERROR_FORMAT, message)


def io_error(message: str) -> RNNError:
    return RNNError(_abi.RNN_ERROR_IO, message)
