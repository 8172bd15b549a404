"""From what a graph means to a network of librnn, and back to the graph's own arrays when it runs."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from ..network_builder import NetworkBuilder
from ..errors import argument_error, shape_error, unsupported
from ..network import Network
from ._dims import bind, same
from ._file import Graph, format_error
from ._graph import Interpreter
from ._layout import FEATURES, Lead, Step, View
from ._mover import Mover
from ._recurrent import SPECIFICATION, Recurrent
from ._values import Value

#: Steps whose result is 0 where a row has ended.
_ZERO_IN_PADDING = ("recurrent", "mask")
_CELLS = {"RNN": "rnn", "GRU": "gru", "LSTM": "lstm"}


class Output(NamedTuple):
    """How an output of the graph is made: of the network's result, or by moving states, results and inputs."""

    name: str
    view: Optional[View]


class Plan:
    """A network, and what a run of the graph needs around it."""

    def __init__(self, reader: Interpreter, outputs: Sequence[str]) -> None:
        self.reader = reader
        self.graph: Graph = reader.graph
        self.mover = Mover(reader)
        self.outputs = self._choose(outputs)
        self.final, self.views, self.single = self._join_views()
        self.steps = self._reachable(self.final)
        self.recurrent = [step for step in self.steps if step.kind == "recurrent"]
        self.inputs = [step for step in self.steps if step.kind == "input"]
        self.tokens = [step for step in self.steps if step.kind == "tokens"]
        self.lengths = self._lengths()
        self.time, self.rows = self._axes()
        self.names = self._names()
        self.network = self._build(self.final, padding=False)
        self.padding = self._padding_network()
        self.network.metadata.update(self._metadata())

    # ------------------------------------------------------------- what to build

    def _value(self, name: str) -> Value:
        value = self.reader.values.get(name)
        if value is None:
            raise format_error(f"the output {name!r} is nowhere in the graph")
        if value.error is not None:
            raise value.error
        return value

    def _choose(self, names: Sequence[str]) -> List[Output]:
        outputs = []
        for name in names:
            value = self._value(name)
            if value.norm is not None:
                raise unsupported(f"the output {name!r} is a part of a layer normalization, which librnn knows only as a whole")
            moved = bool(value.bases) and self._states(value.bases) | self.reader.inputs >= value.bases
            if value.known or value.fill is not None or moved:
                outputs.append(Output(name, None))
            elif value.view is not None:
                outputs.append(Output(name, value.view))
            elif value.bases and not value.computed:
                outputs.append(Output(name, None))
            else:
                raise unsupported(f"the output {name!r}: {value.reason or 'it is not a sequence'}")
        return outputs

    def _states(self, bases: Iterable[str]) -> Set[str]:
        return {base for base in bases if base in self.reader.values and self.reader.values[base].state is not None}

    def _join_views(self) -> Tuple[Step, Dict[str, View], bool]:
        """The node whose result holds everything that the outputs need, and where in it each piece is."""
        wanted: Dict[str, View] = {}
        states: List[Step] = []
        singles = {output.name for output in self.outputs if output.view is not None and self._is_single(output.view.step)}
        if singles and len(singles) < sum(output.view is not None for output in self.outputs):
            # Sequences and single steps: take those that are moved from sequences out of the sequences.
            self.outputs = [
                Output(output.name, None) if output.name in singles else output for output in self.outputs
            ]
        for output in self.outputs:
            if output.view is not None:
                wanted[output.name] = output.view
                continue
            for base in sorted(self._value(output.name).bases):
                value = self._value(base)
                if value.state is not None:
                    states.append(value.state[0])
                elif base not in self.reader.inputs:
                    assert value.view is not None
                    wanted[base] = value.view
        kinds = {self._is_single(view.step) for view in wanted.values()}
        if len(kinds) > 1:
            one = [name for name, view in wanted.items() if self._is_single(view.step)]
            rest = [name for name in wanted if name not in one]
            raise unsupported(
                f"{', '.join(map(repr, one))} has one step and {', '.join(map(repr, rest))} has all; one network of librnn gives "
                "one or the other: choose with outputs=[…]"
            )
        single = kinds == {True}
        pieces: List[Step] = []
        for view in wanted.values():
            pieces.append(self.reader._columns(view.step, np.unique(view.columns), "output"))
        for step in states:
            if not any(step in self._reachable(piece) for piece in pieces):
                if not single:
                    pieces.append(step)
                else:
                    times = [lead.root() for lead in step.leads if lead.root().role is not None and lead.root().role[0] == "time"]
                    pieces.append(self.reader._single(step, times[0], False, step.place, False) if times else step)
        unique = list({piece.index: piece for piece in pieces}.values())
        if not unique:
            raise unsupported("the outputs are only moved from the inputs; there is nothing for a network to compute")
        final = self.reader._joined(unique, "output")
        if final.kind in ("input", "tokens"):
            raise unsupported("the outputs are only moved from the inputs; there is nothing for a network to compute")
        offsets = {}
        position = 0
        for piece in unique:
            offsets[piece.index] = position
            position += piece.width
        views = {}
        for (name, view), piece in zip(wanted.items(), pieces):
            ranks = np.searchsorted(np.unique(view.columns), view.columns)
            views[name] = View(final, view.axes, ranks + offsets[piece.index])
        if any(not self._same_leads(piece, final) for piece in unique):
            raise unsupported("the outputs have different steps or rows; librnn gives one of them: choose with outputs=[…]")
        return final, views, single

    @staticmethod
    def _same_leads(left: Step, right: Step) -> bool:
        def leads(step: Step) -> Set[Lead]:
            return {lead.root() for lead in step.leads if same(lead.root().size, 1) is not True}

        return leads(left) == leads(right)

    def _is_single(self, step: Step) -> bool:
        return any(entry.kind in ("last_step", "first_step") for entry in self._reachable(step))

    def _reachable(self, final: Step, stop: Sequence[str] = ()) -> List[Step]:
        needed = {final.index}
        for step in reversed(self.reader.steps[: final.index + 1]):
            if step.index in needed and step.kind not in stop:
                needed.update(source.index for source in step.sources)
        return [step for step in self.reader.steps[: final.index + 1] if step.index in needed]

    def _lengths(self) -> List[Any]:
        """Where the lengths of the rows come from; none: every row has all steps."""
        with_lengths = [step for step in self.steps if step.options.get("lengths") is not None]
        if not with_lengths:
            return []
        for step in self.recurrent:
            if step.options["lengths"] is None:
                raise unsupported(
                    f"{step.place!r} has no sequence_lens and {with_lengths[0].place!r} has: it would read the other's padding, which "
                    "librnn does not have"
                )
        for step in self.steps:
            if step.options.get("padded"):
                raise unsupported(
                    f"{step.place}: it takes a step of the padded array, and {with_lengths[0].place!r} has sequence_lens; librnn counts "
                    "the steps of each row (as Y_h does)"
                )
        unique: List[Any] = []
        for step in with_lengths:
            if step.options["lengths"] not in unique:
                unique.append(step.options["lengths"])
        return unique

    def _axes(self) -> Tuple[Optional[Lead], Tuple[Lead, ...]]:
        """The lead that is time, and those that are rows, slowest first."""
        times: List[Lead] = []
        order: Optional[Tuple[Lead, ...]] = None
        place = ""
        for step in self.recurrent:
            leads = step.options["rows"].roots()
            mine = tuple(lead for lead in leads if same(lead.size, 1) is not True)
            if order is not None and mine != order:
                raise unsupported(f"the rows of {place!r} and of {step.place!r} are not the same")
            order, place = mine, step.place
        for step in self.steps:
            for lead in step.leads:
                root = lead.root()
                if root.role is not None and root.role[0] == "time" and root not in times:
                    times.append(root)
        if len(times) > 1:
            raise unsupported(f"time is {times[0].label} and {times[1].label}, which no operator joins")
        time = times[0] if times else None
        if order is None:
            order = tuple(
                lead.root() for lead in self.final.leads if same(lead.root().size, 1) is not True and lead.root() is not time
            )
        for step in self.inputs + self.tokens:
            roots = {lead.root() for lead in step.leads if same(lead.root().size, 1) is not True}
            expected = set(order) | ({time} if time is not None else set())
            if roots != expected:
                raise unsupported(f"{step.place!r} does not have the steps and rows of the rest of the graph")
        return time, order

    # --------------------------------------------------------------- building

    def _names(self) -> Dict[int, str]:
        names: Dict[int, str] = {}
        taken: Set[str] = set()
        for step in self.steps:
            name = re.sub(r"[^A-Za-z0-9_.-]+", "_", step.place.replace("/", ".")).strip("._-")[:100] or step.kind
            unique, count = name, 1
            while unique in taken:
                count += 1
                unique = f"{name}_{count}"
            taken.add(unique)
            names[step.index] = unique
        return names

    def _build(self, final: Step, padding: bool) -> Network:
        """The network that ends at `final`; with `padding` the recurrent nodes are inputs."""
        steps = self._reachable(final, _ZERO_IN_PADDING if padding else ())
        builder = NetworkBuilder(final.dtype.name)
        parameters: Dict[str, np.ndarray] = {}
        # Inputs first, so that they stand in the order of the graph's.
        for step in sorted(steps, key=lambda step: (step.kind not in ("input", "tokens"), step.index)):
            name = self.names[step.index]
            if padding and step.kind in _ZERO_IN_PADDING:
                builder.input(name, step.width)
                continue
            if step.kind == "mask":  # what librnn does anyway
                continue
            self._add(builder, name, step, [self.names[_unmasked(source).index] for source in step.sources])
            if step.kind == "recurrent":
                parameters.update({f"{name}.{key}": array for key, array in self._recurrent_parameters(step).items()})
            else:
                parameters.update({f"{name}.{key}": array for key, array in step.parameters.items()})
        return builder.build(parameters)

    def _add(self, builder: NetworkBuilder, name: str, step: Step, sources: List[str]) -> None:
        kind, options = step.kind, step.options
        if kind == "input":
            builder.input(name, step.width)
        elif kind == "tokens":
            builder.tokens(name)
        elif kind == "embedding":
            builder.embedding(name, sources[0], options["vocabulary"], step.width)
        elif kind == "one_hot":
            builder.one_hot(name, sources[0], step.width)
        elif kind == "recurrent":
            layer: Recurrent = options["layer"]
            keywords = {"hidden_size": layer.hidden_size, **layer.keywords}
            if self._learned(step):
                keywords["learn_initial_state"] = True
            builder.recurrent(name, sources[0], (_CELLS[layer.cell], keywords))
        elif kind == "linear":
            builder.linear(name, sources[0], step.width, bias=options["bias"])
        elif kind == "activation":
            builder.activation(name, sources[0], options["function"])
        elif kind == "softmax":
            builder.softmax(name, sources[0], log=options["log"])
        elif kind == "layer_norm":
            builder.layer_norm(name, sources[0], eps=options["epsilon"])
        elif kind == "scale_shift":
            builder.scale_shift(name, sources[0], bias=options["bias"])
        elif kind == "slice":
            builder.slice(name, sources[0], options["begin"], options["end"])
        elif kind in ("concat", "sum", "product"):
            getattr(builder, kind)(name, sources)
        else:
            assert kind in ("last_step", "first_step", "reverse"), kind
            getattr(builder, kind)(name, sources[0])

    @staticmethod
    def _learned(step: Step) -> bool:
        """The initial state is a constant that is the same for every row, and a part of the model."""
        given = [step.options[name] for name in ("initial_h", "initial_c") if step.options[name] is not None]
        return bool(given) and all(entry[0] == "learned" for entry in given)

    def _recurrent_parameters(self, step: Step) -> Dict[str, np.ndarray]:
        parameters = dict(step.parameters)
        if self._learned(step):
            layer: Recurrent = step.options["layer"]
            for name, key in (("initial_h", "h_0_l0"), ("initial_c", "c_0_l0")):
                if key == "c_0_l0" and layer.cell != "LSTM":
                    continue
                given = step.options[name]
                for direction in range(layer.directions):
                    row = np.zeros(layer.hidden_size, step.dtype) if given is None else given[1][direction]
                    parameters[key + ("_reverse" if direction else "")] = row
        return parameters

    def _padding_network(self) -> Optional[Network]:
        """What the graph computes of steps that a row does not have, where that is not 0."""
        if not self.lengths or self.single or self._zero_in_padding(self.final):
            return None
        return self._build(self.final, padding=True)

    def _empty_rows_matter(self) -> Optional[Step]:
        """A step that is the last one of a row, in the graph also of a row that has none."""
        return next((step for step in self.steps if step.options.get("unguarded")), None)

    def _zero_in_padding(self, step: Step) -> bool:
        zero: Set[int] = set()
        for entry in self._reachable(step):
            if entry.kind in _ZERO_IN_PADDING or (
                entry.kind in ("slice", "concat", "sum", "product") and all(source.index in zero for source in entry.sources)
            ):
                zero.add(entry.index)
        return step.index in zero

    def _metadata(self) -> Dict[str, str]:
        inputs = [
            {"name": step.options["value"], "node": self.names[step.index], "axes": self._axis_names(step.leads)}
            for step in self.inputs + self.tokens
        ]
        outputs: List[Dict[str, Any]] = []
        for output in self.outputs:
            if output.view is not None:
                view = self.views[output.name]
                outputs.append(
                    {
                        "name": output.name,
                        "axes": [
                            "F" if axis is FEATURES else "*".join(self._axis_names(axis.leads)) or "1" for axis in view.axes
                        ],
                        "columns": _compact(view.columns),
                    }
                )
            else:
                states = [
                    f"{self.names[value.state[0].index]}.{value.state[1]}"
                    for value in (self._value(base) for base in sorted(self._value(output.name).bases))
                    if value.state is not None
                ]
                outputs.append({"name": output.name, "states": states})
        metadata = {
            "onnx.opset": str(self.graph.opset),
            "onnx.conventions": self.reader.conventions,
            "onnx.inputs": json.dumps(inputs),
            "onnx.outputs": json.dumps(outputs),
        }
        if self.graph.producer:
            metadata["onnx.producer"] = self.graph.producer[:1000]
        return metadata

    def _axis_names(self, leads: Sequence[Lead]) -> List[str]:
        names = []
        for lead in leads:
            root = lead.root()
            if root is self.time:
                names.append("T")
            elif root in self.rows:
                names.append("N" if len(self.rows) == 1 else f"N{self.rows.index(root)}")
            else:
                names.append("1")
        return names

    # ---------------------------------------------------------------- running

    def run(self, feeds: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> Dict[str, np.ndarray]:
        known: Dict[str, np.ndarray] = dict(feeds)
        for node, left, right in self.reader.assumptions:
            if bind(left, sizes) != bind(right, sizes):
                expected = str(right) if isinstance(right, int) else f"{bind(right, sizes)}, as {right}"
                raise shape_error(f"{node}: the size {left} is {bind(left, sizes)}, expected {expected}")
        lengths_of_axes: Dict[Lead, Tuple[int, str]] = {}
        arrays = {}
        for step in self.inputs + self.tokens:
            array = self.mover.evaluate(step.options["value"], known, sizes)
            for axis, lead in enumerate(step.leads):
                root = lead.root()
                size, place = lengths_of_axes.setdefault(root, (array.shape[axis], lead.label))
                if size != array.shape[axis]:
                    raise shape_error(f"{lead.label} has the size {array.shape[axis]}, and {place} has {size}")
            arrays[step.index] = array
        T = lengths_of_axes[self.time][0] if self.time is not None else 1
        N = int(np.prod([lengths_of_axes[lead][0] for lead in self.rows], dtype=np.int64))
        x = self._features(arrays, T, N)
        tokens = self._token_array(arrays, T, N)
        lengths = self._lengths_of_run(known, sizes, N)
        state, given = self._state(known, sizes, N)
        if lengths is not None and self.reader.conventions == SPECIFICATION and given and self.single and (lengths == 0).any():
            raise unsupported(
                "a row of length 0 with an initial state: the specification does not say what Y_h is then, and this network takes 0 "
                '(as conventions="onnxruntime")'
            )
        unguarded = self._empty_rows_matter()
        if unguarded is not None and lengths is not None and (lengths == 0).any():
            raise unsupported(f"{unguarded.place}: the last step of a row of length 0")
        y, final = self.network.run(
            x, tokens, state, lengths, zero_state_of_empty_rows=self.reader.conventions != SPECIFICATION
        )
        if self.padding is not None and lengths is not None:
            self._fill_padding(y, x, tokens, lengths)
        results = {}
        for name, view in self.views.items():
            results[name] = self._present(view, y, {lead: size for lead, (size, _) in lengths_of_axes.items()}, T)
        for output in self.outputs:
            for base in self._value(output.name).bases:
                value = self._value(base)
                if value.state is not None and base not in known:
                    step, kind = value.state
                    array = final[f"{self.names[step.index]}.{kind}"]
                    known[base] = array.transpose(1, 0, 2) if step.options["layer"].layout else array
                elif base in results:
                    known[base] = results[base]
        return {
            output.name: np.asarray(  # ascontiguousarray would give a number an axis
                results[output.name] if output.view is not None else self.mover.evaluate(output.name, known, sizes), order="C"
            )
            for output in self.outputs
        }

    def _ordered(self, step: Step, array: np.ndarray, T: int, N: int) -> np.ndarray:
        """An input in the order of its own axes, as [T, N, ..]."""
        place: Dict[Lead, int] = {}
        for axis, lead in enumerate(step.leads):
            place[lead.root()] = axis
        front = ([self.time] if self.time is not None else []) + list(self.rows)
        order = [place[lead] for lead in front]
        order += [axis for axis in range(array.ndim) if axis not in order]
        features = array.shape[len(step.leads) :]
        return array.transpose(order).reshape((T, N) + features)

    def _features(self, arrays: Mapping[int, np.ndarray], T: int, N: int) -> Optional[np.ndarray]:
        if not self.inputs:
            return None
        parts = [self._ordered(step, arrays[step.index], T, N) for step in self.inputs]
        return np.ascontiguousarray(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2))

    def _token_array(self, arrays: Mapping[int, np.ndarray], T: int, N: int) -> Optional[np.ndarray]:
        if not self.tokens:
            return None
        parts = []
        for step in self.tokens:
            array = self._ordered(step, arrays[step.index], T, N).astype(np.int64)
            tables = [entry for entry in self.steps if step in entry.sources]
            count = {entry.options.get("vocabulary", entry.width) for entry in tables}
            if len(count) == 1:  # negative tokens count from the end
                array = np.where(array < 0, array + count.pop(), array)
            parts.append(array)
        return parts[0] if len(parts) == 1 else np.stack(parts, axis=2)

    def _lengths_of_run(self, known: Mapping[str, np.ndarray], sizes: Mapping[str, int], N: int) -> Optional[np.ndarray]:
        result = None
        place = ""
        for kind, source in self.lengths:
            array = np.array(source, np.int64) if kind == "constant" else self.mover.evaluate(source, known, sizes).astype(np.int64)
            name = "a constant" if kind == "constant" else repr(source)
            if array.shape != (N,):
                raise shape_error(f"sequence_lens ({name}) has the shape {array.shape}, expected ({N},)")
            if result is not None and not np.array_equal(result, array):
                raise argument_error(f"sequence_lens differ: {place} and {name}; librnn has one length for each row")
            result, place = array, name
        return result

    def _state(
        self, known: Mapping[str, np.ndarray], sizes: Mapping[str, int], N: int
    ) -> Tuple[Optional[Dict[str, np.ndarray]], bool]:
        """The initial states that the network does not know by itself; and whether there are any at all."""
        given = any(step.options[name] is not None for step in self.recurrent for name in ("initial_h", "initial_c"))
        if not any(
            step.options[name] is not None and step.options[name][0] != "learned"
            for step in self.recurrent
            for name in ("initial_h", "initial_c")
        ):
            return None, given
        state = {}
        for step in self.recurrent:
            layer: Recurrent = step.options["layer"]
            D, H = layer.directions, layer.hidden_size
            for name, letter in (("initial_h", "h"), ("initial_c", "c"))[: 2 if layer.cell == "LSTM" else 1]:
                source = step.options[name]
                if source is None:
                    array = np.zeros((D, N, H), step.dtype)
                elif source[0] == "learned":
                    array = np.repeat(source[1][:, None], N, axis=1)
                elif source[0] == "constant":
                    array = source[1]
                else:
                    array = self.mover.evaluate(source[1], known, sizes)
                    if layer.layout and array.ndim == 3:
                        array = array.transpose(1, 0, 2)
                if array.shape != (D, N, H):
                    raise shape_error(f"{name} of {step.place!r} has the shape {array.shape}, expected {(D, N, H)}")
                if array.dtype != step.dtype:
                    raise shape_error(f"{name} of {step.place!r} is {array.dtype}, expected {step.dtype}")
                state[f"{self.names[step.index]}.{letter}"] = np.ascontiguousarray(array)
        return state, given

    def _fill_padding(
        self, y: np.ndarray, x: Optional[np.ndarray], tokens: Optional[np.ndarray], lengths: np.ndarray
    ) -> None:
        """Steps that a row does not have: what the graph makes of the 0 that recurrent nodes give there."""
        assert self.padding is not None
        t, n = np.nonzero(np.arange(len(y))[:, None] >= lengths[None, :])
        if not t.size:
            return
        steps = self._reachable(self.final, _ZERO_IN_PADDING)
        features = []
        offset = 0
        places = {}
        for step in self.inputs:
            places[step.index] = slice(offset, offset + step.width)
            offset += step.width
        for step in sorted(steps, key=lambda step: step.index):
            if step.kind in _ZERO_IN_PADDING:
                features.append(np.zeros((t.size, step.width), y.dtype))
            elif step.kind == "input":
                assert x is not None
                features.append(x[t, n][:, places[step.index]])
        words = None
        chosen = [index for index, step in enumerate(self.tokens) if step in steps]
        if chosen and tokens is not None:
            words = tokens[t, n] if tokens.ndim == 2 else tokens[t, n][:, chosen]
            words = words.reshape((t.size,) if len(chosen) == 1 else (t.size, len(chosen)))[:, None]
        result, _ = self.padding.run(np.concatenate(features, axis=1)[:, None] if features else None, words)
        y[t, n] = result[:, 0]

    def _present(self, view: View, y: np.ndarray, sizes: Mapping[Lead, int], T: int) -> np.ndarray:
        """A part of the network's result in the order of the graph's axes."""
        front = ([self.time] if self.time is not None and not self.single else []) + list(self.rows)
        shape = [sizes[lead] for lead in front]
        array = y.reshape(shape + [y.shape[-1]])[..., view.columns]
        place = {lead: axis for axis, lead in enumerate(front)}
        order: List[int] = []
        result: List[int] = []
        feature = len(front)
        for axis in view.axes:
            if axis is FEATURES:
                order.append(feature)
                result.append(array.shape[feature])
                feature += 1
                continue
            used = [place[lead] for lead in axis.roots() if lead in place]
            order += used
            result.append(int(np.prod([array.shape[entry] for entry in used], dtype=np.int64)))
        order += [axis for axis in range(array.ndim) if axis not in order]
        return array.transpose(order).reshape(result)


def _unmasked(step: Step) -> Step:
    while step.kind == "mask":
        step = step.sources[0]
    return step


def _compact(columns: np.ndarray) -> Any:
    """[begin, end] for columns that stand side by side, else all of them."""
    flat = columns.reshape(-1)
    if columns.ndim == 1 and (np.diff(flat) == 1).all():
        return {"begin": int(flat[0]), "end": int(flat[-1]) + 1}
    return columns.tolist()


