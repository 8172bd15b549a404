"""The loop over steps that tf2onnx writes for a Keras cell, as the cell that it computes.

The body of the loop is evaluated with symbols: x_t, the states, and the number k of the iteration. Gates are what is applied to
sums of products of them with constant matrices, whatever the nodes are called, in whatever order they stand and however the matrices
are cut in pieces. The new states must then be one of these; everything else is refused:

    RNN    H' = f(X W + H R + b)
    GRU    H' = Z ⊙ H + (1 - Z) ⊙ N, N = g(X W + (R ⊙ H) R_n + b) or g(X W + b + R ⊙ (H R_n + b_hn))
    LSTM   C' = F ⊙ C + I ⊙ G, H' = O ⊙ h(C')
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..errors import RNNError, unsupported
from ._file import Body, Node, attribute
from ._fold import FOLDED, Budget, Fold, axis_in, fold, slice_plan, split_sizes

#: Activations of cells that are operators of their own: ONNX's name -> its attributes and their defaults.
_FUNCTIONS: Dict[str, Dict[str, float]] = {
    "Sigmoid": {}, "Tanh": {}, "Relu": {}, "Softsign": {}, "Softplus": {}, "Elu": {"alpha": 1.0}, "LeakyRelu": {"alpha": 0.01},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
}  # fmt: skip


@dataclass(frozen=True)
class Input:
    """x_t, a state before the step, or the one that the cell multiplies: an array that is known only when it runs."""

    #: "x", or "state" with its place among the carried values.
    kind: str
    place: int = 0


@dataclass(frozen=True)
class Count:
    """k + `offset` in iteration k, or T: an integer without axes."""

    offset: Optional[int]


@dataclass(frozen=True)
class Condition:
    """Whether each of k + `offsets` is below T."""

    offsets: Tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Sum:
    """Factors times matrices [K, n], plus terms of n features, plus a bias [n] in double."""

    products: Tuple[Tuple[Any, np.ndarray], ...]
    terms: Tuple[Any, ...]
    bias: np.ndarray


@dataclass(frozen=True, eq=False)
class Gate:
    """A function of a sum: ONNX's name of it, alpha, beta."""

    function: str
    numbers: Tuple[Tuple[str, float], ...]
    of: Any


@dataclass(frozen=True, eq=False)
class Product:
    left: Any
    right: Any


@dataclass(frozen=True, eq=False)
class Complement:
    """1 - a gate."""

    of: Any


@dataclass(frozen=True, eq=False)
class Limited:
    """A sum between 0 and `high`."""

    high: float
    of: Sum


@dataclass(frozen=True)
class Outer:
    """A value of the graph around the loop."""

    name: str


class LoopCell(NamedTuple):
    """A cell, as the operator of ONNX that computes it."""

    op: str
    attributes: Dict[str, Any]
    #: [1, G*H, I], [1, G*H, H], [1, 2*G*H]
    W: np.ndarray
    R: np.ndarray
    B: np.ndarray
    #: The sequence [T, N, I] in the graph around the loop.
    x: str
    #: Places of h, and of c, among the values that the loop carries; of the sequences of h among its other outputs.
    states: Tuple[int, ...]
    sequences: Tuple[int, ...]


#: The operator, the sums of its gates in ONNX's order (for a reset-after candidate both parts), its functions, attributes that it has
#: beside them, and the places of its states.
Found = Tuple[str, List[Any], List[Gate], Dict[str, Any], Tuple[int, ...]]


