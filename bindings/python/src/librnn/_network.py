"""What every model of this package shares: a network of the library, its parameters, runs, training and metadata.

`Model` knows no structure: x, tokens and states come as checked arrays. `SequenceModel` adds the calls of a model with one
input, ``y, state = model(x, hx=None, lengths=None)``, from which layers and `Sequential` are made.
"""

from __future__ import annotations

import itertools
import math
import threading
from ctypes import addressof, byref, c_size_t, c_void_p, create_string_buffer
from typing import Any, Dict, Iterator, List, Mapping, MutableMapping, NamedTuple, Optional, Sequence, Tuple, TypeVar

import numpy as np

from . import _abi, _extension
from ._arrays import address, as_lengths, as_mask, floats, integers, real, show, unsigned
from ._builder import choose
from ._handle import Handle, create
from ._mask import MaskRule
from ._options import PADDINGS
from .errors import RNNError, argument_error, check, dtype_error, last_error, shape_error
from .stream import Stream
from .training import FlowArrays, Gradients, Tape

Self = TypeVar("Self", bound="Model")
Key = Tuple[int, int, bool]

_DTYPES: Dict[int, np.dtype] = {_abi.RNN_DTYPE_FLOAT32: np.dtype(np.float32), _abi.RNN_DTYPE_FLOAT64: np.dtype(np.float64)}
#: Plans that a model keeps, and states for which it keeps memory between calls.
_PLANS, _POOLS, _POOLED_STATES, _POOLED_ELEMENTS = 256, 16, 8, 1 << 16
#: Elements of all arrays of a call that is copied into a slot, and slots that a plan keeps.
_SLOT_ELEMENTS, _SLOTS = 2048, 8
_empty = np.empty
_ndarray = np.ndarray
#: The metadata entry in which a file remembers batch_first = True; no concern of the user's.
LAYOUT_KEY = "python.batch_first"


class TensorInfo(NamedTuple):
    """Name, place and shape of a parameter or state among all of them."""

    name: str
    offset: int
    elements: int
    shape: Tuple[int, ...]


def _tensor_infos(function: Any, network: Handle, count: int) -> List[TensorInfo]:
    infos = []
    info = _abi.rnn_tensor_info()
    for index in range(count):
        check(function(network.value, index, byref(info)))
        infos.append(TensorInfo(info.name.decode(), info.offset, info.element_count, tuple(info.shape[: info.rank])))
    return infos


def nested_state(leaves: Sequence[np.ndarray], has_cell: bool) -> Any:
    """The state of one recurrent node: h, or (h, c); each a pair (forward, backward) if the directions differ in size."""
    if not has_cell:
        return leaves[0] if len(leaves) == 1 else (leaves[0], leaves[1])
    half = len(leaves) // 2
    return nested_state(leaves[:half], False), nested_state(leaves[half:], False)


def state_leaves(state: Any, has_cell: bool, split: bool, name: str) -> List[Any]:
    """The inverse of `nested_state`; a part that is None is None in all its leaves. `split`: the directions differ in size."""
    if not has_cell:
        if not split:
            return [state]
        return list(_pair(state, name, "(forward, backward): its directions differ in size"))
    h, c = _pair(state, name, "(h, c)")
    return state_leaves(h, False, split, f"{name} (h)") + state_leaves(c, False, split, f"{name} (c)")


def _pair(state: Any, name: str, meaning: str) -> Sequence[Any]:
    if state is None:
        return (None, None)
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise shape_error(f"{name} is {type(state).__name__}, expected a pair {meaning}")
    return state


