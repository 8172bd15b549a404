"""What every operator of a graph needs to be read: values, constants, and nodes of the network to be."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..errors import unsupported
from ._dims import Size, same
from ._file import Graph, Node, format_error
from ._fold import Budget, symbolic
from ._layout import FEATURES, Axis, Lead, Rows, Step, View, ViewError
from ._values import Unfixed, Value, repeated

#: Folded constants may take this many bytes, and a few times what the file's own constants take.
_FOLDED_BYTES, _FOLDED_TIMES = 1 << 25, 4
#: Pieces of a node's features that may be put together in another order.
_PIECES = 64


class Reader:
    """What is known of a graph, and the nodes of the network that it becomes. The classes that derive from it know operators."""

    def __init__(
        self, graph: Graph, conventions: str, constants: Mapping[str, np.ndarray], onnx: Any, made: Sequence[str] = ()
    ) -> None:
        """`made`: inputs that another network makes, whose values nobody can give beforehand."""
        self.graph = graph
        self.conventions = conventions
        self.onnx = onnx
        self.opset = graph.opset
        self.budget = Budget(_FOLDED_BYTES + _FOLDED_TIMES * graph.bytes)
        self.steps: List[Step] = []
        self.values: Dict[str, Value] = {}
        self.inputs = {entry.name for entry in graph.inputs}
        self._given = self.inputs - set(made)
        #: Sizes that the graph takes for equal, and that only a run tells.
        self.assumptions: List[Tuple[Node, Size, Size]] = []
        self._made: Dict[Any, Step] = {}
        self._versions: Dict[str, int] = {}
        #: Rows of the batch, slowest first, as the first recurrent node has them.
        self.rows: Optional[Tuple[Lead, ...]] = None
        self.time: Optional[Lead] = None
        for name, array in graph.constants.items():
            self.values[name] = Value(name, const=array)
        for name, reason in graph.unread.items():
            self.values[name] = Value(name, error=unsupported(reason))
        for entry in graph.inputs:
            if entry.name in constants:
                self.values[entry.name] = Value(entry.name, const=constants[entry.name])
            elif entry.dtype is None:
                self.values[entry.name] = Value(
                    entry.name, error=unsupported(f"the input {entry.name!r} is of type {entry.kind}")
                )
            else:
                self.values[entry.name] = Value(
                    entry.name, entry.dtype, entry.shape, bases=frozenset([entry.name]), reason="it is not read as a sequence"
                )

    def _argument(self, node: Node, arguments: Sequence[Optional[Value]], index: int) -> Value:
        value = arguments[index] if index < len(arguments) else None
        if value is None:
            raise format_error(f"{node}: input {index} is missing")
        return value

    def _optional(self, arguments: Sequence[Optional[Value]], index: int) -> Optional[Value]:
        return arguments[index] if index < len(arguments) else None

    def _constant(self, node: Node, value: Value, what: str) -> np.ndarray:
        """The array of something that a model keeps."""
        if value.const is not None and not symbolic(value.const):
            return value.const
        if value.fill is not None and value.shape is not None and all(isinstance(size, int) for size in value.shape):
            shape = tuple(int(size) for size in value.shape)  # type: ignore[arg-type]
            self.budget.take(int(np.prod(shape, dtype=object)), value.fill.dtype.itemsize, node)
            return repeated(node, value.fill, shape)
        if value.bases and value.bases <= self._given:
            raise Unfixed(value.bases, node, what)
        raise unsupported(f"{node}: {what} is computed in the graph; librnn needs to know it beforehand")

    def _known_arrays(self, arguments: Sequence[Optional[Value]]) -> List[Optional[np.ndarray]]:
        return [None if value is None else value.const for value in arguments]

    def _from_inputs(self, value: Value) -> bool:
        return bool(value.bases) and value.bases <= self.inputs

    def _from_integers(self, value: Value) -> bool:
        """Computed of inputs that are integers: tokens and lengths."""
        return self._from_inputs(value) and all(
            dtype is not None and dtype.kind in "iub" for dtype in (self.values[base].dtype for base in value.bases)
        )

    def _broadcast(self, node: Node, left: Sequence[Size], right: Sequence[Size]) -> Tuple[Size, ...]:
        rank = max(len(left), len(right))
        result: List[Size] = []
        for a, b in zip([1] * (rank - len(left)) + list(left), [1] * (rank - len(right)) + list(right)):
            if same(a, 1) is True or same(a, b) is True:
                result.append(b)
            elif same(b, 1) is True:
                result.append(a)
            elif same(a, b) is False:
                raise format_error(f"{node}: the shapes {list(left)} and {list(right)} do not fit together")
            else:
                result.append(a if isinstance(a, int) else b)
        return tuple(result)

    def _step(
        self,
        kind: str,
        sources: Sequence[Step],
        width: int,
        dtype: np.dtype,
        place: str,
        leads: Sequence[Lead],
        options: Optional[Dict[str, Any]] = None,
        parameters: Optional[Dict[str, np.ndarray]] = None,
        key: Any = None,
    ) -> Step:
        if parameters is None and key is None:
            key = (kind, tuple(source.index for source in sources), width, repr(options))
        if key is not None and key in self._made:
            return self._made[key]
        step = Step(len(self.steps), kind, sources, width, dtype, place, leads, options, parameters)
        self.steps.append(step)
        if key is not None:
            self._made[key] = step
        return step

    def _columns(self, step: Step, columns: np.ndarray, place: str) -> Step:
        """A node whose features are `columns` of another, in that order."""
        flat = columns.reshape(-1)
        if flat.size == step.width and (flat == np.arange(step.width)).all():
            return step
        breaks = np.flatnonzero(np.diff(flat) != 1) + 1
        runs = [(int(run[0]), int(run[-1]) + 1) for run in np.split(flat, breaks)]
        if len(runs) > _PIECES:
            raise ViewError(f"features in another order, of {len(runs)} pieces (librnn puts together up to {_PIECES})")
        if step.kind == "concat":
            pieces: List[Step] = []
            for begin, end in runs:
                offset = 0
                for source in step.sources:
                    first, last = max(begin, offset), min(end, offset + source.width)
                    if first < last:
                        pieces.append(self._columns(source, np.arange(first - offset, last - offset), place))
                    offset += source.width
            return self._joined(pieces, place)
        return self._joined(
            [
                self._step("slice", [step], end - begin, step.dtype, place, step.leads, {"begin": begin, "end": end})
                for begin, end in runs
            ],
            place,
        )

    def _joined(self, pieces: Sequence[Step], place: str) -> Step:
        merged: List[Step] = []
        for piece in pieces:
            before = merged[-1] if merged else None
            if before is not None and before.kind == piece.kind == "slice" and before.sources == piece.sources and (
                before.options["end"] == piece.options["begin"]
            ):
                columns = np.arange(before.options["begin"], piece.options["end"])
                merged[-1] = self._columns(piece.sources[0], columns, place)
            else:
                merged.append(piece)
        pieces = merged
        if len(pieces) == 1:
            return pieces[0]
        return self._step("concat", pieces, sum(piece.width for piece in pieces), pieces[0].dtype, place, pieces[0].leads)

    def _assign(self, rows: Rows, role: str, node: Node) -> None:
        for lead in rows.roots():
            if same(lead.size, 1) is True:
                continue
            if lead.role is not None and lead.role[0] != role:
                raise ViewError(f"{lead.label} is {role} here and {lead.role[0]} in {lead.role[1]}")
            lead.role = (role, str(node))

    def _time_of(self, view: View, axis: int) -> Optional[Lead]:
        """The time lead that an axis runs over; None if its size is 1."""
        rows = view.axes[axis]
        assert rows is not None
        leads = [lead for lead in rows.roots() if same(lead.size, 1) is not True]
        if not leads:
            return None
        if len(leads) > 1 or leads[0].role is None or leads[0].role[0] != "time":
            if any(lead.role is None for lead in leads):
                raise ViewError("it chooses among steps or rows before any recurrent node has told which axis is time")
            raise ViewError("it chooses among rows of the batch")
        return leads[0]

    def _one_step(self, node: Node, view: View, axis: int, last: bool, first: bool) -> View:
        """The last or first step of a sequence; its axis stays, with size 1."""
        time = self._time_of(view, axis)
        axes = list(view.axes)
        axes[axis] = Rows()
        if time is None:
            if not last and not first:
                raise format_error(f"{node}: an index is out of range of 1 step")
            return View(view.step, axes, view.columns)
        if not last and not first:
            raise ViewError("it takes steps of a sequence that are neither the first nor the last one")
        return View(self._single(view.step, time, reverse=not last, place=str(node), padded=True), axes, view.columns)

    def _single(self, step: Step, time: Lead, reverse: bool, place: str, padded: bool) -> Step:
        """The last step of a node, or with `reverse` the first. `padded`: of the array, not of each row."""
        leads = [lead for lead in step.leads if lead.root() is not time.root()]
        kind = "first_step" if reverse else "last_step"
        return self._step(kind, [step], step.width, step.dtype, place, leads, {"padded": padded})

    def _turned(self, node: Node, view: View, axis: int) -> View:
        rows = view.axes[axis]
        if rows is not FEATURES and all(lead.role is None for lead in rows.roots()):
            self._assign(rows, "time", node)  # nobody turns rows around
        time = self._time_of(view, axis)
        if time is None:
            return view
        step = self._step("reverse", [view.step], view.step.width, view.step.dtype, str(node), view.step.leads, {"padded": True})
        return View(step, view.axes, view.columns)

    def _join(self, node: Node, views: Sequence[View]) -> List[Axis]:
        """The axes of views that are combined element by element, which must be the same."""
        rank = max(len(view.axes) for view in views)
        result: List[Axis] = []
        for place in range(rank):
            kinds = []
            for view in views:
                index = place - (rank - len(view.axes))
                kinds.append(view.axes[index] if index >= 0 else Rows())
            if any(kind is FEATURES for kind in kinds):
                if not all(kind is FEATURES or same(kind.size(), 1) is True for kind in kinds):
                    raise ViewError("steps or rows of one operand meet features of the other")
                result.append(FEATURES)
                continue
            chosen = kinds[0]
            assert chosen is not None
            for kind in kinds[1:]:
                assert kind is not None
                self._same_rows(chosen, kind)
                if not chosen.leads:
                    chosen = kind
            result.append(chosen)
        return result

    def _same_rows(self, left: Rows, right: Rows) -> None:
        a = [lead for lead in left.roots() if same(lead.size, 1) is not True]
        b = [lead for lead in right.roots() if same(lead.size, 1) is not True]
        if len(a) != len(b):
            raise ViewError("one operand has steps or rows where the other has none: librnn repeats nothing over them")
        for first, second in zip(a, b):
            first.join(second)

    def _result(
        self, node: Node, kind: str, sources: Sequence[Step], axes: Sequence[Axis], shape: Tuple[int, ...], width: int,
        options: Optional[Dict[str, Any]] = None, parameters: Optional[Dict[str, np.ndarray]] = None,
    ) -> List[Value]:  # fmt: skip
        leads = sources[0].leads
        for source in sources[1:]:
            mine = {lead.root() for lead in leads if same(lead.root().size, 1) is not True}
            if mine != {lead.root() for lead in source.leads if same(lead.root().size, 1) is not True}:
                raise ViewError("one operand has steps or rows where the other has none: librnn repeats nothing over them")
        step = self._step(kind, sources, width, sources[0].dtype, node.outputs[0] or str(node), leads, options, parameters)
        return [self._viewed(node, View.of(step, axes, shape))]

    def _viewed(self, node: Node, view: View) -> Value:
        name = node.outputs[0]
        return Value(name, view.step.dtype, view.shape(), bases=frozenset([name]), view=view)
