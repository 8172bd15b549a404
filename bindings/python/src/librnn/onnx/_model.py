"""An ONNX model as librnn runs it."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from ..errors import RNNError, argument_error, dtype_error, shape_error, unsupported
from ..network import Network
from ._dims import Dim, DimError, Size
from ._file import Graph, TensorType, onnx_package, read_model
from ._recurrent import ONNXRUNTIME, SPECIFICATION
from ._stages import Stages
from ._values import FixedSize, Unfixed


#: Sizes that a graph can turn out to work for only.
_MOST_FIXED = 8


class TensorInfo(NamedTuple):
    """An input or output of the graph, as the file declares it."""

    name: str
    #: NumPy's name of the element type.
    dtype: Optional[str]
    #: Numbers, and names where only a run tells; None if the file does not say.
    shape: Optional[Tuple[Union[int, str], ...]]


class OnnxModel:
    """An ONNX graph on networks of librnn, mostly one. Made by `load`.

    Attributes
    ----------
    inputs, outputs : list of TensorInfo
        What `run` takes and gives. A size that the file has by name is a number where the graph works for that number only: PyTorch's
        newer exporter writes some GRUs so.
    """

    def __init__(
        self, graph: Graph, conventions: str, constants: Dict[str, np.ndarray], outputs: Optional[Sequence[str]]
    ) -> None:
        self._graph = graph
        self._conventions = conventions
        self._constants = constants
        declared = {entry.name: entry for entry in graph.outputs}
        for name in outputs or ():
            if name not in declared:
                raise argument_error(f"outputs has {name!r}, expected some of {', '.join(map(repr, declared))}")
        self._names = list(declared) if outputs is None else list(outputs)
        if not self._names:
            raise argument_error("outputs is empty")
        self.outputs = [_info(declared[name]) for name in self._names]
        #: Inputs that a model has to keep, such as weights, where they were not given as constants.
        self._open: Tuple[str, ...] = ()
        self._unfixed: Optional[Unfixed] = None
        self._plan: Optional[Stages] = None
        self._fixed: Dict[str, np.ndarray] = {}
        try:
            self._plan = self._make({})
        except Unfixed as error:
            self._unfixed = error
            self._open = tuple(sorted(error.names))

    @property
    def inputs(self) -> List[TensorInfo]:
        return [_info(entry) for entry in self._graph.inputs if entry.name not in self._constants]

    def _make(self, fixed: Mapping[str, np.ndarray]) -> Stages:
        first: Optional[FixedSize] = None
        for _ in range(_MOST_FIXED):
            try:
                return Stages(self._graph, self._conventions, {**self._constants, **fixed}, onnx_package(), self._names)
            except FixedSize as error:
                first = first or error
                if not any(Dim.of(error.name) in (entry.shape or ()) for entry in self._graph.inputs):
                    break
                self._graph = self._graph._replace(inputs=[_with_size(entry, error) for entry in self._graph.inputs])
        assert first is not None
        raise RNNError(first.code, first.message)

    @property
    def network(self) -> Network:
        """The network that computes the graph: `librnn.save` makes a file of it that needs neither Python nor ONNX to run.

        Time comes first: x is [T, N, F], whatever the axes of the graph. What of it is which input and output of the graph stands
        in its metadata, under ``onnx.inputs`` and ``onnx.outputs``.

        Raises
        ------
        RNNError
            Weights are inputs of the graph, and were not given to `load` as constants; or the graph is more than one network: see
            `networks`.
        """
        networks = self.networks
        assert self._plan is not None
        if len(self._plan.stages) != 1:
            raise unsupported(
                f"the graph is no single network of librnn, and `run` computes it with {len(networks)}: {self._plan.reason}"
            )
        return networks[0]

    @property
    def networks(self) -> List[Network]:
        """The networks that compute the graph, in the order in which they run.

        There are several where one cannot hold the graph: where a final state is another layer's initial state, where steps are
        among features or rows in the place of time, or where outputs have different steps. What one gives and the next one reads
        stands in their metadata, under ``onnx.outputs`` and ``onnx.inputs``; `run` moves it.
        """
        if self._plan is None:
            raise unsupported(str(self._unfixed))
        return self._plan.networks

    def run(self, feeds: Mapping[str, Any], outputs: Optional[Sequence[str]] = None) -> Dict[str, np.ndarray]:
        """Compute the graph's outputs.

        Parameters
        ----------
        feeds : mapping of str to array_like
            Every input of the graph, of its type and shape.
        outputs : sequence of str, optional
            Only these.

        Returns
        -------
        dict of str to ndarray

        Raises
        ------
        RNNError
            An input is missing, unknown, or of another type or shape; a length is out of range.
        """
        if not isinstance(feeds, Mapping):
            raise argument_error(f"feeds is {type(feeds).__name__}, expected a mapping of names to arrays")
        names = self._names if outputs is None else list(outputs)
        for name in names:
            if name not in self._names:
                raise argument_error(f"outputs has {name!r}, expected some of {', '.join(map(repr, self._names))}")
        declared = {entry.name: entry for entry in self._graph.inputs if entry.name not in self._constants}
        unknown = [str(name) for name in feeds if name not in declared]
        if unknown:
            raise argument_error(f"feeds has {', '.join(unknown)}, expected {', '.join(declared) or 'nothing'}")
        arrays: Dict[str, np.ndarray] = {}
        sizes: Dict[str, int] = {}
        for name, entry in declared.items():
            if name not in feeds:
                raise argument_error(f"the input {name!r} is missing")
            arrays[name] = _array(entry, feeds[name], sizes)
        plan = self._plan_for(arrays)
        try:
            results = plan.run({name: array for name, array in arrays.items() if name not in self._fixed}, sizes)
        except DimError as error:
            raise shape_error(f"with inputs of these shapes: {error}") from None
        return {name: results[name] for name in names}

    def _plan_for(self, arrays: Mapping[str, np.ndarray]) -> Stages:
        """The plan, or one for the weights that come as inputs of this run."""
        if self._plan is not None and all(_same(self._fixed[name], arrays[name]) for name in self._fixed):
            return self._plan
        while True:
            fixed = {name: arrays[name].copy() for name in self._open}
            try:
                plan = self._make(fixed)
            except Unfixed as error:
                new = set(error.names) - set(self._open)
                if not new:
                    raise unsupported(str(error)) from None
                self._open = tuple(sorted(set(self._open) | new))
                continue
            self._plan, self._fixed = plan, fixed
            return plan

    def __repr__(self) -> str:
        def listed(infos: List[TensorInfo]) -> str:
            return ", ".join(f"{info.name} {_shape_text(info.shape)}" for info in infos)

        return f"<OnnxModel {listed(self.inputs)} -> {listed(self.outputs)}, opset {self._graph.opset}>"


def _same(left: np.ndarray, right: np.ndarray) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


def _shape_text(shape: Optional[Tuple[Union[int, str], ...]]) -> str:
    return "" if shape is None else "[" + ", ".join(map(str, shape)) + "]"


def _info(entry: TensorType) -> TensorInfo:
    return TensorInfo(
        entry.name,
        None if entry.dtype is None else entry.dtype.name,
        None if entry.shape is None else tuple(size if isinstance(size, int) else repr(size) for size in entry.shape),
    )


def _array(entry: TensorType, value: Any, sizes: Dict[str, int]) -> np.ndarray:
    """A checked input; the names of sizes that it tells go to `sizes`."""
    array = value if isinstance(value, np.ndarray) else np.asarray(value, entry.dtype)
    if entry.dtype is not None and array.dtype != entry.dtype:
        raise dtype_error(f"the input {entry.name!r} is {array.dtype}, expected {entry.dtype}")
    if entry.shape is not None:
        good = array.ndim == len(entry.shape)
        if good:
            for size, actual in zip(entry.shape, array.shape):
                if isinstance(size, int):
                    good = good and size == actual
                    continue
                name = _symbol(size)
                if sizes.setdefault(name, actual) != actual:
                    raise shape_error(
                        f"the input {entry.name!r} has the shape {array.shape}; {name} is {sizes[name]} in another place"
                    )
        if not good:
            shape = ", ".join(str(size) for size in entry.shape)
            raise shape_error(f"the input {entry.name!r} has the shape {array.shape}, expected ({shape})")
    return array


def _with_size(entry: TensorType, fixed: FixedSize) -> TensorType:
    if entry.shape is None:
        return entry
    return entry._replace(shape=tuple(fixed.size if size == Dim.of(fixed.name) else size for size in entry.shape))


def _symbol(size: Size) -> str:
    assert isinstance(size, Dim)
    name = size.only_name()
    assert name is not None
    return name


def load(
    model: Any,
    *,
    conventions: str = ONNXRUNTIME,
    constants: Optional[Mapping[str, Any]] = None,
    outputs: Optional[Sequence[str]] = None,
    directory: Optional[str] = None,
) -> OnnxModel:
    """Read an ONNX model.

    The graph becomes one network of librnn, or several that run one after the other. What they cannot express exactly is an error that
    names the node; docs/import.md lists what can be read. Nothing of the file is executed.

    Parameters
    ----------
    model : str, path-like, bytes or onnx.ModelProto
        A path, the file's contents, or a model of the `onnx` package.
    conventions : {"onnxruntime", "specification"}
        Who decides where the specification is open, or where onnxruntime does something else:

        ============================================  =====================  =============================
        case                                          onnxruntime            specification
        ============================================  =====================  =============================
        ``clip`` of an LSTM at h(C)                   not applied            applied
        final state of a row of length 0              0                      the initial state
        more alphas or betas than functions for them  taken in order         error
        ``Affine``, ``ScaledTanh`` without numbers    0                      error
        ``ThresholdedRelu`` without alpha             0                      1
        ============================================  =====================  =============================
    constants : mapping of str to array_like, optional
        Values of inputs that are the same in every run, such as weights that the file has as inputs.
    outputs : sequence of str, optional
        Only these outputs of the graph; by default all.
    directory : str, optional
        Where external data is, for a model that does not come by path.

    Returns
    -------
    OnnxModel

    Raises
    ------
    RNNError
        The package `onnx` is missing; the file is damaged, lies about itself, or has something that librnn does not compute.
    """
    if conventions not in (ONNXRUNTIME, SPECIFICATION):
        raise argument_error(f"conventions is {conventions!r}, expected {ONNXRUNTIME!r} or {SPECIFICATION!r}")
    graph = read_model(model, directory)
    declared = {entry.name: entry for entry in graph.inputs}
    fixed: Dict[str, np.ndarray] = {}
    for name, value in (constants or {}).items():
        if name not in declared:
            raise argument_error(f"constants has {name!r}, expected some of {', '.join(map(repr, declared)) or 'nothing'}")
        fixed[name] = np.array(_array(declared[name], value, {}))
    return OnnxModel(graph, conventions, fixed, outputs)
