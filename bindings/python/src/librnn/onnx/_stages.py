"""A graph as one network of librnn or, where it is more than one can hold, as several that run one after the other.

A network has one time, one batch, one length for each row, and states that come from outside. Where a graph goes on with a final
state as another layer's initial state, with steps among features, with time and rows in each other's place, it is cut: what the
node reads becomes an output of one network and, moved by NumPy, an input of the next.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Set, Tuple, Union

import numpy as np

from ..errors import RNNError
from ..network import Network
from ._dims import Dim, Size
from ._file import Graph, Node, TensorType
from ._graph import Interpreter
from ._mover import Mover
from ._plan import Plan
from ._recurrent import ORDERS
from ._values import FixedSize, Value

#: Cuts of one graph, and outputs that are shared out to networks: each costs another reading of the graph.
_MOST_CUTS, _MOST_OUTPUTS = 48, 16


class Moves:
    """Outputs that are moved from arrays that are there, by no network."""

    def __init__(self, reader: Interpreter, names: Sequence[str]) -> None:
        self.names = list(names)
        self.mover = Mover(reader)

    def run(self, known: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> Dict[str, np.ndarray]:
        return {name: np.array(self.mover.evaluate(name, known, sizes)) for name in self.names}


class Stage(NamedTuple):
    """A network, and the results of earlier ones that it reads."""

    part: Union[Plan, Moves]
    reads: Tuple[TensorType, ...]


class Stages:
    """What computes some outputs of a graph."""

    def __init__(
        self, graph: Graph, conventions: str, constants: Mapping[str, np.ndarray], onnx: Any, names: Sequence[str]
    ) -> None:
        self._conventions = conventions
        self._constants = constants
        self._onnx = onnx
        self._cuts = 0
        #: The first error of each node that the graph was cut at.
        self._blamed: Dict[int, RNNError] = {}
        #: Why the graph is not one network.
        self.reason = ""
        self.stages = self._build(graph, (), list(names))

    @property
    def networks(self) -> List[Network]:
        return [stage.part.network for stage in self.stages if isinstance(stage.part, Plan)]

    def run(self, feeds: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> Dict[str, np.ndarray]:
        known, known_sizes = dict(feeds), dict(sizes)
        for stage in self.stages:
            for entry in stage.reads:
                for size, actual in zip(entry.shape or (), known[entry.name].shape):
                    name = size.only_name() if isinstance(size, Dim) else None
                    if name is not None:
                        known_sizes.setdefault(name, actual)
            known.update(stage.part.run(known, known_sizes))
        return known

    def _build(self, graph: Graph, reads: Tuple[TensorType, ...], names: List[str]) -> List[Stage]:
        made = [entry.name for entry in reads]
        reader = Interpreter(graph, self._conventions, self._constants, self._onnx, made)
        values = [reader.values.get(name) for name in names]
        if made and all(value is not None and value.error is None and value.bases <= reader.inputs for value in values):
            return [Stage(Moves(reader, names), reads)]
        try:
            return [Stage(Plan(reader, names), reads)]
        except FixedSize:
            raise
        except RNNError as error:
            reason = error
        failed = next((value for value in values if value is not None and value.error is not None), None)
        if failed is not None:
            node = failed.origin
            if node is not None:
                reason = self._blamed.setdefault(node.index, reason)
                return self._cut(reader, reads, names, [name for name in node.inputs if name], reason)
            raise reason
        if 1 < len(names) <= _MOST_OUTPUTS:
            groups = self._groups(reader, names)
            if len(groups) > 1:
                self.reason = self.reason or reason.message
                return [stage for group in groups for stage in self._build(graph, reads, group)]
        first = next((node for node in _needed(graph, names) if node.op in ORDERS and not node.domain), None)
        if first is None:
            raise reason
        # After the first recurrent node; before it, where it is all that is asked for.
        places = first.outputs if not set(names).issuperset(filter(None, first.outputs)) else first.inputs
        return self._cut(reader, reads, names, [name for name in places if name], reason)

    def _groups(self, reader: Interpreter, names: Sequence[str]) -> List[List[str]]:
        """Outputs that one network can give together."""
        groups: List[List[str]] = []
        for name in names:
            for group in groups:
                try:
                    Plan(reader, group + [name])
                except RNNError:
                    continue
                group.append(name)
                break
            else:
                groups.append([name])
        return groups

    def _cut(
        self, reader: Interpreter, reads: Tuple[TensorType, ...], names: List[str], places: Sequence[str], reason: RNNError
    ) -> List[Stage]:
        """The stages that make the values `places`, and those that go on from there; `reason` if there is nothing to cut."""
        computed = self._results(reader, places, names)
        self._cuts += 1
        if not computed or self._cuts > _MOST_CUTS:
            raise reason
        before = self._build(reader.graph, reads, computed)
        self.reason = self.reason or reason.message
        more = tuple(_declared(reader.values[name]) for name in computed)
        gone = set(computed)
        nodes = [
            node._replace(outputs=["" if name in gone else name for name in node.outputs]) for node in reader.graph.nodes
        ]
        rest = reader.graph._replace(inputs=[*reader.graph.inputs, *more], nodes=nodes)
        return before + self._build(rest, reads + more, names)

    def _results(self, reader: Interpreter, places: Sequence[str], names: Sequence[str]) -> List[str]:
        """What a network makes of the values `places`, before it is moved, and what else of the same nodes is needed later."""
        results: Set[str] = set()
        for name in places:
            value = reader.values[name]
            if value.error is None and not value.known and value.fill is None and value.norm is None:
                results |= value.bases - reader.inputs
        nodes = _needed(reader.graph, names)
        read = {name for node in nodes for name in node.inputs}.union(names)
        for node in nodes:
            if not results.isdisjoint(node.outputs):
                results.update(name for name in node.outputs if name in read and reader.values[name].error is None)
        return [name for node in nodes for name in node.outputs if name in results]


def _needed(graph: Graph, names: Sequence[str]) -> List[Node]:
    """The nodes that the values `names` are made by, in order."""
    needed: Set[str] = set(names)
    found = []
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(name for name in node.outputs if name):
            found.append(node)
            needed.update(node.inputs)
    return found[::-1]


def _declared(value: Value) -> TensorType:
    """A value as an input of the next network: sizes are numbers or names, not calculations."""
    shape = value.view.shape() if value.view is not None else value.shape
    assert value.dtype is not None
    if shape is None:
        return TensorType(value.name, value.dtype, None, value.dtype.name)
    sizes: List[Size] = [
        size if isinstance(size, int) or size.only_name() else Dim.of(f"{value.name}[{axis}]") for axis, size in enumerate(shape)
    ]
    return TensorType(value.name, value.dtype, tuple(sizes), value.dtype.name)
