"""PyTorch's checkpoints (.pt, .pth) without PyTorch, and without executing the pickle in them.

A checkpoint is a pickle: a program for a small stack machine, which may name any function and have it called. This reader is
another machine for the same programs. It knows dictionaries, lists, numbers, strings and the few calls that stand for a tensor;
every other class or function becomes an `Unknown`, an empty object that remembers its name. Nothing is imported and nothing
called.
"""

from __future__ import annotations

import struct
from collections import OrderedDict, deque
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from ._foreign import ELEMENT_TYPES, Archive, array_from, first_bytes, read_file
from .errors import argument_error, format_error, unsupported

_LARGEST_PICKLE = 16 << 20
_MOST_OPERATIONS, _MOST_CONTAINERS = 1_000_000, 300_000
#: Old checkpoints, which are no zip archives, are read as a whole.
_LARGEST_OLD_FILE = 4 << 30
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

_STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "LongStorage": "I64",
    "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8", "BoolStorage": "BOOL",
}  # fmt: skip


class Name(NamedTuple):
    """A class or function that the pickle names."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Unknown:
    """An object of a class that means nothing here. `state` is what the pickle would have put into it."""

    __slots__ = ("name", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: Any = None


class StoredTensor(NamedTuple):
    """A tensor as the pickle describes it: a view of a storage."""

    key: str
    element: str
    elements: int
    offset: int
    shape: Tuple[int, ...]
    strides: Tuple[int, ...]


class Checkpoint:
    """What a checkpoint holds, and the numbers of its tensors on demand."""

    def __init__(self, content: Any, read: Callable[[str, str], np.ndarray], path: str) -> None:
        self.content = content
        self.path = path
        self._read = read
        self._storages: Dict[Tuple[str, str], np.ndarray] = {}

    def array(self, tensor: StoredTensor, name: str) -> np.ndarray:
        """A tensor's numbers."""
        place = (tensor.key, tensor.element)
        if place not in self._storages:
            self._storages[place] = self._read(*place)
        flat = self._storages[place]
        count, last = 1, tensor.offset
        for extent, stride in zip(tensor.shape, tensor.strides):
            count *= extent
            last += (extent - 1) * stride
        if count == 0:
            return np.zeros(tensor.shape, flat.dtype)
        # A view may repeat elements (stride 0) and so be larger than its storage; a parameter is not.
        if last >= flat.size or count > flat.size:
            raise format_error(
                f"{self.path}: {name} has shape {tensor.shape} and strides {tensor.strides}, but only {flat.size} numbers"
            )
        strides = tuple(stride * flat.itemsize for stride in tensor.strides)
        return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)


def read_checkpoint(path: str) -> Checkpoint:
    """A checkpoint of torch.save (of any version) or torch.jit.save."""
    start = first_bytes(path)
    if start[:4] == b"PK\3\4":
        return _read_zip(path)
    if start[:1] == b"\x80":
        return _read_old(path)
    raise format_error(f"{path} is neither a zip archive nor a pickle: no PyTorch checkpoint")


