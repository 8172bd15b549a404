"""The parts of a `Sequential` beside recurrent layers: Embedding, OneHot, Dropout, Linear, LastStep, Softmax, LayerNorm,
ScaleShift, Slice, Reverse; Activation is in `activations`."""

from __future__ import annotations

import math
from typing import Any, Dict, Mapping, Optional, Tuple, Type, TypeVar

import numpy as np

from ._arrays import float_dtype, floats, integers, positive, real, unsigned
from ._builder import Builder, fresh_seed
from ._handle import Handle
from ._network import Model
from .activations import as_activation
from .errors import argument_error, shape_error
from .training import Tape

Weighted = TypeVar("Weighted", bound="WeightedModule")


class Module:
    """A part without weights: only its sizes."""

    _kind: str

    def _node(self) -> Dict[str, Any]:
        """The constructor's arguments."""
        return {}

    def __repr__(self) -> str:
        return show_module(type(self).__name__, self._node())


class OneHot(Module):
    """1 at the token, 0 elsewhere: tokens [T, N] to [T, N, size].

    Parameters
    ----------
    size : int
        The number of tokens.
    """

    _kind = "one_hot"

    def __init__(self, size: int) -> None:
        self.size = positive(size, "size")

    def _node(self) -> Dict[str, Any]:
        return {"size": self.size}


class Dropout(Module):
    """In `forward_train` each element is 0 with probability p, and divided by 1 - p otherwise; elsewhere nothing.

    Parameters
    ----------
    p : float
        From 0 up to, not including, 1.
    """

    _kind = "dropout"

    def __init__(self, p: float = 0.5) -> None:
        self.p = real(p, "p")

    def _node(self) -> Dict[str, Any]:
        return {"p": self.p}


class LastStep(Module):
    """The last step of each row: [T, N, F] to [N, F], at T - 1 or the row's length - 1; zero for an empty sequence."""

    _kind = "last_step"


class FirstStep(Module):
    """The first step of each row: [T, N, F] to [N, F]; zero for an empty sequence. Has no stream.

    It is where a layer with ``direction="reverse"`` ends, as `LastStep` is for one that reads forwards.
    """

    _kind = "first_step"


class Softmax(Module):
    """Softmax over the features of each step: Y_i = e^(X_i) / Σ_j e^(X_j), or its logarithm.

    The loss `cross_entropy` wants logits: train without it.

    Parameters
    ----------
    log : bool
        The logarithm, computed without taking that of a probability.
    """

    _kind = "softmax"

    def __init__(self, log: bool = False) -> None:
        self.log = bool(log)

    def _node(self) -> Dict[str, Any]:
        return {"log": self.log}


class Reverse(Module):
    """The steps of each row in the opposite order: Y at step t of a row of length L is X at L - 1 - t. Has no stream."""

    _kind = "reverse"


class Slice(Module):
    """Some features: X[.., begin:end].

    Parameters
    ----------
    begin, end : int
        0 <= begin < end <= the features of X.
    """

    _kind = "slice"

    def __init__(self, begin: int, end: int) -> None:
        self.begin = unsigned(begin, "begin")
        self.end = positive(end, "end")
        if self.begin >= self.end:
            raise argument_error(f"begin is {begin!r} and end {end!r}, expected begin < end")

    def _node(self) -> Dict[str, Any]:
        return {"begin": self.begin, "end": self.end}


