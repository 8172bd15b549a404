"""A handle of the C interface that belongs to one Python object."""

from __future__ import annotations

from ctypes import byref, c_void_p
from typing import Any, Callable, Optional

from .errors import check


class Handle:
    """Owns a handle and destroys it once: on `close`, or with the last reference.

    Attributes
    ----------
    value : int or None
        What a call receives. None after `close`: the library then answers ``RNN_ERROR_INVALID_HANDLE``.
    """

    __slots__ = ("value", "_destroy", "__weakref__")

    def __init__(self, value: int, destroy: Callable[[int], None]) -> None:
        self.value: Optional[int] = value
        self._destroy = destroy

    def close(self) -> None:
        value, self.value = self.value, None
        if value is not None:
            self._destroy(value)

    def __del__(self) -> None:
        # A constructor that failed leaves no value.
        if getattr(self, "value", None) is not None:
            self.close()


def create(destroy: Callable[[int], None], function: Callable[..., int], *arguments: Any) -> Handle:
    """Call ``function(*arguments, &handle)`` and own the result."""
    out = c_void_p()
    check(function(*arguments, byref(out)))
    assert out.value is not None
    return Handle(out.value, destroy)
