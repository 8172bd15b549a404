"""An ONNX file as plain Python values: nodes, attributes, arrays. Trusts no size and no path that it reads.

The `onnx` package parses the protocol buffer; nothing of a model is executed, and no file but external data inside the model's
own folder is opened.
"""

from __future__ import annotations

import os
import stat
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from .. import _abi
from ..errors import RNNError, argument_error, unsupported
from ._dims import Dim, Size

#: ONNX's operator sets that are read.
OLDEST_OPSET = 7
#: The key under which a Cast's target stands among its attributes, as NumPy's type.
CAST_TYPE = "numpy.dtype"
#: A protocol buffer cannot be larger.
_LARGEST_FILE = 2**31 - 1
_LARGEST_RANK = 64


def onnx_package() -> Any:
    """The PyPI package `onnx`, or an error that tells how to get it."""
    try:
        import onnx
    except ImportError as error:
        raise unsupported(
            f"reading and writing ONNX files needs the package onnx (pip install librnn[onnx]): {error}"
        ) from None
    return onnx


def format_error(message: str) -> RNNError:
    return RNNError(_abi.RNN_ERROR_FORMAT, message)


class Node(NamedTuple):
    """One operator of a graph."""

    index: int
    op: str
    domain: str
    name: str
    inputs: List[str]
    outputs: List[str]
    attributes: Dict[str, Any]

    def __str__(self) -> str:
        op = self.op if not self.domain else f"{self.domain}.{self.op}"
        return f"node {self.index} ({op} {self.name!r})" if self.name else f"node {self.index} ({op})"


class TensorType(NamedTuple):
    """The declared type of an input or output."""

    name: str
    dtype: Optional[np.dtype]
    shape: Optional[Tuple[Size, ...]]
    #: What the file calls the type, where NumPy has no name for it.
    kind: str


class Graph(NamedTuple):
    inputs: List[TensorType]
    outputs: List[TensorType]
    nodes: List[Node]
    constants: Dict[str, np.ndarray]
    #: Constants whose type librnn has no use for, and why.
    unread: Dict[str, str]
    opset: int
    producer: str
    #: Bytes of all constants, from which the limit of folding is made.
    bytes: int


class Body(NamedTuple):
    """The graph in the attribute of a Loop."""

    inputs: List[str]
    outputs: List[str]
    nodes: List["Node"]
    constants: Dict[str, np.ndarray]


class OtherGraph(NamedTuple):
    """An attribute that holds a graph, whose operators are not looked at."""

    name: str


def read_model(source: Any, directory: Optional[str]) -> Graph:
    """A path, bytes or a ModelProto as a `Graph`."""
    onnx = onnx_package()
    if isinstance(source, onnx.ModelProto):
        model = source
    else:
        if isinstance(source, (bytes, bytearray, memoryview)):
            data = bytes(source)
        else:
            path = _path(source)
            data = _read(path)
            if directory is None:
                directory = os.path.dirname(os.path.abspath(path))
        model = onnx.ModelProto()
        try:
            model.ParseFromString(data)
        except Exception as error:  # the parser's own DecodeError has no stable place
            raise format_error(f"this is not an ONNX model: {type(error).__name__}: {str(error)[:200]}") from None
    return _Reader(onnx, model, directory).graph()


def _path(source: Any) -> str:
    try:
        path = os.fsdecode(source)
    except TypeError:
        raise argument_error(
            f"the model is {type(source).__name__}, expected a path, bytes, or an onnx.ModelProto"
        ) from None
    if "\0" in path:
        raise argument_error("the path contains a NUL character")
    return path


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RNNError(_abi.RNN_ERROR_IO, f"{path!r} is not a file")
            if size > _LARGEST_FILE:
                raise format_error(f"{path!r} has {size} bytes; an ONNX file has at most {_LARGEST_FILE}")
            return file.read(size)
    except OSError as error:
        raise RNNError(_abi.RNN_ERROR_IO, f"cannot read {path!r}: {error.strerror or error}") from None


