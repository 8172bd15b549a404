"""Recurrent layers: RNN, GRU and LSTM, deep and bidirectional, with the shapes and names of torch.nn."""

from __future__ import annotations

from ctypes import byref
from typing import Any, ClassVar, Dict, List, Mapping, Optional, Sequence, Tuple, Type, TypeVar, Union

import numpy as np

from . import _abi, _options, gates
from ._arrays import float_dtype, positive, real
from ._builder import Builder, choose, fresh_seed
from ._handle import Handle
from ._network import SequenceModel, nested_state, state_leaves
from ._options import OPTIONS
from .errors import argument_error

Layer = TypeVar("Layer", bound="RecurrentLayer")

NONLINEARITIES = {"tanh": _abi.RNN_NONLINEARITY_TANH, "relu": _abi.RNN_NONLINEARITY_RELU}
VARIANTS = {"reset_before": _abi.RNN_GRU_RESET_BEFORE, "reset_after": _abi.RNN_GRU_RESET_AFTER}
BIASES = {
    True: _abi.RNN_BIAS_DEFAULT,
    False: _abi.RNN_BIAS_NONE,
    "single": _abi.RNN_BIAS_SINGLE,
    "double": _abi.RNN_BIAS_DOUBLE,
}
C_CELLS = {"rnn": _abi.RNN_CELL_VANILLA, "gru": _abi.RNN_CELL_GRU, "lstm": _abi.RNN_CELL_LSTM}
#: What rnn.h calls the choices; a model file uses the same words.
BIAS_NAMES: Dict[str, Union[bool, str]] = {"none": False, "single": "single", "double": "double"}


def plain_bias(bias: Union[bool, str], variant: Optional[str]) -> Union[bool, str]:
    """True for the kind of bias that the cell has by default."""
    habit = "single" if variant == "reset_before" else "double"
    return bias if isinstance(bias, str) and bias != habit else bool(bias)


def show_layer(name: str, config: Mapping[str, Any]) -> str:
    """The call that makes a layer, without what is the default."""
    plain = {
        "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False,
        "dtype": "float32", "nonlinearity": "tanh", **OPTIONS["lstm"],
    }  # fmt: skip
    rest = {key: value for key, value in config.items() if key not in ("input_size", "hidden_size")}
    shown = [f"{config['input_size']}, {config['hidden_size']}"]
    shown += [f"{key}={value!r}" for key, value in rest.items() if key not in plain or value != plain[key]]
    return f"{name}({', '.join(shown)})"


def add_recurrent(
    builder: Builder, name: str, cell: str, node: Mapping[str, Any], source: Optional[bytes] = None
) -> None:
    """Add the node that a layer's `_node` describes, without its weights; `source`: by default the node before."""
    options = _abi.rnn_recurrent_options(
        hidden_size=node["hidden_size"],
        num_layers=node["num_layers"],
        cell=C_CELLS[cell],
        nonlinearity=NONLINEARITIES[node.get("nonlinearity", "tanh")],
        gru_variant=VARIANTS[node.get("variant", "reset_before")],
        bias=BIASES[node["bias"]],
        bidirectional=int(node["bidirectional"]),
        dropout=node["dropout"],
    )
    _options.fill(options, cell, node)
    builder.add("recurrent", name, source, byref(options))