class LoopReader:
    """One loop.

    Parameters
    ----------
    outer : function
        A name of the graph around the loop -> its constant, or None.
    is_size : function
        Whether a name of the graph around the loop is a number of steps: the same for all such names.
    """

    def __init__(
        self, node: Node, body: Body, carried: Sequence[str], opset: int, budget: Budget,
        outer: Callable[[str], Optional[np.ndarray]], is_size: Callable[[str], bool],
    ) -> None:  # fmt: skip
        self.node = node
        self.body = body
        self.opset = opset
        self.budget = budget
        self.outer = outer
        self.is_size = is_size
        self.x = ""
        #: Numbers that count steps in the place of T, where the graph knows it.
        self.limits: List[float] = []
        self.values: Dict[str, Any] = dict(body.constants)
        if len(body.inputs) != len(carried) + 2 or len(body.outputs) < len(carried) + 1:
            raise self.error(f"its body has {len(body.inputs)} inputs and {len(body.outputs)} outputs")
        self.carried = list(carried)
        names = body.inputs[2:]
        self.values[body.inputs[0]] = Count(0)
        for place, (name, source, result) in enumerate(zip(names, carried, body.outputs[1:])):
            if result == name or self._same_node(result, name):
                self.values[name] = self._outside(source)
            else:
                constant = outer(source)
                zero = constant is not None and constant.size == 1 and constant.dtype.kind in "iu" and int(constant.reshape(-1)[0]) == 0
                self.values[name] = Count(0) if zero else Input("state", place)

    def _same_node(self, result: str, name: str) -> bool:
        """Whether an output is an input that is handed on."""
        return any(entry.op == "Identity" and entry.outputs == [result] and entry.inputs == [name] for entry in self.body.nodes)

    def error(self, what: str) -> RNNError:
        return unsupported(
            f"{self.node}: a loop that is not the cell of an RNN, GRU or LSTM, step by step ({what}): export the layer so that it becomes "
            "a node RNN, GRU or LSTM, or load the model by its own format (librnn.keras, librnn.torch)"
        )

    # ------------------------------------------------------------ evaluation

    def _outside(self, name: str) -> Any:
        if self.is_size(name):
            return Count(None)
        constant = self.outer(name)
        return Outer(name) if constant is None else constant

    def _get(self, name: str) -> Any:
        return self.values[name] if name in self.values else self._outside(name)

    def _evaluate(self) -> None:
        for node in self.body.nodes:
            if node.domain:
                raise self.error(f"{node} in its body")
            arguments = [self._get(name) if name else None for name in node.inputs]
            try:
                if node.op in FOLDED and all(value is None or isinstance(value, np.ndarray) for value in arguments):
                    results: List[Any] = list(fold(node, self.opset, arguments, self.budget))
                else:
                    results = self._apply(node, arguments)
            except (IndexError, ValueError, TypeError) as error:
                if isinstance(error, RNNError):
                    raise
                raise self.error(f"{node} in its body: {str(error)[:100]}") from None
            for name, value in zip(node.outputs, results):
                if name in self.values:
                    raise self.error(f"{node} in its body makes {name!r}, which is there already")
                self.values[name] = value

    def _apply(self, node: Node, arguments: List[Any]) -> List[Any]:
        op = node.op
        first = arguments[0] if arguments else None
        second = arguments[1] if len(arguments) > 1 else None
        refused = self.error(f"{node} in its body")
        if op == "Identity" or op == "Cast" and isinstance(first, Count):
            return [first]
        if isinstance(first, Count) or isinstance(second, Count):
            return [self._counted(node, first, second, refused)]
        if op == "And" and isinstance(first, Condition) and isinstance(second, Condition):
            return [Condition(first.offsets + second.offsets)]
        if op == "MatMul" and isinstance(second, np.ndarray) and second.ndim == 2 and isinstance(first, (Input, Gate, Product)):
            return [Sum(((first, second.astype(np.float64)),), (), np.zeros(second.shape[1]))]
        if op == "Gemm":
            return [self._gemm(node, arguments, refused)]
        if op in ("Add", "Sub"):
            if op == "Sub":
                if isinstance(first, np.ndarray) and (first == 1).all() and isinstance(second, Gate):
                    return [Complement(second)]
                if not isinstance(second, np.ndarray):
                    raise refused
                second = -second
            return [self._added(first, second, refused)]
        if op == "Mul":
            return [self._multiplied(first, second, refused)]
        if op == "Div" and isinstance(second, np.ndarray) and second.size == 1 and second.dtype.kind == "f" and (second != 0).all():
            return [self._multiplied(first, 1 / second.astype(np.float64), refused)]
        if op == "Clip" and isinstance(first, Sum) and len(arguments) == 3:
            low, high = arguments[1:]
            if isinstance(low, np.ndarray) and isinstance(high, np.ndarray) and low.size == high.size == 1 and low == 0 < high:
                return [Limited(float(high.reshape(-1)[0]), first)]
        if op in _FUNCTIONS and isinstance(first, Sum):
            numbers = tuple((key, attribute(node, key, float, default)) for key, default in _FUNCTIONS[op].items())
            return [Gate(op, numbers, first)]
        if op in ("Split", "Slice") and isinstance(first, Sum):
            return self._cut(node, first, arguments, refused)
        raise refused

    def _counted(self, node: Node, first: Any, second: Any, refused: RNNError) -> Any:
        if node.op == "Gather" and isinstance(first, Outer) and _is_count(second, 0) and attribute(node, "axis", int, 0) == 0:
            if self.x not in ("", first.name):
                raise self.error("it reads two sequences")
            self.x = first.name
            return Input("x")
        if node.op == "Add":
            count, number = (first, second) if isinstance(first, Count) else (second, first)
            if isinstance(number, np.ndarray) and number.size == 1 and number.dtype.kind in "iu" and count.offset is not None:
                return Count(count.offset + int(number.reshape(-1)[0]))
        if node.op == "Less" and isinstance(first, Count) and first.offset is not None:
            if isinstance(second, np.ndarray) and second.size == 1:
                self.limits.append(float(second.reshape(-1)[0]))
                return Condition((first.offset,))
            if _is_count(second, None):
                return Condition((first.offset,))
        raise refused

    def _gemm(self, node: Node, arguments: List[Any], refused: RNNError) -> Sum:
        first, second, third = (list(arguments) + [None])[:3]
        if attribute(node, "transA", int, 0) or not isinstance(first, (Input, Gate, Product)):
            raise refused
        if not isinstance(second, np.ndarray) or second.ndim != 2:
            raise refused
        matrix = second.astype(np.float64)
        matrix = (matrix.T if attribute(node, "transB", int, 0) else matrix) * attribute(node, "alpha", float, 1.0)
        made = Sum(((first, matrix),), (), np.zeros(matrix.shape[1]))
        if third is None:
            return made
        if not isinstance(third, np.ndarray):
            raise refused
        return self._added(made, third * attribute(node, "beta", float, 1.0), refused)

    @staticmethod
    def _added(first: Any, second: Any, refused: RNNError) -> Any:
        if isinstance(first, np.ndarray):
            first, second = second, first
        if isinstance(first, Product) and isinstance(second, Product):
            return Sum((), (first, second), np.zeros(0))
        if not isinstance(first, Sum):
            first, second = second, first
        if not isinstance(first, Sum) or not first.bias.size:
            raise refused
        if isinstance(second, Sum):
            if second.bias.shape != first.bias.shape:
                raise refused
            return Sum(first.products + second.products, first.terms + second.terms, first.bias + second.bias)
        if isinstance(second, np.ndarray):
            if second.dtype.kind != "f" or second.size not in (1, first.bias.size) or second.size != np.prod(second.shape[-1:], dtype=int):
                raise refused
            return replace(first, bias=first.bias + second.astype(np.float64).reshape(-1))
        if isinstance(second, Product):
            return replace(first, terms=first.terms + (second,))
        raise refused

    @staticmethod
    def _multiplied(first: Any, second: Any, refused: RNNError) -> Any:
        if isinstance(first, np.ndarray):
            first, second = second, first
        if isinstance(second, np.ndarray):
            if second.size != 1 or second.dtype.kind != "f":
                raise refused
            number = float(second.reshape(-1)[0])
            if isinstance(first, Sum) and not first.terms:
                return Sum(tuple((factor, matrix * number) for factor, matrix in first.products), (), first.bias * number)
            if isinstance(first, Limited) and abs(first.high * number - 1) < 1e-6:
                # min(max(s, 0), high) / high = min(max(s / high, 0), 1). The bias of Keras' function, 0.5, goes to beta.
                shift = 0.5 * first.high
                return Gate("HardSigmoid", (("alpha", number), ("beta", shift * number)), replace(first.of, bias=first.of.bias - shift))
            raise refused
        return Product(first, second)

    def _cut(self, node: Node, value: Sum, arguments: List[Any], refused: RNNError) -> List[Any]:
        """Some of the features."""
        if value.terms:
            raise refused
        maker = Fold(node, self.opset, None)
        arrays = [np.empty((1, value.bias.size))] + [entry if isinstance(entry, np.ndarray) else None for entry in arguments[1:]]
        if node.op == "Split":
            if axis_in(attribute(node, "axis", int, 0), 2, maker) != 1:
                raise refused
            ends = np.cumsum(split_sizes(maker, value.bias.size, arrays[1] if len(arrays) > 1 else None))
            parts = [slice(begin, end) for begin, end in zip([0, *ends[:-1]], ends)]
        else:
            whole = np.arange(value.bias.size)
            chosen = whole
            for axis, start, end, step in slice_plan(maker, 2, arrays):
                if axis == 0:
                    if (start, step) != (0, 1) or not isinstance(end, int) or end < 2**31 - 1:
                        raise refused
                    continue
                chosen = fold(
                    node._replace(op="Slice", attributes={}), max(self.opset, 10),
                    [whole, np.array([start]), np.array([end]), np.array([0]), np.array([step])], None,
                )[0]  # fmt: skip
            parts = [chosen]
        return [
            Sum(tuple((factor, matrix[:, part]) for factor, matrix in value.products), (), value.bias[part]) for part in parts
        ]

    # -------------------------------------------------------------- matching

    def read(self, given_count: bool) -> LoopCell:
        """The cell. `given_count`: the loop is told to run T times, beside its condition."""
        self._evaluate()
        outputs = [self._get(name) for name in self.body.outputs]
        condition = outputs[0]
        goes_on = isinstance(condition, np.ndarray) and condition.dtype == bool and bool(condition.all()) and given_count
        if isinstance(condition, Condition):
            # In iteration k the loop goes on if all of k + offset < T: it must stop after k = T - 1, and not before.
            goes_on = all(0 <= offset <= 1 for offset in condition.offsets) and (given_count or 1 in condition.offsets)
        if not goes_on:
            raise self.error("it does not run once for each step")
        states = {}
        for place, (name, value) in enumerate(zip(self.body.inputs[2:], outputs[1:])):
            before = self.values[name]
            if _is_count(before, 0):
                if not _is_count(value, 1):
                    raise self.error("its counter does not count steps")
            elif isinstance(before, Input):
                states[place] = value
        if not self.x:
            raise self.error("it reads no sequence")
        for h, value in states.items():
            cell = self._cell(h, value, states)
            if cell is not None:
                op, gates, functions, more, places = cell
                if set(states) != set(places):
                    break
                sequences = outputs[1 + len(self.carried) :]
                if any(sequence is not value for sequence in sequences):
                    raise self.error("it collects something other than H")
                return self._stacked(op, gates, functions, more, places, tuple(range(len(sequences))))
        raise self.error("its new states are not those of such a cell")

    def _cell(self, h: int, value: Any, states: Dict[int, Any]) -> Optional[Found]:
        hidden = Input("state", h)
        if isinstance(value, Sum) and value.bias.size:
            value = Gate("Affine", (("alpha", 1.0), ("beta", 0.0)), value)
        if isinstance(value, Gate):
            return "RNN", [value.of], [value], {}, (h,)
        if isinstance(value, Sum) and len(value.terms) == 2:
            for keep, new in (value.terms, value.terms[::-1]):
                z = _other(keep, hidden)
                if isinstance(z, Gate) and isinstance(new, Product):
                    candidate = _other(new, Complement(z))
                    if isinstance(candidate, Gate) and isinstance(candidate.of, Sum):
                        return self._gru(h, z, candidate)
        if isinstance(value, Product):
            for o, squashed in ((value.left, value.right), (value.right, value.left)):
                if not isinstance(o, Gate) or not isinstance(squashed, Gate):
                    continue
                for c, cell in states.items():
                    if cell is squashed.of and c != h and isinstance(cell, Sum) and len(cell.terms) == 2:
                        found = self._lstm(Input("state", c), cell, o, squashed)
                        if found is not None:
                            return (*found, (h, c))
        return None

    def _gru(self, h: int, z: Gate, candidate: Gate) -> Optional[Found]:
        hidden = Input("state", h)
        total: Sum = candidate.of
        if len(total.terms) == 1:  # R ⊙ (H R_n + b_hn)
            product = total.terms[0]
            pairs = ((product.left, product.right), (product.right, product.left)) if isinstance(product, Product) else ()
            for r, inner in pairs:
                if isinstance(r, Gate) and isinstance(inner, Sum) and not inner.terms and all(f == hidden for f, _ in inner.products):
                    if all(factor == Input("x") for factor, _ in total.products):
                        return "GRU", [z.of, r.of, (total, inner)], [z, r, candidate], {"linear_before_reset": 1}, (h,)
        if not total.terms:  # (R ⊙ H) R_n
            gated = [factor for factor, _ in total.products if isinstance(factor, Product)]
            r = _other(gated[0], hidden) if len(gated) == 1 else None
            if isinstance(r, Gate):
                renamed = tuple((hidden if factor is gated[0] else factor, matrix) for factor, matrix in total.products if factor != hidden)
                if len(renamed) == len(total.products):
                    return "GRU", [z.of, r.of, replace(total, products=renamed)], [z, r, candidate], {}, (h,)
        return None

    @staticmethod
    def _lstm(c: Input, cell: Sum, o: Gate, squashed: Gate) -> Optional[Tuple[str, List[Any], List[Gate], Dict[str, Any]]]:
        for keep, new in (cell.terms, cell.terms[::-1]):
            f = _other(keep, c)
            if not isinstance(f, Gate) or not isinstance(new, Product):
                continue
            # I and G are told apart by their functions: I has that of F and O.
            for i, g in ((new.left, new.right), (new.right, new.left)):
                if isinstance(i, Gate) and isinstance(g, Gate) and (i.function, i.numbers) == (f.function, f.numbers):
                    return "LSTM", [i.of, o.of, f.of, g.of], [i, o, f, g, squashed], {}
        return None

    def _stacked(
        self, op: str, sums: List[Any], gates: List[Gate], more: Dict[str, Any], places: Tuple[int, ...], sequences: Tuple[int, ...]
    ) -> LoopCell:
        """ONNX's arrays and attributes."""
        hidden = Input("state", places[0])
        firsts = [entry[0] if isinstance(entry, tuple) and not isinstance(entry, Sum) else entry for entry in sums]
        seconds = [entry[1] if isinstance(entry, tuple) and not isinstance(entry, Sum) else None for entry in sums]
        H = firsts[0].bias.size if isinstance(firsts[0], Sum) else 0
        blocks: List[Tuple[Optional[np.ndarray], np.ndarray, np.ndarray, np.ndarray]] = []
        for first, second in zip(firsts, seconds):
            if not isinstance(first, Sum) or first.bias.size != H or second is None and first.terms:
                raise self.error("its gates are not sums of products")
            w: Optional[np.ndarray] = None
            r, rb = np.zeros((H, H)), np.zeros(H)
            for factor, matrix in first.products + (() if second is None else second.products):
                if factor == Input("x"):
                    w = matrix if w is None else w + matrix
                elif factor == hidden and matrix.shape == (H, H):
                    r = r + matrix
                else:
                    raise self.error("its gates read something other than the step and H")
            if second is not None:
                if second.bias.size != H:
                    raise self.error("its gates have different sizes")
                rb = second.bias
            blocks.append((w, r, first.bias, rb))
        sizes = {w.shape for w, *_ in blocks if w is not None}
        if H == 0 or len(sizes) != 1:
            raise self.error("its gates do not all read the step")
        (shape,) = sizes
        W = np.concatenate([(np.zeros(shape) if w is None else w).T for w, *_ in blocks])
        R = np.concatenate([r.T for _, r, _, _ in blocks])
        B = np.concatenate([wb for _, _, wb, _ in blocks] + [rb for *_, rb in blocks])
        # f of z and r, or of i, o and f, must be one function.
        slots = {"RNN": [[0]], "GRU": [[0, 1], [2]], "LSTM": [[0, 1, 2], [3], [4]]}[op]
        attributes: Dict[str, Any] = {**more, "activations": [], "activation_alpha": [], "activation_beta": []}
        for slot in slots:
            kinds = {(gates[index].function, gates[index].numbers) for index in slot}
            if len(kinds) > 1:
                raise self.error("its gates have different activations")
            gate = gates[slot[0]]
            attributes["activations"].append(gate.function)
            for key, number in gate.numbers:
                attributes[f"activation_{key}"].append(number)
        return LoopCell(op, attributes, W[None], R[None], B[None], self.x, places, sequences)


def _is_count(value: Any, offset: Optional[int]) -> bool:
    return isinstance(value, Count) and value.offset == offset


def _other(product: Any, factor: Any) -> Any:
    """The other factor of a product of two."""
    if isinstance(product, Product):
        if _equal(product.left, factor):
            return product.right
        if _equal(product.right, factor):
            return product.left
    return None


def _equal(left: Any, right: Any) -> bool:
    """Whether two values are one: inputs by what they are, others by being the same."""
    if isinstance(left, Input) or isinstance(right, Input):
        return isinstance(left, Input) and isinstance(right, Input) and left == right
    if isinstance(left, Complement) and isinstance(right, Complement):
        return left.of is right.of
    return left is right
