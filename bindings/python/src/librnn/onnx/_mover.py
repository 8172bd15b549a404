"""Values of a graph that are moved together from its inputs, states and results: NumPy does that, in each run."""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional

import numpy as np

from ._dims import bind
from ._file import Node
from ._fold import bound, fold
from ._graph import Interpreter


class Mover:
    """Evaluates what `Value.bases` are enough for."""

    def __init__(self, reader: Interpreter) -> None:
        self.reader = reader
        self._programs: Dict[str, List[Node]] = {}

    def _program(self, name: str) -> List[Node]:
        """The nodes that move arrays together to make a value, in order."""
        if name not in self._programs:
            bases = self.reader.values[name].bases
            needed = {name}
            program = []
            for node in reversed(self.reader.graph.nodes):
                if not needed.isdisjoint(node.outputs) and bases.isdisjoint(needed.intersection(node.outputs)):
                    program.append(node)
                    needed.update(
                        entry for entry in node.inputs if entry and not self._is_constant(entry) and entry not in bases
                    )
            self._programs[name] = program[::-1]
        return self._programs[name]

    def _is_constant(self, name: str) -> bool:
        value = self.reader.values[name]
        return value.known or value.fill is not None

    def evaluate(self, name: str, known: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> np.ndarray:
        """The array of a value in a run: of what is known in it, and of the sizes of its inputs."""
        if name in known:
            return known[name]
        if self._is_constant(name):
            return self._constant_of_run(name, sizes)
        local: Dict[str, np.ndarray] = dict(known)
        for node in self._program(name):
            arguments: List[Optional[np.ndarray]] = []
            for entry in node.inputs:
                if not entry:
                    arguments.append(None)
                elif entry in local:
                    arguments.append(local[entry])
                else:
                    arguments.append(self._constant_of_run(entry, sizes))
            if node.op == "Dropout":
                node = node._replace(op="Identity", attributes={}, outputs=node.outputs[:1])
            local.update(zip(node.outputs, fold(node, self.reader.opset, arguments, None)))
        return local[name]

    def _constant_of_run(self, name: str, sizes: Mapping[str, int]) -> np.ndarray:
        value = self.reader.values[name]
        if value.const is not None:
            return bound(value.const, sizes)
        assert value.fill is not None and value.shape is not None
        return np.broadcast_to(bound(value.fill, sizes), [bind(size, sizes) for size in value.shape])