class RecurrentLayer(SequenceModel):
    """What RNN, GRU and LSTM share. Not made directly."""

    #: "rnn", "gru" or "lstm": the name of the network's node.
    cell: ClassVar[str]
    #: The layer was made by `from_gates` of biases [H] rather than [1, H].
    _flat_biases = False

    direction: str
    merge: str
    hidden_size_reverse: Optional[int]
    residual: bool
    learn_initial_state: bool
    recurrent_dropout: float
    gate_clip: float
    activations: _options.Activations

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: Union[bool, str],
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        dtype: Any,
        init: str,
        forget_bias: float,
        seed: Optional[int],
        nonlinearity: Optional[str] = None,
        variant: Optional[str] = None,
        options: Mapping[str, Any],
    ) -> None:
        self._describe(
            input_size, hidden_size, num_layers, bias=bias, dropout=dropout, bidirectional=bidirectional,
            nonlinearity=nonlinearity, variant=variant,
        )  # fmt: skip
        self._set_options(
            _options.checked(
                self.cell, options, hidden_size=self.hidden_size, bidirectional=self.bidirectional, nonlinearity=nonlinearity
            )
        )
        if forget_bias and self.cell != "lstm":
            raise argument_error(f"forget_bias is {forget_bias!r}, but {type(self).__name__} has no forget gate")
        seed = fresh_seed(seed)
        builder = Builder(float_dtype(dtype))
        builder.add("input", "input", self.input_size)
        add_recurrent(builder, self.cell, self.cell, self._node())
        self._adopt(builder.build(init, seed, forget_bias), seed, batch_first)

    def _describe(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: Union[bool, str],
        dropout: float,
        bidirectional: bool,
        nonlinearity: Optional[str],
        variant: Optional[str],
    ) -> None:
        """Keep the sizes and choices of the constructor, or of a model file."""
        self.input_size = positive(input_size, "input_size")
        self.hidden_size = positive(hidden_size, "hidden_size")
        self.num_layers = positive(num_layers, "num_layers")
        choose(bias, BIASES, "bias")
        self.bias = plain_bias(bias, variant)
        self.dropout = real(dropout, "dropout")
        self.bidirectional = bool(bidirectional)
        if self.cell == "rnn":
            choose(nonlinearity, NONLINEARITIES, "nonlinearity")
        if self.cell == "gru":
            choose(variant, VARIANTS, "variant")
        self._prefix = self.cell + "."

    @classmethod
    def _from_network(cls: Type[Layer], network: Handle, node: Mapping[str, Any]) -> Layer:
        """A layer on a network that exists; `node` as `_node` gives it."""
        layer = cls.__new__(cls)
        layer._set_choices(node)
        options = {name: node[name] for name in OPTIONS[cls.cell]}
        sizes = {name: value for name, value in node.items() if name not in options}
        layer._describe(**{"nonlinearity": None, "variant": None, **sizes})
        layer._set_options(options)
        layer._adopt(network, fresh_seed(None))
        return layer

    def _set_choices(self, node: Mapping[str, Any]) -> None:
        """Keep what only one kind of layer has."""

    def _set_options(self, options: Mapping[str, Any]) -> None:
        """Keep the options, each in the form that `_options.checked` gives it."""
        for name, value in options.items():
            setattr(self, name, value)

    def _node(self) -> Dict[str, Any]:
        """The constructor's arguments that describe the node of the network."""
        return {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "bias": self.bias,
            "dropout": self.dropout,
            "bidirectional": self.bidirectional,
            **{name: getattr(self, name) for name in OPTIONS[self.cell]},
        }

    def _nest(self, leaves: Sequence[np.ndarray]) -> Any:
        return nested_state(leaves, self.cell == "lstm") if self._split_directions else leaves[0]

    def _leaves(self, state: Any, name: str) -> Sequence[Any]:
        if not self._split_directions:  # the usual forms need no more
            if self.cell != "lstm":
                return (state,)
            if state.__class__ is tuple and len(state) == 2:
                return state
        return state_leaves(state, self.cell == "lstm", self._split_directions, name)

    def _config(self) -> Dict[str, Any]:
        """The constructor's arguments, without seed and init."""
        return {**self._node(), "batch_first": self.batch_first, "dtype": self.dtype.name}

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
        """Run the layer over a batch of sequences.

        Parameters
        ----------
        x : array_like, shape (T, N, I), (N, T, I) with batch_first, or (T, I) without a batch
            T may be 0, and need not be the T of training.
        hx : array_like, shape (L*D, N, H), or (L*D, H) without a batch; for LSTM a pair (h_0, c_0)
            The initial state; None is zeros, with the same bits, or the learned initial state. Layers are in order, the forward
            direction first. With a projection h is [.., P]. Where the directions differ in size, h (and c) is a pair (forward
            [L, N, H], backward [L, N, H2]).
        lengths : sequence of N ints, optional
            Row n ends after ``lengths[n] <= T`` steps, in any order of lengths. Past its end nothing is read, y is padding and
            the state stays; the backward direction begins at the row's own last step.
        mask : array_like of bool or uint8, shape (T, N), (N, T) with batch_first, or (T,) without a batch, optional
            A step of a row where it is False is left out, as if the row did not have it: padding on the left, and holes.
            Together with lengths, a step must be within both.
        padding_value : float
            What y is at steps that a row does not have.
        padding : {"value", "repeat"}, optional
            "repeat": y there is that of the step before, 0 before the first, as in Keras.
        zero_state_of_empty_rows : bool
            The final state of a row without any step is 0, as in onnxruntime, rather than its initial state.

        Returns
        -------
        y : ndarray, shape (T, N, D*H), laid out as x
            The output of the last layer at each step; of both directions side by side, or merged to (T, N, H).
        h_n : ndarray, shape (L*D, N, H); for LSTM a pair (h_n, c_n); structured as `hx`
            The state after each row's last step.
        """
        return self._invoke(x, hx, lengths, mask, padding_value, padding, zero_state_of_empty_rows)

    def __reduce__(self) -> Tuple[Any, ...]:
        spelled = getattr(self, "_variant_spelled", None)
        return _restore, (type(self), self._config(), self._seed, self.state_dict(), dict(self.metadata), spelled)

    def __repr__(self) -> str:
        try:
            config = self._config()
        except AttributeError:
            return f"<{type(self).__name__}, not initialized>"
        return show_layer(type(self).__name__, config)

    def gates(self) -> Any:
        """The weights in the letters of the equations, row-vector convention: what `from_gates` takes.

        Returns
        -------
        dict of str to ndarray, or a pair or list of them
            Copies: W_x* [I, H], W_h* [H, H], b_* [1, H] (or [H], where `from_gates` got them so); where the layer has them, w_c*
            [1, H] (peepholes), W_hr [H, P] (projection), h_0 and c_0 (learned initial state). A dict for one layer; a pair of
            dicts (forward, backward) for each bidirectional layer; a list of those for more than one layer. Two biases that are
            simply added come as one: the sum in float64, rounded once.
        """
        parameters = self.state_dict()
        layers: List[gates.LayerGates] = []
        for layer in range(self.num_layers):
            directions = [
                gates.from_parameters(
                    self.cell, getattr(self, "variant", None), parameters, gates.suffix(layer, direction),
                    coupled=getattr(self, "coupled_gates", False),
                )
                for direction in range(2 if self.bidirectional else 1)
            ]  # fmt: skip
            if self._flat_biases:
                for letters in directions:
                    letters.update({name: b.reshape(-1) for name, b in letters.items() if len(b) == 1 and name[0] != "W"})
            layers.append((directions[0], directions[1]) if self.bidirectional else directions[0])
        return layers[0] if self.num_layers == 1 else layers

    @classmethod
    def _from_gates(
        cls: Type[Layer], layers: Any, letters: Mapping[str, Any], keywords: Dict[str, Any]
    ) -> Layer:
        options = {name: value for name, value in letters.items() if name in OPTIONS[cls.cell]}
        for name, source in gates.DERIVED.items():
            if name in options:
                raise argument_error(f"{name} is not for from_gates: it comes from {source}")
        stack = gates.as_layers(layers, {name: value for name, value in letters.items() if name not in options})
        variant, coupled = keywords.get("variant"), bool(options.get("coupled_gates"))
        dtype = float_dtype(keywords["dtype"])
        first = list(stack[0][0])
        bias, _ = gates.bias_letters(cls.cell, variant, first)
        state: Dict[str, np.ndarray] = {}
        for index, directions in enumerate(stack):
            for direction, letters in enumerate(directions):
                place = f"layer {index}" + (", backward" if direction else "")
                arrays = gates.to_parameters(cls.cell, variant, letters, dtype, first, place, coupled=coupled)
                state.update({name + gates.suffix(index, direction): array for name, array in arrays.items()})
        hidden = [np.shape(directions["W_x" + gates.LETTERS[cls.cell][0]])[1] for directions in stack[0]]
        options["learn_initial_state"] = "h_0" in first
        if cls.cell == "lstm":
            options["peepholes"] = "w_ci" in first
            options["proj_size"] = state["weight_hr_l0"].shape[0] if "weight_hr_l0" in state else 0
        layer = cls(
            state["weight_ih_l0"].shape[1], hidden[0], len(stack), bias=BIAS_NAMES[bias], bidirectional=len(hidden) == 2,
            hidden_size_reverse=hidden[1] if len(hidden) == 2 else None, init="zeros", **keywords, **options,
        )  # fmt: skip
        layer.load_state_dict(state)
        flat = [np.ndim(value) for name, value in stack[0][0].items() if name[0] != "W"]
        layer._flat_biases = bool(flat) and max(flat) == 1
        return layer


