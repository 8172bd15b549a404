"""Tokens and what is computed of integers: embeddings, one-hot vectors, lengths."""

from __future__ import annotations

from typing import FrozenSet, List, Optional, Tuple

import numpy as np

from ..errors import unsupported
from ._dims import Size
from ._file import Node, allow_attributes, attribute
from ._fold import fold, symbolic
from ._layout import FEATURES, Axis, Lead, Rows, Step, View
from ._moving import Moving
from ._values import Value, as_float

#: Arithmetic that acts on each token alone.
_ELEMENTWISE = frozenset(
    ["Add", "Sub", "Mul", "Cast", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal", "Not", "And", "Or", "Where",
     "Identity", "Min", "Max", "Mod"]
)  # fmt: skip


class Tokens(Moving):
    """Tokens and what is computed of integers."""

    def _gathered(self, node: Node, arguments: List[Optional[Value]]) -> Optional[List[Value]]:
        """Gather of rows of a table: an embedding."""
        table, tokens = self._argument(node, arguments, 0), self._argument(node, arguments, 1)
        if tokens.known or tokens.dtype is None or tokens.dtype.kind not in "iu" or table.dtype is None or table.dtype.kind != "f":
            return None
        if table.view is not None:
            return None
        weight = self._constant(node, table, "the table of an embedding")
        if weight.ndim != 2 or attribute(node, "axis", int, 0) not in (0, -2):
            raise unsupported(f"{node}: a table of the shape {weight.shape}; an embedding has [tokens, features], and axis 0")
        source, axes = self._tokens(node, tokens, weight.shape[0])
        step = self._step(
            "embedding", [source], weight.shape[1], as_float(node, weight.dtype), node.outputs[0] or str(node), source.leads,
            {"vocabulary": int(weight.shape[0])}, {"weight": weight},
        )  # fmt: skip
        return [self._viewed(node, View.of(step, axes))]

    def _tokens(self, node: Node, tokens: Value, count: int) -> Tuple[Step, List[Axis]]:
        if not self._from_inputs(tokens) or tokens.computed and not self._same_tokens(node, tokens, count):
            raise unsupported(f"{node}: its indices {tokens.name!r} are computed; librnn reads tokens from an input")
        if tokens.shape is None:
            raise unsupported(f"{node}: the shape of {tokens.name!r} is not known")
        key = ("tokens", tokens.name)
        step = self._made.get(key)
        if step is None:
            leads = [Lead(size, f"axis {axis} of {tokens.name!r}") for axis, size in enumerate(tokens.shape)]
            step = self._step("tokens", [], 1, np.dtype(np.int64), tokens.name, leads, {"value": tokens.name}, key=key)
        return step, [Rows(lead) for lead in step.leads] + [FEATURES]

    def _same_tokens(self, node: Node, tokens: Value, count: int) -> bool:
        """Whether arithmetic gives each token in [0, count) back, as that does which lets negative ones count from the end."""
        if len(tokens.bases) != 1:
            return False
        (base,) = tokens.bases
        chain: List[Node] = []
        needed = {tokens.name}
        for entry in reversed(self.graph.nodes[: node.index]):
            if needed.isdisjoint(entry.outputs) or all(self.values[name].known for name in entry.outputs if name):
                continue
            if entry.op not in _ELEMENTWISE:
                return False
            chain.append(entry)
            for name in filter(None, entry.inputs):
                value = self.values[name]
                if value.known and value.const.size != 1:  # type: ignore[union-attr]
                    return False
                if not value.known:
                    needed.add(name)
        dtype = self.values[base].dtype
        if dtype is None or count > 1 << 24:
            return False
        self.budget.take(count, 8 * (1 + len(chain)), node)
        numbers_ = {base: np.arange(count).astype(dtype)}
        for entry in reversed(chain):
            arrays = [
                numbers_[name] if name in numbers_ else self.values[name].const if name else None for name in entry.inputs
            ]
            numbers_.update(zip(entry.outputs, fold(entry, self.opset, arrays, None)))
        return bool((numbers_[tokens.name].reshape(-1) == np.arange(count)).all())

    def _one_hot(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        allow_attributes(node, "axis")
        tokens = self._argument(node, arguments, 0)
        depth = self._constant(node, self._argument(node, arguments, 1), "depth")
        values = self._constant(node, self._argument(node, arguments, 2), "values")
        if tokens.dtype is None or tokens.dtype.kind not in "iu" or depth.size != 1 or values.shape != (2,):
            raise unsupported(f"{node}: indices of type {tokens.dtype}, depth {depth.shape}, values {values.shape}")
        axis = attribute(node, "axis", int, -1)
        if axis not in (-1, len(tokens.shape or ())):
            raise unsupported(f"{node}: axis is {axis}; librnn has it last")
        size = int(depth.reshape(-1)[0])
        if size < 1:
            raise unsupported(f"{node}: depth is {size}")
        self.budget.take(size, 8, node)
        source, axes = self._tokens(node, tokens, size)
        place = node.outputs[0] or str(node)
        step = self._step("one_hot", [source], size, as_float(node, values.dtype), place, source.leads)
        off, on = (float(value) for value in values)
        if (off, on) != (0.0, 1.0):
            self.budget.take(size, 16, node)
            step = self._step(
                "scale_shift", [step], size, step.dtype, place, step.leads, {"bias": True},
                {"weight": np.full(size, on - off, step.dtype), "bias": np.full(size, off, step.dtype)},
            )  # fmt: skip
        return [self._viewed(node, View.of(step, axes))]

    def _host_integers(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        """Arithmetic of integers that a run makes of its inputs, such as lengths."""
        given = [value for value in arguments if value is not None]
        if any(value.known and symbolic(value.const) for value in given):  # type: ignore[arg-type]
            raise unsupported(f"{node}: arithmetic of sizes and inputs")
        shape: Optional[Tuple[Size, ...]] = None
        if not node.op.startswith("Reduce"):
            shapes = [value.shape for value in given if value.shape is not None]
            if len(shapes) == len(given):
                shape = shapes[0]
                for other in shapes[1:]:
                    shape = self._broadcast(node, shape, other)
        bases: FrozenSet[str] = frozenset().union(*(value.bases for value in given))
        dtype = given[0].dtype
        return [Value("", dtype, shape, bases=bases, reason="it is computed from integers", computed=True, origin=node)]
