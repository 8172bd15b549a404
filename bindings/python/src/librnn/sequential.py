"""A chain of modules as one network."""

from __future__ import annotations

import itertools
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ._arrays import float_dtype
from ._builder import Builder, fresh_seed
from ._handle import Handle
from ._network import SequenceModel, nested_state, state_leaves
from ._options import output_width
from .activations import Activation, as_activation
from .errors import argument_error, dtype_error, shape_error
from .layers import CELLS, RecurrentLayer, add_recurrent, show_layer
from .modules import Module, WeightedModule, add_module, input_width, module_width, show_module

#: A module's kind and its constructor's arguments.
Spec = Tuple[str, Dict[str, Any]]


class Sequential(SequenceModel):
    """Modules one after the other: mixed cells and sizes in one network.

    Parameters
    ----------
    modules : sequence of modules
        Embedding, OneHot, RNN, GRU, LSTM, Dropout, Linear, LastStep, Activation, Softmax, LayerNorm, ScaleShift, Slice, Reverse,
        FirstStep.
        The weights that they have now are **copied**: later changes of the given objects do not reach the model, nor the
        model's changes the objects. Parameters are named by position, such as ``"0.weight_ih_l0"``.
    batch_first : bool, optional
        By default True if the given layers were made so.
    dtype : {"float32", "float64"}, optional
        By default that of the modules, which must agree.
    seed : int, optional
        Of the dropout masks; by default a fresh one.
    """

    def __init__(
        self,
        modules: Sequence[Any],
        *,
        batch_first: Optional[bool] = None,
        dtype: Any = None,
        seed: Optional[int] = None,
    ) -> None:
        modules = list(modules)
        for index, module in enumerate(modules):
            if not isinstance(module, (Module, Activation, WeightedModule, RecurrentLayer)):
                raise argument_error(
                    f"module {index} is {type(module).__name__}, expected Embedding, OneHot, RNN, GRU, LSTM, Dropout, Linear, "
                    "LastStep, Activation, Softmax, LayerNorm, ScaleShift, Slice, Reverse or FirstStep"
                )
        layers = [module for module in modules if isinstance(module, RecurrentLayer)]
        if batch_first is None:
            orders = {layer.batch_first for layer in layers}
            if len(orders) > 1:
                raise argument_error("some layers have batch_first and some not: give Sequential(…, batch_first=…)")
            batch_first = orders.pop() if orders else False
        weighted = [module for module in modules if not isinstance(module, (Module, Activation))]
        if dtype is None:
            dtypes = {module.dtype.name for module in weighted}
            if len(dtypes) > 1:
                raise dtype_error("some modules are float32 and some float64: give Sequential(…, dtype=…)")
            dtype = dtypes.pop() if dtypes else "float32"
        specs: List[Spec] = []
        state: Dict[str, np.ndarray] = {}
        for index, module in enumerate(modules):
            specs.append((module.cell if isinstance(module, RecurrentLayer) else module._kind, module._node()))
            if not isinstance(module, (Module, Activation)):
                state.update({f"{index}.{name}": value for name, value in module.state_dict().items()})
        self._create(specs, bool(batch_first), float_dtype(dtype), fresh_seed(seed), state)

    def _create(
        self, specs: List[Spec], batch_first: bool, dtype: np.dtype, seed: int, state: Dict[str, np.ndarray]
    ) -> None:
        if not specs:
            raise argument_error("Sequential needs at least one module")
        builder = Builder(dtype)
        width: Optional[int] = None
        for index, (kind, node) in enumerate(specs):
            first = width is None
            reads = input_width(kind, node)
            if first and kind not in ("embedding", "one_hot") and reads is None:
                # Dropout before anything that has a size: look ahead for it, as far as the size stays the same.
                same = itertools.takewhile(lambda spec: spec[0] != "slice", specs)
                ahead = [later for later in (input_width(*spec) for spec in same) if later is not None]
                if not ahead:
                    raise argument_error(f"module {index} does not tell the size of x: begin with one that has a size")
                builder.add("input", "input", ahead[0])
                width, first = ahead[0], False
            if not first and reads is not None and width != reads:
                raise shape_error(
                    f"module {index} reads {reads} features, and the one before it gives {width}"
                )
            if kind in CELLS:
                if first:
                    builder.add("input", "input", node["input_size"])
                add_recurrent(builder, str(index), kind, node)
                width = output_width(node)
            else:
                add_module(builder, str(index), kind, node, first)
                width = module_width(kind, node, width)
        self._specs = specs
        self._adopt(builder.build("zeros", 0, 0.0), seed, batch_first)
        self._set_parameters(self._gather(state))
        self._group()

    @classmethod
    def _from_network(cls, network: Handle, specs: List[Spec]) -> "Sequential":
        """A chain on a network that exists."""
        model = cls.__new__(cls)
        model._specs = specs
        model._adopt(network, fresh_seed(None))
        model._group()
        return model

    def _group(self) -> None:
        """Of each recurrent module: whether it has c beside h, and whether its directions differ in size."""
        names = {info.name for info in self._states}
        self._groups = [
            (kind == "lstm", f"{index}.h_reverse" in names) for index, (kind, _) in enumerate(self._specs) if kind in CELLS
        ]

    def _nest(self, leaves: Sequence[np.ndarray]) -> List[Any]:
        state: List[Any] = []
        begin = 0
        for has_cell, split in self._groups:
            end = begin + (1 + has_cell) * (1 + split)
            state.append(nested_state(leaves[begin:end], has_cell))
            begin = end
        return state

    def _leaves(self, state: Any, name: str) -> Sequence[Any]:
        if not isinstance(state, (list, tuple)) or len(state) != len(self._groups):
            raise shape_error(
                f"{name} is {type(state).__name__}"
                + (f" of {len(state)}" if isinstance(state, (list, tuple)) else "")
                + f", expected a list of {len(self._groups)}, one entry for each recurrent module"
            )
        leaves: List[Any] = []
        for (has_cell, split), entry in zip(self._groups, state):
            leaves += state_leaves(entry, has_cell, split, f"{name} of an LSTM" if has_cell else name)
        return leaves

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
    ) -> Tuple[np.ndarray, List[Any]]:
        """Run the chain over a batch of sequences.

        Parameters
        ----------
        x : array_like, shape (T, N, I), (N, T, I) with batch_first, or (T, I) without a batch
            Integers (T, N), (N, T) or (T,) if the first module is Embedding or OneHot.
        hx : list, optional
            One entry for each recurrent module: h_0, for LSTM (h_0, c_0), or None for zeros.
        lengths : sequence of N ints, optional
        mask, padding_value, padding, zero_state_of_empty_rows
            As for a layer. The padding is that of the output of the whole chain.

        Returns
        -------
        y : ndarray, shape (T, N, O), laid out as x; (N, O) after LastStep
        state : list
            h_n, for LSTM (h_n, c_n), of each recurrent module.
        """
        return self._invoke(x, hx, lengths, mask, padding_value, padding, zero_state_of_empty_rows)

    def __len__(self) -> int:
        return len(self._specs)

    def __reduce__(self) -> Tuple[Any, ...]:
        return _restore, (
            self._specs, self.batch_first, self.dtype.name, self._seed, self.state_dict(), dict(self.metadata),
        )  # fmt: skip

    def __repr__(self) -> str:
        names = {
            "rnn": "RNN", "gru": "GRU", "lstm": "LSTM", "embedding": "Embedding", "one_hot": "OneHot", "dropout": "Dropout",
            "linear": "Linear", "last_step": "LastStep", "first_step": "FirstStep", "softmax": "Softmax", "layer_norm": "LayerNorm",
            "scale_shift": "ScaleShift", "slice": "Slice", "reverse": "Reverse",
        }  # fmt: skip
        shown = [
            repr(as_activation(node, "activation"))
            if kind == "activation"
            else (show_layer if kind in CELLS else show_module)(names[kind], node)
            for kind, node in getattr(self, "_specs", [])
        ]
        return f"Sequential([{', '.join(shown)}])"


def _restore(
    specs: List[Spec],
    batch_first: bool,
    dtype: str,
    seed: int,
    state: Dict[str, np.ndarray],
    metadata: Dict[str, str],
) -> Sequential:
    """The inverse of `Sequential.__reduce__`."""
    model = Sequential.__new__(Sequential)
    model._create(specs, batch_first, float_dtype(dtype), seed, state)
    model.metadata.update(metadata)
    return model
