"""Recurrent nodes, and loops that compute one: their weights, lengths and states."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

import numpy as np

from ..errors import unsupported
from ._dims import Dim, Size, same
from ._file import Body, Node, allow_attributes, attribute, format_error
from ._fold import symbolic
from ._layout import FEATURES, Axis, Rows, Step, View, ViewError
from ._loop import LoopReader
from ._padding import Padding
from ._recurrent import Recurrent, read_recurrent, state_rows
from ._values import Value, show


class Cells(Padding):
    """Recurrent nodes, and loops that compute one."""

    def _recurrent(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        names = ["X", "W", "R", "B", "sequence_lens", "initial_h"] + (["initial_c", "P"] if node.op == "LSTM" else [])
        if len(arguments) > len(names):
            raise format_error(f"{node} has {len(arguments)} inputs, expected at most {len(names)}")
        if len(node.outputs) > (3 if node.op == "LSTM" else 2):
            raise format_error(f"{node} has {len(node.outputs)} outputs")
        inputs = {name: self._optional(arguments, index) for index, name in enumerate(names)}
        arrays: Dict[str, Optional[np.ndarray]] = {}
        for name in ("W", "R", "B", "P"):
            value = inputs.get(name)
            arrays[name] = None if value is None else self._constant(node, value, name)
        W, R = arrays["W"], arrays["R"]
        if W is None or R is None or inputs["X"] is None:
            raise format_error(f"{node}: {'X' if inputs['X'] is None else 'W' if W is None else 'R'} is missing")
        layer = read_recurrent(node, self.conventions, W, R, arrays["B"], arrays["P"])
        step, view = self._features(node, inputs["X"])
        if len(view.axes) != 3:
            raise format_error(f"{node}: X has {len(view.axes)} axes, expected 3")
        if step.width != layer.input_size:
            raise format_error(f"{node}: X has {step.width} features, and W {list(W.shape)} reads {layer.input_size}")
        if step.dtype != W.dtype:
            raise format_error(f"{node}: X is {step.dtype}, and W is {W.dtype}")
        time, rows = (view.axes[1], view.axes[0]) if layer.layout else (view.axes[0], view.axes[1])
        assert time is not None and rows is not None
        if sum(same(lead.size, 1) is not True for lead in time.roots()) > 1:
            raise ViewError("its time runs over several axes of an input")
        self._assign(time, "time", node)
        self._assign(rows, "rows", node)
        options: Dict[str, Any] = {"layer": layer, "rows": rows, "lengths": self._lengths(node, inputs["sequence_lens"], time.size())}
        for name in ("initial_h", "initial_c"):
            options[name] = self._initial(node, inputs.get(name), layer, rows.size(), name)
        H, D = layer.hidden_size, layer.directions
        place = node.name or node.outputs[0] or str(node)
        result = self._step(
            "recurrent", [step], D * H, step.dtype, place, step.leads, options, dict(layer.parameters)
        )
        axes: List[Axis] = [time, FEATURES, rows, FEATURES]
        y = View.of(result, axes, (D, H))
        state_axes: List[Axis] = [FEATURES, rows, FEATURES]
        final = self._final(result, time, layer)
        h = View.of(final, state_axes, (D, H))
        if layer.layout:
            y, h = y.transpose([2, 0, 1, 3]), h.transpose([1, 0, 2])
        outputs = (list(node.outputs) + ["", "", ""])[:3]
        values = [
            Value("", step.dtype, y.shape(), bases=frozenset([outputs[0]]), view=y),
            Value("", step.dtype, h.shape(), bases=frozenset([outputs[1]]), view=h, state=(result, "h")),
            Value("", step.dtype, h.shape(), bases=frozenset([outputs[2]]), state=(result, "c"),
                  reason=f"Y_c of {node} is a state: it can be an output of the graph, and nothing can be computed of it"),
        ]  # fmt: skip
        return values[: 3 if node.op == "LSTM" else 2]

    def _final(self, result: Step, time: Rows, layer: Recurrent) -> Step:
        """Y_h [.., D*H] as a node: the last step of the forward direction, the first of the backward one."""
        leads = [lead for lead in time.roots() if same(lead.size, 1) is not True]
        if not leads:
            return result
        place = result.place
        backward = layer.keywords.get("direction") == "reverse"
        if layer.directions == 1:
            return self._single(result, leads[0], backward, place, padded=False)
        H = layer.hidden_size
        halves = [self._columns(result, np.arange(begin, begin + H), place) for begin in (0, H)]
        return self._joined(
            [self._single(half, leads[0], bool(index), place, padded=False) for index, half in enumerate(halves)], place
        )

    def _lengths(self, node: Node, value: Optional[Value], time: Size) -> Any:
        """None: every row has all steps; ("value", name) of a run; ("constant", numbers)."""
        if value is None or self._full(value, time):
            return None
        if value.const is not None and not symbolic(value.const):
            if value.const.ndim != 1 or value.const.dtype.kind not in "iu":
                raise format_error(f"{node}: sequence_lens has the shape {value.const.shape} of {value.const.dtype}, expected [N]")
            lengths = tuple(int(length) for length in value.const)
            if any(not 0 <= length < 1 << 31 for length in lengths):
                raise format_error(f"{node}: sequence_lens has {max(lengths, key=abs)}, expected lengths from 0 to 2**31 - 1")
            return ("constant", lengths)
        if self._from_inputs(value) and value.dtype is not None and value.dtype.kind in "iu":
            return ("value", value.name)
        raise unsupported(f"{node}: sequence_lens is computed in a way that librnn does not follow")

    def _initial(self, node: Node, value: Optional[Value], layer: Recurrent, rows: Size, name: str) -> Any:
        """None: zeros; ("learned", [D, H]); ("constant", [D, N, H]); ("value", name, layout)."""
        if value is None:
            return None
        what = f"{node}: {name}"
        D, H = layer.directions, layer.hidden_size
        base = value.const if value.const is not None else value.fill
        if base is not None and not symbolic(base):
            if value.shape is None or len(value.shape) != 3:
                raise format_error(f"{what} has the shape {show(value.shape)}, expected three axes")
            own = value.shape[0 if layer.layout else 1]
            if same(own, rows) is None and same(own, 1) is not True:
                self.assumptions.append((node, own, rows))
            if not base.any():
                return None
            if base.dtype.name not in ("float32", "float64"):
                raise format_error(f"{what} is {base.dtype}")
            small = base.reshape((1,) * (3 - base.ndim) + base.shape)
            target = list(small.shape)
            for axis, size in ((1 if layer.layout else 0, D), (2, H)):
                target[axis] = size
            try:
                full = np.broadcast_to(small, target)
            except ValueError:
                raise format_error(f"{what} has the shape {show(value.shape)}, expected [{D}, N, {H}] (layout 0)") from None
            full = state_rows(full, D, H, layer.layout, what)
            if same(full.shape[1], rows) is False and full.shape[1] != 1:
                raise format_error(f"{what} has {full.shape[1]} rows, and X has {rows}")
            if (full == full[:, :1]).all():
                return ("learned", np.array(full[:, 0]))
            return ("constant", np.array(full))
        if self._from_inputs(value) and not value.computed:
            return ("value", value.name, layer.layout)
        raise unsupported(
            f"{what} {value.name!r} is computed in the graph; librnn takes initial states from inputs and constants"
        )

    def _loop(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        """A loop over steps that computes a cell."""
        allow_attributes(node, "body")
        body = attribute(node, "body", Body)
        if body is None or len(node.inputs) < 2:
            raise format_error(f"{node}: its body or its inputs are missing")
        sizes: Dict[str, Size] = {}

        def constant(name: str) -> Optional[np.ndarray]:
            value = self.values.get(name)
            if value is None:
                raise format_error(f"{node}: its body reads {name!r}, which is nowhere")
            return None if value.const is None or symbolic(value.const) else value.const

        def is_size(name: str) -> bool:
            size = self._size_in(name)
            if not isinstance(size, Dim):  # a number may be anything
                return False
            sizes[name] = size
            return True

        reader = LoopReader(node, body, list(node.inputs[2:]), self.opset, self.budget, constant, is_size)
        count = self._size_in(node.inputs[0]) if node.inputs[0] else None
        cell = reader.read(count is not None)
        x = self.values[cell.x]
        if x.error is not None:
            raise x.error
        if x.shape is None or len(x.shape) != 3 or x.dtype is None:
            raise unsupported(f"{node}: {cell.x!r} has the shape {show(x.shape)}, expected [T, N, I]")
        steps: List[Size] = [*sizes.values(), *([] if count is None else [count])]
        if any(limit != x.shape[0] for limit in reader.limits):
            raise unsupported(f"{node}: it runs {reader.limits[0]:g} times, and {cell.x!r} has {x.shape[0]} steps")
        if any(same(size, x.shape[0]) is not True for size in steps):
            raise unsupported(f"{node}: it does not run once for each step of {cell.x!r}")
        if node.inputs[1] and not self._begins(node.inputs[1], x.shape[0]):
            raise unsupported(f"{node}: whether it begins depends on {node.inputs[1]!r}, which is not that there is a step")
        given: List[Optional[Value]] = [x]
        given += [Value("", const=array.astype(x.dtype)) for array in (cell.W, cell.R, cell.B)] + [None]
        for place in cell.states:
            state = self.values[node.inputs[2 + place]]
            if state.error is not None:
                raise state.error
            if state.shape is None or len(state.shape) != 2 or state.const is None and state.fill is None:
                raise unsupported(f"{node}: the initial state {state.name!r} is not a constant [N, H]")
            given.append(Value(state.name, state.dtype, (1, *state.shape), state.const if state.const is None else state.const[None],
                               state.fill))  # fmt: skip
        found = self._recurrent(node._replace(op=cell.op, inputs=[], outputs=["", "", ""][: 1 + len(cell.states)],
                                              attributes=cell.attributes), given)  # fmt: skip
        carried = len(node.inputs) - 2
        results = [Value("", error=unsupported(f"{node}: its output {name!r} is not H"), origin=node) for name in node.outputs]
        views = {carried + place: found[0].view for place in cell.sequences}
        views[cell.states[0]] = found[1].view
        for place, view in views.items():
            if place < len(node.outputs) and view is not None:
                view = view.squeeze([0 if place < carried else 1])
                results[place] = Value("", view.step.dtype, view.shape(), bases=frozenset([node.outputs[place]]), view=view)
        return results

    def _size_in(self, name: str) -> Optional[Size]:
        """The number of steps that a value without axes is."""
        value = self.values.get(name)
        if value is None or value.const is None or value.const.size != 1 or value.const.ndim > 1 or value.const.dtype.kind not in "iuO":
            return None
        size = value.const.reshape(-1)[0]
        return size if isinstance(size, Dim) else int(size)

    def _begins(self, name: str, steps: Size) -> bool:
        """Whether a condition is that there is a step, 0 < T, or true."""
        value = self.values[name]
        if value.known:
            return bool(value.const is not None and value.const.dtype == bool and value.const.all())
        node = next((entry for entry in self.graph.nodes if name in entry.outputs), None)
        if node is None or len(node.inputs) != 2:
            return False
        if node.op == "And":
            return all(self._begins(entry, steps) for entry in node.inputs)
        zero = self.values[node.inputs[0]].const if node.inputs[0] else None
        size = self._size_in(node.inputs[1])
        return node.op == "Less" and zero is not None and zero.size == 1 and not symbolic(zero) and not zero.any() and (
            size is not None and same(size, steps) is True
        )
