"""What is known of the values of a graph before it runs."""

from __future__ import annotations

from typing import FrozenSet, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..errors import RNNError, unsupported
from ._dims import Dim, Size, same
from ._file import Node, format_error
from ._layout import Step, View


class Unfixed(Exception):
    """Something that librnn keeps in a model, such as weights, is an input of the graph."""

    def __init__(self, names: FrozenSet[str], node: Node, what: str) -> None:
        listed = ", ".join(sorted(names))
        super().__init__(f"{node}: {what} comes from the input {listed}; give its value with constants={{…}}")
        self.names = names


class FixedSize(RNNError):
    """A graph that declares a size by name and works for one number only, as PyTorch's newer exporter writes it."""

    def __init__(self, error: RNNError, name: str, size: int) -> None:
        super().__init__(error.code, error.message)
        self.name = name
        self.size = size

    def __reduce__(self) -> Tuple[type, Tuple[RNNError, str, int]]:
        return type(self), (RNNError(self.code, self.message), self.name, self.size)


class Norm(NamedTuple):
    """A part of a layer normalization that is written out, y = (x - mean) / sqrt(variance + epsilon) * weight + bias.

    `part` is one of: mean, -mean, centred (x - mean), square (of centred), squares (their sum), variance, deviation (its root), inverse
    (of the deviation, times weight), scaled (x times inverse), mean*inverse, shift (bias - mean*inverse).
    """

    part: str
    view: View
    epsilon: float = 0.0
    weight: Optional[np.ndarray] = None
    bias: Optional[np.ndarray] = None
    #: A mean or variance has an axis of size 1 in the place of the features.
    kept: bool = True


class Pattern(NamedTuple):
    """Something that is made of the lengths of the rows, by which a graph masks padding and finds last steps.

    `kind` is one of: lengths, last (lengths - 1), some (lengths > 0), steps (0, 1, ... T - 1), present (steps < lengths).
    """

    kind: str
    #: The value that the lengths come from; "" for steps.
    lengths: str
    #: For each axis of the array: "t" time, "n" rows, "1" size 1, "*" repeated.
    axes: str


class Value:
    """What is known of one array of the graph."""

    __slots__ = ("name", "dtype", "shape", "const", "fill", "host", "bases", "view", "reason", "state", "error", "origin",
                 "parent", "computed", "norm", "pattern")  # fmt: skip

    def __init__(
        self,
        name: str,
        dtype: Optional[np.dtype] = None,
        shape: Optional[Tuple[Size, ...]] = None,
        const: Optional[np.ndarray] = None,
        fill: Optional[np.ndarray] = None,
        bases: FrozenSet[str] = frozenset(),
        view: Optional[View] = None,
        reason: str = "",
        error: Optional[Exception] = None,
        origin: Optional[Node] = None,
        parent: Optional["Value"] = None,
        computed: bool = False,
        state: Optional[Tuple[Step, str]] = None,
        norm: Optional[Norm] = None,
        pattern: Optional[Pattern] = None,
    ) -> None:
        self.name = name
        self.dtype = dtype if const is None else const.dtype
        self.shape: Optional[Tuple[Size, ...]] = shape if const is None else const.shape
        #: The array itself, where it is known.
        self.const = const
        #: A number, or an array, that is repeated to `shape`.
        self.fill = fill
        #: Inputs of the graph, states and results of the network that it is moved together from.
        self.bases = bases
        self.view = view
        #: Why there is no view.
        self.reason = reason
        self.error = error
        #: The node that it is moved by; or the one that cannot be read, where there is an error.
        self.origin = origin
        self.parent = parent
        #: Made by arithmetic of integers, not by moving alone.
        self.computed = computed
        #: The final state of a recurrent step: "h" or "c".
        self.state = state
        self.norm = norm
        self.pattern = pattern

    @property
    def known(self) -> bool:
        return self.const is not None


def fixed(error: RNNError, shape: Sequence[Size], wanted: Sequence[Size]) -> RNNError:
    """A shape that does not become another one, but would if the first size that differs were the number that is asked for."""
    for size, target in zip(shape, wanted):
        if isinstance(size, Dim) and isinstance(target, int) and target > 0:
            name = size.only_name()
            return error if name is None else FixedSize(error, name, target)
        if target != 0 and same(size, target) is not True:
            break
    return error


def repeated(node: Node, array: np.ndarray, shape: Tuple[int, ...]) -> np.ndarray:
    try:
        return np.broadcast_to(array, shape)
    except ValueError as error:  # such as a size of 0 beside a huge one
        raise format_error(f"{node}: a constant of the shape {list(shape)}: {error}") from None


def single_integer(array: Optional[np.ndarray]) -> Optional[int]:
    """A number that is known; None for anything else."""
    if array is None or array.size != 1 or array.dtype.kind not in "iu":
        return None
    return int(array.reshape(-1)[0])


def as_float(node: Node, dtype: np.dtype) -> np.dtype:
    if dtype.name not in ("float32", "float64"):
        raise unsupported(f"{node}: numbers of type {dtype}, expected float or double")
    return dtype


def show(shape: Optional[Sequence[Size]]) -> str:
    return "of unknown rank" if shape is None else "[" + ", ".join(str(size) for size in shape) + "]"