class Plan:
    """Everything about a call that depends on T and N alone, made once: it halves the cost of a small call.

    The C types are what ctypes would otherwise make of each number at each call.
    """

    __slots__ = (
        "key", "time", "batch", "input_count", "tokens_count", "output_shape", "output_count",
        "state_shape", "state_count", "_states", "_parts", "native", "slots",
    )  # fmt: skip

    def __init__(self, model: "Model", key: Key) -> None:
        time, batch, batched = key
        #: T, N, and whether x has a batch axis.
        self.key = key
        self.time = c_size_t(time)
        self.batch = c_size_t(batch)
        self.input_count = c_size_t(time * batch * model.input_size)
        self.tokens_count = c_size_t(time * batch * model._token_count)
        if model._single_step:
            shape: Tuple[int, ...] = (batch,) if batched else ()
        elif not batched:
            shape = (time,)
        else:
            shape = (batch, time) if model.batch_first else (time, batch)
        self.output_shape = shape + (model.output_size,)
        self.output_count = c_size_t(math.prod(self.output_shape))
        states = model._states
        self.state_count = c_size_t(batch * sum(info.elements for info in states))
        shapes = [model._state_shape(info, batch, batched) for info in states]
        #: Of the one array for all states. One state is that array; several of one shape, as an LSTM has them, get a leading
        #: axis; others are cut from a flat one.
        self.state_shape: Tuple[int, ...] = (self.state_count.value,)
        self._states = len(states)
        self._parts: Optional[List[Tuple[slice, Tuple[int, ...]]]] = None
        if len(shapes) == 1:
            self.state_shape = shapes[0]
        elif len(set(shapes)) == 1:
            self.state_shape = (len(states),) + shapes[0]
        else:
            self._parts = [
                (slice(batch * info.offset, batch * (info.offset + info.elements)), shape)
                for info, shape in zip(states, shapes)
            ]

        one_input = (model.input_size == 0) != (model._token_count == 0)
        #: The extension module's run, for calls without lengths and options; None where there is none.
        self.native: Any = None
        if one_input and _extension.native is not None:
            options = model._run_options
            self.native = _extension.native.PlannedRun(
                _extension.function_address(model._c_run), model._network.value or 0, time, batch,
                self.tokens_count.value or self.input_count.value, model._token_count > 0, model.dtype == np.float64,
                self.output_shape, self.state_shape if states else None,
                0 if options is None else addressof(options._obj), options,
            )  # fmt: skip
        #: Without it, of a call so small that copying costs less than asking NumPy for addresses: those that no call uses at the moment.
        elements = self.input_count.value + self.tokens_count.value + self.output_count.value + self.state_count.value
        self.slots: Optional[List[Slot]] = [] if one_input and self.native is None and 0 < elements <= _SLOT_ELEMENTS else None

    def leaves(self, state: np.ndarray) -> List[np.ndarray]:
        """The states in an array of `state_shape`: views."""
        count = self._states
        if count == 1:
            return [state]
        if self._parts is None:
            # Not list(state), which takes three times as long.
            return [state[0], state[1]] if count == 2 else [state[index] for index in range(count)]
        return [state[part].reshape(shape) for part, shape in self._parts]


class Slot:
    """Arrays for one call at a time, and everything that the call passes to the library: made once."""

    __slots__ = ("input", "state", "leaves", "output", "begin_anew", "begin_from_state")

    def __init__(self, model: "Model", plan: Plan, x: np.ndarray) -> None:
        self.input = _empty(x.shape, x.dtype)
        self.output = _empty(plan.output_shape, model.dtype)
        self.state: Any = _empty(plan.state_shape, model.dtype) if model._states else None
        self.leaves = [] if self.state is None else plan.leaves(self.state)
        nothing = (None, c_size_t(0))
        source = c_void_p(address(self.input))
        state = nothing if self.state is None else (c_void_p(address(self.state)), plan.state_count)
        call = (
            c_void_p(model._network.value), plan.time, plan.batch,
            *((source, plan.input_count) if model.input_size else nothing),
            *((source, plan.tokens_count) if model._token_count else nothing),
            *nothing,
        )  # fmt: skip
        end = (c_void_p(address(self.output)), plan.output_count, *state, model._run_options)
        #: Arguments of rnn_network_run_arrays: without an initial state, and from the one in `state`.
        self.begin_anew = (*call, *nothing, *end)
        self.begin_from_state = (*call, *state, *end)


#: Plan, features, tokens, initial state, lengths: checked, or None where there are none. The initial state is the call's own.
Batch = Tuple[Plan, Optional[np.ndarray], Optional[np.ndarray], Optional[np.ndarray], Optional[np.ndarray]]