class _Reader:
    def __init__(self, onnx: Any, model: Any, directory: Optional[str]) -> None:
        self.onnx = onnx
        self.model = model
        self.directory = directory
        self.bytes = 0
        #: In the body of a loop.
        self.inside = False

    def graph(self) -> Graph:
        model, graph = self.model, self.model.graph
        if not graph.node and not graph.input and not graph.output:
            raise format_error("this is not an ONNX model, or one without a graph")
        opset = self._opset()
        if graph.sparse_initializer:
            raise unsupported(f"the initializer {graph.sparse_initializer[0].values.name!r} is a sparse tensor")
        constants: Dict[str, np.ndarray] = {}
        unread: Dict[str, str] = {}
        for tensor in graph.initializer:
            name = _text(tensor.name, "the name of an initializer")
            if not name or name in constants or name in unread:
                raise format_error(f"the initializer {name!r} is there twice" if name else "an initializer has no name")
            array, reason = self.tensor(tensor, f"the initializer {name!r}")
            if array is None:
                unread[name] = reason
            else:
                constants[name] = array
        inputs = [self._type(value) for value in graph.input if value.name not in constants and value.name not in unread]
        outputs = [self._type(value) for value in graph.output]
        for kind, types in (("input", inputs), ("output", outputs)):
            names = [entry.name for entry in types]
            for name in names:
                if not name or names.count(name) > 1:
                    raise format_error(f"the {kind} {name!r} is there twice" if name else f"an {kind} has no name")
        if not outputs:
            raise format_error("the graph has no output")
        nodes = [self._node(index, node) for index, node in enumerate(graph.node)]
        producer = " ".join(
            _text(part, "the name of the producer") for part in (model.producer_name, model.producer_version) if part
        )
        return Graph(inputs, outputs, nodes, constants, unread, opset, producer, self.bytes)

    def _opset(self) -> int:
        versions = [entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")]
        if not versions:
            if self.model.ir_version < 3:
                raise unsupported(f"an ONNX file of IR version {self.model.ir_version}, expected 3 or later")
            raise format_error("the model does not tell its opset")
        opset = int(versions[0])
        if len(set(versions)) > 1:
            raise format_error(f"the model tells several opsets: {', '.join(map(str, versions))}")
        known = self.onnx.defs.onnx_opset_version()
        if opset < OLDEST_OPSET:
            raise unsupported(f"the model's opset is {opset}, expected {OLDEST_OPSET} or later")
        if opset > known:
            raise unsupported(f"the model's opset is {opset}; the installed package onnx knows those up to {known}")
        return opset

    def _type(self, value: Any) -> TensorType:
        name = _text(value.name, "the name of an input or output")
        which = value.type.WhichOneof("value")
        if which != "tensor_type":
            return TensorType(name, None, None, f"a {which or 'value without a type'}")
        tensor = value.type.tensor_type
        dtype, kind = self._dtype(tensor.elem_type)
        if not tensor.HasField("shape"):
            return TensorType(name, dtype, None, kind)
        if len(tensor.shape.dim) > _LARGEST_RANK:
            raise format_error(f"{name!r} has {len(tensor.shape.dim)} axes, expected at most {_LARGEST_RANK}")
        sizes: List[Size] = []
        for axis, dim in enumerate(tensor.shape.dim):
            if dim.WhichOneof("value") == "dim_value":
                if dim.dim_value < 0:
                    raise format_error(f"axis {axis} of {name!r} has the size {dim.dim_value}")
                sizes.append(int(dim.dim_value))
            else:
                sizes.append(Dim.of(_text(dim.dim_param, "the name of a size") or f"{name}[{axis}]"))
        return TensorType(name, dtype, tuple(sizes), kind)

    def _dtype(self, number: int) -> Tuple[Optional[np.dtype], str]:
        kinds = self.onnx.TensorProto
        known = {
            kinds.FLOAT: np.float32, kinds.DOUBLE: np.float64, kinds.INT64: np.int64, kinds.INT32: np.int32,
            kinds.INT16: np.int16, kinds.INT8: np.int8, kinds.UINT64: np.uint64, kinds.UINT32: np.uint32,
            kinds.UINT16: np.uint16, kinds.UINT8: np.uint8, kinds.BOOL: np.bool_,
        }  # fmt: skip
        try:
            kind = kinds.DataType.Name(number).lower()
        except ValueError:
            kind = f"type {number}"
        return (np.dtype(known[number]) if number in known else None), kind

    def dtype(self, number: int, what: str) -> np.dtype:
        """NumPy's type of an ONNX element type."""
        dtype, kind = self._dtype(number)
        if dtype is None:
            raise unsupported(f"{what} is of type {kind}; librnn reads float, double, integers and bool")
        return dtype

    def _node(self, index: int, proto: Any) -> Node:
        domain = "" if proto.domain == "ai.onnx" else _text(proto.domain, "the domain of a node")
        node = Node(
            index, _text(proto.op_type, "the operator of a node"), domain, _text(proto.name, "the name of a node"),
            [_text(name, "an input of a node") for name in proto.input],
            [_text(name, "an output of a node") for name in proto.output], {},
        )  # fmt: skip
        for attribute in proto.attribute:
            name = _text(attribute.name, f"an attribute of {node}")
            if name in node.attributes:
                raise format_error(f"{node}: the attribute {name!r} is there twice")
            what = f"{node}: the attribute {name!r}"
            if node.op == "Loop" and name == "body" and attribute.HasField("g") and not self.inside:
                node.attributes[name] = self._body(attribute.g, what)
            else:
                node.attributes[name] = self._attribute(attribute, what)
        if node.op == "Cast" and isinstance(node.attributes.get("to"), int):
            dtype, kind = self._dtype(node.attributes["to"])
            node.attributes[CAST_TYPE] = Unread(f"it gives the type {kind}") if dtype is None else dtype
        return node

    def _body(self, graph: Any, what: str) -> Any:
        """A graph in an attribute; its nodes' graphs are not looked at."""
        self.inside = True
        try:
            nodes = [self._node(index, node) for index, node in enumerate(graph.node)]
        finally:
            self.inside = False
        constants: Dict[str, np.ndarray] = {}
        for tensor in graph.initializer:
            name = _text(tensor.name, f"{what}: the name of an initializer")
            array, reason = self.tensor(tensor, f"{what}: the initializer {name!r}")
            if array is None or name in constants:
                return Unread(reason or f"{what}: the initializer {name!r} is there twice")
            constants[name] = array
        names = [[_text(value.name, f"{what}: a name") for value in values] for values in (graph.input, graph.output)]
        if any(len(set(part)) != len(part) for part in names[:1]):
            return Unread(f"{what}: two inputs of one name")
        return Body(names[0], names[1], nodes, constants)

    def _attribute(self, attribute: Any, what: str) -> Any:
        kinds = self.onnx.AttributeProto
        if attribute.ref_attr_name:
            raise format_error(f"{what} refers to one of a function, outside of any")
        kind = attribute.type
        if kind == kinds.INT:
            return int(attribute.i)
        if kind == kinds.FLOAT:
            return float(attribute.f)
        if kind == kinds.STRING:
            return _decode(attribute.s, what)
        if kind == kinds.INTS:
            return [int(value) for value in attribute.ints]
        if kind == kinds.FLOATS:
            return [float(value) for value in attribute.floats]
        if kind == kinds.STRINGS:
            return [_decode(value, what) for value in attribute.strings]
        if kind == kinds.TENSOR:
            array, reason = self.tensor(attribute.t, what)
            return Unread(reason) if array is None else array
        if kind in (kinds.GRAPH, kinds.GRAPHS):
            return OtherGraph(attribute.name)
        return Unread(f"{what} has a type that librnn does not read")

    def tensor(self, tensor: Any, what: str) -> Tuple[Optional[np.ndarray], str]:
        """The array of a TensorProto; or None and the reason, for a type that only its user may complain about."""
        dtype, kind = self._dtype(tensor.data_type)
        if dtype is None:
            return None, f"{what} is of type {kind}; librnn reads float, double, integers and bool"
        if len(tensor.dims) > _LARGEST_RANK:
            raise format_error(f"{what} has {len(tensor.dims)} axes, expected at most {_LARGEST_RANK}")
        count = 1
        for size in tensor.dims:
            if size < 0:
                raise format_error(f"{what} has the shape {list(tensor.dims)}")
            count *= int(size)
        shape = tuple(int(size) for size in tensor.dims)
        expected = count * dtype.itemsize
        if tensor.HasField("segment"):
            raise unsupported(f"{what} is stored in segments")
        if tensor.data_location == self.onnx.TensorProto.EXTERNAL:
            data = self._external(tensor, expected, what)
        elif tensor.HasField("raw_data"):
            data = tensor.raw_data
        else:
            return self._typed(tensor, dtype, count, shape, what), ""
        if len(data) != expected:
            raise format_error(f"{what} has {len(data)} bytes, expected {expected} for the shape {list(shape)}")
        self.bytes += expected
        array = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False)
        return self._finished(array, shape, what), ""

    def _typed(self, tensor: Any, dtype: np.dtype, count: int, shape: Tuple[int, ...], what: str) -> np.ndarray:
        field = {"float32": "float_data", "float64": "double_data", "int64": "int64_data"}.get(dtype.name)
        if field is None:
            field = "uint64_data" if dtype.name in ("uint32", "uint64") else "int32_data"
        values = getattr(tensor, field)
        if len(values) != count:
            raise format_error(f"{what} has {len(values)} values, expected {count} for the shape {list(shape)}")
        self.bytes += count * dtype.itemsize
        return self._finished(np.array(values).astype(dtype), shape, what)

    def _finished(self, array: np.ndarray, shape: Tuple[int, ...], what: str) -> np.ndarray:
        try:
            array = array.reshape(shape)
        except ValueError as error:  # a size of 0 beside huge ones
            raise format_error(f"{what} has the shape {list(shape)}: {error}") from None
        array.flags.writeable = False
        return array

    def _external(self, tensor: Any, expected: int, what: str) -> bytes:
        """The bytes of a tensor in another file of the model's folder."""
        entries: Dict[str, str] = {}
        for entry in tensor.external_data:
            if entry.key in entries:
                raise format_error(f"{what}: the key {entry.key!r} of its external data is there twice")
            entries[entry.key] = entry.value
        location = entries.get("location", "")
        if self.directory is None:
            raise argument_error(f"{what} is in the file {location!r}: give the folder as directory=…, or load by path")
        parts = location.replace("\\", "/").split("/")
        if not location or "\0" in location or location.startswith(("/", "\\")) or ":" in parts[0] or ".." in parts:
            raise format_error(f"{what} is in {location!r}, which is not a file inside the model's folder")
        root = os.path.realpath(self.directory)
        path = os.path.realpath(os.path.join(root, *parts))
        if os.path.commonpath([root, path]) != root:
            raise format_error(f"{what} is in {location!r}, a link that leads out of the model's folder")
        offset, length = (_number(entries.get(key), f"{what}: the {key}") for key in ("offset", "length"))
        try:
            # Without O_NONBLOCK opening a pipe would wait for a writer.
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise format_error(f"{what} is in {location!r}, which is not a file")
                begin = offset or 0
                available = status.st_size - begin
                size = available if length is None else length
                if size != expected or available < size:
                    raise format_error(
                        f"{what} has {max(0, min(size, available))} bytes in {location!r}, expected {expected}"
                    )
                file.seek(begin)
                return file.read(size)
        except OSError as error:
            raise RNNError(_abi.RNN_ERROR_IO, f"{what} is in {location!r}: {error.strerror or error}") from None