def _read_zip(path: str) -> Checkpoint:
    archive = Archive(path)
    with archive:
        pickles = [name for name in archive.names if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise format_error(f"{path} is a zip archive, but no PyTorch checkpoint: it has {len(pickles)} entries data.pkl")
        folder = pickles[0][: -len("data.pkl")]
        big = False
        if folder + "byteorder" in archive.names:
            order = archive.read(folder + "byteorder", 64)
            if order not in (b"little", b"big"):
                raise format_error(f"{path}: byteorder is {order[:20]!r}, expected little or big")
            big = order == b"big"
        content = _Machine(archive.read(pickles[0], _LARGEST_PICKLE), path).run()

    def read(key: str, element: str) -> np.ndarray:
        kind = ELEMENT_TYPES[element]
        with Archive(path) as again:
            data = again.read(f"{folder}data/{key}")
        if len(data) % kind.size:
            raise format_error(f"{path}: storage {key!r} has {len(data)} bytes, no multiple of {kind.size}")
        return array_from(data, kind, big)

    return Checkpoint(content, read, path)


def _read_old(path: str) -> Checkpoint:
    """Before PyTorch 1.6: pickles of a magic number, a protocol, the system, the content and the keys; then the storages."""
    data = read_file(path, _LARGEST_OLD_FILE)
    machine = _Machine(data, path)
    if machine.run() != _MAGIC:
        raise format_error(f"{path} is a pickle, but not one of torch.save")
    protocol = machine.run()
    if protocol != _PROTOCOL:
        raise unsupported(f"{path}: protocol {protocol!r} of torch.save, expected {_PROTOCOL}")
    system = machine.run()
    big = isinstance(system, dict) and system.get("little_endian") is False
    content = machine.run()
    keys = machine.run()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise format_error(f"{path}: the list of storages is damaged")
    places: Dict[str, Tuple[int, int]] = {}
    position = machine.position
    sizes = machine.element_sizes
    for key in keys:
        if position + 8 > len(data) or key not in sizes:
            raise format_error(f"{path} is cut short: storage {key!r} is missing")
        (count,) = struct.unpack_from(">q" if big else "<q", data, position)
        position += 8
        end = position + count * sizes[key]
        if count < 0 or end > len(data):
            raise format_error(f"{path} is cut short: storage {key!r} has {count} elements")
        places[key] = (position, end)
        position = end

    def read(key: str, element: str) -> np.ndarray:
        if key not in places:
            raise format_error(f"{path}: storage {key!r} is missing")
        begin, end = places[key]
        return array_from(memoryview(data)[begin:end], ELEMENT_TYPES[element], big)

    return Checkpoint(content, read, path)


class _Mark:
    """Where a tuple, list or dictionary begins on the stack."""


class _Storage(NamedTuple):
    key: str
    element: str
    elements: int


class _Machine:
    """Runs pickles that stand one after the other, as far as they are data."""

    def __init__(self, data: bytes, path: str) -> None:
        self._data = data
        self._path = path
        self._operations = self._containers = 0
        self.position = 0
        #: Bytes of an element of each storage that was named.
        self.element_sizes: Dict[str, int] = {}

    def run(self) -> Any:
        """The next object."""
        self._stack: List[Any] = []
        self._memo: Dict[int, Any] = {}
        begin = self.position
        try:
            while True:
                code = self._data[self.position]
                self.position += 1
                self._operations += 1
                if self._operations > _MOST_OPERATIONS or self.position - begin > _LARGEST_PICKLE:
                    raise format_error(f"{self._path}: the pickle is larger than that of any model")
                if code == 0x2E:  # STOP
                    if len(self._stack) != 1:
                        raise IndexError
                    return self._stack.pop()
                handler = _HANDLERS.get(code)
                if handler is None:
                    raise unsupported(
                        f"{self._path}: the pickle uses operation 0x{code:02x} at byte {self.position - 1}, which no checkpoint "
                        "of tensors needs"
                    )
                handler(self)
        except (IndexError, KeyError, struct.error, UnicodeDecodeError, TypeError, AttributeError):
            raise format_error(f"{self._path}: the pickle is damaged at byte {self.position}") from None

    def _take(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > len(self._data):
            raise IndexError
        part = self._data[self.position : end]
        self.position = end
        return part

    def _number(self, code: str) -> int:
        return int(struct.unpack("<" + code, self._take(struct.calcsize("<" + code)))[0])

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _new(self, value: Any) -> None:
        """Push a container: what a hostile pickle would make many of."""
        self._containers += 1
        if self._containers > _MOST_CONTAINERS:
            raise format_error(f"{self._path}: the pickle makes more objects than any model has")
        self._stack.append(value)

    def _to_mark(self) -> List[Any]:
        index = len(self._stack) - 1
        while self._stack[index] is not _Mark:
            index -= 1
            if index < 0:
                raise IndexError
        items = self._stack[index + 1 :]
        del self._stack[index:]
        return items

    # Each of these is one operation of the pickle language.

    def _proto(self) -> None:
        if self._number("B") > 5:
            raise unsupported(f"{self._path}: a pickle of a protocol above 5")

    def _frame(self) -> None:
        self._take(8)

    def _mark(self) -> None:
        self._push(_Mark)

    def _pop(self) -> None:
        self._stack.pop()

    def _pop_mark(self) -> None:
        self._to_mark()

    def _duplicate(self) -> None:
        self._push(self._stack[-1])

    def _line(self) -> str:
        end = self._data.index(b"\n", self.position, self.position + 1000)
        text = self._data[self.position : end].decode("utf-8")
        self.position = end + 1
        return text

    def _global(self) -> None:
        try:
            self._new(Name(self._line(), self._line()))
        except ValueError:
            raise IndexError from None

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError
        self._new(Name(module, name))

    def _persistent(self) -> None:
        reference = self._stack.pop()
        if not isinstance(reference, tuple) or len(reference) < 5 or reference[0] != "storage":
            self._new(Unknown("a persistent object"))
            return
        _, kind, key, _, elements = reference[:5]
        element = _STORAGES.get(kind.name) if isinstance(kind, Name) and kind.module in ("torch", "torch.storage") else None
        if element is None or not isinstance(key, str) or type(elements) is not int or elements < 0:
            self._new(Unknown(f"a storage of {kind}" if isinstance(kind, Name) else "a storage"))
            return
        self.element_sizes[key] = ELEMENT_TYPES[element].size
        self._new(_Storage(key, element, elements))

    def _reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(arguments, tuple):
            raise TypeError
        self._new(_call(function, arguments))

    def _new_object(self) -> None:
        self._stack.pop()
        kind = self._stack.pop()
        self._new(OrderedDict() if kind == Name("collections", "OrderedDict") else Unknown(str(kind)))

    def _build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Unknown):
            target.state = state
        # The state of a dictionary is PyTorch's _metadata: versions of modules, no numbers.

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _set(self, target: Any, items: List[Any]) -> None:
        if isinstance(target, Unknown):
            return
        if not isinstance(target, dict) or len(items) % 2:
            raise TypeError
        for key, value in zip(items[::2], items[1::2]):
            # Other keys are legal in a pickle, but no names of tensors; hashing nested tuples could take for ever.
            if isinstance(key, (str, int)):
                target[key] = value

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set(self._stack[-1], [key, value])

    def _set_items(self) -> None:
        items = self._to_mark()
        self._set(self._stack[-1], items)

    def _append(self) -> None:
        value = self._stack.pop()
        if isinstance(self._stack[-1], list):
            self._stack[-1].append(value)

    def _appends(self) -> None:
        items = self._to_mark()
        if isinstance(self._stack[-1], list):
            self._stack[-1].extend(items)

    def _dictionary(self) -> None:
        items = self._to_mark()
        made: Dict[Any, Any] = {}
        self._set(made, items)
        self._new(made)

    def _tuple(self, count: int) -> None:
        if count > len(self._stack):
            raise IndexError
        items = tuple(self._stack[len(self._stack) - count :])
        del self._stack[len(self._stack) - count :]
        self._new(items)


def _call(function: Any, arguments: Tuple[Any, ...]) -> Any:
    """What the call of a function in a pickle stands for; nothing is called."""
    name = str(function) if isinstance(function, Name) else ""
    if name in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor") and len(arguments) >= 4:
        storage, offset, shape, strides = arguments[:4]
        sizes = (offset, *shape, *strides) if isinstance(shape, tuple) and isinstance(strides, tuple) else (None,)
        if isinstance(storage, _Storage) and len(shape) == len(strides) <= 32 and all(
            type(size) is int and 0 <= size < 2**48 for size in sizes
        ):
            return StoredTensor(*storage, offset, shape, strides)
    if name in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state") and arguments:
        return arguments[0]
    if name == "torch._tensor._rebuild_from_type_v2" and len(arguments) >= 3 and isinstance(arguments[2], tuple):
        # A tensor of a subclass, or with attributes: the function that makes the tensor, its class, the arguments.
        return _call(arguments[0], arguments[2]) if isinstance(arguments[0], Name) and arguments[0] != function else Unknown(name)
    if name == "collections.OrderedDict" and len(arguments) <= 1:
        # Python 2 gives the items as lists of two.
        made: "OrderedDict[Any, Any]" = OrderedDict()
        for item in arguments[0] if arguments and isinstance(arguments[0], (list, tuple)) else ():
            if isinstance(item, (list, tuple)) and len(item) == 2 and isinstance(item[0], (str, int)):
                made[item[0]] = item[1]
        return made
    if name == "collections.defaultdict":
        return {}
    return Unknown(name or "a call of an unknown function")


def _pushing(value: Any) -> Callable[[_Machine], None]:
    return lambda machine: machine._push(value)


def _fresh(make: Callable[[], Any]) -> Callable[[_Machine], None]:
    return lambda machine: machine._new(make())


def _text(code: str) -> Callable[[_Machine], None]:
    return lambda machine: machine._new(machine._take(machine._number(code)).decode("utf-8", "surrogatepass"))


def _bytes(code: str) -> Callable[[_Machine], None]:
    return lambda machine: machine._new(machine._take(machine._number(code)))


def _old_text(code: str) -> Callable[[_Machine], None]:
    """A string of Python 2, which is bytes there: names of tensors in old checkpoints."""
    return lambda machine: machine._new(machine._take(machine._number(code)).decode("utf-8", "replace"))


def _whole(code: str) -> Callable[[_Machine], None]:
    return lambda machine: machine._push(machine._number(code))


def _long(code: str) -> Callable[[_Machine], None]:
    return lambda machine: machine._new(int.from_bytes(machine._take(machine._number(code)), "little", signed=True))


def _get(code: str) -> Callable[[_Machine], None]:
    return lambda machine: machine._push(machine._memo[machine._number(code)])


def _store(code: str) -> Callable[[_Machine], None]:
    return lambda machine: machine._put(machine._number(code))


_HANDLERS: Dict[int, Callable[[_Machine], None]] = {
    0x80: _Machine._proto, 0x95: _Machine._frame, ord("("): _Machine._mark, ord("0"): _Machine._pop,
    ord("1"): _Machine._pop_mark, ord("2"): _Machine._duplicate, ord("c"): _Machine._global, 0x93: _Machine._stack_global,
    ord("Q"): _Machine._persistent, ord("R"): _Machine._reduce, 0x81: _Machine._new_object, ord("b"): _Machine._build,
    ord("N"): _pushing(None), 0x88: _pushing(True), 0x89: _pushing(False),
    ord("K"): _whole("B"), ord("M"): _whole("H"), ord("J"): _whole("i"), 0x8A: _long("B"), 0x8B: _long("i"),
    ord("G"): lambda machine: machine._new(struct.unpack(">d", machine._take(8))[0]),
    ord("X"): _text("I"), 0x8C: _text("B"), 0x8D: _text("Q"),
    ord("U"): _old_text("B"), ord("T"): _old_text("I"), ord("C"): _bytes("B"), ord("B"): _bytes("I"), 0x8E: _bytes("Q"),
    ord("}"): _fresh(dict), ord("]"): _fresh(list), ord(")"): _pushing(()), 0x8F: _fresh(lambda: Unknown("a set")),
    ord("d"): _Machine._dictionary, ord("l"): lambda machine: machine._new(machine._to_mark()),
    ord("t"): lambda machine: machine._new(tuple(machine._to_mark())),
    0x85: lambda machine: machine._tuple(1), 0x86: lambda machine: machine._tuple(2), 0x87: lambda machine: machine._tuple(3),
    0x90: lambda machine: machine._to_mark() and None, 0x91: lambda machine: machine._to_mark() and machine._new(Unknown("a set")),
    ord("s"): _Machine._set_item, ord("u"): _Machine._set_items, ord("a"): _Machine._append, ord("e"): _Machine._appends,
    ord("h"): _get("B"), ord("j"): _get("I"), ord("q"): _store("B"), ord("r"): _store("I"),
    0x94: lambda machine: machine._put(len(machine._memo)),
}  # fmt: skip


# ------------------------------------------------------------------------------------ which of it is wanted


class StoredModule(NamedTuple):
    """What a module that was stored whole says of itself: its class, and its plain attributes."""

    kind: str
    options: Dict[str, Any]


class Contents(NamedTuple):
    """The tensors by name; and the modules by prefix, where they were stored whole."""

    tensors: Dict[str, np.ndarray]
    modules: Dict[str, StoredModule]


def contents_of(checkpoint: Checkpoint, key: Optional[str]) -> Contents:
    """The state_dict or module in a checkpoint: the one there is, or the one that `key` names ("model_state_dict", "a.b")."""
    found = {path: (entries, modules) for path, entries, modules in _sets(checkpoint.content)}
    # Counters and metrics, beside a model or in dictionaries of their own, are tensors too. A model has a matrix.
    candidates = [path for path, (entries, _) in found.items() if any(len(entry.shape) > 1 for entry in entries.values())]
    candidates = candidates or list(found)
    if key is None:
        if len(candidates) == 1:
            key = candidates[0]
        elif not candidates:
            raise format_error(f"{checkpoint.path} holds {_describe(checkpoint.content)}, and no tensors with names")
        else:
            listed = ", ".join(f"{path!r} ({len(found[path][0])} tensors)" for path in candidates[:20])
            raise argument_error(f"{checkpoint.path} holds several sets of tensors: {listed}. Say which with key=…")
    elif key not in found:
        listed = ", ".join(repr(path) for path in list(found)[:20]) or "none"
        raise argument_error(f"key is {key!r}, but the sets of tensors in {checkpoint.path} are: {listed}")
    entries, modules = found[key]
    return Contents({name: checkpoint.array(tensor, name) for name, tensor in entries.items()}, modules)


def _sets(content: Any) -> Iterator[Tuple[str, Dict[str, StoredTensor], Dict[str, StoredModule]]]:
    """The dictionaries and modules with tensors in them, and where they are. Each is looked at once."""
    seen = set()
    todo = deque([("", content, 0)])
    while todo:
        path, value, depth = todo.popleft()
        if id(value) in seen or depth > 6:
            continue
        seen.add(id(value))
        if isinstance(value, Unknown):
            members, modules = _members(value)
            if members:
                yield path, members, modules
            continue
        if not isinstance(value, dict):
            continue
        entries = {name: entry for name, entry in value.items() if isinstance(entry, StoredTensor) and isinstance(name, str)}
        if entries:
            yield path, entries, {}
        # Integers are keys of an optimizer's state, which is no model.
        todo.extend((f"{path}.{name}" if path else name, inner, depth + 1) for name, inner in value.items() if isinstance(name, str))


def _members(module: Unknown) -> Tuple[Dict[str, StoredTensor], Dict[str, StoredModule]]:
    """The tensors of a pickled or scripted module, under the names that its state_dict would give them, and the modules in it."""
    found: Dict[str, StoredTensor] = {}
    modules: Dict[str, StoredModule] = {}
    seen = set()
    todo: "deque[Tuple[str, Any, int]]" = deque([("", module, 0)])
    while todo:
        path, value, depth = todo.popleft()
        if isinstance(value, StoredTensor):
            found[path] = value
        kind = None
        if isinstance(value, Unknown):
            kind, value = value.name, value.state
        if not isinstance(value, dict) or id(value) in seen or depth > 40:
            continue
        seen.add(id(value))
        plain = "_parameters" in value and "_modules" in value
        if plain and kind is not None:
            options = {name: each for name, each in value.items() if isinstance(name, str) and type(each) in (bool, int, float, str)}
            modules[path] = StoredModule(kind, options)
        for name, inner in value.items():
            if not isinstance(name, str) or (plain and name not in ("_parameters", "_buffers", "_modules")):
                continue
            inside = path if plain else (f"{path}.{name}" if path else name)
            todo.append((inside, inner, depth + 1))
    return found, modules


def _describe(content: Any) -> str:
    if isinstance(content, Unknown) and content.name.startswith("torch._utils._rebuild_"):
        return f"a tensor of a kind that is not read ({content.name.rpartition('_rebuild_')[2]})"
    if isinstance(content, Unknown):
        return f"an object of {content.name or 'an unknown class'}"
    if isinstance(content, StoredTensor):
        return "a single tensor"
    if isinstance(content, (list, tuple)):
        return f"a {type(content).__name__} of {len(content)}"
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    shown = [f"{str(name)[:60]!r}: {_describe(value)}" for name, value in list(content.items())[:3] if not isinstance(value, dict)]
    return f"a dictionary of {len(content)}" + (f" ({', '.join(shown)})" if shown else "")
