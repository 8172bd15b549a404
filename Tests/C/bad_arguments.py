"""Calls one function of rnn.h with every kind of bad argument: python bad_arguments.py FUNCTION.

test_bad_arguments.py runs this once for each function, in a process of its own, so that a crash has a name: every case is
printed before its call. How to call a function is derived from rnn.h: from the type and name of each parameter. A parameter
that the recipes below do not know is an error, so that a new function cannot be forgotten.

Each case is one call in a fresh world of live objects, with one argument made bad. What is checked:

- the valid call succeeds, and the bad one fails, with a message that names the argument;
- a failing call leaves outputs, inputs and objects as they were, but for out handles, which become NULL;
- what is made can be used, and a trainer or an optimizer that a failing call was about learns on as if it had not been;
- no byte outside the caller's arrays is written (guard bytes before each) or touched (an unmapped page behind each).
"""

from __future__ import annotations

import ctypes
import functools
import math
import mmap
import os
import re
import resource
import sys
import tempfile
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Union

import header
from header import HEADER, Function, Parameter

SIZE_MAX = 2**64 - 1
PAGE = mmap.PAGESIZE
GUARD = 64
CANARY = 0x5A
OK = 0
ERRORS = {name: value for name, value in HEADER.constants.items() if name.startswith("RNN_ERROR_")}
STATUS_NAMES = {value: name for name, value in ERRORS.items()}

# Sizes of the examples: time, rows, features, hidden, outputs.
T, N, I, H, O = 3, 2, 3, 4, 2
VOCABULARY = 5
# Of the training functions: rows and classes of a loss, elements of a squared error, tensors of gradients, numbers of an
# optimizer. Of CTC: T steps of N rows, and labels of a row, all but the blank 0.
ROWS, CLASSES, ELEMENTS, TENSORS, NUMBER_COUNT = 3, 4, 6, (4, 7), 10
LABELS = 2

_libc = ctypes.CDLL(None, use_errno=True)
library = header.load(os.environ.get("LIBRNN_LIBRARY") or str(header.ROOT / "build" / "librnn.so"))

# ------------------------------------------------------------------------------------------------------------- memory