class RNN(RecurrentLayer):
    """Vanilla recurrent layers: H_t = φ(X_t W_xh + H_{t-1} W_hh + b_h).

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    num_layers : int
        L; layer l + 1 reads the output of layer l.
    nonlinearity : {"tanh", "relu"}
        φ.
    bias : {True, "single", False}
        True: PyTorch's two, bias_ih_l0 and bias_hh_l0. "single": one for each gate, bias_l0. False: none.
    batch_first : bool
        x and y are (N, T, ..); states stay (L*D, N, H).
    dropout : float
        Probability that an output of a layer, but the last, is dropped in `forward_train`; below 1.
    bidirectional : bool
        A second cell with weights of its own reads each sequence backwards.
    direction : {"forward", "reverse"}
        "reverse": the one direction reads each row backwards, from the row's own last step; y stays at its step. Parameters
        have no suffix. Not together with bidirectional.
    merge : {"concat", "sum", "mean", "product"}
        How the two directions of a bidirectional layer become its output.
    hidden_size_reverse : int, optional
        H of the backward direction, where it differs. States are then pairs (forward, backward).
    residual : bool
        From the second layer on, a layer's input is added to its output.
    learn_initial_state : bool
        The initial state is a parameter, h_0_l0 [H] (and c_0_l0), zeros at first: used where a call gets no hx.
    recurrent_dropout : float
        Probability that an element of H_{t-1} is dropped where it enters the products with W_h, in `forward_train`: one mask for
        all steps of a row.
    gate_clip : float
        The input of each gate's and candidate's activation is kept in [-gate_clip, gate_clip] (ONNX calls it clip); 0 means no
        limit.
    activations : dict, or pair of dicts (forward, backward), optional
        Letter of a gate to its activation: a name, an `Activation`, or a tuple such as ("hard_sigmoid", 0.2, 0.5). The letters
        are h; of GRU r, z, n; of LSTM i, f, g, o, h. What is left out is as usual.
    dtype : {"float32", "float64"}
    init : {"pytorch", "normal", "orthogonal", "zeros"}
        Initial weights: U(-1/√H, 1/√H) as PyTorch; the textbook's N(0, 0.01²) with zero biases; Keras' orthogonal recurrent and
        Glorot uniform other weights with zero biases; zeros.
    forget_bias : float
        For LSTM: added to the forget gate's initial bias.
    seed : int, optional
        Of the initial weights and the dropout masks; by default a fresh one.
    """

    cell = "rnn"
    nonlinearity: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        bias: Union[bool, str] = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        direction: str = "forward",
        merge: str = "concat",
        hidden_size_reverse: Optional[int] = None,
        residual: bool = False,
        learn_initial_state: bool = False,
        recurrent_dropout: float = 0.0,
        gate_clip: float = 0.0,
        activations: Any = None,
        dtype: Any = "float32",
        init: str = "pytorch",
        forget_bias: float = 0.0,
        seed: Optional[int] = None,
    ) -> None:
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bias=bias, batch_first=batch_first, dropout=dropout,
            bidirectional=bidirectional, dtype=dtype, init=init, forget_bias=forget_bias, seed=seed,
            nonlinearity=nonlinearity,
            options={
                "direction": direction, "merge": merge, "hidden_size_reverse": hidden_size_reverse, "residual": residual,
                "learn_initial_state": learn_initial_state, "recurrent_dropout": recurrent_dropout, "gate_clip": gate_clip,
                "activations": activations,
            },
        )  # fmt: skip

    @classmethod
    def from_gates(
        cls,
        layers: Any = None,
        *,
        nonlinearity: str = "tanh",
        batch_first: bool = False,
        dropout: float = 0.0,
        dtype: Any = "float32",
        seed: Optional[int] = None,
        **letters: Any,
    ) -> "RNN":
        """Layers from the letters of the equation.

        Parameters
        ----------
        layers : dict, pair of dicts, or list of those, optional
            For more than one layer or direction: a list of layers, each a dict of the letters below or a pair of dicts
            (forward, backward).
        W_xh : array_like, shape (I, H)
        W_hh : array_like, shape (H, H)
        b_h : array_like, shape (1, H) or (H,)
            May be left out: no bias.
        h_0 : array_like, shape (1, H) or (H,)
            A learned initial state; may be left out.
        nonlinearity, batch_first, dropout, dtype, seed
            As for the constructor; also its further options: direction, merge, residual, activations, ….
        """
        keywords = {
            "nonlinearity": nonlinearity, "batch_first": batch_first, "dropout": dropout, "dtype": dtype, "seed": seed,
        }  # fmt: skip
        return cls._from_gates(layers, letters, keywords)

    def _set_choices(self, node: Mapping[str, Any]) -> None:
        self.nonlinearity = node["nonlinearity"]

    def _node(self) -> Dict[str, Any]:
        return {**super()._node(), "nonlinearity": self.nonlinearity}