class WeightedModule(Model):
    """A network of one node, which serves all steps alike."""

    _kind: str

    def _build(self, dtype: Any, init: str, seed: Optional[int]) -> None:
        seed = fresh_seed(seed)
        builder = Builder(float_dtype(dtype))
        add_module(builder, self._kind, self._kind, self._node(), first=True)
        self._prefix = self._kind + "."
        self._adopt(builder.build(init, seed, 0.0), seed)

    @classmethod
    def _from_network(cls: Type[Weighted], network: Handle, node: Mapping[str, Any]) -> Weighted:
        """A module on a network that exists; `node` as `_node` gives it."""
        module = cls.__new__(cls)
        for key, value in node.items():
            setattr(module, key, value)
        module._prefix = cls._kind + "."
        module._adopt(network, fresh_seed(None))
        return module

    def _node(self) -> Dict[str, Any]:
        raise NotImplementedError

    def _nest(self, leaves: Any) -> Tuple[()]:
        return ()

    def _leaves(self, state: Any, name: str) -> Tuple[()]:
        return ()

    def _each(self, x: Any) -> Tuple[Optional[np.ndarray], Optional[np.ndarray], Tuple[int, ...]]:
        """Checks x: features or None, tokens or None, and the shape whose elements are the steps of one row."""
        raise NotImplementedError

    def _each_of_features(self, x: Any) -> Tuple[Optional[np.ndarray], Optional[np.ndarray], Tuple[int, ...]]:
        """`_each` of a module that reads features [.., F]."""
        x = floats(x, self.dtype, "x")
        if x.ndim == 0 or x.shape[-1] != self.input_size:
            raise shape_error(f"x has shape {x.shape}, expected (.., {self.input_size})")
        return x, None, x.shape[:-1]

    def __call__(self, x: Any) -> np.ndarray:
        features, tokens, shape = self._each(x)
        y, _ = self._run(self._plan((math.prod(shape), 1, False)), features, tokens, None, None, None)
        return y.reshape(shape + (self.output_size,))

    def forward_train(self, x: Any) -> Tuple[np.ndarray, Tape]:
        """As a call, and keeps what `backward` needs: y, and the tape."""
        features, tokens, shape = self._each(x)
        y, _, tape = self._train((self._plan((math.prod(shape), 1, False)), features, tokens, None, None), 0, 0)
        tape._output_shape = shape + (self.output_size,)
        return y.reshape(tape._output_shape), tape

    def __reduce__(self) -> Tuple[Any, ...]:
        keywords = {**self._node(), "dtype": self.dtype.name, "seed": self._seed}
        return _restore, (type(self), keywords, self.state_dict())

    def __repr__(self) -> str:
        return show_module(type(self).__name__, self._node())


class Embedding(WeightedModule):
    """A row of a table for each token: Y = weight[token].

    Parameters
    ----------
    vocabulary : int
        The number of tokens.
    size : int
        Features of each.
    dtype, init, seed
        As for `RNN`; "pytorch" is N(0, 1).
    """

    _kind = "embedding"

    def __init__(
        self, vocabulary: int, size: int, *, dtype: Any = "float32", init: str = "pytorch", seed: Optional[int] = None
    ) -> None:
        self.vocabulary = positive(vocabulary, "vocabulary")
        self.size = positive(size, "size")
        self._build(dtype, init, seed)

    def _node(self) -> Dict[str, Any]:
        return {"vocabulary": self.vocabulary, "size": self.size}

    def __call__(self, x: Any) -> np.ndarray:
        """Tokens [..] to features [.., size]."""
        return super().__call__(x)

    def _each(self, x: Any) -> Tuple[Optional[np.ndarray], Optional[np.ndarray], Tuple[int, ...]]:
        tokens = integers(x, "x")
        return None, tokens, tokens.shape


class Linear(WeightedModule):
    """O = H W_hq + b_q, in PyTorch's form: Y = X weightᵀ + bias, weight [O, I], bias [O].

    Parameters
    ----------
    input_size, output_size : int
        I and O.
    bias : bool
    dtype, init, seed
        As for `RNN`; "pytorch" is U(-1/√I, 1/√I).
    """

    _kind = "linear"

    def __init__(
        self,
        input_size: int,
        output_size: int,
        bias: bool = True,
        *,
        dtype: Any = "float32",
        init: str = "pytorch",
        seed: Optional[int] = None,
    ) -> None:
        self.input_size = positive(input_size, "input_size")
        self.output_size = positive(output_size, "output_size")
        self.bias = bool(bias)
        self._build(dtype, init, seed)

    def _node(self) -> Dict[str, Any]:
        return {"input_size": self.input_size, "output_size": self.output_size, "bias": self.bias}

    def __call__(self, x: Any) -> np.ndarray:
        """Features [.., I] to [.., O]."""
        return super().__call__(x)

    def _each(self, x: Any) -> Tuple[Optional[np.ndarray], Optional[np.ndarray], Tuple[int, ...]]:
        return self._each_of_features(x)