class Memory:
    """`size` bytes that end where an inaccessible page begins, with guard bytes before them. ctypes passes its address."""

    def __init__(self, size: int, contents: bytes = b""):
        span = -(-(size + GUARD) // PAGE) * PAGE
        self._map = mmap.mmap(-1, span + PAGE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        if _libc.mprotect(ctypes.c_void_p(base + span), ctypes.c_size_t(PAGE), 0) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
        self.size = size
        self._as_parameter_ = self.address = base + span - size
        ctypes.memset(self.address - GUARD, CANARY, size + GUARD)
        self.write(contents)

    def write(self, contents: bytes) -> None:
        assert len(contents) <= self.size
        ctypes.memmove(self.address, contents, len(contents))

    def snapshot(self) -> bytes:
        return ctypes.string_at(self.address - GUARD, self.size + GUARD)

    def guard(self) -> bytes:
        return ctypes.string_at(self.address - GUARD, GUARD)

    def read(self) -> bytes:
        return ctypes.string_at(self.address, self.size)


def text_memory(text: bytes) -> Memory:
    return Memory(len(text) + 1, text + b"\0")


def pointer_memory(*targets: Memory) -> Memory:
    return Memory(8 * len(targets), b"".join(target.address.to_bytes(8, "little") for target in targets))


def pattern(ctype, count: int, seed: int = 1) -> bytes:
    """Numbers in [-1, 1), the same each time."""
    values = []
    for _ in range(count):
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append((seed >> 11) / 2**52 - 1)
    return bytes((ctype * count)(*values))


def int64_memory(values: Sequence[int]) -> Memory:
    return Memory(8 * len(values), bytes((ctypes.c_int64 * len(values))(*values)))


def struct_memory(name: str, **fields) -> Memory:
    memory = Memory(ctypes.sizeof(HEADER.structs[name]))
    memory.write(bytes(memory.size))
    view = HEADER.structs[name].from_address(memory.address)
    view.struct_size = memory.size
    for field, value in fields.items():
        setattr(view, field, value)
    return memory


# -------------------------------------------------------------------------------------------------------- live objects


def must(status: int, what: str) -> None:
    if status != OK:
        raise SystemExit(f"setting up failed: {what}: {library.rnn_last_error_message().decode()}")


class World:
    """The live objects of one case: a network that reads features and tokens, and what is made from it.

    `loss` is that of the trainer: RNN_LOSS_CROSS_ENTROPY or RNN_LOSS_MSE.
    """

    def __init__(self, double: bool, hidden_size: int = H, loss: int = 0):
        self.double = double
        self.loss = loss
        self.hidden_size = hidden_size
        self.suffix = "_f64" if double else ""
        self.ctype = ctypes.c_double if double else ctypes.c_float
        self.objects: Dict[str, int] = {}

    def call(self, name: str, *arguments):
        must(getattr(library, name)(*arguments), name)

    def handle(self, kind: str) -> int:
        """The live object of a kind ("rnn_state"), made when it is first asked for."""
        if kind not in self.objects:
            self.objects[kind] = getattr(self, "make_" + kind)()
        return self.objects[kind]

    def new(self, kind: str) -> int:
        return getattr(self, "make_" + kind)()

    def make(self, name: str, *arguments) -> int:
        """Calls a function whose last argument receives a handle."""
        out = Memory(8)
        self.call(name, *arguments, out)
        return int.from_bytes(out.read(), "little")

    def make_rnn_builder(self) -> int:
        """t -> embedding e; x; s = x + e: buildable, and with a node of each kind to read from."""
        builder = self.make("rnn_builder_create", struct_memory("rnn_builder_options", dtype=1 if self.double else 0))
        t, e, x, s = (text_memory(name) for name in (b"t", b"e", b"x", b"s"))
        self.call("rnn_builder_add_token_input", builder, t)
        self.call("rnn_builder_add_embedding", builder, e, t, VOCABULARY, I)
        self.call("rnn_builder_add_input", builder, x, I)
        self.call("rnn_builder_add_sum", builder, s, pointer_memory(x, e), 2)
        return builder

    def make_rnn_network(self) -> int:
        builder = self.make_rnn_builder()
        lstm, out = text_memory(b"lstm"), text_memory(b"out")
        self.call("rnn_builder_add_recurrent", builder, lstm, None,
                  struct_memory("rnn_recurrent_options", hidden_size=self.hidden_size, cell=HEADER.constants["RNN_CELL_LSTM"]))
        self.call("rnn_builder_add_linear", builder, out, None, O, 1)
        network = self.make("rnn_builder_build", builder, None)
        library.rnn_builder_destroy(builder)
        key, value = text_memory(b"key"), text_memory(b"some value")
        self.call("rnn_network_metadata_set", network, key, value)
        return network

    def make_rnn_state(self) -> int:
        state = self.make("rnn_state_create", self.handle("rnn_network"), struct_memory("rnn_state_options", batch_size=N))
        count = 2 * N * self.hidden_size
        values = Memory(ctypes.sizeof(self.ctype) * count, pattern(self.ctype, count, 9))
        self.call("rnn_state_write" + self.suffix, state, None, values, count)
        return state

    def make_rnn_stream(self) -> int:
        return self.make("rnn_stream_create", self.handle("rnn_network"), struct_memory("rnn_stream_options", batch_size=N))

    def make_rnn_tape(self) -> int:
        size = ctypes.sizeof(self.ctype)
        x, y = Memory(size * T * N * I, pattern(self.ctype, T * N * I)), Memory(size * T * N * O)
        tokens = Memory(8 * T * N, bytes(8 * T * N))
        return self.make("rnn_network_forward_train" + self.suffix, self.handle("rnn_network"), T, N, x, T * N * I,
                         tokens, T * N, None, 0, None, y, T * N * O, None)

    def make_rnn_optimizer(self) -> int:
        """With a memory of its own, after one step."""
        options = struct_memory("rnn_optimizer_options", momentum=0.9)
        optimizer = self.make("rnn_optimizer_create", 1 if self.double else 0, NUMBER_COUNT, options)
        self.optimizer_step(optimizer)
        return optimizer

    def optimizer_step(self, optimizer: int) -> bytes:
        parameters, gradients = self.values(NUMBER_COUNT, 3), self.values(NUMBER_COUNT, 4)
        self.call("rnn_optimizer_step" + self.suffix, optimizer, parameters, NUMBER_COUNT, gradients, NUMBER_COUNT)
        return parameters.read()

    def make_rnn_trainer(self) -> int:
        """With an optimizer that has a memory, after one step: its gradients are not zeros."""
        trainer = self.make(
            "rnn_trainer_create", self.handle("rnn_network"),
            struct_memory("rnn_trainer_options", loss=self.loss, clip_norm=0.5, gradient_flow=1),
            struct_memory("rnn_optimizer_options", momentum=0.9))
        must(self.trainer_step(trainer, self.loss), "rnn_trainer_step")
        return trainer

    def trainer_step(self, trainer: int, loss: int, function: str = "rnn_trainer_step") -> int:
        x, tokens = self.values(T * N * I), int64_memory([0] * (T * N))
        targets = [None, 0, None, 0]
        targets[2 * loss:2 * loss + 2] = ((int64_memory([1] * (T * N)), T * N), (self.values(T * N * O, 5), T * N * O))[loss]
        return getattr(library, function + self.suffix)(
            trainer, T, N, x, T * N * I, tokens, T * N, None, 0, *targets, None, None)

    def values(self, count: int, seed: int = 1) -> Memory:
        return Memory(ctypes.sizeof(self.ctype) * count, pattern(self.ctype, count, seed))

    def parameter_elements(self) -> int:
        info = struct_memory("rnn_network_info")
        self.call("rnn_network_describe", self.handle("rnn_network"), info)
        return HEADER.structs["rnn_network_info"].from_address(info.address).parameter_elements

    def fingerprint(self) -> Dict[str, bytes]:
        """What can be seen of each live object, and of the process."""
        seen = {kind: getattr(self, "see_" + kind)(handle) for kind, handle in self.objects.items()}
        return {**seen, "number of threads": b"%d" % library.rnn_threads_get(), "BLAS": library.rnn_blas_name()}

    #: Objects that keep more than can be seen.
    LEARNERS = ("rnn_optimizer", "rnn_trainer")

    def next_step(self, kind: str) -> bytes:
        """What an optimizer or a trainer does next: the only way to see all that it keeps. Changes it."""
        if kind == "rnn_optimizer":
            return self.optimizer_step(self.objects[kind])
        must(self.trainer_step(self.objects[kind], self.loss), "rnn_trainer_step")
        return self.see_rnn_trainer(self.objects[kind])

    def use(self, kind: str, handle: int, call: "Call") -> List[str]:
        """What is wrong with an object that a call has just made."""
        if kind == "rnn_trainer":
            for name in ("rnn_trainer_step", "rnn_trainer_evaluate", "rnn_trainer_step"):
                if OK not in [self.trainer_step(handle, loss, name) for loss in (0, 1)]:
                    return [f"the trainer it made cannot be used: {library.rnn_last_error_message().decode()!r}"]
            self.see_rnn_trainer(handle)
        if kind == "rnn_optimizer" and call.arguments["count"].value <= 1000:
            double, count = bool(call.arguments["dtype"].value), call.arguments["count"].value
            world = World(double)
            name = "rnn_optimizer_step" + world.suffix
            for _ in range(2):
                parameters = world.values(count, 3)
                if getattr(library, name)(handle, parameters, count, world.values(count, 4), count) != OK:
                    return [f"the optimizer it made cannot be used: {library.rnn_last_error_message().decode()!r}"]
        if kind == "rnn_network":
            self.see_rnn_network(handle)
        return []

    def _text(self, name: str, *arguments) -> bytes:
        buffer = Memory(4096)
        if getattr(library, name)(*arguments, buffer, 4096, None) != OK:
            return b"error: " + library.rnn_last_error_message()
        return buffer.read().split(b"\0")[0]

    def see_rnn_builder(self, builder: int) -> bytes:
        out = Memory(8)
        if library.rnn_builder_build(builder, None, out) != OK:
            return b"error: " + library.rnn_last_error_message()
        network = int.from_bytes(out.read(), "little")
        seen = self.see_rnn_network(network)
        library.rnn_network_destroy(network)
        return seen

    def see_rnn_network(self, network: int) -> bytes:
        info = struct_memory("rnn_network_info")
        if library.rnn_network_describe(network, info) != OK:
            return b"error: " + library.rnn_last_error_message()
        count = HEADER.structs["rnn_network_info"].from_address(info.address).parameter_elements
        weights = Memory(ctypes.sizeof(self.ctype) * count)
        if count:
            self.call("rnn_network_parameter_get" + self.suffix, network, None, weights, count)
        keys = [self._text("rnn_network_metadata_key", network, i) for i in range(2)]
        return b"\n".join([self._text("rnn_network_architecture", network), weights.read(), *keys,
                           self._text("rnn_network_metadata_get", network, text_memory(b"key"))])

    def see_rnn_state(self, state: int) -> bytes:
        values = Memory(ctypes.sizeof(self.ctype) * 2 * N * H)
        if getattr(library, "rnn_state_read" + self.suffix)(state, None, values, 2 * N * H) != OK:
            return b"error: " + library.rnn_last_error_message()
        return values.read()

    def see_rnn_stream(self, stream: int) -> bytes:
        state = self.make_rnn_state()
        status = library.rnn_stream_state_get(stream, state)
        seen = self.see_rnn_state(state) if status == OK else b"error: " + library.rnn_last_error_message()
        library.rnn_state_destroy(state)
        return seen

    def see_rnn_tape(self, tape: int) -> bytes:
        seen = b""
        for name, width in ((b"lstm.h_l0", 1), (b"lstm.c_l0", 1), (b"lstm.gates_l0", 4)):
            count = T * N * self.hidden_size * width
            values = Memory(ctypes.sizeof(self.ctype) * count)
            if getattr(library, "rnn_tape_read" + self.suffix)(tape, text_memory(name), values, count) != OK:
                return b"error: " + library.rnn_last_error_message()
            seen += values.read()
        return seen

    def see_rnn_optimizer(self, optimizer: int) -> bytes:
        return b"an optimizer cannot be looked into; see next_step"

    def see_rnn_trainer(self, trainer: int) -> bytes:
        out = Memory(8)
        if library.rnn_trainer_snapshot(trainer, out) != OK:
            return b"error: " + library.rnn_last_error_message()
        network = int.from_bytes(out.read(), "little")
        seen = self.see_rnn_network(network)
        library.rnn_network_destroy(network)
        count = self.parameter_elements()
        gradients = Memory(ctypes.sizeof(self.ctype) * count)
        self.call("rnn_trainer_gradients" + self.suffix, trainer, gradients, count)
        return seen + b"\n" + gradients.read()

    def destroy(self) -> None:
        for kind, handle in self.objects.items():
            getattr(library, kind + "_destroy")(handle)


@functools.lru_cache(maxsize=None)
def next_step_of_new(kind: str, double: bool, loss: int) -> bytes:
    """What the next step of an untouched optimizer or trainer does."""
    world = World(double, loss=loss)
    world.handle(kind)
    seen = world.next_step(kind)
    world.destroy()
    return seen


def model_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.safetensors")
        world = World(double=False)
        world.call("rnn_network_save", world.handle("rnn_network"), text_memory(path.encode()), None)
        world.destroy()
        with open(path, "rb") as file:
            return file.read()


# ------------------------------------------------------------------------------------------------------------ arguments


@dataclass
class Argument:
    """A valid argument, and the memory behind it."""

    value: Union[int, float, None]
    memory: Optional[Memory] = None
    writable: bool = False
    #: what a successful call may write of it; None: all
    needed: Optional[int] = None
    #: further memory that the argument leads to
    inner: Sequence[Memory] = ()
    inner_writable: bool = False


FAIL = tuple(ERRORS.values())
ANY = (OK,) + FAIL
INVALID = (ERRORS["RNN_ERROR_INVALID_ARGUMENT"],)
MISSING = INVALID + (ERRORS["RNN_ERROR_BUFFER_TOO_SMALL"],)
BAD_HANDLE = (ERRORS["RNN_ERROR_INVALID_HANDLE"],)
SHORT = (ERRORS["RNN_ERROR_BUFFER_TOO_SMALL"],)
SHAPE = (ERRORS["RNN_ERROR_SHAPE"],)
DTYPE = (ERRORS["RNN_ERROR_DTYPE"],)
UNSUPPORTED = (ERRORS["RNN_ERROR_UNSUPPORTED"],)
NOT_FOUND = (ERRORS["RNN_ERROR_NOT_FOUND"],)
SUCCEED = (OK,)


@dataclass
class Case:
    """One way to make one argument bad."""

    label: str
    change: Callable[["Call"], None]
    expected: Sequence[int]
    #: the message of a failure contains one of these
    words: Sequence[str] = ()
    #: finds out what is wrong after the call
    after: Optional[Callable[["Call"], List[str]]] = None
    #: of a trainer
    loss: int = 0


class Call:
    """A function with valid arguments, in a fresh world."""

    def __init__(self, function: Function, loss: int = 0):
        self.function = function
        self.world = World(double=function.name.endswith("_f64"), loss=loss)
        #: Memory of a writable argument that this call must leave alone all the same.
        self.untouched: List[Memory] = []
        self.folder = tempfile.mkdtemp(prefix="librnn-")
        self.arguments: Dict[str, Argument] = {}
        for parameter in function.parameters:
            self.arguments[parameter.name] = recipe(self, parameter)

    def set(self, name: str, value) -> None:
        self.arguments[name].value = value

    def memories(self) -> List[Memory]:
        found = []
        for argument in self.arguments.values():
            found += [argument.memory] if argument.memory else []
            found += argument.inner
        return found

    def invoke(self):
        return getattr(library, self.function.name)(*(argument.value for argument in self.arguments.values()))

    def close(self) -> None:
        self.world.destroy()
        for name in os.listdir(self.folder):
            os.remove(os.path.join(self.folder, name))
        os.rmdir(self.folder)


def unknown(function: Function, parameter: Parameter) -> Exception:
    return SystemExit(
        f"no recipe for {parameter.type} {parameter.name} of {function.name}: teach Tests/C/bad_arguments.py what a valid "
        "argument is")


CELL_FUNCTION = re.compile(r"rnn_(vanilla|gru|lstm)_(forward|backward)(_f64)?$")
BUILDER_FUNCTION = re.compile(r"rnn_builder_add_")
GATES = {"vanilla": 1, "gru": 3, "lstm": 4}
LOSS_FUNCTION = re.compile(r"rnn_loss_(cross_entropy|mse)(_f64)?$")
CTC_FUNCTION = re.compile(r"rnn_loss_ctc(_f64)?$")
CLIP_FUNCTION = re.compile(r"rnn_gradients_clip(_each|_value)?(_f64)?$")
TRAINER_FUNCTION = re.compile(r"rnn_trainer_(step|evaluate)(_f64)?$")
#: Those of which a successful call leaves the trainer as it was.
TRAINER_READER = re.compile(r"rnn_trainer_(evaluate|gradients|snapshot|flow)(_f64)?$")
SAMPLE_FUNCTION = re.compile(r"rnn_logits_sample(_f64)?$")


def elements(call: Call, name: str) -> Optional[int]:
    """How many elements an array needs."""
    function = call.function.name
    cell = CELL_FUNCTION.match(function)
    if cell:
        gates = GATES[cell[1]]
        name = name.replace("out_weight", "weight").replace("out_bias", "bias").replace("_gradient", "")
        return {
            "input": N * I, "out_input": N * I,
            "weight_ih": gates * H * I, "weight_hh": gates * H * H,
            "bias": gates * H, "bias_ih": gates * H, "bias_hh": gates * H,
            "trace": N * 4 * H, "out_trace": N * 4 * H,
            "hidden_state": N * H, "cell_state": N * H, "out_hidden_state": N * H, "out_cell_state": N * H,
            "next_hidden_state": N * H, "next_cell_state": N * H,
        }.get(name)
    if name in ("values", "out_values"):
        if "_parameter_" in function:
            return 4 * H * H
        if "_state_" in function:
            return N * H
        if "_tape_" in function:
            return T * N * H
    if LOSS_FUNCTION.match(function):
        size = ROWS * CLASSES if "cross_entropy" in function else ELEMENTS
        return {"logits": size, "targets": ROWS, "class_weights": CLASSES, "prediction": size, "target": size,
                "out_loss": 1, "out_gradient": size}.get(name)
    if CTC_FUNCTION.match(function):
        size = T * N * CLASSES
        return {"logits": size, "targets": N * LABELS, "input_lengths": N, "target_lengths": N, "out_loss": 1,
                "out_gradient": size}.get(name)
    if SAMPLE_FUNCTION.match(function):
        return {"logits": VOCABULARY, "out_token": 1}.get(name)
    if function.startswith("rnn_optimizer_step"):
        return {"parameters": NUMBER_COUNT, "gradients": NUMBER_COUNT}.get(name)
    if name in ("class_targets", "value_targets"):
        return T * N if name == "class_targets" else T * N * O
    if name == "out_gradients":
        return call.world.parameter_elements()
    return {
        "input": T * N * I, "out_input_gradient": T * N * I, "tokens": T * N, "lengths": N,
        "output": T * N * O, "output_gradient": T * N * O, "initial_state": 2 * N * H, "final_state": 2 * N * H,
    }.get(name)


READS_TOKENS = ("rnn_builder_add_embedding", "rnn_builder_add_one_hot")


#: Valid texts. A name is either new (builder) or that of a parameter or state.
def text(call: Call, name: str) -> Optional[bytes]:
    function = call.function.name
    if name == "path":
        path = os.path.join(call.folder, "model.safetensors").encode()
        if function == "rnn_network_load":
            with open(path, "wb") as file:
                file.write(MODEL)
        return path
    if name == "input":
        return b"t" if function in READS_TOKENS else b"s"
    if name == "name":
        if BUILDER_FUNCTION.match(function):
            return b"new"
        if "_parameter_" in function:
            return b"lstm.weight_hh_l0"
        if "_state_" in function:
            return b"lstm.h"
        if "_tape_" in function:
            return b"lstm.h_l0"
        if function == "rnn_blas_set":
            return b"none"
    return {"key": b"key", "value": b"a value"}.get(name)


NUMBERS = {
    "N": N, "I": I, "H": H, "T": T, "index": 0, "size": I, "vocabulary_size": VOCABULARY, "embedding_size": I,
    "output_size": O, "nonlinearity": 0, "variant": 0, "bias": 1, "probability": 0.25, "capacity": 2048,
    "byte_count": None, "status": -1,
    "rows": ROWS, "classes": CLASSES, "tensor_count": len(TENSORS), "dtype": 0, "max_norm": 0.5, "norm_type": 2.0,
    "clip_value": 0.5, "S": LABELS,
    "learning_rate": 0.25, "begin": 1, "end": I, "activation": 8, "alpha": 0.5, "beta": 0, "log": 1, "epsilon": 0.25,
}
#: What `count` counts.
COUNTS = {"rnn_threads_set": 2, "rnn_loss_mse": ELEMENTS, "rnn_loss_mse_f64": ELEMENTS, "rnn_optimizer_create": NUMBER_COUNT}


#: Pointers that rnn.h allows to be NULL.
CELL_OPTIONAL = {"hidden_state", "cell_state", "bias_ih", "bias_hh", "out_trace"}
OPTIONAL = {
    "lengths", "state", "out_input_gradient", "final_state_gradient", "initial_state_gradient", "options", "out_length",
    "class_weights", "out_gradient", "out_report", "input_lengths", "target_lengths", "flow", "out_T", "initial_state",
    "final_state",
}


def optional(function: Function, name: str) -> bool:
    cell = CELL_FUNCTION.match(function.name)
    if cell:
        if cell[1] == "lstm" and name in ("next_hidden_state_gradient", "next_cell_state_gradient"):
            return True
        return name in CELL_OPTIONAL or (name.startswith("out_") and name.endswith("_gradient"))
    if name == "options":
        return function.name != "rnn_builder_add_recurrent"
    if name == "state":
        return "_network_" in function.name or bool(TRAINER_FUNCTION.match(function.name))
    if name == "optimizer":
        return function.name == "rnn_trainer_create"  # options there
    if name == "out_gradients":
        return "_network_" in function.name
    if name == "input":
        return function.name.startswith("rnn_builder_")
    if name in ("name", "value"):
        return function.name.removesuffix("_f64") not in ("rnn_blas_set", "rnn_tape_read")
    return name in OPTIONAL


def count_of(function: Function, position: int) -> Optional[Parameter]:
    """The parameter that says how long the array at this position is."""
    following = function.parameters[position + 1:position + 2]
    return following[0] if following and following[0].name.endswith("_count") and following[0].type == "size_t" else None


def array_before(function: Function, parameter: Parameter) -> Optional[Parameter]:
    position = function.parameters.index(parameter)
    if CLIP_FUNCTION.match(function.name):
        return None  # its arrays share tensor_count
    if position and count_of(function, position - 1) is parameter and function.parameters[position - 1].is_pointer:
        return function.parameters[position - 1]
    return None


#: Of a trainer whose loss is cross-entropy, and squared error.
UNUSED_TARGETS = ("value_targets", "class_targets")

ARRAY_TYPES = {"float": ctypes.c_float, "double": ctypes.c_double, "int64_t": ctypes.c_int64}


def recipe(call: Call, parameter: Parameter) -> Argument:
    """A valid argument for a parameter."""
    function, name, kind = call.function, parameter.name, parameter.type
    if kind == "const char *":
        value = text(call, name)
        if value is None:
            raise unknown(function, parameter)
        memory = text_memory(value)
        return Argument(memory.address, memory)
    if kind == "const char *const *" and name == "inputs":
        names = [text_memory(b"x"), text_memory(b"e")]
        memory = pointer_memory(*names)
        return Argument(memory.address, memory, inner=names)
    if kind == "const uint8_t *" and name == "bytes":
        memory = Memory(len(MODEL), MODEL)
        return Argument(memory.address, memory)
    if kind == "char *" and name == "buffer":
        memory = Memory(NUMBERS["capacity"])
        return Argument(memory.address, memory, writable=True)
    if name in ("gradients", "counts") and CLIP_FUNCTION.match(function.name):
        if name == "counts":
            memory = Memory(8 * len(TENSORS), bytes((ctypes.c_size_t * len(TENSORS))(*TENSORS)))
            return Argument(memory.address, memory)
        tensors = [call.world.values(count, count) for count in TENSORS]
        memory = pointer_memory(*tensors)
        return Argument(memory.address, memory, inner=tensors, inner_writable=True)
    if name == UNUSED_TARGETS[call.world.loss] and TRAINER_FUNCTION.match(function.name):
        return Argument(None)
    if parameter.is_pointer and parameter.target in ARRAY_TYPES:
        count = elements(call, name)
        if count is None:
            raise unknown(function, parameter)
        ctype = ARRAY_TYPES[parameter.target]
        if ctype is ctypes.c_int64 and parameter.is_const:
            below = {"tokens": VOCABULARY, "targets": CLASSES, "class_targets": O}
            longest = {"lengths": T, "input_lengths": T, "target_lengths": LABELS}
            if name in longest:
                values = [longest[name] - i % longest[name] for i in range(count)]
            elif CTC_FUNCTION.match(function.name) and name == "targets":
                values = [1 + i % (CLASSES - 1) for i in range(count)]
            elif name in below:
                values = [i % below[name] for i in range(count)]
            else:
                raise unknown(function, parameter)
            contents = bytes((ctype * count)(*values))
        else:
            contents = pattern(ctype, count, len(name)) if parameter.is_const or name == "parameters" else b""
        memory = Memory(count * ctypes.sizeof(ctype), contents)
        return Argument(memory.address, memory, writable=not parameter.is_const)
    if kind == "size_t *" or kind in ("float **", "double **", "int64_t **"):
        memory = Memory(8)
        return Argument(memory.address, memory, writable=True)
    if parameter.is_pointer and parameter.target in HEADER.handles:
        return Argument(call.world.handle(parameter.target))
    if kind.endswith("**") and kind[:-3] in HEADER.handles:
        memory = Memory(8)
        return Argument(memory.address, memory, writable=True)
    if parameter.is_pointer and parameter.target in HEADER.structs:
        return struct_recipe(call, parameter)
    array = array_before(function, parameter)
    if array is not None:
        behind = call.arguments[array.name].memory
        if behind is None:
            return Argument(0)
        if array.target in ARRAY_TYPES:
            return Argument(behind.size // ctypes.sizeof(ARRAY_TYPES[array.target]))
        return Argument(behind.size // (8 if array.name == "inputs" else 1))
    if kind in header.SCALARS and name == "count" and function.name in COUNTS:
        return Argument(COUNTS[function.name])
    if kind in header.SCALARS and NUMBERS.get(name) is not None:
        return Argument(NUMBERS[name])
    raise unknown(function, parameter)


#: Arrays that options lead to: how many elements each needs, and of what size.
POINTER_FIELDS = {
    "rnn_backward_options": {
        "hidden_flow": (T, 8), "cell_flow": (T, 8), "clipped_flow": (T, 8), "gate_mean": (4 * T, 8),
        "gate_saturation": (4 * T, 8), "jacobian_norm": (T, 8),
    },
    "rnn_run_options": {"mask": (T * N, 1)},
    "rnn_train_options": {"mask": (T * N, 1)},
}
#: [T, N]: everything that is not 0 is a step; the last step of the second row is left out.
MASK = bytes([1, 1, 255, 2, 1, 0])


def struct_recipe(call: Call, parameter: Parameter) -> Argument:
    struct = HEADER.structs[parameter.target]
    memory = struct_memory(parameter.target)
    view = struct.from_address(memory.address)
    inner: List[Memory] = []
    if not parameter.is_const:
        memory.write(bytes([CANARY]) * memory.size)
    else:
        if parameter.target == "rnn_recurrent_options":
            view.hidden_size, view.cell = H, HEADER.constants["RNN_CELL_LSTM"]
        for field, (count, size) in POINTER_FIELDS.get(parameter.target, {}).items():
            inner.append(Memory(size * count, MASK if field == "mask" else b""))
            setattr(view, field, inner[-1].address)
            setattr(view, field + "_count", count)
    view.struct_size = memory.size
    return Argument(memory.address, memory, writable=not parameter.is_const, inner=inner,
                    inner_writable=parameter.target == "rnn_backward_options")


# ---------------------------------------------------------------------------------------------------------------- cases


def setting(name: str, value) -> Callable[[Call], None]:
    return lambda call: call.set(name, value)


def cases(function: Function) -> Iterator[Case]:
    yield Case("valid", lambda call: None, SUCCEED)
    for position, parameter in enumerate(function.parameters):
        name, kind = parameter.name, parameter.type
        words = [name, re.sub(r"^out_", "", name)]
        if TRAINER_FUNCTION.match(function.name) and name.startswith(UNUSED_TARGETS[0]):
            continue  # below, with the loss that reads them
        if CLIP_FUNCTION.match(function.name) and name in ("gradients", "counts", "tensor_count"):
            yield from tensor_cases(function, parameter, words)
        elif kind == "const char *":
            yield from text_cases(function, name, words)
        elif kind == "const char *const *":
            yield from text_list_cases(name, words)
        elif parameter.is_pointer and parameter.target in HEADER.handles:
            yield from handle_cases(function, parameter, words)
        elif parameter.is_pointer and parameter.target in HEADER.structs:
            yield from struct_cases(function, parameter, words)
        elif parameter.is_pointer:
            yield from pointer_cases(function, position, words)
        elif array_before(function, parameter):
            yield from count_cases(function, parameter, words)
        else:
            yield from number_cases(function, parameter, words)
    if TRAINER_FUNCTION.match(function.name):
        yield from target_cases(function)
    if CTC_FUNCTION.match(function.name):
        yield from alignment_cases()
    yield from struct_combinations(function)


def target_cases(function: Function) -> Iterator[Case]:
    """Of a trainer, the targets that its loss does not read."""
    for unused in UNUSED_TARGETS:
        used = UNUSED_TARGETS[1 - UNUSED_TARGETS.index(unused)]
        words = [unused, used]

        def also(call, unused=unused):
            count = elements(call, unused)
            memory = int64_memory([0] * count) if unused == "class_targets" else call.world.values(count)
            argument = call.arguments[unused]
            argument.value, argument.memory = memory.address, memory
            call.set(unused + "_count", count)

        def instead(call, unused=unused, used=used):
            also(call, unused)
            call.set(used, None)
            call.set(used + "_count", 0)
        loss = UNUSED_TARGETS.index(unused)
        yield Case(f"{unused} too", also, INVALID, words, loss=loss)
        yield Case(f"{unused} instead", instead, INVALID, words, loss=loss)
        yield Case(f"{unused}_count alone", setting(unused + "_count", 1), INVALID, words, loss=loss)
    yield Case("valid, squared error", lambda call: None, SUCCEED, loss=1)
    for position, parameter in enumerate(function.parameters):
        if parameter.name.startswith("value_targets"):
            words = [parameter.name]
            found = count_cases(function, parameter, words) if array_before(function, parameter) else pointer_cases(
                function, position, words)
            for case in found:
                case.loss = 1
                yield case
    for case in number_cases(function, next(each for each in function.parameters if each.name == "T"), ["T"]):
        case.label += ", squared error"
        case.loss = 1
        yield case

    def nothing(call):
        call.set("T", 0)
        for argument in ("input", "tokens", "lengths", "class_targets", "value_targets"):
            call.set(argument, None)
            call.set(argument + "_count", 0)
    for loss in (0, 1):
        yield Case(f"T = 0 and no array, loss {loss}", nothing, SUCCEED, loss=loss)


def alignment_cases() -> Iterator[Case]:
    """Of CTC: labels that are not padded, and rows with nothing to align."""
    def concatenated(change: Callable[[Call], None]) -> Callable[[Call], None]:
        def both(call):
            filling("options", concatenated=1)(call)
            change(call)
        return both

    needed = sum(LABELS - i % LABELS for i in range(N))
    yield Case("concatenated, as many labels as needed", concatenated(setting("targets_count", needed)), SUCCEED)
    yield Case("concatenated, one label short", concatenated(setting("targets_count", needed - 1)), SHORT, ["targets_count"])
    for value in (0, 2**31, SIZE_MAX // 2, SIZE_MAX):
        yield Case(f"concatenated, S = {value:#x}", concatenated(setting("S", value)), SUCCEED)

    def unknown_lengths(call):
        call.set("target_lengths", None)
        call.set("target_lengths_count", 0)
    yield Case("concatenated, without target_lengths", concatenated(unknown_lengths), INVALID, ["target_lengths"])
    for value in (-1, needed, 2**31, 2**63 - 1, -(2**63)):
        yield Case(f"concatenated, target_lengths[1] = {value}",
                   concatenated(replacing("target_lengths", 1, ctypes.c_int64(value))), FAIL, ["target_lengths"])

    def no_labels(call):
        call.arguments["target_lengths"].memory.write(bytes(8 * N))
        for name in ("targets", "targets_count"):
            call.set(name, None if name == "targets" else 0)
    yield Case("concatenated, no labels and no array", concatenated(no_labels), SUCCEED)

    def no_width(call):
        no_labels(call)
        call.set("S", 0)
    yield Case("S = 0, no labels and no array", no_width, SUCCEED)


def clip_report(call: Call):
    return HEADER.structs["rnn_clip_report"].from_address(call.arguments["out_report"].memory.address)


def tensor_cases(function: Function, parameter: Parameter, words: List[str]) -> Iterator[Case]:
    """Arrays of arrays: gradients, counts, tensor_count."""
    name = parameter.name
    words = words + ["gradients"]
    size = ctypes.sizeof(ARRAY_TYPES["double" if function.name.endswith("_f64") else "float"])
    if name == "tensor_count":
        for count in range(len(TENSORS)):
            def fewer(call, count=count):
                call.set(name, count)
                call.untouched = call.arguments["gradients"].inner[count:]
            yield Case(f"{name} = {count}", fewer, SUCCEED)
        # What may be there cannot be checked; what no memory can hold can.
        for label, value in (("SIZE_MAX", SIZE_MAX), ("SIZE_MAX / 2", SIZE_MAX // 2), ("SIZE_MAX / 2 + 1", SIZE_MAX // 2 + 1),
                             ("SIZE_MAX / 8", SIZE_MAX // 8)):
            yield Case(f"{name} = {label}", setting(name, value), INVALID, words)
        return

    def none(call):
        call.set("tensor_count", 0)
        call.set(name, None)
        call.untouched = call.arguments["gradients"].inner
    yield Case(f"{name} = NULL", setting(name, None), INVALID, words)
    yield Case(f"{name} = NULL, with tensor_count 0", none, SUCCEED)
    yield Case(f"{name} misaligned", lambda call: call.set(name, call.arguments[name].value - 1), INVALID, words + ["align"])
    if name == "counts":
        for index in range(len(TENSORS)):
            for label, value in (("SIZE_MAX", SIZE_MAX), ("SIZE_MAX / 2", SIZE_MAX // 2),
                                 ("SIZE_MAX / 2 + 1", SIZE_MAX // 2 + 1), ("SIZE_MAX / 4", SIZE_MAX // 4)):
                yield Case(f"{name}[{index}] = {label}", replacing(name, index, ctypes.c_size_t(value)), INVALID, words)

            def empty(call, index=index):
                replacing(name, index, ctypes.c_size_t(0))(call)
                call.untouched = [call.arguments["gradients"].inner[index]]
            yield Case(f"{name}[{index}] = 0", empty, SUCCEED)
        return

    def pointing(index: int, address: Callable[[Call], int], count: Optional[int] = None):
        def change(call):
            replacing(name, index, ctypes.c_size_t(address(call)))(call)
            if count is not None:
                replacing("counts", index, ctypes.c_size_t(count))(call)
        return change

    for index, count in enumerate(TENSORS):
        other = 1 - index
        yield Case(f"{name}[{index}] = NULL", pointing(index, lambda call: 0), INVALID, words)
        yield Case(f"{name}[{index}] = NULL with count 0", pointing(index, lambda call: 0, 0), SUCCEED)
        yield Case(f"{name}[{index}] misaligned",
                   pointing(index, lambda call, index=index: call.arguments[name].inner[index].address - 1), INVALID, words)
        for label, shift in (("", 0), (", 1 element in", size), (", at the end", (TENSORS[other] - 1) * size)):
            def inside(call, other=other, shift=shift):
                return call.arguments[name].inner[other].address + shift
            yield Case(f"{name}[{index}] overlaps {name}[{other}]{label}", pointing(index, inside, 1), INVALID,
                       words + ["overlap"])
        for array in (name, "counts"):
            yield Case(f"{name}[{index}] overlaps {array}",
                       pointing(index, lambda call, array=array: call.arguments[array].memory.address, 1),
                       INVALID, words + ["overlap"])
        for value in (math.nan, math.inf, -math.inf):
            def not_finite(call, index=index, count=count, value=value):
                tensor = call.arguments[name].inner[index]
                tensor.write(tensor.read()[:-size] + bytes(call.world.ctype(value)))
                call.untouched = call.arguments[name].inner

            def reported(call, index=index):
                report = clip_report(call)
                found = (report.non_finite, report.non_finite_index, report.scale)
                return [] if found == (1, index, 1.0) else [f"reported {found}"]
            yield Case(f"{name}[{index}] with {value}", not_finite, SUCCEED, after=reported)

    by_value = "_clip_value" in function.name

    def huge(call):
        # The squares of the double ones are beyond double; they are clipped all the same.
        largest = 3e38 if size == 4 else 1e300
        for tensor in call.arguments[name].inner:
            tensor.write(bytes(call.world.ctype(largest)) * (tensor.size // size))

    def finite(call):
        report = clip_report(call)
        right = report.non_finite == 0 and (report.scale == 1 if by_value else 0 < report.scale < 1)
        return [] if right else [f"reported norm {report.total_norm}, scale {report.scale}, non_finite {report.non_finite}"]
    yield Case(f"{name} huge", huge, SUCCEED, after=finite)

    def huge_measured(call):
        huge(call)
        call.set("clip_value" if by_value else "max_norm", math.inf)
        call.untouched = call.arguments[name].inner

    def unscaled(call):
        report = clip_report(call)
        return [] if report.scale == 1 else [f"reported scale {report.scale}"]
    yield Case(f"{name} huge, only measured", huge_measured, SUCCEED, after=unscaled)


def text_cases(function: Function, name: str, words: List[str]) -> Iterator[Case]:
    def put(value: bytes):
        def change(call):
            memory = text_memory(value)
            call.arguments[name].value, call.arguments[name].memory = memory.address, memory
        return change

    adding = bool(BUILDER_FUNCTION.match(function.name))
    if not optional(function, name):
        yield Case(f"{name} = NULL", setting(name, None), INVALID, words)
    elif name == "name" and not adding:
        yield Case(f"{name} = NULL, for all", setting(name, None), ANY, ["values", "count"])
    elif name == "input":
        yield Case(f"{name} = NULL, the node before", setting(name, None), ANY, words + ["node"])
    else:
        yield Case(f"{name} = NULL", setting(name, None), SUCCEED, words)

    bad: Dict[str, bytes] = {
        "empty": b"", "not UTF-8": b"\xff\xfe", "percent": b"%s%n%s%n", "100000 characters": b"a" * 100000,
        "a line break": b"a\nb", "quotes": b'"\\',
    }
    expected: Sequence[int] = FAIL
    if name == "name" and adding:
        bad.update({"129 characters": b"a" * 129, "a space": b"a b", "a name in use": b"x"})
        expected = INVALID
        yield Case("name = 128 characters", put(b"a" * 128), SUCCEED)
    elif name == "input":
        bad.update({"an unknown node": b"no_such_node"})
        yield Case("input = a node of the wrong kind", put(b"x" if function.name in READS_TOKENS else b"t"),
                   SHAPE, words + ["node", "\"t\"", "\"x\""])
    elif name == "path":
        if function.name == "rnn_network_save":
            bad = {key: bad[key] for key in ("empty", "100000 characters")}
        bad.update({"a folder": b"/tmp", "in a folder that is not there": b"/no/such/folder/model"})
        words = words + ["/", "a" * 20]
    elif name == "key":
        if function.name == "rnn_network_metadata_set":
            bad = {key: bad[key] for key in ("empty", "not UTF-8", "100000 characters")}
            bad.update({"257 characters": b"a" * 257, "reserved": b"librnn.key"})
        else:
            bad["unknown"] = b"no such key"
            words = words + ["metadata"]
    elif name == "value":
        bad = {"not UTF-8": b"\xff\xfe", "a cut sequence": b"abc\xe2\x82", "a surrogate": b"\xed\xa0\x80",
               "an overlong 0": b"\xc0\x80", "above 16 MiB": b"a" * (16 * 2**20 + 1)}
        words = words + ["metadata"]
        yield Case("value = empty", put(b""), SUCCEED)
    elif name == "name" and function.name == "rnn_blas_set":
        bad["unknown"] = b"mkl"
        expected = INVALID
    else:
        bad["unknown"] = b"no.such.thing"
        expected = NOT_FOUND + INVALID
        words = words + ["parameter", "state", "array"]
    for label, value in bad.items():
        yield Case(f"{name} = {label}", put(value), expected, words + [value.decode(errors="replace")[:20] or name])


def text_list_cases(name: str, words: List[str]) -> Iterator[Case]:
    def put(value: Optional[bytes]):
        def change(call):
            argument = call.arguments[name]
            memory = text_memory(value) if value is not None else None
            argument.inner = [*argument.inner, *([memory] if memory else [])]
            argument.memory.write(bytes(ctypes.c_void_p(memory.address if memory else None)))
        return change

    yield Case(f"{name} = NULL", setting(name, None), INVALID, words)
    yield Case(f"{name} misaligned", lambda call: call.set(name, call.arguments[name].value - 1), INVALID, words)
    yield Case(f"{name}[0] = NULL", put(None), ANY, words)
    yield Case(f"{name}[0] = unknown", put(b"nobody"), NOT_FOUND, words + ["nobody"])
    yield Case(f"{name}[0] = a token input", put(b"t"), SHAPE, words + ["\"t\""])
    yield Case(f"{name}[0] = not UTF-8", put(b"\xff"), FAIL, words)


def handle_cases(function: Function, parameter: Parameter, words: List[str]) -> Iterator[Case]:
    name, kind = parameter.name, parameter.target
    words = words + [kind.replace("rnn_", ""), "handle"]
    returns_status = function.result == "rnn_status"
    bad_handle = BAD_HANDLE if returns_status else SUCCEED
    yield Case(f"{name} = NULL", setting(name, None),
               SUCCEED if optional(function, name) or not returns_status else BAD_HANDLE, words)

    for other in HEADER.handles:
        if other != kind:
            yield Case(f"{name} = a live {other}", lambda call, other=other: call.set(name, call.world.handle(other)),
                       bad_handle, words)

            # The kind is in the topmost byte; the rest still leads to the other object.
            def forged(call, other=other):
                below = (1 << 56) - 1
                call.set(name, call.arguments[name].value & ~below | call.world.handle(other) & below)
            yield Case(f"{name} = a live {other} under this kind", forged, bad_handle, words)

    def destroyed(call):
        handle = call.world.new(kind)
        getattr(library, kind + "_destroy")(handle)
        call.set(name, handle)
    yield Case(f"{name} = destroyed", destroyed, bad_handle, words)

    def address(call):
        memory = Memory(4096)
        call.arguments[name].inner = [memory]
        call.set(name, memory.address)
    yield Case(f"{name} = an address", address, bad_handle, words)
    for value in (1, 2**31, 2**32 - 1, 2**32, 2**63, 0xDEADBEEFDEADBEEF, SIZE_MAX):
        yield Case(f"{name} = {value:#x}", setting(name, value), bad_handle, words)
    for bit in range(64):
        # Another live object of this kind may answer to it: anything but a crash is right.
        yield Case(f"{name} with bit {bit} flipped",
                   lambda call, bit=bit: call.set(name, call.arguments[name].value ^ (1 << bit)),
                   ANY if returns_status else SUCCEED, words)

    twin = function.name + "_f64" if not function.name.endswith("_f64") else function.name[:-4]
    if twin in HEADER.functions and parameter is function.parameters[0]:
        def other_dtype(call):
            call.other = World(not call.world.double)
            call.set(name, call.other.handle(kind))
        # Where the call has other objects too, these are then of another network.
        several = sum(other.target in HEADER.handles for other in function.parameters if other.is_pointer) > 1
        yield Case(f"{name} of the other dtype", other_dtype, DTYPE + SHAPE if several else DTYPE, words + ["float32", "float64", "dtype"])
    if kind in ("rnn_state", "rnn_tape") and parameter is not function.parameters[0]:
        def of_another_network(call):
            call.other = World(call.world.double, hidden_size=H + 1)
            call.set(name, call.other.handle(kind))
        yield Case(f"{name} of another network", of_another_network, SHAPE, words)
    if kind == "rnn_state" and parameter is not function.parameters[0]:
        def of_another_batch_size(call):
            call.extra = call.world.make(
                "rnn_state_create", call.world.handle("rnn_network"),
                struct_memory("rnn_state_options", batch_size=N + 1))
            call.set(name, call.extra)
        yield Case(f"{name} of another batch size", of_another_batch_size, SHAPE, words + ["batch"])


#: Outputs that may be an input, by rnn.h.
IN_PLACE = {"out_gradient": ("logits", "prediction"), "final_state": ("initial_state",)}


def as_apart(function: Function, name: str) -> Callable[[Call], List[str]]:
    """An output that took the place of an input has the bits of one that did not."""
    def compare(call):
        apart = Call(function)
        apart.invoke()
        expected = apart.arguments[name].memory.read()
        apart.close()
        return [] if call.arguments[name].memory.read()[:len(expected)] == expected else [f"{name} is another in place"]
    return compare


def pointer_cases(function: Function, position: int, words: List[str]) -> Iterator[Case]:
    """Arrays and places for results."""
    parameter = function.parameters[position]
    name, target = parameter.name, parameter.target
    count = count_of(function, position)
    is_text = parameter.type == "char *"

    def without(call):
        call.set(name, None)
        if count:
            call.set(count.name, 0)
        if is_text:
            call.set("capacity", 0)
    if is_text:
        yield Case(f"{name} = NULL, to ask for the length", without, SUCCEED)
        yield Case(f"{name} = NULL with a capacity", setting(name, None), ANY, words)
        for capacity in (0, 1, 2):
            yield Case(f"{name} of {capacity} bytes", setting("capacity", capacity), SHORT, words + ["capacity"])
        yield Case("capacity = SIZE_MAX", setting("capacity", SIZE_MAX), ANY, words + ["capacity"])
        return
    if optional(function, name):
        yield Case(f"{name} = NULL", without, SUCCEED, words)
        if count:
            yield Case(f"{name} = NULL with a count", setting(name, None), ANY, words)
    else:
        yield Case(f"{name} = NULL", setting(name, None), MISSING, words)
        if count:
            yield Case(f"{name} = NULL, with count 0", without, MISSING + SHAPE, words)

    if target != "uint8_t":
        yield Case(f"{name} misaligned", lambda call: call.set(name, call.arguments[name].value - 1), INVALID,
                   words + ["align"])

    if not parameter.is_const and target in ARRAY_TYPES:
        size = ctypes.sizeof(ARRAY_TYPES[target])
        for other in function.parameters:
            if other is parameter or not other.is_pointer or other.target not in ARRAY_TYPES:
                continue
            for shift in (0, 1):
                if parameter.target == "double" and shift and other.name == "out_loss":
                    continue  # of one element
                def overlap(call, other=other, shift=shift):
                    # Both in one piece of memory that is long enough for either.
                    first, second = call.arguments[name], call.arguments[other.name]
                    longer = Memory((first.memory.size + second.memory.size + size + 63) // 64 * 64)
                    longer.write(second.memory.read())
                    second.memory = first.memory = longer
                    second.value, first.value = longer.address, longer.address + shift * size
                if shift == 0 and other.name in IN_PLACE.get(name, ()):
                    yield Case(f"{name} is {other.name}", overlap, SUCCEED, after=as_apart(function, name))
                    continue
                yield Case(f"{name} overlaps {other.name}, {shift} elements in", overlap, INVALID,
                           words + [other.name, "overlap"])

    if name == "tokens":
        for value in (-1, VOCABULARY, 2**31, 2**63 - 1, -(2**63)):
            yield Case(f"{name}[1] = {value}", replacing(name, 1, ctypes.c_int64(value)), INVALID, words + ["token"])
    if name in ("lengths", "input_lengths", "target_lengths"):
        for value in (-1, (LABELS if name == "target_lengths" else T) + 1, 2**63 - 1, -(2**63)):
            yield Case(f"{name}[1] = {value}", replacing(name, 1, ctypes.c_int64(value)), INVALID, words + ["length"])
        yield Case(f"{name}[1] = 0", replacing(name, 1, ctypes.c_int64(0)), SUCCEED)
    if name == "targets" and CTC_FUNCTION.match(function.name):
        for value in (-1, 0, CLASSES, 2**31, 2**63 - 1, -(2**63)):  # 0 is the blank
            yield Case(f"{name}[1] = {value}", replacing(name, 1, ctypes.c_int64(value)), INVALID, words + ["target"])
        yield Case(f"{name}[3] = -1, behind the end of its row", replacing(name, 3, ctypes.c_int64(-1)), SUCCEED)
    elif name in ("targets", "class_targets"):
        classes = CLASSES if name == "targets" else O
        for value in (-1, -99, classes, 2**31, 2**63 - 1, -(2**63)):
            yield Case(f"{name}[1] = {value}", replacing(name, 1, ctypes.c_int64(value)), INVALID, words + ["target"])
        yield Case(f"{name}[1] = -100, ignored", replacing(name, 1, ctypes.c_int64(-100)), SUCCEED)

        def all_ignored(call):
            memory = call.arguments[name].memory
            memory.write(bytes(ctypes.c_int64(-100)) * (memory.size // 8))
        yield Case(f"{name} all ignored", all_ignored, SUCCEED)
    if name == "out_loss":
        size = N if CTC_FUNCTION.match(function.name) else ROWS if "cross_entropy" in function.name else ELEMENTS

        def unreduced(count: int):
            def change(call):
                filling("options", reduction=HEADER.constants["RNN_REDUCTION_NONE"])(call)
                memory = Memory(8 * count)
                call.arguments[name].memory, call.arguments[name].value = memory, memory.address
                call.arguments[name].needed = 8 * size
                call.set("loss_count", count)
            return change
        yield Case(f"{name} without reduction", unreduced(size), SUCCEED)
        yield Case(f"{name} without reduction, three more than needed", unreduced(size + 3), SUCCEED)
        for count in (0, 1, size - 1):
            yield Case(f"{name} without reduction, of {count}", unreduced(count), SHORT, words + ["loss_count"])
    if target in ("float", "double") and parameter.is_const:
        number = ARRAY_TYPES[target]
        sampling = bool(SAMPLE_FUNCTION.match(function.name))
        yield Case(f"{name} with a NaN", replacing(name, 0, number(math.nan)), INVALID if sampling else SUCCEED, words)
        yield Case(f"{name} with an infinity", replacing(name, 1, number(math.inf)), INVALID if sampling else SUCCEED, words)
        yield Case(f"{name} with -infinity", replacing(name, 1, number(-math.inf)), SUCCEED, words)
        if sampling:
            yield Case(f"{name} all -infinity", lambda call: call.arguments[name].memory.write(
                bytes(number(-math.inf)) * VOCABULARY), INVALID, words)


def replacing(name: str, index: int, value) -> Callable[[Call], None]:
    """Overwrites one element of an array."""
    def change(call):
        ctypes.memmove(call.arguments[name].memory.address + index * ctypes.sizeof(value), bytes(value), ctypes.sizeof(value))
    return change


def count_cases(function: Function, parameter: Parameter, words: List[str]) -> Iterator[Case]:
    name = parameter.name
    array = array_before(function, parameter)
    words = words + [array.name, re.sub(r"^out_", "", array.name), "count"]
    exact = function.name.removesuffix("_f64") in ("rnn_network_parameter_set", "rnn_state_write", "rnn_optimizer_step")
    if SAMPLE_FUNCTION.match(function.name):  # the count says how many there are
        yield Case(f"{name} = 0", setting(name, 0), INVALID, words)
        for value in (1, VOCABULARY - 1):
            yield Case(f"{name} = {value}", setting(name, value), SUCCEED)
        for value in (2**31, 2**32, 2**40, SIZE_MAX // 4, SIZE_MAX // 2, SIZE_MAX // 2 + 1, SIZE_MAX):
            yield Case(f"{name} = {value:#x}", setting(name, value), INVALID, words)
        return
    short = SHAPE if exact else SHORT
    if array.name == "bytes":
        short = (ERRORS["RNN_ERROR_FORMAT"],) + INVALID
    if array.name == "inputs":
        short = INVALID

    for value in (0, 1):
        if array.name == "out_loss" and value == 1:
            continue  # all that is needed
        expected = ANY if optional(function, array.name) and value == 0 else short
        yield Case(f"{name} = {value}", setting(name, value), expected, words)
    yield Case(f"{name} one short", lambda call: call.set(name, call.arguments[name].value - 1), short, words)
    # The library cannot know that so long an array is not there; it may only not crash.
    for label, value in (("SIZE_MAX", SIZE_MAX), ("SIZE_MAX / 2", SIZE_MAX // 2), ("SIZE_MAX / 2 + 1", SIZE_MAX // 2 + 1)):
        must_fail = exact or array.name in ("bytes", "inputs")
        yield Case(f"{name} = {label}", setting(name, value), FAIL if must_fail else ANY, words)

    if array.target in ARRAY_TYPES:
        def longer(call):
            argument = call.arguments[array.name]
            size = ctypes.sizeof(ARRAY_TYPES[array.target])
            memory = Memory(argument.memory.size + 3 * size, argument.memory.read())
            argument.needed = argument.memory.size
            argument.memory, argument.value = memory, memory.address
            call.set(name, memory.size // size)
        yield Case(f"{name} three more than needed", longer, SHAPE if exact else SUCCEED, words)


def number_cases(function: Function, parameter: Parameter, words: List[str]) -> Iterator[Case]:
    name, kind = parameter.name, parameter.type
    adding = bool(BUILDER_FUNCTION.match(function.name))
    if function.name == "rnn_builder_add_activation" and kind in ("int32_t", "double"):
        yield from activation_cases(name, words)
    elif function.name == "rnn_builder_add_slice" and kind == "size_t":
        # Of three features, begin 1, end 3.
        good = (0, 1, 2) if name == "begin" else (2, 3)
        for value in (0, 1, 2, 3, 4, 2**32, SIZE_MAX // 2, SIZE_MAX // 2 + 1, SIZE_MAX):
            yield Case(f"{name} = {value:#x}", setting(name, value), SUCCEED if value in good else SHAPE,
                       [] if value in good else words + ["slice"])
    elif kind == "double" and name in NUMBER_RANGES:
        bad, good = NUMBER_RANGES[name]
        for value in bad:
            yield Case(f"{name} = {value}", setting(name, value), INVALID, words)
        for value in good:
            yield Case(f"{name} = {value}", setting(name, value), SUCCEED)
    elif kind == "double":
        for value in (math.nan, math.inf, -math.inf, -0.1, 1.0, 1.5):
            yield Case(f"{name} = {value}", setting(name, value), INVALID, words)
        yield Case(f"{name} = 0", setting(name, 0.0), SUCCEED)
    elif kind == "int32_t":
        for value in (-1, 2, 99, 2**31 - 1, -(2**31)):
            yield Case(f"{name} = {value}", setting(name, value), INVALID, words)
        for value in (0, 1):
            yield Case(f"{name} = {value}", setting(name, value), SUCCEED)
    elif kind == "rnn_status":
        for value in (0, 1, -11, -12, 2**31 - 1, -(2**31)):
            yield Case(f"{name} = {value}", setting(name, value), SUCCEED)
    elif kind == "size_t" and name == "index":
        for value in (1000, 2**31, 2**32, SIZE_MAX // 2, SIZE_MAX // 2 + 1, SIZE_MAX):
            yield Case(f"{name} = {value:#x}", setting(name, value), NOT_FOUND, words + [str(value)])
    elif kind == "size_t" and name == "capacity":
        pass  # with its buffer
    elif function.name == "rnn_threads_set":
        for value in (0, 1025, 2**31, 2**32, 2**40, SIZE_MAX // 2, SIZE_MAX // 2 + 1, SIZE_MAX):
            yield Case(f"{name} = {value}", setting(name, value), INVALID, words)
        for value in (1, 3, 1024):
            yield Case(f"{name} = {value}", setting(name, value), SUCCEED,
                       after=lambda call, value=value: [] if library.rnn_threads_get() == value else ["set another number"])
    elif function.name == "rnn_optimizer_create" and name == "count":
        def of_kind(kind: int, value: int):
            def change(call):
                filling("options", kind=HEADER.constants[kind])(call)
                call.set(name, value)
            return change
        for each in ("RNN_OPTIMIZER_SGD", "RNN_OPTIMIZER_ADAM", "RNN_OPTIMIZER_RMSPROP"):
            for value in (0, 1):
                yield Case(f"{name} = {value}, {each}", of_kind(each, value), SUCCEED)
            for value in (2**31, 2**40, 2**62, SIZE_MAX // 4, SIZE_MAX // 2):
                # Plain SGD keeps nothing.
                yield Case(f"{name} = {value:#x}, {each}", of_kind(each, value),
                           SUCCEED if each == "RNN_OPTIMIZER_SGD" else FAIL, words + ["memory"])
            for value in (SIZE_MAX // 2 + 1, SIZE_MAX):
                yield Case(f"{name} = {value:#x}, {each}", of_kind(each, value), INVALID, words)
    elif LOSS_FUNCTION.match(function.name) and name in ("rows", "count"):
        arrays = [other.name for other in function.parameters if other.is_pointer]

        def fewer(value: int):
            def change(call):
                call.set(name, value)
                argument = call.arguments["out_gradient"]
                argument.needed = value * argument.memory.size // (ROWS if name == "rows" else ELEMENTS)
            return change
        for value in (0, 1):
            yield Case(f"{name} = {value}", fewer(value), SUCCEED)

        def empty(call):
            fewer(0)(call)
            for other in set(arrays) - {"out_loss", "options"}:
                call.set(other, None)
            for other in ("logits", "targets", "class_weights", "prediction", "target", "gradient"):
                if other + "_count" in call.arguments:
                    call.set(other + "_count", 0)
        yield Case(f"{name} = 0, and no array", empty, SUCCEED)
        for value in (2**31, 2**32, 2**40, SIZE_MAX // 4, SIZE_MAX // 2, SIZE_MAX // 2 + 1, SIZE_MAX):
            yield Case(f"{name} = {value:#x}", setting(name, value), FAIL, words + arrays + ["large"])
        if name == "rows":
            for value in (2**31, 2**40, SIZE_MAX // 2):  # nothing is needed of so many classes
                def no_rows(call, value=value):
                    empty(call)
                    call.set("classes", value)
                yield Case(f"rows = 0, classes = {value:#x}", no_rows, SUCCEED)
    elif CTC_FUNCTION.match(function.name) and kind == "size_t":
        yield from ctc_size_cases(function, name, words)
    elif kind == "size_t":
        arrays = [other.name for other in function.parameters if other.is_pointer]
        words = words + arrays + ["count", "batch", "large"]
        if name == "T":
            def no_time(call):
                call.set("T", 0)
                for other in {"lengths", "lengths_count"} & set(call.arguments):
                    call.set(other, None if other == "lengths" else 0)
            yield Case("T = 0", no_time, SUCCEED)
        else:
            yield Case(f"{name} = 0", setting(name, 0), FAIL if name == "N" else INVALID, words)
        yield Case(f"{name} = 1", setting(name, 1), ANY, words)
        for label, value in (("SIZE_MAX", SIZE_MAX), ("SIZE_MAX / 2", SIZE_MAX // 2), ("SIZE_MAX / 2 + 1", SIZE_MAX // 2 + 1),
                             ("SIZE_MAX / 4", SIZE_MAX // 4)):
            yield Case(f"{name} = {label}", setting(name, value), ANY if adding else FAIL, words)
        if not CELL_FUNCTION.match(function.name):  # those cannot know that the arrays are not as long
            for value in (2**31, 2**32, 2**40):
                yield Case(f"{name} = {value:#x}", setting(name, value), ANY if adding else FAIL, words)
    else:
        raise unknown(function, parameter)


def activation_cases(name: str, words: List[str]) -> Iterator[Case]:
    """Of an ELU with alpha 0.5, which has no beta."""
    if name == "activation":
        functions = [value for constant, value in HEADER.constants.items()
                     if constant.startswith("RNN_ACTIVATION_") and constant not in ("RNN_ACTIVATION_DEFAULT", "RNN_ACTIVATION_SLOTS")]
        for value in (-1, 0, max(functions) + 1, 99, 255, 256, 2**31 - 1, -(2**31)):
            yield Case(f"activation = {value}", setting(name, value), INVALID, words)
        for value in functions:
            has_alpha = value in {HEADER.constants["RNN_ACTIVATION_" + each] for each in (
                "HARD_SIGMOID", "LEAKY_RELU", "THRESHOLDED_RELU", "SCALED_TANH", "ELU", "AFFINE")}
            yield Case(f"activation = {value}", setting(name, value), SUCCEED if has_alpha else INVALID, [] if has_alpha else ["alpha"])

            def without_numbers(call, value=value):
                call.set("activation", value)
                call.set("alpha", 0.0)
            yield Case(f"activation = {value}, alpha = 0", without_numbers, SUCCEED)
        return
    for value in (math.nan, math.inf, -math.inf):
        yield Case(f"{name} = {value}", setting(name, value), INVALID, words)
    for value in (0.0, -0.0, 5e-324, -1.5, 1e38):
        fits = name == "alpha" or value == 0
        yield Case(f"{name} = {value}", setting(name, value), SUCCEED if fits else INVALID, [] if fits else words)


def ctc_size_cases(function: Function, name: str, words: List[str]) -> Iterator[Case]:
    """T, N, classes and S of CTC, of which T, N and S may be 0."""
    lengths = {"T": "input_lengths", "S": "target_lengths"}.get(name)
    pointers = [other.name for other in function.parameters if other.is_pointer]

    def resized(value: int, without: Sequence[str] = ()):
        def change(call):
            call.set(name, value)
            argument = call.arguments["out_gradient"]
            argument.needed = argument.memory.size * value // call_size if name in ("T", "N") else None
            for other in without:
                call.set(other, None)
                count = {"out_gradient": "gradient", "out_loss": "loss"}.get(other, other) + "_count"
                call.set(count, 0)
        return change

    call_size = {"T": T, "N": N, "classes": CLASSES, "S": LABELS}[name]
    if name == "classes":
        for value in (0, 1):  # of one class there is no label
            yield Case(f"{name} = {value}", resized(value), INVALID, words + ["targets"])
    for value in (0, 1):
        if lengths:
            yield Case(f"{name} = {value}, below the lengths", resized(value), INVALID, words + [lengths])
            yield Case(f"{name} = {value} without lengths", resized(value, [lengths]), SUCCEED)
        elif name == "N":
            yield Case(f"{name} = {value}", resized(value), SUCCEED)
    if name == "N":
        yield Case("N = 0, and no array", resized(0, [other for other in pointers if other not in ("out_loss", "options")]), SUCCEED)
    for value in (2**31, 2**32, 2**40, SIZE_MAX // 4, SIZE_MAX // 2, SIZE_MAX // 2 + 1, SIZE_MAX):
        yield Case(f"{name} = {value:#x}", setting(name, value), FAIL, words + pointers + ["large"])


#: Arguments in double: values that are refused, values that are not.
NUMBER_RANGES = {
    "max_norm": ((math.nan, -math.inf, -0.1, -5e-324), (0.0, -0.0, 5e-324, 0.1, 1e300, math.inf)),
    "clip_value": ((math.nan, -math.inf, -0.1, -5e-324), (0.0, -0.0, 5e-324, 0.1, 1e300, math.inf)),
    "norm_type": ((math.nan, -math.inf, -1.0, 0.0, 0.99), (1.0, 1.5, 2.0, 3.0, 1e300, math.inf)),
    "epsilon": ((math.nan, math.inf, -math.inf, 0.0, -0.0, -0.1, 5e-324), (1e-30, 1e-5, 1.0, 1e38)),
    "learning_rate": ((math.nan, math.inf, -math.inf, -0.1), (0.0, -0.0, 5e-324, 1.5, 1e300)),
}

_not_finite = (math.nan, math.inf, -math.inf)
_no_flag = (-1, 2, 99, 2**31 - 1, -(2**31))
_no_choice = (-1, 4, 99, 2**31 - 1, -(2**31))
_too_large = (SIZE_MAX // 2 + 1, SIZE_MAX)
_sizes = (1, 2, 3, 4, 2**31, 2**32, 2**62, SIZE_MAX // 2)
_any_64 = (1, 2**31, 2**63, SIZE_MAX)
_decay = ((*_not_finite, -0.1, 1.0, 1.5), (0.0, 5e-324, 0.5, 0.999))
_sizes_too_large = (2**31, 2**32, 2**40, SIZE_MAX // 4, SIZE_MAX // 2, SIZE_MAX // 2 + 1, SIZE_MAX)
_probability = ((*_not_finite, -0.1, -5e-324, 1.0, 1.5), (0.0, 5e-324, 0.5, 0.999))
#: A limit of which 0 means none.
_limit = ((math.nan, -math.inf, -0.1, -5e-324), (0.0, 5e-324, 0.5, 1e300), (math.inf,))
_no_activation = (-1, 12, 99, 255, 256, 2**31 - 1, -(2**31))


def _slot(slot: int, value):
    """[direction][slot] of recurrent options: `value` for one gate of the forward direction, 0 for the others."""
    return (tuple(value if each == slot else 0 for each in range(HEADER.constants["RNN_ACTIVATION_SLOTS"])),) + (
        (0,) * HEADER.constants["RNN_ACTIVATION_SLOTS"],)


_positive = ((*_not_finite, -0.1), (0.0, 5e-324, 0.5, 2.0))
#: Fields of options: values that are refused, values that are not; each with all others at their default.
FIELD_RANGES = {
    "rnn_cross_entropy_options": {
        "reduction": (_no_choice + (3,), (0, 1)),  # 2 needs a longer out_loss
        "has_ignore_index": (_no_flag, (0, 1)),
        "ignore_index": ((), (1, -1, 2**63 - 1, -(2**63))),
        "label_smoothing": ((*_not_finite, -0.1, 1.1), (0.0, 5e-324, 0.5, 1.0)),
    },
    "rnn_mse_options": {"reduction": (_no_choice + (3,), (0, 1))},
    "rnn_ctc_options": {
        "reduction": (_no_choice + (3,), (0, 1)),
        "zero_infinity": (_no_flag, (0, 1)),
        "blank": ((-1, 1, CLASSES, 2**31, 2**63 - 1, -(2**63)), (0,)),  # 1 is a label
        "concatenated": (_no_flag, (0, 1)),
    },
    "rnn_optimizer_options": {
        "kind": (_no_choice, (0, 1, 2, 3)),
        "nesterov": (_no_flag + (1,), (0,)),  # needs momentum
        "amsgrad": (_no_flag, (0, 1)),
        "centered": (_no_flag, (0, 1)),
        "learning_rate": _positive, "momentum": _positive, "weight_decay": _positive, "epsilon": _positive,
        "dampening": (_not_finite, (0.0, 0.5, 1.0)),
        "beta1": _decay, "beta2": _decay, "alpha": _decay,
    },
    "rnn_trainer_options": {
        "loss": (_no_choice + (2,), (0, 1)),
        "has_ignore_index": (_no_flag, (0, 1)),
        "ignore_index": ((), (1, -1, 2**63 - 1, -(2**63))),
        "clip_norm": ((math.nan, -math.inf, -0.1, -5e-324), (0.0, 5e-324, 0.5, 1e300, math.inf)),
        "update_interval": (_too_large, _sizes),
        "backward_steps": ((*_too_large, *_sizes), ()),  # needs update_interval
        "dropout_seed": ((), _any_64),
        "clip_mode": (_no_choice + (3,), (0, 1, 2)),
        "hidden_clip": _limit,
        "gradient_flow": (_no_flag, (0, 1)),
    },
    "rnn_recurrent_options": {  # of an LSTM
        "hidden_size": ((0,), (1, 2, 17), _sizes_too_large),
        "num_layers": ((), (0, 1, 3), _sizes_too_large),
        "cell": ((-1, 3, 99, 2**31 - 1, -(2**31)), (0, 1, 2)),
        "nonlinearity": ((), (0, 1), _no_choice),  # not the LSTM's
        "gru_variant": ((), (0, 1), _no_choice),
        "bias": (_no_choice, (0, 1, 2, 3)),
        "bidirectional": (_no_flag, (0, 1)),
        "dropout": _probability,
        "reverse": (_no_flag, (0, 1)),
        "merge": (_no_choice + (1, 2, 3), (0,)),  # needs bidirectional
        "hidden_size_reverse": ((1, H + 1, *_too_large), (0,)),  # needs bidirectional
        "proj_size": ((), (0, 1, H - 1), _sizes_too_large),
        "residual": (_no_flag, (0, 1)),
        "learned_initial_state": (_no_flag, (0, 1)),
        "peepholes": (_no_flag, (0, 1)),
        "coupled_gates": (_no_flag, (0, 1)),
        "cell_clip": _limit, "gate_clip": _limit,
        "gate_clip_output": (_no_flag + (1,), (0,)),  # needs gate_clip
        "forget_bias": (_not_finite, (0.0, -1.0, 5e-324, 1.0)),
        "recurrent_dropout": _probability,
        "activations": (
            tuple(_slot(slot, value) for slot in range(5) for value in _no_activation),
            (*(_slot(slot, value) for slot in range(5) for value in (0, 1, 3, 4, 9, 10)),)),
        "activation_alpha": (tuple(_slot(slot, value) for slot in range(5) for value in (*_not_finite, 1.0)), (_slot(0, 0.0),)),
        "activation_beta": (tuple(_slot(slot, value) for slot in range(5) for value in (*_not_finite, 1.0)), (_slot(0, 0.0),)),
    },
    "rnn_run_options": {
        "batch_first": (_no_flag, (0, 1)),
        "padding": (_no_choice + (2, 3), (0, 1)),
        "padding_value": ((math.nan,), (0.0, -1.0, 5e-324), (math.inf, -math.inf, 1e300)),
        "zero_state_of_empty_rows": (_no_flag, (0, 1)),
    },
    "rnn_train_options": {
        "batch_first": (_no_flag, (0, 1)),
        "padding": (_no_choice + (2, 3), (0, 1)),
        "dropout_seed": ((), _any_64), "step": ((), _any_64), "first_time": ((), _any_64),
        "padding_value": ((math.nan,), (0.0, -1.0, 5e-324), (math.inf, -math.inf, 1e300)),
        "zero_state_of_empty_rows": (_no_flag, (0, 1)),
    },
    "rnn_backward_options": {"hidden_clip": _limit},
    "rnn_sample_options": {
        "temperature": ((*_not_finite, -0.1, -5e-324), (0.0, 5e-324, 0.5, 1e300)),
        "top_k": (_too_large, _sizes),
        "top_p": ((*_not_finite, -0.1, 1.1), (0.0, 5e-324, 0.5, 1.0)),
        "greedy": (_no_flag, (0, 1)),
        "seed": ((), _any_64), "position": ((), _any_64),
    },
}
#: The same for several fields at once.
COMBINATIONS = {
    "rnn_cross_entropy_options": (
        (dict(has_ignore_index=1, ignore_index=2), SUCCEED), (dict(has_ignore_index=1, ignore_index=-(2**63)), SUCCEED),
    ),
    "rnn_optimizer_options": (
        (dict(momentum=0.9, nesterov=1), SUCCEED), (dict(momentum=0.9, nesterov=1, dampening=0.1), INVALID),
        (dict(kind=1, amsgrad=1), SUCCEED), (dict(kind=2, amsgrad=1, weight_decay=0.1), SUCCEED),
        (dict(kind=3, centered=1, momentum=0.9), SUCCEED), (dict(kind=3, centered=1, momentum=0.9, weight_decay=0.1), SUCCEED),
    ),
    "rnn_trainer_options": (
        (dict(update_interval=2, backward_steps=3), SUCCEED), (dict(update_interval=2, backward_steps=1), INVALID),
        (dict(update_interval=1, backward_steps=SIZE_MAX // 2), SUCCEED),
        (dict(update_interval=1, backward_steps=SIZE_MAX), INVALID),
        (dict(update_interval=SIZE_MAX // 2, backward_steps=SIZE_MAX // 2), SUCCEED),
        (dict(update_interval=2**62, backward_steps=2**62), SUCCEED), (dict(update_interval=1, loss=1), SUCCEED),
        (dict(has_ignore_index=1, ignore_index=1), SUCCEED),
        (dict(clip_mode=1, clip_norm=0.5), SUCCEED), (dict(clip_mode=2, clip_norm=0.5), SUCCEED),
        (dict(clip_mode=2, clip_norm=math.inf), SUCCEED), (dict(clip_mode=1, clip_norm=math.nan), INVALID),
        (dict(hidden_clip=0.5, gradient_flow=1, update_interval=1), SUCCEED),
    ),
    "rnn_recurrent_options": (
        (dict(bidirectional=1, reverse=1), INVALID),
        (dict(bidirectional=1, merge=1), SUCCEED), (dict(bidirectional=1, merge=2), SUCCEED), (dict(bidirectional=1, merge=3), SUCCEED),
        (dict(bidirectional=1, hidden_size_reverse=2), SUCCEED), (dict(bidirectional=1, hidden_size_reverse=2, merge=1), INVALID),
        (dict(bidirectional=1, hidden_size_reverse=SIZE_MAX), FAIL), (dict(bidirectional=1, hidden_size=SIZE_MAX // 2), FAIL),
        (dict(hidden_size=SIZE_MAX // 2, proj_size=SIZE_MAX // 2), FAIL),
        (dict(hidden_size=2**32, num_layers=2**32), FAIL),
        (dict(proj_size=2, num_layers=2, residual=1), SUCCEED),
        (dict(gate_clip=1.0, gate_clip_output=1), SUCCEED),
        *((dict(cell=cell, **{field: value}), INVALID) for cell in (0, 1) for field, value in (
            ("proj_size", 2), ("peepholes", 1), ("coupled_gates", 1), ("cell_clip", 1.0), ("forget_bias", 1.0))),
        (dict(cell=0, nonlinearity=2), INVALID), (dict(cell=0, nonlinearity=-1), INVALID), (dict(cell=1, gru_variant=2), INVALID),
        (dict(cell=0, activations=_slot(0, 8), activation_alpha=_slot(0, 0.5)), SUCCEED),
        (dict(cell=0, activations=_slot(1, 3)), INVALID), (dict(cell=1, activations=_slot(3, 3)), INVALID),
        (dict(activations=_slot(4, 2), activation_alpha=_slot(4, 0.25), activation_beta=_slot(4, 0.5)), SUCCEED),
        *((dict(activations=_slot(2, 11), activation_alpha=_slot(2, value)), INVALID) for value in (math.nan, math.inf)),
        *((dict(activations=_slot(2, 11), activation_beta=_slot(2, value)), INVALID) for value in (math.nan, -math.inf)),
        (dict(activations=tuple(reversed(_slot(0, 3)))), INVALID),  # of a backward direction that is not there
        (dict(activations=tuple(reversed(_slot(0, 3))), bidirectional=1), SUCCEED),
    ),
    "rnn_run_options": (
        (dict(padding=1, padding_value=1.0), INVALID),
        (dict(batch_first=1, padding=1, zero_state_of_empty_rows=1), SUCCEED),
    ),
    "rnn_train_options": (
        (dict(padding=1, padding_value=1.0), INVALID),
        (dict(first_time=SIZE_MAX, step=SIZE_MAX, dropout_seed=SIZE_MAX), SUCCEED),
    ),
    "rnn_ctc_options": (
        (dict(concatenated=1, zero_infinity=1), SUCCEED), (dict(concatenated=1, reduction=1), SUCCEED),
    ),
    "rnn_sample_options": (
        (dict(top_k=2, top_p=0.5, temperature=0.5), SUCCEED), (dict(top_k=1, temperature=5e-324), SUCCEED),
        (dict(greedy=1, temperature=math.nan), INVALID), (dict(greedy=1, top_p=2.0), INVALID),
    ),
}


#: Options of which the fields are known by their names and types alone.
GENERAL_OPTIONS = tuple(f"rnn_{name}_options" for name in (
    "builder", "build", "load", "save", "state", "stream"))


def struct_combinations(function: Function) -> Iterator[Case]:
    for parameter in function.parameters:
        for fields, expected in COMBINATIONS.get(parameter.target, ()) if parameter.is_const else ():
            label = ", ".join(f"{field} = {value}" for field, value in fields.items())
            yield Case(f"{parameter.name}->{label}", filling(parameter.name, **fields), expected, list(fields))


def in_order_of_likelihood(call: Call) -> List[str]:
    """A temperature near 0 draws the most likely."""
    logits = (call.world.ctype * VOCABULARY).from_address(call.arguments["logits"].memory.address)
    token = int.from_bytes(call.arguments["out_token"].memory.read(), "little")
    return [] if token == max(range(VOCABULARY), key=lambda i: logits[i]) else [f"drew {token} of {list(logits)}"]


#: Fields in which every value but those of the header's constants (or 0 and 1) is an error.
CHOICES = {"dtype", "cell", "bias", "initialization", "batch_first", "bidirectional", "no_sync"}


def struct_cases(function: Function, parameter: Parameter, words: List[str]) -> Iterator[Case]:
    name = parameter.name
    struct = HEADER.structs[parameter.target]
    size = ctypes.sizeof(struct)
    words = words + ["struct_size"]

    yield Case(f"{name} = NULL", setting(name, None), SUCCEED if optional(function, name) else INVALID, words)
    yield Case(f"{name} misaligned", lambda call: call.set(name, call.arguments[name].value - 1), INVALID, words)

    def resized(struct_size: int, memory_size: int, tail: bytes = b""):
        def change(call):
            argument = call.arguments[name]
            memory = Memory(memory_size)
            memory.write((argument.memory.read() + bytes(max(0, memory_size - size)))[:memory_size])
            if tail:
                memory.write(memory.read()[:size] + tail)
            memory.write(struct_size.to_bytes(8, "little"))
            argument.memory, argument.value, argument.needed = memory, memory.address, min(size, struct_size)
        return change

    for value in (0, 1, 7):
        yield Case(f"{name}->struct_size = {value}", resized(value, size), INVALID, words)
    if parameter.is_const and parameter.target not in (*FIELD_RANGES, *GENERAL_OPTIONS):
        raise SystemExit(f"no recipe for {parameter.target}: teach Tests/C/bad_arguments.py the values of its fields")
    required = function.name == "rnn_builder_add_recurrent"  # hidden_size must be there
    yield Case(f"{name}->struct_size = 8", resized(8, 8), INVALID if required else SUCCEED, words + ["hidden_size"])
    fields = [getattr(struct, field).offset for field, *_ in struct._fields_]
    for offset in fields[2:]:
        # Between an array and its count: the count is 0 then.
        arrays = POINTER_FIELDS.get(parameter.target, {})
        yield Case(f"{name}->struct_size = {offset}", resized(offset, -(-offset // 8) * 8), ANY if arrays else SUCCEED,
                   words + list(arrays))
    for value in range(size - 7, size):
        # Half a field: either it is not read, or the size is refused.
        yield Case(f"{name}->struct_size = {value}", resized(value, size), ANY, words)
    yield Case(f"{name}->struct_size longer, tail zero", resized(size + 24, size + 24), SUCCEED, words)
    if parameter.is_const:
        for place in (0, 23):
            tail = bytearray(24)
            tail[place] = 1
            yield Case(f"{name}->struct_size longer, byte {place} of the tail 1", resized(size + 24, size + 24, bytes(tail)),
                       UNSUPPORTED, words)
    for label, value in (("SIZE_MAX", SIZE_MAX), ("SIZE_MAX / 2", SIZE_MAX // 2), ("2^40", 2**40)):
        yield Case(f"{name}->struct_size = {label}", resized(value, size), INVALID, words)

    if not parameter.is_const:
        return
    for field, ctype in struct._fields_[1:]:
        values: Sequence = ()
        expected: Sequence[int] = ANY
        if ctype is ctypes.c_void_p:
            yield from pointer_field_cases(function, parameter, field, words + [field])
            continue
        if field.endswith("_count"):
            continue
        if parameter.target in FIELD_RANGES and not field.startswith("reserved"):
            if field not in FIELD_RANGES[parameter.target]:
                raise SystemExit(f"no recipe for {parameter.target}.{field}: teach Tests/C/bad_arguments.py its values")
            not_read = (function.name, field) in NOT_READ
            for wanted, values in zip((SUCCEED if not_read else INVALID, SUCCEED, ANY), FIELD_RANGES[parameter.target][field]):
                for value in values:
                    cold = field == "temperature" and 0 < value < 1e-300
                    yield Case(f"{name}->{field} = {value}", filling(name, **{field: value}), wanted,
                               words + [field, str(value)], after=in_order_of_likelihood if cold else None)
            continue
        if ctype is ctypes.c_int32:
            values = (-1, 99, 2**31 - 1, -(2**31))
            expected = INVALID if field in CHOICES else ANY
        elif ctype is ctypes.c_double:
            values, expected = (math.nan, math.inf, -math.inf), INVALID
        elif ctype is ctypes.c_size_t or ctype is ctypes.c_uint64:
            values = (1, 2**31, 2**32, 2**40, SIZE_MAX // 2, SIZE_MAX // 2 + 1, SIZE_MAX)
        for value in values:
            wanted = expected
            if field in ("batch_size", "num_layers", "hidden_size") and value >= 2**40 and not required:
                wanted = FAIL
            yield Case(f"{name}->{field} = {value}", filling(name, **{field: value}), wanted, words + [field, str(value)])


#: Fields that a function does not look at, by its text.
NOT_READ = {("rnn_trainer_flow", "hidden_clip")}


def pointer_field_cases(function: Function, parameter: Parameter, field: str, words: List[str]) -> Iterator[Case]:
    """Arrays that options lead to."""
    name = parameter.name
    arrays = POINTER_FIELDS.get(parameter.target, {})
    if field not in arrays:
        raise SystemExit(f"no recipe for {parameter.target}.{field}: teach Tests/C/bad_arguments.py its array")
    count, size = arrays[field]
    counted = field + "_count"
    yield Case(f"{name}->{field} = NULL", filling(name, **{field: None, counted: 0}), SUCCEED)
    yield Case(f"{name}->{field} = NULL with a count", filling(name, **{field: None}), INVALID, words)
    yield Case(f"{name}->{field} with count 0", filling(name, **{counted: 0}), SHORT, words)
    for value in (1, count - 1):
        yield Case(f"{name}->{field} with count {value}", filling(name, **{counted: value}), SHORT, words)
    # The library cannot know that so long an array is not there; it may only not crash.
    for value in (SIZE_MAX // 8, SIZE_MAX // 2, SIZE_MAX // 2 + 1, SIZE_MAX):
        yield Case(f"{name}->{field} with count {value:#x}", filling(name, **{counted: value}), ANY, words + ["overlap"])

    def moved(address: Callable[[Call], int]) -> Callable[[Call], None]:
        return lambda call: filling(name, **{field: address(call)})(call)

    own = list(arrays).index(field)
    if size > 1:
        yield Case(f"{name}->{field} misaligned", moved(lambda call: call.arguments[name].inner[own].address - 1), INVALID,
                   words + ["align"])
    for index, other in enumerate(arrays):
        if other != field:
            for shift in (0, 8):
                yield Case(f"{name}->{field} overlaps {other}, {shift} bytes in",
                           moved(lambda call, index=index, shift=shift: call.arguments[name].inner[index].address + shift),
                           INVALID, words + [other, "overlap"])
    for other in function.parameters:
        reads = other.is_const and field == "mask"  # both are inputs
        if other.is_pointer and other.target in ARRAY_TYPES and not reads:
            yield Case(f"{name}->{field} overlaps {other.name}",
                       moved(lambda call, other=other: call.arguments[other.name].value), INVALID,
                       words + [other.name, "overlap"])
    if field == "mask":
        for label, contents in (("all 0", bytes(count)), ("all 1", b"\1" * count), ("all 255", b"\xff" * count)):
            yield Case(f"{name}->{field} {label}",
                       lambda call, contents=contents: call.arguments[name].inner[own].write(contents), SUCCEED)


def filling(name: str, **fields) -> Callable[[Call], None]:
    def change(call):
        argument = call.arguments[name]
        parameter = next(each for each in call.function.parameters if each.name == name)
        view = HEADER.structs[parameter.target].from_address(argument.memory.address)
        for field, value in fields.items():
            setattr(view, field, value)
    return change


# ------------------------------------------------------------------------------------------------------------- judgement


#: What messages call some arguments: a builder's errors name the node, a file's the path.
ALIASES = {"activation_alpha": ["activations", "alpha of"], "activation_beta": ["activations", "beta of"],
           "probability": ["dropout"], "num_layers": ["layers"], "input": ["reads"], "inputs": ["reads"],
           "path": ["cannot open", "cannot replace"], "batch_size": ["rows"]}


def mentions(message: str, word: str) -> bool:
    """Letters such as N as they are; longer words anywhere, vocabulary_size also as "vocabulary size"."""
    if len(word) <= 2:
        return bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", message))
    message = message.lower()
    return any(each.lower() in message for each in (word, word.replace("_", " "), *ALIASES.get(word, ())))


def judge(function: Function, case: Case) -> List[str]:
    """Makes the call; what is wrong with what it did."""
    wrong: List[str] = []
    call = Call(function, case.loss)
    case.change(call)
    arguments = call.arguments
    memories = call.memories()
    before = [memory.snapshot() for memory in memories]
    files_before = sorted(os.listdir(call.folder))
    objects_before = call.world.fingerprint()
    assert library.rnn_blas_set(text_memory(b"provoked")) < 0
    provoked = library.rnn_last_error_message()

    result = call.invoke()
    message = library.rnn_last_error_message()
    after = [memory.snapshot() for memory in memories]

    if function.result == "const char *":
        return [] if isinstance(result, bytes) else [f"gave {result!r}, not a text"]
    if function.result == "size_t":
        return [] if function.name == "rnn_threads_get" and 1 <= result <= 1024 else [f"gave {result}"]
    if function.result == "uint32_t":
        return []
    status = OK if function.result == "void" else result
    if status not in ANY:
        wrong.append(f"gave {status}, which is no status of rnn.h")
    elif status not in case.expected:
        wanted = " or ".join(STATUS_NAMES.get(each, "RNN_OK") for each in case.expected)
        wrong.append(f"gave {STATUS_NAMES.get(status, 'RNN_OK')}, expected {wanted}; message: {message.decode()!r}")

    if status != OK:
        if message == provoked or not message:
            wrong.append("left no message of its own")
        elif case.words and not any(mentions(message.decode(), word) for word in case.words):
            wrong.append(f"its message names none of {', '.join(dict.fromkeys(case.words))}: {message.decode()!r}")
    elif message != provoked:
        wrong.append(f"succeeded, but changed the message to {message.decode()!r}")

    for argument, parameter in zip(arguments.values(), function.parameters):
        for memory in [argument.memory, *argument.inner]:
            if memory is None or memory not in memories:
                continue
            index = memories.index(memory)
            writable = argument.writable if memory is argument.memory else argument.inner_writable
            if memory in call.untouched and before[index] != after[index]:
                wrong.append(f"wrote to memory of {parameter.name} that it had to leave alone")
            if before[index][:GUARD] != after[index][:GUARD]:
                wrong.append(f"wrote before {parameter.name}")
            shared = sum(other.memory is memory for other in arguments.values()) > 1
            if before[index] == after[index]:
                if (status != OK and parameter.type.endswith("**") and parameter.target.rstrip(" *") in HEADER.handles
                        and argument.value == memory.address):
                    wrong.append(f"failed, but {parameter.name} was not set to NULL")
                continue
            if shared:
                if status != OK:
                    wrong.append(f"failed, but wrote to {parameter.name}")
            elif not writable:
                wrong.append(f"wrote to {parameter.name}, an input")
            elif status == OK:
                needed = argument.needed if memory is argument.memory else None
                if needed is not None and before[index][GUARD + needed:] != after[index][GUARD + needed:]:
                    wrong.append(f"wrote past the needed elements of {parameter.name}")
            elif parameter.type.endswith("**") and parameter.target.rstrip(" *") in HEADER.handles:
                if after[index][GUARD:] != bytes(8):
                    wrong.append(f"failed, and set {parameter.name} to something that is not NULL")
            elif parameter.name == "out_length" and status == SHORT[0]:
                if int.from_bytes(after[index][GUARD:], "little") > 2048:
                    wrong.append("gave a length that cannot be")
            else:
                wrong.append(f"failed, but wrote to {parameter.name}")

    if case.after and status == OK:
        wrong += case.after(call)
    if status != OK:
        objects_after = call.world.fingerprint()
        for kind in objects_before:
            if objects_before[kind] != objects_after[kind]:
                wrong.append(f"failed, but changed the {kind}")
        if sorted(os.listdir(call.folder)) != files_before:
            wrong.append(f"failed, but left files: {sorted(os.listdir(call.folder))}")
        for kind in World.LEARNERS:
            if kind in objects_before and call.world.next_step(kind) != next_step_of_new(kind, call.world.double, case.loss):
                wrong.append(f"failed, but the {kind} does not go on as before")
    elif TRAINER_READER.match(function.name):
        if call.world.next_step("rnn_trainer") != next_step_of_new("rnn_trainer", call.world.double, case.loss):
            wrong.append("the trainer does not go on as before")
    elif function.result == "void":
        target = function.parameters[0].target
        destroyed_itself = arguments[function.parameters[0].name].value == call.world.objects.get(target)
        if not destroyed_itself:
            objects_after = call.world.fingerprint()
            for kind in objects_before:
                if objects_before[kind] != objects_after[kind]:
                    wrong.append(f"changed the {kind}")
    elif BUILDER_FUNCTION.match(function.name):
        call.world.fingerprint()  # whatever was accepted can be built, or is refused
    for parameter in function.parameters:
        argument = arguments[parameter.name]
        if status == OK and parameter.type.endswith("**") and parameter.target.rstrip(" *") in HEADER.handles and argument.memory:
            made = int.from_bytes(argument.memory.read(), "little")
            if not made:
                wrong.append(f"succeeded, but {parameter.name} is NULL")
            else:
                wrong += call.world.use(parameter.target.rstrip(" *"), made, call)
            getattr(library, parameter.target.rstrip(" *") + "_destroy")(made)
    call.close()
    return wrong


MODEL = b""


def main() -> int:
    global MODEL
    name = sys.argv[1]
    wanted = sys.argv[2] if len(sys.argv) > 2 else None
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    function = HEADER.functions[name]
    MODEL = model_file()
    count = failed = 0
    for case in cases(function):
        if wanted and case.label != wanted:
            continue
        print(f"{name}: {case.label}", flush=True)
        count += 1
        for complaint in judge(function, case):
            failed += 1
            print(f"  WRONG {complaint}", flush=True)
    print(f"{count} cases of {name}, {failed} complaints")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