class GRU(RecurrentLayer):
    """Gated recurrent units.

    R_t = σ(X_t W_xr + H_{t-1} W_hr + b_r), Z_t = σ(X_t W_xz + H_{t-1} W_hz + b_z), H_t = Z_t ⊙ H_{t-1} + (1 - Z_t) ⊙ H̃_t, and

    - "reset_before": H̃_t = tanh(X_t W_xh + (R_t ⊙ H_{t-1}) W_hh + b_h), the textbook's GRU, with one bias for each gate
      (bias_l0);
    - "reset_after": H̃_t = tanh(X_t W_xh + b_xh + R_t ⊙ (H_{t-1} W_hh + b_hh)), the GRU of PyTorch, cuDNN and Keras, with
      PyTorch's two biases (bias_ih_l0, bias_hh_l0).

    No weights convert one into the other.

    Parameters
    ----------
    variant : {"reset_before", "reset_after"}, optional
        By default "reset_before". To load weights without biases it must be spelled out, since their names do not tell.
    bias : {True, "single", False}
        True: as the variant has it. "single": one for each gate, bias_l0; the recurrent product of reset_after then has none.
    input_size, hidden_size, num_layers, batch_first, dropout, bidirectional, direction, merge, hidden_size_reverse, residual, \
    learn_initial_state, recurrent_dropout, gate_clip, activations, dtype, init, forget_bias, seed
        As for `RNN`. Letters of activations: r, z, n.
    """

    cell = "gru"
    variant: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        variant: Optional[str] = None,
        bias: Union[bool, str] = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        direction: str = "forward",
        merge: str = "concat",
        hidden_size_reverse: Optional[int] = None,
        residual: bool = False,
        learn_initial_state: bool = False,
        recurrent_dropout: float = 0.0,
        gate_clip: float = 0.0,
        activations: Any = None,
        dtype: Any = "float32",
        init: str = "pytorch",
        forget_bias: float = 0.0,
        seed: Optional[int] = None,
    ) -> None:
        self._variant_spelled = variant is not None
        self.variant = "reset_before" if variant is None else variant
        super().__init__(
            input_size, hidden_size, num_layers, bias=bias, batch_first=batch_first, dropout=dropout,
            bidirectional=bidirectional, dtype=dtype, init=init, forget_bias=forget_bias, seed=seed,
            variant=self.variant,
            options={
                "direction": direction, "merge": merge, "hidden_size_reverse": hidden_size_reverse, "residual": residual,
                "learn_initial_state": learn_initial_state, "recurrent_dropout": recurrent_dropout, "gate_clip": gate_clip,
                "activations": activations,
            },
        )  # fmt: skip

    @classmethod
    def from_gates(
        cls,
        layers: Any = None,
        *,
        variant: str = "reset_before",
        batch_first: bool = False,
        dropout: float = 0.0,
        dtype: Any = "float32",
        seed: Optional[int] = None,
        **letters: Any,
    ) -> "GRU":
        """Layers from the letters of the equations.

        Parameters
        ----------
        layers : dict, pair of dicts, or list of those, optional
            For more than one layer or direction: a list of layers, each a dict of the letters below or a pair of dicts
            (forward, backward).
        W_xr, W_xz, W_xh : array_like, shape (I, H)
        W_hr, W_hz, W_hh : array_like, shape (H, H)
        b_r, b_z, b_h : array_like, shape (1, H) or (H,)
            All or none. reset_after also takes b_xh and b_hh in place of b_h.
        h_0 : array_like, shape (1, H) or (H,)
            A learned initial state; may be left out.
        variant, batch_first, dropout, dtype, seed
            As for the constructor; also its further options: direction, merge, residual, activations, ….
        """
        keywords = {
            "variant": variant, "batch_first": batch_first, "dropout": dropout, "dtype": dtype, "seed": seed,
        }  # fmt: skip
        return cls._from_gates(layers, letters, keywords)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace all parameters; see `Model.load_state_dict`.

        Raises
        ------
        RNNError
            Also if the layer has no biases and `variant` was left to its default: nothing would tell which GRU these
            weights belong to.
        """
        if self.bias is False and not self._variant_spelled and not any("bias" in str(name) for name in state):
            raise argument_error(
                "weights without biases do not tell which GRU they belong to: make the layer with "
                'variant="reset_after" (PyTorch, cuDNN, Keras) or variant="reset_before" (the textbook, ONNX\'s default)'
            )
        super().load_state_dict(state)

    def _explain_names(self, state: Mapping[str, Any]) -> str:
        names = [str(name) for name in state]
        if any(name.startswith("bias_ih_l") or name.startswith("bias_hh_l") for name in names):
            belongs, other = "reset_after", "PyTorch, cuDNN, Keras"
        elif any(name.startswith("bias_l") for name in names):
            belongs, other = "reset_before", "the textbook"
        else:
            return ""
        text = f'. These names belong to variant="{belongs}" ({other})'
        if belongs != self.variant:
            text += f"; this layer is {self.variant}, and no weights convert one into the other"
        return text

    def _set_choices(self, node: Mapping[str, Any]) -> None:
        self.variant = node["variant"]
        self._variant_spelled = True

    def _node(self) -> Dict[str, Any]:
        return {**super()._node(), "variant": self.variant}


class LSTM(RecurrentLayer):
    """Long short-term memory.

    I_t = σ(X_t W_xi + H_{t-1} W_hi + b_i), F_t = σ(X_t W_xf + H_{t-1} W_hf + b_f), O_t = σ(X_t W_xo + H_{t-1} W_ho + b_o),
    C̃_t = tanh(X_t W_xc + H_{t-1} W_hc + b_c), C_t = F_t ⊙ C_{t-1} + I_t ⊙ C̃_t, H_t = O_t ⊙ tanh(C_t).

    Parameters
    ----------
    proj_size : int
        P above 0: H_t = (O_t ⊙ tanh(C_t)) W_hr, with weight_hr_l0 [P, H]; h is [.., P] and c stays [.., H]. 0: no projection.
    forget_bias : float
        Added to the forget gate's initial bias (to bias_ih where there are two).
    runtime_forget_bias : float
        A constant that is added to the forget gate's input in each step, beside any bias, as in TensorFlow 1.
    peepholes : bool
        Diagonal connections from the memory cell, weight_peephole_l0 [3, H], rows i, f, o: the input and forget gates see
        C_{t-1}, the output gate sees C_t.
    coupled_gates : bool
        F_t = 1 - I_t. The rows of f in weights and biases are there and not used; their gradient is 0.
    cell_clip : float
        C_t is kept in [-cell_clip, cell_clip] before it is used and passed on; 0 means no limit.
    gate_clip_output : bool
        gate_clip also limits the input of h(C_t), as the text of ONNX says and onnxruntime does not.
    activations : dict, or pair of dicts
        Letters i, f, g, o, and h for the function of C_t; g is the candidate.
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, direction, merge, hidden_size_reverse, \
    residual, learn_initial_state, recurrent_dropout, gate_clip, dtype, init, seed
        As for `RNN`.
    """

    cell = "lstm"
    proj_size: int
    peepholes: bool
    coupled_gates: bool
    cell_clip: float
    gate_clip_output: bool
    runtime_forget_bias: float

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        proj_size: int = 0,
        bias: Union[bool, str] = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        direction: str = "forward",
        merge: str = "concat",
        hidden_size_reverse: Optional[int] = None,
        residual: bool = False,
        learn_initial_state: bool = False,
        recurrent_dropout: float = 0.0,
        gate_clip: float = 0.0,
        activations: Any = None,
        peepholes: bool = False,
        coupled_gates: bool = False,
        cell_clip: float = 0.0,
        gate_clip_output: bool = False,
        runtime_forget_bias: float = 0.0,
        dtype: Any = "float32",
        init: str = "pytorch",
        forget_bias: float = 0.0,
        seed: Optional[int] = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias=bias, batch_first=batch_first, dropout=dropout,
            bidirectional=bidirectional, dtype=dtype, init=init, forget_bias=forget_bias, seed=seed,
            options={
                "direction": direction, "merge": merge, "hidden_size_reverse": hidden_size_reverse, "residual": residual,
                "learn_initial_state": learn_initial_state, "recurrent_dropout": recurrent_dropout, "gate_clip": gate_clip,
                "activations": activations,
                "proj_size": proj_size, "peepholes": peepholes, "coupled_gates": coupled_gates, "cell_clip": cell_clip,
                "gate_clip_output": gate_clip_output, "runtime_forget_bias": runtime_forget_bias,
            },
        )  # fmt: skip

    @classmethod
    def from_gates(
        cls,
        layers: Any = None,
        *,
        batch_first: bool = False,
        dropout: float = 0.0,
        dtype: Any = "float32",
        seed: Optional[int] = None,
        **letters: Any,
    ) -> "LSTM":
        """Layers from the letters of the equations.

        Parameters
        ----------
        layers : dict, pair of dicts, or list of those, optional
            For more than one layer or direction: a list of layers, each a dict of the letters below or a pair of dicts
            (forward, backward).
        W_xi, W_xf, W_xc, W_xo : array_like, shape (I, H)
        W_hi, W_hf, W_hc, W_ho : array_like, shape (H, H)
        b_i, b_f, b_c, b_o : array_like, shape (1, H) or (H,)
            All or none. With ``coupled_gates=True`` there are no W_xf, W_hf, b_f and w_cf.
        w_ci, w_cf, w_co : array_like, shape (1, H) or (H,)
            Peepholes: all or none.
        W_hr : array_like, shape (H, P)
            The projection; W_h* are then [P, H].
        h_0, c_0 : array_like, shape (1, H) or (H,)
            A learned initial state: both or none. With a projection h_0 is [1, P].
        batch_first, dropout, dtype, seed
            As for the constructor; also its further options: merge, activations, cell_clip, ….
        """
        keywords = {"batch_first": batch_first, "dropout": dropout, "dtype": dtype, "seed": seed}
        return cls._from_gates(layers, letters, keywords)

    def _nest(self, leaves: Sequence[np.ndarray]) -> Tuple[Any, Any]:
        return super()._nest(leaves) if self._split_directions else (leaves[0], leaves[1])


CELLS: Dict[str, Type[RecurrentLayer]] = {"rnn": RNN, "gru": GRU, "lstm": LSTM}


def _restore(
    kind: Type[Layer],
    config: Dict[str, Any],
    seed: int,
    state: Dict[str, np.ndarray],
    metadata: Dict[str, str],
    spelled: Optional[bool],
) -> Layer:
    """The inverse of `RecurrentLayer.__reduce__`."""
    layer = kind(**config, init="zeros", seed=seed)
    layer._set_parameters(layer._gather(state))
    layer.metadata.update(metadata)
    if spelled is not None:
        layer._variant_spelled = spelled  # type: ignore[attr-defined]
    return layer
