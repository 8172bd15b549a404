"""Where the time, the rows and the features of a network's node are, in the arrays that a graph makes of it.

ONNX graphs move axes around between layers: [T, N, F], [N, T, F], [T, D, N, H], [T*N, F]. A `View` follows them: which axes are
leading ones (time, rows), and which element of the node's features stands at each place of the others.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from ._dims import Dim, Size, product, same
from ._fold import Fold, axes_of, flat_shape, integers, permutation, squeezed, target_shape, unsqueezed


class Lead:
    """One leading axis: time, or rows of the batch. Axes that turn out to be the same are joined."""

    __slots__ = ("_parent", "size", "label", "role")

    def __init__(self, size: Size, label: str) -> None:
        self._parent: Optional[Lead] = None
        self.size = size
        #: Where it comes from, for messages.
        self.label = label
        #: "time" or "rows", once a recurrent node has read it; with the name of that node.
        self.role: Optional[Tuple[str, str]] = None

    def root(self) -> "Lead":
        lead = self
        while lead._parent is not None:
            lead = lead._parent
        return lead

    def join(self, other: "Lead") -> None:
        left, right = self.root(), other.root()
        if left is not right:
            if left.role and right.role and left.role[0] != right.role[0]:
                raise ViewError(
                    f"an axis is {left.role[0]} in {left.role[1]} and {right.role[0]} in {right.role[1]}"
                )
            if same(left.size, right.size) is False:
                raise ViewError(f"the sizes {left.size} and {right.size} of {left.label} and {right.label} differ")
            right._parent = left
            left.role = left.role or right.role
            if isinstance(left.size, Dim) and isinstance(right.size, int):
                left.size = right.size


class Step:
    """A node of the network to be: made when it is first needed, and built only if an output needs it."""

    __slots__ = ("index", "kind", "sources", "width", "options", "parameters", "dtype", "place", "leads")

    def __init__(
        self,
        index: int,
        kind: str,
        sources: Sequence["Step"],
        width: int,
        dtype: np.dtype,
        place: str,
        leads: Sequence[Lead],
        options: Optional[Dict[str, Any]] = None,
        parameters: Optional[Dict[str, np.ndarray]] = None,
    ) -> None:
        self.index = index
        self.kind = kind
        self.sources = list(sources)
        self.width = width
        self.dtype = dtype
        #: What of the graph it comes from, for names and messages.
        self.place = place
        #: The axes that it has beside its features.
        self.leads = list(leads)
        self.options = options or {}
        self.parameters = parameters or {}


class Rows:
    """A leading axis of a view: the leads that it runs over, the slowest first; none: its size is 1."""

    __slots__ = ("leads",)

    def __init__(self, *leads: Lead) -> None:
        self.leads = leads

    def roots(self) -> Tuple[Lead, ...]:
        return tuple(lead.root() for lead in self.leads)

    def size(self) -> Size:
        return product(lead.root().size for lead in self.leads)


#: An axis of a view that runs over features.
FEATURES = None
Axis = Optional[Rows]


class ViewError(ValueError):
    """A change of shape that has no meaning for a sequence."""


class View:
    """An array of the graph, as an arrangement of a node's result."""

    __slots__ = ("step", "axes", "columns")

    def __init__(self, step: Step, axes: Sequence[Axis], columns: np.ndarray) -> None:
        self.step = step
        self.axes = list(axes)
        #: One axis for each FEATURES, in their order: the columns of the node's result.
        self.columns = columns

    @staticmethod
    def of(step: Step, axes: Sequence[Axis], shape: Optional[Sequence[int]] = None) -> "View":
        """All of a node's features, in their order, on the axes FEATURES, which have the sizes `shape`."""
        return View(step, axes, np.arange(step.width).reshape((step.width,) if shape is None else tuple(shape)))

    def shape(self) -> Tuple[Size, ...]:
        sizes = iter(self.columns.shape)
        return tuple(next(sizes) if axis is FEATURES else axis.size() for axis in self.axes)

    def feature_axis(self, axis: int) -> Optional[int]:
        """The axis of `columns` that an axis of the array is, or None."""
        if self.axes[axis] is not FEATURES:
            return None
        return sum(1 for other in self.axes[:axis] if other is FEATURES)

    def narrow(self) -> "View":
        """The same array, with its features on one axis: the others have size 1 and become rows. An error if they do not."""
        if self.columns.ndim == 0:
            free = [axis for axis, kind in enumerate(self.axes) if kind is not FEATURES and not kind.leads]
            if not free:
                raise ViewError("it has no axis of features")
            axes = [FEATURES if axis == free[-1] else kind for axis, kind in enumerate(self.axes)]
            return View(self.step, axes, self.columns.reshape(1))
        places = [axis for axis, kind in enumerate(self.axes) if kind is FEATURES]
        wide = [axis for axis, size in zip(places, self.columns.shape) if size != 1]
        if len(wide) > 1:
            raise ViewError("its features are spread over several axes")
        keep = wide[0] if wide else places[-1]
        axes = [Rows() if axis in places and axis != keep else kind for axis, kind in enumerate(self.axes)]
        return View(self.step, axes, self.columns.reshape(-1))

    # ------------------------------------------------------------- moving

    def transpose(self, order: Sequence[int]) -> "View":
        places = [self.feature_axis(axis) for axis in order]
        return View(
            self.step,
            [self.axes[axis] for axis in order],
            self.columns.transpose([place for place in places if place is not None]),
        )

    def squeeze(self, axes: Sequence[int]) -> "View":
        gone = set(axes)
        columns = self.columns
        for axis in sorted(gone, reverse=True):
            place = self.feature_axis(axis)
            if place is not None:
                columns = columns.squeeze(place)
        return View(self.step, [kind for axis, kind in enumerate(self.axes) if axis not in gone], columns)

    def unsqueeze(self, places: Sequence[int]) -> "View":
        axes = list(self.axes)
        for place in places:
            axes.insert(place, Rows())
        return View(self.step, axes, self.columns)

    def reshape(self, shape: Sequence[Size]) -> "View":
        """Axes merged and split in row-major order; never rows with features."""
        atoms: List[Tuple[Size, Union[Lead, int]]] = []  # (size, lead or a counter of feature axes)
        for axis, kind in enumerate(self.axes):
            if kind is FEATURES:
                place = self.feature_axis(axis)
                assert place is not None
                atoms.append((self.columns.shape[place], place))
            else:
                atoms += [(lead.size, lead) for lead in kind.roots()]
        atoms.reverse()
        axes: List[Axis] = []
        feature_sizes: List[int] = []
        for target in shape:
            leads: List[Lead] = []
            features: List[int] = []
            total: Size = 1
            while same(total, target) is not True:
                if not atoms:
                    raise ViewError(f"{list(self.shape())} becomes {list(shape)}")
                size, atom = atoms.pop()
                if isinstance(atom, Lead):
                    leads.append(atom)
                    total = total * size
                    continue
                assert isinstance(size, int)
                if isinstance(target, int) and isinstance(total, int) and size != 0 and total * size > target:
                    part = target // total if total else 0
                    if part == 0 or total * part != target or size % part:
                        raise ViewError(f"{list(self.shape())} becomes {list(shape)}")
                    atoms.append((size // part, atom))
                    size = part
                features.append(size)
                total = total * size
            if target == 1 and not leads and not features and atoms and same(atoms[-1][0], 1) is True:
                size, atom = atoms.pop()
                if isinstance(atom, Lead):
                    leads.append(atom)
                else:
                    features.append(1)
            if leads and features:
                if any(size != 1 for size in features):
                    if any(same(lead.size, 1) is not True for lead in leads):
                        raise ViewError(
                            f"{list(self.shape())} becomes {list(shape)}, which puts steps or rows among the features"
                        )
                    leads = []
                else:
                    features = []
            if features:
                axes.append(FEATURES)
                feature_sizes.append(int(np.prod(features)))
            else:
                axes.append(Rows(*leads))
        if any(same(size, 1) is not True for size, _ in atoms):
            raise ViewError(f"{list(self.shape())} becomes {list(shape)}")
        if int(np.prod(feature_sizes)) != self.columns.size:
            raise ViewError(f"{list(self.shape())} becomes {list(shape)}")
        return View(self.step, axes, self.columns.reshape(feature_sizes))

    def take(self, axis: int, index: Any) -> "View":
        """Features chosen by an array of indices or a slice, along one axis of features."""
        place = self.feature_axis(axis)
        assert place is not None
        columns = self.columns[tuple([slice(None)] * place + [index])]
        if columns.size == 0:
            raise ViewError("no feature is left")
        extra = columns.ndim - self.columns.ndim
        return View(self.step, self.axes[:axis] + [FEATURES] * (1 + extra) + self.axes[axis + 1 :], columns)


def moved(fold: Fold, view: View, arrays: Sequence[Optional[np.ndarray]]) -> List[View]:
    """The views that an operator of `MOVING` makes of one view, for those that only rearrange. Others: `ViewError`."""
    op = fold.node.op
    rank = len(view.axes)
    second = arrays[1] if len(arrays) > 1 else None
    if op in ("Identity", "Cast"):
        return [view]
    if op == "Transpose":
        return [view.transpose(permutation(fold, rank))]
    if op == "Squeeze":
        return [view.squeeze(squeezed(fold, view.shape(), axes_of(fold, second)))]
    if op == "Unsqueeze":
        return [view.unsqueeze(unsqueezed(fold, rank, axes_of(fold, second)))]
    if op == "Reshape":
        if second is None:
            raise fold.error("the shape is missing")
        return [view.reshape(target_shape(fold, view.shape(), integers(second, fold, "the shape")))]
    if op == "Flatten":
        return [view.reshape(flat_shape(fold, view.shape()))]
    raise ViewError(f"{op} is not followed")