class LayerNorm(WeightedModule):
    """Layer normalisation over the F features of each step: Y = (X - mean) / √(variance + eps) ⊙ weight + bias.

    As PyTorch's over the last axis (arXiv:1607.06450); the variance is divided by F.

    Parameters
    ----------
    size : int
        F.
    eps : float
        Above 0.
    dtype, init, seed
        As for `RNN`; weight is 1 and bias 0 at first, but for init="zeros".
    """

    _kind = "layer_norm"

    def __init__(
        self, size: int, eps: float = 1e-5, *, dtype: Any = "float32", init: str = "pytorch", seed: Optional[int] = None
    ) -> None:
        self.size = positive(size, "size")
        self.eps = real(eps, "eps")
        self._build(dtype, init, seed)

    def _node(self) -> Dict[str, Any]:
        return {"size": self.size, "eps": self.eps}

    def _each(self, x: Any) -> Tuple[Optional[np.ndarray], Optional[np.ndarray], Tuple[int, ...]]:
        return self._each_of_features(x)


class ScaleShift(WeightedModule):
    """A factor and a term for each of F features: Y = X ⊙ weight + bias, weight [F], bias [F].

    For the scaling of inputs, and for batch normalisation with its statistics folded in.

    Parameters
    ----------
    size : int
        F.
    bias : bool
    dtype, init, seed
        As for `RNN`; weight is 1 and bias 0 at first, but for init="zeros".
    """

    _kind = "scale_shift"

    def __init__(
        self, size: int, bias: bool = True, *, dtype: Any = "float32", init: str = "pytorch", seed: Optional[int] = None
    ) -> None:
        self.size = positive(size, "size")
        self.bias = bool(bias)
        self._build(dtype, init, seed)

    def _node(self) -> Dict[str, Any]:
        return {"size": self.size, "bias": self.bias}

    def _each(self, x: Any) -> Tuple[Optional[np.ndarray], Optional[np.ndarray], Tuple[int, ...]]:
        return self._each_of_features(x)


def show_module(name: str, node: Mapping[str, Any]) -> str:
    """The call that makes a module, without what is the default."""
    shown = [repr(value) for key, value in node.items() if key != "bias"]
    return f"{name}({', '.join(shown + ([] if node.get('bias', True) else ['bias=False']))})"


#: Kinds of which a module's size is that of what it reads.
_NORMALIZING = ("layer_norm", "scale_shift")


def input_width(kind: str, node: Mapping[str, Any]) -> Optional[int]:
    """The features that a module, or a layer, reads, if it tells."""
    width: Optional[int] = node.get("size") if kind in _NORMALIZING else node.get("input_size")
    return width


def module_width(kind: str, node: Mapping[str, Any], width: Optional[int]) -> int:
    """The features that a module gives when it reads `width`."""
    if kind == "slice":
        return int(node["end"]) - int(node["begin"])
    return int(node.get("output_size", node.get("size", width)))


def add_module(builder: Builder, name: str, kind: str, node: Dict[str, Any], first: bool) -> None:
    """Add the node that a module's `_node` describes; `first`: with the input that it reads."""
    if first:
        if kind in ("embedding", "one_hot"):
            builder.add("token_input", "tokens")
        else:
            width = input_width(kind, node)
            if width is not None:
                builder.add("input", "input", width)
    if kind == "embedding":
        builder.add("embedding", name, None, node["vocabulary"], node["size"])
    elif kind == "one_hot":
        builder.add("one_hot", name, None, node["size"])
    elif kind == "linear":
        builder.add("linear", name, None, node["output_size"], int(node["bias"]))
    elif kind == "dropout":
        builder.add("dropout", name, None, node["p"])
    elif kind == "activation":
        activation = as_activation(node, "activation")
        builder.add("activation", name, None, activation.code, activation.alpha, activation.beta)
    elif kind == "softmax":
        builder.add("softmax", name, None, int(node["log"]))
    elif kind == "layer_norm":
        builder.add("layer_norm", name, None, node["eps"])
    elif kind == "scale_shift":
        builder.add("scale_shift", name, None, int(node["bias"]))
    elif kind == "slice":
        builder.add("slice", name, None, node["begin"], node["end"])
    else:
        # last_step, first_step, reverse: nothing but their names.
        builder.add(kind, name, None)


def _restore(kind: Any, keywords: Dict[str, Any], state: Dict[str, np.ndarray]) -> Any:
    module = kind(**keywords, init="zeros")
    module.load_state_dict(state)
    return module