class Unread(NamedTuple):
    """An attribute that librnn cannot read, and why."""

    reason: str


def _text(value: Any, what: str) -> str:
    if isinstance(value, bytes):  # what the parser gives for a string that is not UTF-8
        return _decode(value, what)
    text = str(value)
    if "\0" in text:
        raise format_error(f"{what} contains a NUL character")
    return text


def _decode(value: bytes, what: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise format_error(f"{what} is not UTF-8") from None


def _number(text: Optional[str], what: str) -> Optional[int]:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise format_error(f"{what} is {text[:40]!r}, expected a number")
    return int(text)


def attribute(node: Node, name: str, kind: Any, default: Any = None) -> Any:
    """An attribute of a node, of a type that is checked, ``[int]`` for a list of them; `default` if it is absent."""
    if name not in node.attributes:
        return default
    value = node.attributes[name]
    if isinstance(value, Unread):
        raise unsupported(f"{node}: {value.reason}")
    if isinstance(kind, list):
        good = isinstance(value, list) and all(isinstance(entry, kind[0]) for entry in value)
        expected = f"a list of {kind[0].__name__}"
    else:
        good = isinstance(value, kind)
        expected = kind.__name__
    if not good:
        raise format_error(f"{node}: the attribute {name!r} is {str(value)[:100]}, expected {expected}")
    return value


def cast_type(node: Node) -> np.dtype:
    """What a Cast gives."""
    target = attribute(node, CAST_TYPE, np.dtype)
    if target is None:
        raise format_error(f"{node}: the attribute 'to' is missing, or no type")
    return target


def allow_attributes(node: Node, *names: str) -> None:
    """Refuse attributes that nobody here reads: ignoring one could change the numbers."""
    for name in node.attributes:
        if name not in names:
            raise unsupported(f"{node}: the attribute {name!r} is not one that librnn knows")