class Model:
    """A network of the library and what all models offer.

    A model is shared freely between threads: each call works on memory of its own.
    """

    #: Cut off from the names of parameters: "gru." for a layer.
    _prefix = ""
    #: True: x and y are [N, T, ..].
    batch_first = False
    #: How the model makes a mask from x where the caller gives none; models of Keras have one.
    _mask_rule: Optional[MaskRule] = None

    def _adopt(self, network: Handle, seed: int, batch_first: bool = False) -> None:
        """Take over a network. `seed` keys the dropout masks of `forward_train`."""
        info = _abi.rnn_network_info()
        check(_abi.rnn_network_describe(network.value, byref(info)))
        self._network = network
        self.dtype: np.dtype = _DTYPES[info.dtype]
        #: Features of x; 0 if the model reads tokens.
        self.input_size = int(info.input_size)
        #: Features of y.
        self.output_size = int(info.output_size)
        self._token_count = int(info.token_count)
        self._single_step = bool(info.single_step_output)
        self._layer_directions = int(info.layer_directions)
        self._parameters = _tensor_infos(_abi.rnn_network_parameter_info, network, info.parameter_count)
        self._states = _tensor_infos(_abi.rnn_network_state_info, network, info.state_count)
        self._parameter_elements = int(info.parameter_elements)
        #: Of a layer: h (and c) are pairs (forward, backward), because the directions differ in size.
        self._split_directions = any(state.name.endswith("h_reverse") for state in self._states)
        #: Some layer has an initial state among its parameters.
        self._learns_initial_state = any(".h_0_l" in parameter.name for parameter in self._parameters)
        self._seed = seed
        self._steps = itertools.count()
        self._plans: Dict[Key, Plan] = {}
        #: The same plans, by the shape of x as it was passed.
        self._plans_of_shapes: Dict[Tuple[int, ...], Plan] = {}
        self._pools: Dict[int, List[Handle]] = {}
        self._lock = threading.RLock()
        #: Changes with the weights.
        self._version = 0
        self._mirror: Optional[np.ndarray] = None
        self._views: Dict[str, np.ndarray] = {}
        self._run_options: Any = None
        double = self.dtype == np.float64
        self._c_run = _abi.rnn_network_run_arrays_f64 if double else _abi.rnn_network_run_arrays
        self._c_train = _abi.rnn_network_forward_train_f64 if double else _abi.rnn_network_forward_train
        self._c_backward = _abi.rnn_network_backward_f64 if double else _abi.rnn_network_backward
        self._c_get = _abi.rnn_network_parameter_get_f64 if double else _abi.rnn_network_parameter_get
        self._c_set = _abi.rnn_network_parameter_set_f64 if double else _abi.rnn_network_parameter_set
        self._c_state_read = _abi.rnn_state_read_f64 if double else _abi.rnn_state_read
        self._c_state_write = _abi.rnn_state_write_f64 if double else _abi.rnn_state_write
        self._c_tape_read = _abi.rnn_tape_read_f64 if double else _abi.rnn_tape_read

        if batch_first:
            self._remember_batch_first()

    def _remember_batch_first(self) -> None:
        """x and y are [N, T, ..], here and in the model file."""
        self._set_batch_first(True)
        check(_abi.rnn_network_metadata_set(self._network.value, LAYOUT_KEY.encode(), b"1"))

    def _set_batch_first(self, batch_first: bool) -> None:
        self.batch_first = batch_first
        self._run_options = byref(_abi.rnn_run_options(batch_first=1)) if batch_first else None
        self._plans.clear()
        self._plans_of_shapes.clear()

    # ------------------------------------------------------------------ life

    def close(self) -> None:
        """Free the network now rather than with the last reference. Streams and tapes made from it stay usable."""
        self._pools.clear()
        self._plans.clear()
        self._plans_of_shapes.clear()
        self._network.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ------------------------------------------------------------ parameters

    def _split(self, flat: np.ndarray) -> Dict[str, np.ndarray]:
        """Views of an array of all parameters, by name."""
        cut = len(self._prefix)
        return {
            name[cut:]: flat[offset : offset + count].reshape(shape) for name, offset, count, shape in self._parameters
        }

    def _get_parameters(self, flat: np.ndarray) -> None:
        check(self._c_get(self._network.value, None, address(flat), flat.size))

    def _set_parameters(self, flat: np.ndarray) -> None:
        """Replace all parameters at once; `parameters` shows the new ones."""
        with self._lock:
            if flat.size:
                check(self._c_set(self._network.value, None, address(flat), flat.size))
            self._weights_changed()

    def _weights_changed(self) -> None:
        """Called by whoever changed the network's weights: brings `parameters` up to date."""
        with self._lock:
            self._version += 1
            if self._mirror is not None and self._mirror.size:
                self._get_parameters(self._mirror)

    @property
    def parameters(self) -> Dict[str, np.ndarray]:
        """The parameters by name, as read-only views that follow the model's weights.

        Weights change through `load_state_dict`, or an optimizer or trainer made from the model; never by writing here.
        """
        with self._lock:
            if self._mirror is None:
                mirror = _empty(self._parameter_elements, self.dtype)
                if mirror.size:
                    self._get_parameters(mirror)
                views = self._split(mirror)
                for view in views.values():
                    view.flags.writeable = False
                self._mirror, self._views = mirror, views
            return dict(self._views)

    def state_dict(self) -> Dict[str, np.ndarray]:
        """Copies of the parameters, with PyTorch's names and shapes."""
        flat = _empty(self._parameter_elements, self.dtype)
        if flat.size:
            self._get_parameters(flat)
        return {name: view.copy() for name, view in self._split(flat).items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace all parameters.

        Parameters
        ----------
        state : mapping of str to array_like
            Exactly the names and shapes of `state_dict`. Values are converted to the model's dtype.

        Raises
        ------
        RNNError
            A name is missing or too many, or a shape differs: the message says what was expected and what came. The
            weights are then unchanged.
        """
        self._set_parameters(self._gather(state))

    def _gather(self, state: Mapping[str, Any]) -> np.ndarray:
        """The values of a state_dict as one array, in the network's order; any mismatch is an error."""
        cut = len(self._prefix)
        expected = {info.name[cut:]: info for info in self._parameters}
        missing = [name for name in expected if name not in state]
        unexpected = [name for name in state if name not in expected]
        if missing or unexpected:
            lines = [f"state_dict does not fit {self!r}"]
            if missing:
                lines.append("missing: " + ", ".join(missing))
            if unexpected:
                lines.append("unexpected: " + ", ".join(map(str, unexpected)))
            raise shape_error("; ".join(lines) + self._explain_names(state))
        flat = _empty(self._parameter_elements, self.dtype)
        for name, info in expected.items():
            value = np.asarray(state[name])
            if value.shape != info.shape:
                raise shape_error(f"{name} has shape {value.shape}, expected {info.shape} in {self!r}")
            if value.dtype.kind not in "fiub":
                raise dtype_error(f"{name} has dtype {value.dtype}, expected numbers that become {self.dtype}")
            flat[info.offset : info.offset + info.elements] = value.reshape(-1)
        return flat

    def _explain_names(self, state: Mapping[str, Any]) -> str:
        """What else there is to say about names that do not fit."""
        return ""

    # -------------------------------------------------------------- metadata

    @property
    def metadata(self) -> "Metadata":
        """Free text that is saved with the model: str to str. A live view; assign and delete entries in place."""
        return Metadata(self._network)

    def _architecture(self) -> str:
        """The JSON text that the model file holds."""
        return text_of(_abi.rnn_network_architecture, self._network.value)

    # ------------------------------------------------------------------ runs

    def _state_shape(self, info: TensorInfo, batch: int, batched: bool) -> Tuple[int, ...]:
        """[L*D, N, H], or [L*D, H] without a batch."""
        return (info.shape[0], batch, info.shape[2]) if batched else (info.shape[0], info.shape[2])

    def _plan(self, key: Key) -> Plan:
        """The plan for T, N and whether there is a batch axis."""
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            plan = self._plans[key] = Plan(self, key)
        return plan

    def _take_state(self, batch: int) -> Handle:
        """A state for `batch` rows that no other call uses, with any values."""
        try:
            return self._pools[batch].pop()
        except (KeyError, IndexError):
            options = _abi.rnn_state_options(batch_size=batch)
            return create(_abi.rnn_state_destroy, _abi.rnn_state_create, self._network.value, byref(options))

    def _give_state(self, batch: int, plan: Plan, state: Handle) -> None:
        pool = self._pools.get(batch)
        if pool is None:
            if plan.state_count.value > _POOLED_ELEMENTS:
                return
            if len(self._pools) >= _POOLS:
                self._pools.clear()
            pool = self._pools.setdefault(batch, [])
        if len(pool) < _POOLED_STATES:
            pool.append(state)

    def _pack(self, leaves: Sequence[Any], plan: Plan, name: str) -> Optional[np.ndarray]:
        """States as one new array in the library's order; None if all are None, which stands for zeros or what was learned."""
        missing = 0
        for leaf in leaves:
            missing += leaf is None
        if missing == len(leaves):
            return None
        if missing and self._learns_initial_state and name != "grad_h_n":
            raise argument_error(
                f"{name} is None in some parts only: a model that learns its initial state takes all of it or none of it"
            )
        state = _empty(plan.state_shape, self.dtype)
        for index, target in enumerate(plan.leaves(state)):
            leaf = leaves[index]
            if leaf is None:
                target[...] = 0
                continue
            if leaf.__class__ is not _ndarray or leaf.dtype is not self.dtype:
                leaf = floats(leaf, self.dtype, name)
            if leaf.shape != target.shape:
                kind = self._states[index].name[len(self._prefix) :]
                raise shape_error(f"{name} ({kind}) has shape {leaf.shape}, expected {target.shape}")
            target[...] = leaf
        return state

    def _read_state(self, state: Handle, plan: Plan) -> List[np.ndarray]:
        flat = _empty(plan.state_shape, self.dtype)
        check(self._c_state_read(state.value, None, address(flat), plan.state_count))
        return plan.leaves(flat)

    def _sequence_arguments(
        self, plan: Plan, x: Optional[np.ndarray], tokens: Optional[np.ndarray], lengths: Optional[np.ndarray]
    ) -> Tuple[Any, ...]:
        """What every pass of the library begins with: the network, T and N, and the arrays that it reads."""
        return (
            self._network.value,
            plan.time,
            plan.batch,
            None if x is None else address(x),
            plan.input_count,
            None if tokens is None else address(tokens),
            plan.tokens_count,
            None if lengths is None else address(lengths),
            0 if lengths is None else plan.batch,
        )

    def _run(
        self,
        plan: Plan,
        x: Optional[np.ndarray],
        tokens: Optional[np.ndarray],
        lengths: Optional[np.ndarray],
        initial: Optional[np.ndarray],
        options: Any,
    ) -> Tuple[np.ndarray, List[np.ndarray]]:
        """Call rnn_network_run_arrays, and nothing else: y and the leaves of the final state, which takes the place of `initial`."""
        y = _empty(plan.output_shape, self.dtype)
        begin = end = None
        state = initial
        if self._states:
            if state is None:
                state = _empty(plan.state_shape, self.dtype)
                end = address(state)
            else:
                begin = end = address(state)
        status = self._c_run(
            *self._sequence_arguments(plan, x, tokens, lengths),
            begin,
            0 if begin is None else plan.state_count,
            address(y),
            plan.output_count,
            end,
            plan.state_count,
            options,
        )
        if status:
            raise last_error(status)
        return y, [] if state is None else plan.leaves(state)

    def _run_natively(self, plan: Plan, x: Any, initial: Optional[np.ndarray]) -> Optional[Tuple[np.ndarray, Any]]:
        """`_call` without lengths and options, through the extension module; None if it does not know such an x."""
        result = plan.native.run(x, initial)
        if result is None:
            return None
        if result.__class__ is int:
            raise last_error(result)
        y, state = result
        return y, self._nest([] if state is None else plan.leaves(state))

    def _run_in_slot(self, plan: Plan, x: Any, initial: Optional[np.ndarray]) -> Tuple[np.ndarray, List[np.ndarray]]:
        """`_run` without lengths and options, for a plan that has slots."""
        slots = plan.slots
        assert slots is not None
        try:
            slot = slots.pop()
        except IndexError:
            slot = Slot(self, plan, x)
        slot.input[...] = x
        if initial is None:
            status = self._c_run(*slot.begin_anew)
        else:
            slot.state[...] = initial
            status = self._c_run(*slot.begin_from_state)
        if status:
            raise last_error(status)
        y = slot.output.copy()
        leaves = slot.leaves
        # Without a loop where it can be: a comprehension is a function of its own.
        leaves = [leaves[0].copy(), leaves[1].copy()] if len(leaves) == 2 else [leaf.copy() for leaf in leaves]
        if len(slots) < _SLOTS:
            slots.append(slot)
        return y, leaves

    def _has_no_options(
        self, mask: Any, padding_value: float, padding: Optional[str], zero_state_of_empty_rows: bool
    ) -> bool:
        """Whether a call needs no rnn_run_options but those of the model."""
        return (
            mask is None and padding is None and padding_value == 0 and not zero_state_of_empty_rows
            and self._mask_rule is None
        )  # fmt: skip

    def _call(
        self, batch: Batch, mask: Any, padding_value: float, padding: Optional[str], zero_state_of_empty_rows: bool
    ) -> Tuple[np.ndarray, Any]:
        """A call of the model once its arrays are checked: y, and the state as the caller gets it."""
        plan, x, tokens, initial, lengths = batch
        if self._has_no_options(mask, padding_value, padding, zero_state_of_empty_rows):
            if lengths is None and plan.native is not None:
                result = self._run_natively(plan, tokens if x is None else x, initial)
                if result is not None:
                    return result
            if plan.slots is None or lengths is not None:
                y, leaves = self._run(plan, x, tokens, lengths, initial, self._run_options)
            else:
                y, leaves = self._run_in_slot(plan, tokens if x is None else x, initial)
            return y, self._nest(leaves)
        mask, kind = self._own_mask(plan.key, x, tokens, mask, padding_value, padding)
        fields = self._padding_fields(plan.key, mask, padding_value, kind, zero_state_of_empty_rows)
        options = _abi.rnn_run_options(batch_first=int(self.batch_first), **fields)
        y, leaves = self._run(plan, x, tokens, lengths, initial, byref(options))
        self._fill_left_out(y, mask, padding_value, padding, plan.key)
        return y, self._nest(leaves)

    def _padding_fields(
        self,
        key: Key,
        mask: Any = None,
        padding_value: float = 0.0,
        padding: str = "value",
        zero_state_of_empty_rows: bool = False,
    ) -> Dict[str, Any]:
        """The fields that rnn_run_options and rnn_train_options share: those of steps that a row does not have."""
        fields: Dict[str, Any] = {
            "padding": choose(padding, PADDINGS, "padding"),
            "padding_value": real(padding_value, "padding_value"),
            "zero_state_of_empty_rows": int(bool(zero_state_of_empty_rows)),
        }
        if mask is not None:
            time, batch, batched = key
            shape = ((batch, time) if self.batch_first else (time, batch)) if batched else (time,)
            array = as_mask(mask, shape)
            # A ctypes pointer object keeps the array alive for as long as the struct that holds the fields.
            fields["mask"] = array.ctypes.data_as(c_void_p)
            fields["mask_count"] = array.size
        return fields

    def _own_mask(
        self,
        key: Key,
        x: Optional[np.ndarray],
        tokens: Optional[np.ndarray],
        mask: Any,
        padding_value: float,
        padding: Optional[str],
    ) -> Tuple[Any, str]:
        """The mask and the padding of a call: the caller's, or else those of the model's rule."""
        if padding is None and padding_value != 0:
            padding = "value"
        rule = self._mask_rule
        if rule is None:
            return mask, padding or "value"
        if mask is None:
            mask = rule.mask(x, tokens, 2 if key[2] else 1)
        return mask, padding or rule.padding

    def _fill_left_out(self, y: np.ndarray, mask: Any, padding_value: float, padding: Optional[str], key: Key) -> None:
        """What the rule says of outputs at left-out steps, unless the caller said otherwise."""
        if self._mask_rule is not None and padding is None and padding_value == 0 and not self._single_step:
            self._mask_rule.finish(y, mask, 1 if key[2] and self.batch_first else 0)

    def _train(
        self,
        batch: Batch,
        step: Optional[int],
        first_time: int,
        mask: Any = None,
        padding_value: float = 0.0,
        padding: Optional[str] = None,
        zero_state_of_empty_rows: bool = False,
    ) -> Tuple[np.ndarray, Any, Tape]:
        """A call in training once its arrays are checked: as `_call`, and the tape."""
        plan, x, tokens, initial, lengths = batch
        mask, kind = self._own_mask(plan.key, x, tokens, mask, padding_value, padding)
        options = _abi.rnn_train_options(
            **self._padding_fields(plan.key, mask, padding_value, kind, zero_state_of_empty_rows),
            batch_first=int(self.batch_first),
            dropout_seed=self._seed,
            step=next(self._steps) if step is None else unsigned(step, "step"),
            first_time=unsigned(first_time, "first_time"),
        )
        rows = plan.key[1]
        out = c_void_p()
        y = _empty(plan.output_shape, self.dtype)
        state = self._take_state(rows) if self._states else None
        try:
            if state is not None:
                self._begin(state, initial, plan)
            check(
                self._c_train(
                    *self._sequence_arguments(plan, x, tokens, lengths),
                    None if state is None else state.value,
                    address(y),
                    plan.output_count,
                    byref(options),
                    byref(out),
                )
            )
            assert out.value is not None
            handle = Handle(out.value, _abi.rnn_tape_destroy)
            leaves = [] if state is None else self._read_state(state, plan)
        finally:
            if state is not None:
                self._give_state(rows, plan, state)
        self._fill_left_out(y, mask, padding_value, padding, plan.key)
        tape = Tape(handle, self, plan.key, None if x is None else x.shape, y.shape)
        return y, self._nest(leaves), tape

    def _begin(self, state: Handle, initial: Optional[np.ndarray], plan: Plan) -> None:
        """Fill a state with the initial one of a call: `initial`, or for None zeros or what was learned."""
        if initial is None:
            check(_abi.rnn_state_reset(state.value))
        else:
            check(self._c_state_write(state.value, None, address(initial), plan.state_count))

    def _batch(self, x: Any, hx: Any, lengths: Any) -> Batch:
        """Checks the arguments of a call."""
        raise NotImplementedError

    def _nest(self, leaves: Sequence[np.ndarray]) -> Any:
        """Leaves of the state, structured as the model gives and takes it."""
        raise NotImplementedError

    def _leaves(self, state: Any, name: str) -> Sequence[Any]:
        """The inverse of `_nest`; None for a leaf is zeros."""
        raise NotImplementedError

    def backward(
        self,
        tape: Tape,
        grad_y: Any,
        grad_h_n: Any = None,
        gradient_flow: bool = False,
        hidden_clip: float = 0.0,
        *,
        input_gradient: bool = True,
    ) -> Gradients:
        """Backpropagation through time, with the weights of the forward pass.

        Parameters
        ----------
        tape : Tape
            From `forward_train` of this model; any number of times.
        grad_y : array_like
            dL/dy, in the shape of y; padded steps are ignored. None stands for zeros.
        grad_h_n : optional
            dL/d(final state), structured as the final state of `forward_train`. None, also for a part of it, stands for
            zeros.
        gradient_flow : bool
            Compute ``g.flow``: how gradients and gates are in each layer, direction and step.
        hidden_clip : float
            Above 0: inside backpropagation through time, dL/dh_t of a row whose Euclidean norm is larger is scaled to it.
        input_gradient : bool
            Compute dL/dx. Training of the parameters alone does not need it, and without it a pass is shorter by up to a
            sixth: one product of the first layer less. ``.input`` is then None.

        Returns
        -------
        Gradients
            ``.input``, ``.state`` (as hx), ``.parameters`` and ``.flow``.
        """
        if not isinstance(tape, Tape):
            raise argument_error(f"tape is {type(tape).__name__}, expected the tape of forward_train")
        if tape._owner is not self:
            raise shape_error("the tape comes from another model")
        key = tape._key
        plan = self._plan(key)
        time, batch, _ = key
        if grad_y is None:
            grad_y = np.zeros(tape._output_shape, self.dtype)
        grad_y = floats(grad_y, self.dtype, "grad_y")
        if grad_y.shape != tape._output_shape:
            raise shape_error(f"grad_y has shape {grad_y.shape}, expected {tape._output_shape}, as y")
        final = None if grad_h_n is None else self._pack(self._leaves(grad_h_n, "grad_h_n"), plan, "grad_h_n")
        grad_x = None
        if input_gradient and tape._input_shape is not None:
            grad_x = _empty(tape._input_shape, self.dtype)
        gradients = _empty(self._parameter_elements, self.dtype)
        flow = FlowArrays(self._layer_directions, time) if gradient_flow else None
        options = None
        hidden_clip = real(hidden_clip, "hidden_clip")
        if flow is not None or hidden_clip != 0:
            fields = {} if flow is None else flow.fields()
            options = byref(_abi.rnn_backward_options(hidden_clip=hidden_clip, **fields))
        state = self._take_state(batch) if self._states else None
        try:
            if state is not None and final is not None:
                self._begin(state, final, plan)
            check(
                self._c_backward(
                    self._network.value,
                    tape._handle.value,
                    address(grad_y),
                    grad_y.size,
                    None if state is None or final is None else state.value,
                    None if grad_x is None else address(grad_x),
                    0 if grad_x is None else grad_x.size,
                    None if state is None else state.value,
                    address(gradients) if gradients.size else None,
                    gradients.size,
                    options,
                )
            )
            leaves = [] if state is None else self._read_state(state, plan)
        finally:
            if state is not None:
                self._give_state(batch, plan, state)
        return Gradients(
            input=grad_x,
            state=self._nest(leaves),
            parameters=self._split(gradients),
            flow=None if flow is None else flow.report(*self._flow_names()),
        )

    def _flow_names(self) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
        """Of the rows of the gradient flow: node, layer and direction, as far as there are several; and their gates' letters."""
        hidden = [info for info in self._states if info.name.endswith(".h")]
        shapes = {info.name: info.shape for info in self._parameters}
        states = {info.name: info for info in self._states}
        labels, gates = [], []
        for info in hidden:
            node = info.name[: -len("h")]
            directions = 2 if node + "weight_ih_l0_reverse" in shapes else 1
            if node + "c" in states:
                letters = "ifgo"
            else:
                letters = "rzn" if shapes[node + "weight_ih_l0"][0] == 3 * info.shape[2] else "h"
            layers = info.shape[0] // (1 if node + "h_reverse" in states else directions)
            for row in range(layers * directions):
                label = f"layer {row // directions}"
                if directions == 2:
                    label += " backward" if row % 2 else " forward"
                labels.append(f"{node[:-1]}: {label}" if len(hidden) > 1 else label)
                gates.append(letters)
        if len(labels) != self._layer_directions:
            return (), ()
        return tuple(labels), tuple(gates)

    def _read_tape(self, tape: Tape, names: Sequence[str]) -> Dict[str, np.ndarray]:
        """What `Tape.read` gives."""
        info = _abi.rnn_tensor_info()
        time, batch, batched = tape._key
        found: Dict[str, np.ndarray] = {}
        known: List[str] = []
        for index in itertools.count():
            status = _abi.rnn_tape_tensor_info(tape._handle.value, index, byref(info))
            if status == _abi.RNN_ERROR_NOT_FOUND:
                break
            check(status)
            full, shape = info.name, tuple(info.shape[: info.rank])
            name = full.decode()[len(self._prefix) :]
            known.append(name)
            if names and name not in names:
                continue
            array = _empty(shape, self.dtype)
            check(self._c_tape_read(tape._handle.value, full, address(array), array.size))
            if not batched:
                array = array[:, 0]
            elif self.batch_first:
                array = np.ascontiguousarray(array.swapaxes(0, 1))
            found[name] = array
        unknown = [repr(name) for name in names if name not in known]
        if unknown:
            raise argument_error(f"the tape has no {', '.join(unknown)}, expected of {', '.join(known) or 'nothing'}")
        return found

    def stream(self, batch: int = 1, num_threads: int = 1, weight_storage: Optional[str] = None) -> Stream:
        """A stream: this model, a state of zeros and all scratch memory, for one step at a time.

        Parameters
        ----------
        batch : int
            Rows N of each step.
        num_threads : int
            Threads that a step may use, the caller's included. It uses them where a layer's weights are so large that sharing pays
            (some 256 KiB), with the same bits. Between steps they spin for some 20 µs, then sleep.
        weight_storage : {None, "bfloat16"}
            ``"bfloat16"`` keeps the weights of recurrent layers rounded to bfloat16: half the bytes, for one row of a float32 model whose
            weights exceed the cache. Each weight changes by at most 2⁻⁹ of itself; sums, biases and state stay float32.

        Returns
        -------
        Stream

        Raises
        ------
        RNNError
            A layer is bidirectional: it needs the whole sequence. Or ``weight_storage="bfloat16"`` with more rows, with float64, or for
            a model of more than recurrent layers without options and linear layers.
        """
        return Stream(self, batch, num_threads, weight_storage)


class SequenceModel(Model):
    """A model with one input: features [T, N, I], or tokens [T, N]."""

    def _sequence(self, x: Any) -> Tuple[Plan, Optional[np.ndarray], Optional[np.ndarray]]:
        """Checks x: the plan, features or None, tokens or None."""
        if self._token_count:
            tokens = integers(x, "x")
            shape = tokens.shape
            return self._plans_of_shapes.get(shape) or self._plan_of(shape), None, tokens
        if x.__class__ is not _ndarray or x.dtype is not self.dtype or not x.flags.carray:
            x = floats(x, self.dtype, "x")
        shape = x.shape
        return self._plans_of_shapes.get(shape) or self._plan_of(shape), x, None

    def _plan_of(self, shape: Tuple[int, ...]) -> Plan:
        """Checks the shape of x: [T, N, I], or [T, N] of tokens."""
        features: Tuple[int, ...] = () if self._token_count else (self.input_size,)
        rank = len(shape) - len(features)
        if rank not in (1, 2) or shape[rank:] != features:
            axes: Tuple[Any, ...] = ("N", "T") if self.batch_first else ("T", "N")
            raise shape_error(f"x has shape {shape}, expected {show(axes + features)} or {show(('T',) + features)}")
        if rank == 1:
            key: Key = (shape[0], 1, False)
        else:
            key = (shape[1], shape[0], True) if self.batch_first else (shape[0], shape[1], True)
        plan = self._plan(key)
        if len(self._plans_of_shapes) >= _PLANS:
            self._plans_of_shapes.clear()
        self._plans_of_shapes[shape] = plan
        return plan

    def _batch(self, x: Any, hx: Any, lengths: Any) -> Batch:
        plan, features, tokens = self._sequence(x)
        initial = None if hx is None else self._pack(self._leaves(hx, "hx"), plan, "hx")
        return plan, features, tokens, initial, None if lengths is None else as_lengths(lengths, plan.key[1])

    def _invoke(
        self,
        x: Any,
        hx: Any,
        lengths: Any,
        mask: Any,
        padding_value: float,
        padding: Optional[str],
        zero_state_of_empty_rows: bool,
    ) -> Tuple[np.ndarray, Any]:
        """A call of the model."""
        # The usual one, of an x like one before: the extension module checks that it needs no conversion.
        if hx is None and lengths is None and x.__class__ is _ndarray:
            plan = self._plans_of_shapes.get(x.shape)
            if (
                plan is not None
                and plan.native is not None
                and self._has_no_options(mask, padding_value, padding, zero_state_of_empty_rows)
            ):
                result = self._run_natively(plan, x, None)
                if result is not None:
                    return result
        return self._call(self._batch(x, hx, lengths), mask, padding_value, padding, zero_state_of_empty_rows)

    def __call__(
        self,
        x: Any,
        hx: Any = None,
        lengths: Any = None,
        *,
        mask: Any = None,
        padding_value: float = 0.0,
        padding: Optional[str] = None,
        zero_state_of_empty_rows: bool = False,
    ) -> Tuple[np.ndarray, Any]:
        return self._invoke(x, hx, lengths, mask, padding_value, padding, zero_state_of_empty_rows)

    def forward_train(
        self,
        x: Any,
        hx: Any = None,
        lengths: Any = None,
        *,
        step: Optional[int] = None,
        first_time: int = 0,
        mask: Any = None,
        padding_value: float = 0.0,
        padding: Optional[str] = None,
        zero_state_of_empty_rows: bool = False,
    ) -> Tuple[np.ndarray, Any, Tape]:
        """As a call, with dropout, and keeps what `backward` needs.

        Without dropout y and the state have the bits of a call.

        Parameters
        ----------
        x, hx, lengths, mask, padding_value, padding, zero_state_of_empty_rows
            As for a call.
        step : int, optional
            Chooses the dropout masks, together with the model's seed: the same step gives the same masks. By default each
            call takes the next number, from 0.
        first_time : int
            Absolute time of the first step, so that a sequence in chunks gets the masks of the whole.

        Returns
        -------
        y, state, tape
            y and state as a call gives them; `tape` is for `backward`.
        """
        return self._train(
            self._batch(x, hx, lengths), step, first_time, mask, padding_value, padding, zero_state_of_empty_rows
        )


class Metadata(MutableMapping[str, str]):
    """The metadata of a network: a dictionary of str to str that lives in the network."""

    def __init__(self, network: Handle) -> None:
        self._network = network

    def __getitem__(self, key: str) -> str:
        try:
            return text_of(_abi.rnn_network_metadata_get, self._network.value, _c_text(key, "the metadata key"))
        except RNNError as error:
            if error.code == _abi.RNN_ERROR_NOT_FOUND:
                raise KeyError(key) from None
            raise

    def __setitem__(self, key: str, value: str) -> None:
        check(
            _abi.rnn_network_metadata_set(
                self._network.value, _c_text(key, "the metadata key"), _c_text(value, f"metadata[{key!r}]")
            )
        )

    def __delitem__(self, key: str) -> None:
        self[key]
        check(_abi.rnn_network_metadata_set(self._network.value, _c_text(key, "the metadata key"), None))

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())

    def _keys(self) -> List[str]:
        keys: List[str] = []
        while True:
            try:
                keys.append(text_of(_abi.rnn_network_metadata_key, self._network.value, len(keys)))
            except RNNError as error:
                if error.code == _abi.RNN_ERROR_NOT_FOUND:
                    return [key for key in keys if key != LAYOUT_KEY]
                raise

    def __repr__(self) -> str:
        return repr(dict(self))


def _c_text(value: Any, name: str) -> bytes:
    if not isinstance(value, str):
        raise argument_error(f"{name} is {type(value).__name__}, expected str")
    encoded = value.encode("utf-8", "strict")
    if b"\0" in encoded:
        raise argument_error(f"{name} contains a NUL character")
    return encoded


def text_of(function: Any, *arguments: Any) -> str:
    """The text that a function with the arguments (…, buffer, capacity, &length) copies out."""
    length = c_size_t()
    check(function(*arguments, None, 0, byref(length)))
    while True:
        buffer = create_string_buffer(length.value + 1)
        status = function(*arguments, buffer, len(buffer), byref(length))
        # Another thread may have stored a longer text in between.
        if status != _abi.RNN_ERROR_BUFFER_TOO_SMALL:
            check(status)
            return buffer.value.decode("utf-8", "replace")
