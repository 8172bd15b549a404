"""Networks of any shape, node by node."""

from __future__ import annotations

from ctypes import byref, c_char_p
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple, Union

from . import _abi
from ._arrays import float_dtype, positive, real, unsigned
from ._builder import Builder, fresh_seed
from .activations import Activation, as_activation
from .errors import RNNError, argument_error, dtype_error, shape_error
from .layers import CELLS, RecurrentLayer, add_recurrent
from .network import Network

#: Keywords of a layer that belong to the network here.
_NOT_OF_A_NODE = ("input_size", "batch_first", "dtype", "init", "forget_bias", "seed")


class NetworkBuilder:
    """Builds a `Network` from named nodes: several inputs, residual sums, any graph without a cycle.

    Each method adds a node and returns its name, for the nodes that read it. A name has 1 to 128 characters of
    ``[A-Za-z0-9_.-]``. A node reads nodes that were added before it. The node added last is the output.

    >>> import librnn, numpy as np
    >>> b = librnn.NetworkBuilder()
    >>> x = b.input("x", 8)
    >>> h = b.recurrent("gru", x, ("gru", {"hidden_size": 8}))
    >>> y = b.sum("residual", [x, h])
    >>> network = b.build(seed=1)
    >>> network.run(np.zeros((5, 3, 8)))[0].shape
    (5, 3, 8)

    Parameters
    ----------
    dtype : {"float32", "float64"}

    Raises
    ------
    RNNError
        In every method: a bad or repeated name, a source that is not there, sizes that do not fit. The builder is then as
        before.
    """

    def __init__(self, dtype: Any = "float32") -> None:
        self.dtype = float_dtype(dtype)
        self._builder = Builder(self.dtype)
        #: Features of every node; 0 for tokens.
        self._widths: Dict[str, int] = {}

    # ---------------------------------------------------------------- inputs

    def input(self, name: str, size: int) -> str:
        """`size` features of the caller. Several inputs stand side by side in x, in the order in which they are added."""
        size = positive(size, "size")
        return self._add("input", name, size, size)

    def tokens(self, name: str) -> str:
        """An index per row and step, for `embedding` and `one_hot`."""
        return self._add("token_input", name, 0)

    def embedding(self, name: str, source: str, vocabulary: int, size: int) -> str:
        """A row of a table for each token: weight [vocabulary, size]."""
        size = positive(size, "size")
        return self._add("embedding", name, size, self._one(source), positive(vocabulary, "vocabulary"), size)

    def one_hot(self, name: str, source: str, size: int) -> str:
        """1 at the token, 0 elsewhere."""
        size = positive(size, "size")
        return self._add("one_hot", name, size, self._one(source), size)

    # ---------------------------------------------------------------- layers

    def recurrent(
        self, name: str, source: str, layer: Union[RecurrentLayer, Tuple[str, Mapping[str, Any]]]
    ) -> str:
        """A stack of recurrent layers.

        Parameters
        ----------
        layer : RNN, GRU, LSTM, or a pair (kind, keywords)
            A layer as it is configured; its weights are **not** taken, give them to `build`
            (``{f"{name}.{key}": value for key, value in layer.state_dict().items()}``). Or ``"rnn"``, ``"gru"`` or ``"lstm"``
            and the keywords of its constructor but for input_size, dtype, batch_first, init, forget_bias and seed.
        """
        width = self._width(source)
        if not isinstance(layer, RecurrentLayer):
            layer = self._layer(name, layer, width)
        if layer.dtype != self.dtype:
            raise dtype_error(f"node {name!r}: the layer is {layer.dtype}, and the network {self.dtype}")
        if layer.batch_first:
            raise argument_error(f"node {name!r}: the layer has batch_first, and a Network reads x as [T, N, ..]")
        if layer.input_size != width and width:
            raise shape_error(f"node {name!r} reads {layer.input_size} features, and {source!r} gives {width}")
        self._name(name)
        add_recurrent(self._builder, name, layer.cell, layer._node(), self._one(source))
        self._widths[name] = layer.output_size
        return name

    def _layer(self, name: str, layer: Any, width: int) -> RecurrentLayer:
        """The layer that a pair (kind, keywords) describes."""
        if not isinstance(layer, (tuple, list)) or len(layer) != 2 or not isinstance(layer[1], Mapping):
            raise argument_error(f"node {name!r}: layer is {layer!r}, expected RNN, GRU, LSTM or a pair (kind, keywords)")
        kind, keywords = layer
        if not isinstance(kind, str) or kind not in CELLS:
            raise argument_error(f"node {name!r}: kind is {kind!r}, expected one of {', '.join(map(repr, CELLS))}")
        refused = [key for key in keywords if key in _NOT_OF_A_NODE]
        if refused:
            raise argument_error(f"node {name!r}: {', '.join(refused)} is not for a node: the network has it")
        try:
            return CELLS[kind](max(width, 1), dtype=self.dtype, init="zeros", seed=0, **keywords)
        except TypeError as error:
            # Of a keyword that there is not, or hidden_size missing.
            raise argument_error(f"node {name!r}: {error}") from None

    def linear(self, name: str, source: str, output_size: int, bias: bool = True) -> str:
        """Y = X weightᵀ + bias: weight [output_size, F], bias [output_size]."""
        output_size = positive(output_size, "output_size")
        return self._add("linear", name, output_size, self._one(source), output_size, int(bool(bias)))

    def layer_norm(self, name: str, source: str, eps: float = 1e-5) -> str:
        """Layer normalisation over the features of a step: weight [F], bias [F]."""
        return self._like("layer_norm", name, source, real(eps, "eps"))

    def scale_shift(self, name: str, source: str, bias: bool = True) -> str:
        """Y = X ⊙ weight + bias: weight [F], bias [F]."""
        return self._like("scale_shift", name, source, int(bool(bias)))

    # ------------------------------------------------------- without weights

    def activation(self, name: str, source: str, activation: Union[str, Activation]) -> str:
        """An element-wise function, by its name or as an `Activation`."""
        function = as_activation(activation, "activation")
        return self._like("activation", name, source, function.code, function.alpha, function.beta)

    def softmax(self, name: str, source: str, log: bool = False) -> str:
        """Softmax over the features of a step, or its logarithm."""
        return self._like("softmax", name, source, int(bool(log)))

    def dropout(self, name: str, source: str, p: float = 0.5) -> str:
        """In training each element is 0 with probability p, and divided by 1 - p otherwise."""
        return self._like("dropout", name, source, real(p, "p"))

    def last_step(self, name: str, source: str) -> str:
        """The last step of each row: [T, N, F] to [N, F]."""
        return self._like("last_step", name, source)

    def first_step(self, name: str, source: str) -> str:
        """The first step of each row: [T, N, F] to [N, F]; where a backward direction ends."""
        return self._like("first_step", name, source)

    def reverse(self, name: str, source: str) -> str:
        """The steps of each row in the opposite order."""
        return self._like("reverse", name, source)

    def slice(self, name: str, source: str, begin: int, end: int) -> str:
        """The features begin to end - 1."""
        begin, end = unsigned(begin, "begin"), unsigned(end, "end")
        return self._add("slice", name, end - begin, self._one(source), begin, end)

    def concat(self, name: str, sources: Iterable[str]) -> str:
        """The features of two or more nodes side by side."""
        names = self._several(sources)
        return self._add("concat", name, sum(map(self._width, names)), *self._array(names))

    def sum(self, name: str, sources: Iterable[str]) -> str:
        """The sum of two or more nodes of one size."""
        names = self._several(sources)
        return self._add("sum", name, self._width(names[0]), *self._array(names))

    def product(self, name: str, sources: Iterable[str]) -> str:
        """The product of two or more nodes of one size, element by element."""
        names = self._several(sources)
        return self._add("product", name, self._width(names[0]), *self._array(names))

    # ----------------------------------------------------------------- build

    def build(
        self,
        parameters: Optional[Mapping[str, Any]] = None,
        *,
        seed: Optional[int] = None,
        init: str = "pytorch",
        metadata: Optional[Mapping[str, str]] = None,
    ) -> Network:
        """Make a network of the nodes so far. The builder stays usable.

        Parameters
        ----------
        parameters : mapping of str to array_like, optional
            Every parameter by its name, ``NODE.PARAMETER``, with its shape, as for `load_state_dict`. None: initial weights.
        seed : int, optional
            Of the initial weights and the dropout masks; by default a fresh one.
        init : {"pytorch", "normal", "orthogonal", "zeros"}
            The initial weights where there are no parameters.
        metadata : mapping of str to str, optional
            Saved with the network.

        Raises
        ------
        RNNError
            A parameter is missing, too many, or of another shape; a node that nothing reads; no node but inputs.
        """
        seed = fresh_seed(seed)
        network = Network.__new__(Network)
        network._adopt(self._builder.build(init if parameters is None else "zeros", seed, 0.0), seed)
        if parameters is not None:
            if not isinstance(parameters, Mapping):
                raise argument_error(f"parameters is {type(parameters).__name__}, expected a mapping of names to arrays")
            network.load_state_dict(parameters)
        for key, value in (metadata or {}).items():
            network.metadata[key] = value
        return network

    # ------------------------------------------------------------------ nodes

    def _name(self, name: Any) -> str:
        # An embedded NUL would end the name in C.
        if not isinstance(name, str) or "\0" in name:
            raise argument_error(f"the name of a node is {name!r}, expected 1 to 128 characters of [A-Za-z0-9_.-]")
        return name

    def _add(self, kind: str, name: str, width: int, *arguments: Any) -> str:
        self._builder.add(kind, self._name(name), *arguments)
        self._widths[name] = width
        return name

    def _like(self, kind: str, name: str, source: str, *arguments: Any) -> str:
        """A node with as many features as it reads."""
        return self._add(kind, name, self._width(source), self._one(source), *arguments)

    def _width(self, source: Any) -> int:
        if not isinstance(source, str):
            raise argument_error(f"source is {source!r}, expected the name of a node")
        if source not in self._widths:
            known = ", ".join(map(repr, self._widths)) or "none yet"
            raise RNNError(_abi.RNN_ERROR_NOT_FOUND, f"source is {source!r}, expected a node that was added before: {known}")
        return self._widths[source]

    def _one(self, source: Any) -> bytes:
        self._width(source)
        return str(source).encode()

    def _several(self, sources: Any) -> List[str]:
        if isinstance(sources, str) or not isinstance(sources, Iterable):
            raise argument_error(f"sources is {sources!r}, expected the names of two or more nodes")
        names = list(sources)
        if len(names) < 2:
            raise argument_error(f"sources has {len(names)} names, expected two or more")
        for name in names:
            self._width(name)
        return names

    @staticmethod
    def _array(names: List[str]) -> Tuple[Any, int]:
        """`inputs` and `input_count` of the C interface."""
        return byref((c_char_p * len(names))(*(name.encode() for name in names))), len(names)

    def __repr__(self) -> str:
        return f"<NetworkBuilder of {self.dtype}: {', '.join(self._widths) or 'no nodes'}>"
