"""The training loop, in the library: forward, loss, backward, clipping and update in one call for each batch."""

from __future__ import annotations

import sys
import threading
import time
from ctypes import byref, c_size_t
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, Iterable, List, Optional, Union

import numpy as np

from . import _abi, losses
from ._arrays import address, floats, integers, real, unsigned
from ._builder import choose
from ._handle import create
from ._network import Model, SequenceModel
from .errors import argument_error, check, last_error, shape_error, unsupported
from .files import model_of
from .losses import index, optional_index
from .network import Network
from .optim import Optimizer
from .training import FlowArrays, GradientFlow

#: Where the first number that is not finite was found.
NON_FINITE: Dict[int, Optional[str]] = {
    _abi.RNN_NON_FINITE_NONE: None,
    _abi.RNN_NON_FINITE_FORWARD: "forward",
    _abi.RNN_NON_FINITE_LOSS: "loss",
    _abi.RNN_NON_FINITE_BACKWARD: "backward",
    _abi.RNN_NON_FINITE_GRADIENT: "gradient",
}
LOSSES: Dict[Any, int] = {
    "cross_entropy": _abi.RNN_LOSS_CROSS_ENTROPY,
    "mse": _abi.RNN_LOSS_MSE,
    losses.cross_entropy: _abi.RNN_LOSS_CROSS_ENTROPY,
    losses.mse: _abi.RNN_LOSS_MSE,
}


CLIP_MODES = {
    "global_norm": _abi.RNN_CLIP_GLOBAL_NORM,
    "tensor_norm": _abi.RNN_CLIP_TENSOR_NORM,
    "value": _abi.RNN_CLIP_VALUE,
}


@dataclass(frozen=True)
class StepReport:
    """What a step of a trainer did. Where it made several updates: sums and means over them.

    Attributes
    ----------
    loss : float
        Mean loss of the terms that counted; NaN if there were none.
    terms : int
        Terms that counted: tokens for cross-entropy, elements for squared error.
    gradient_norm : float
        Global norm of the last update's gradients, before clipping.
    gradient_scale : float
        What they were multiplied by; 1 without clipping, and where elements are clipped. The smallest where each gradient is
        clipped by its own norm.
    largest : str or None
        The parameter with the largest gradient norm; if the update was skipped for a gradient that is not finite, the first
        parameter that has one. None where nothing was learnt.
    updates : int
        Updates made.
    skipped : int
        Updates left out because the loss or a gradient was infinite or NaN; the weights are then as they were.
    non_finite : str or None
        What went wrong first, of the first update that was left out: ``"forward"`` (h or c of a layer), ``"loss"`` (the output or
        the loss, with all states finite), ``"backward"`` (dL/dh_t) or ``"gradient"`` (of a parameter alone).
    non_finite_layer : str or None
        For ``"forward"`` the lowest layer, for ``"backward"`` the highest: a label of the gradient flow, such as ``"layer 0"``.
    non_finite_step : int or None
        The step t, in this call's sequence, of that layer that went wrong first.
    non_finite_parameter : str or None
        The first parameter whose gradient is not finite.
    state : optional
        The final state, as `hx`: pass it to the next step to carry it. Gradients stop at the border.
    """

    loss: float
    terms: int
    gradient_norm: float
    gradient_scale: float
    largest: Optional[str]
    updates: int
    skipped: int
    non_finite: Optional[str] = None
    non_finite_layer: Optional[str] = None
    non_finite_step: Optional[int] = None
    non_finite_parameter: Optional[str] = None
    state: Any = field(default=None, repr=False, compare=False)

    @property
    def message(self) -> str:
        """Why updates were left out, as a sentence that names layer, tensor and step; "" if none was."""
        if not self.non_finite:
            return ""
        place = self.non_finite_layer or "a layer"
        text = {
            "forward": f"h or c of {place} is not finite from step {self.non_finite_step} on",
            "loss": "the output or the loss is not finite, while all states are",
            "backward": f"the gradient dL/dh of {place} is not finite at step {self.non_finite_step}",
            "gradient": "the gradient of a parameter is not finite, while those of all states are",
        }[self.non_finite]
        if self.non_finite_parameter is not None:
            text += f"; first parameter whose gradient is not finite: {self.non_finite_parameter}"
        return text


@dataclass(frozen=True)
class EpochReport:
    """One pass of `Trainer.fit` over the batches. `str` of it is a line to print."""

    epoch: int
    epochs: int
    loss: float
    terms: int
    steps: int
    updates: int
    skipped: int
    seconds: float
    #: Why the first update of the epoch that was left out was: `StepReport.message`.
    message: str = ""

    def __str__(self) -> str:
        text = f"epoch {self.epoch}/{self.epochs}: loss {self.loss:.5g}, {self.steps} steps, {self.seconds:.1f} s"
        reason = f" ({self.message})" if self.message else ""
        return text + (f", {self.skipped} updates skipped: not finite{reason}" if self.skipped else "")


@dataclass
class History:
    """What `Trainer.fit` did.

    Attributes
    ----------
    steps : list of StepReport
        Without their states.
    epochs : list of EpochReport
        Of the epochs that ended.
    """

    steps: List[StepReport] = field(default_factory=list)
    epochs: List[EpochReport] = field(default_factory=list)

    @property
    def losses(self) -> List[float]:
        """The loss of each step."""
        return [step.loss for step in self.steps]


class Trainer:
    """Trains a model.

    The trainer is the only writer of the model's weights while it is in use. The model has the new weights after each step;
    its streams take them on with their next `reset`. A second thread that calls `step` waits for the first. Where the model ends with
    a Linear and the loss is cross-entropy, both are computed in blocks of rows: the logits of a large vocabulary are never in memory
    for all steps.

    Parameters
    ----------
    model : RNN, GRU, LSTM, Sequential or Network
    loss : {"cross_entropy", "mse"}, or the function of `librnn.losses`
        The mean over all steps and rows that are not padding.
    optimizer : Optimizer
        Made from the model, such as ``librnn.optim.Adam(model, lr=1e-3)``. Its numbers are used, and its learning rate is
        followed; its memory of steps of its own is not.
    clip_norm : float, optional
        Clip gradients to this, as `clip_mode` says; above 0.
    clip_mode : {"global_norm", "tensor_norm", "value"}
        What `clip_norm` bounds: the norm of all gradients together, as `clip_grad_norm`; that of each gradient, as
        `clip_grad_norm_each`; the magnitude of each element, as `clip_grad_value`.
    ignore_index : int
        Targets with this value count for nothing. Cross-entropy only.
    update_interval : int, optional
        k1 of truncated backpropagation: an update after every so many steps of a sequence. By default one, after all of it.
    backward_steps : int, optional
        k2: how many steps back each update looks, at least `update_interval`, which is the default.
    dropout_seed : int
        Of the dropout masks, which also depend on the number of the step.
    hidden_clip : float
        Above 0: inside backpropagation through time, dL/dh_t of a row whose Euclidean norm is larger is scaled to it.
    gradient_flow : bool
        Keep the flow of each update's gradient for `flow`; costs time.

    Examples
    --------
    >>> import librnn, numpy as np
    >>> model = librnn.Sequential([librnn.GRU(2, 8, seed=1), librnn.LastStep(), librnn.Linear(8, 1, seed=2)])
    >>> trainer = librnn.Trainer(model, "mse", librnn.optim.Adam(model, lr=1e-2), clip_norm=1.0)
    >>> trainer.step(np.ones((5, 3, 2), np.float32), np.zeros((3, 1), np.float32)).updates
    1
    """

    def __init__(
        self,
        model: Model,
        loss: Union[str, Callable[..., Any]],
        optimizer: Optimizer,
        *,
        clip_norm: Optional[float] = None,
        clip_mode: str = "global_norm",
        ignore_index: int = -100,
        update_interval: Optional[int] = None,
        backward_steps: Optional[int] = None,
        dropout_seed: int = 0,
        hidden_clip: float = 0.0,
        gradient_flow: bool = False,
    ) -> None:
        if not isinstance(model, (SequenceModel, Network)):
            raise argument_error(f"model is {type(model).__name__}, expected RNN, GRU, LSTM, Sequential or Network")
        if model._mask_rule is not None:
            raise unsupported(
                "the model makes a mask from x (Keras' Masking or mask_zero), and a trainer knows lengths only: train it with "
                "forward_train, backward and the optimizer"
            )
        if not isinstance(optimizer, Optimizer):
            raise argument_error(f"optimizer is {type(optimizer).__name__}, expected one of librnn.optim")
        if optimizer._model is not model:
            raise argument_error("the optimizer was not made from this model: librnn.optim.Adam(model, …)")
        if not isinstance(loss, str) and not callable(loss):
            raise argument_error(f"loss is {type(loss).__name__}, expected a name or a function of librnn.losses")
        if callable(loss) and loss not in LOSSES:
            raise unsupported("loss is a function that a trainer does not know, expected one of librnn.losses")
        if isinstance(loss, str):
            choose(loss, {name: None for name in LOSSES if isinstance(name, str)}, "loss")
        if clip_norm is not None and not real(clip_norm, "clip_norm") > 0:
            raise argument_error(f"clip_norm is {clip_norm!r}, expected above 0, or None for no clipping")
        self.model = model
        self.optimizer = optimizer
        #: What the last call of `fit` did, also one that was interrupted.
        self.history = History()
        self._loss = LOSSES[loss]
        options = _abi.rnn_trainer_options(
            loss=self._loss,
            has_ignore_index=1,
            ignore_index=index(ignore_index, "ignore_index"),
            clip_norm=0.0 if clip_norm is None else real(clip_norm, "clip_norm"),
            clip_mode=choose(clip_mode, CLIP_MODES, "clip_mode"),
            update_interval=optional_index(update_interval, "update_interval"),
            backward_steps=optional_index(backward_steps, "backward_steps"),
            dropout_seed=unsigned(dropout_seed, "dropout_seed"),
            hidden_clip=real(hidden_clip, "hidden_clip"),
            gradient_flow=int(bool(gradient_flow)),
        )
        double = model.dtype == np.float64
        self._c_step = _abi.rnn_trainer_step_f64 if double else _abi.rnn_trainer_step
        self._c_evaluate = _abi.rnn_trainer_evaluate_f64 if double else _abi.rnn_trainer_evaluate
        self._c_gradients = _abi.rnn_trainer_gradients_f64 if double else _abi.rnn_trainer_gradients
        self._lr = optimizer.lr
        with model._lock:
            self._trainer = create(
                _abi.rnn_trainer_destroy, _abi.rnn_trainer_create, model._network.value, byref(options),
                byref(optimizer._c_options()),
            )  # fmt: skip
            self._version = model._version
        self._lock = threading.Lock()
        #: The trainer's weights may be newer than the model's.
        self._ahead = False

    # ------------------------------------------------------------------ life

    def close(self) -> None:
        """Free the memory now rather than with the last reference. The model keeps its weights."""
        self._trainer.close()

    def __enter__(self) -> "Trainer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        names = {value: name for name, value in LOSSES.items() if isinstance(name, str)}
        return f"<Trainer of {self.model!r}, {names[self._loss]}, {self.optimizer!r}>"

    # ----------------------------------------------------------------- steps

    @property
    def lr(self) -> float:
        """The learning rate: the optimizer's. Set it at any time, for a schedule."""
        return self.optimizer.lr

    @lr.setter
    def lr(self, value: float) -> None:
        self.optimizer.lr = value

    def step(self, x: Any, targets: Any, lengths: Any = None, state: Any = None) -> StepReport:
        """One batch: forward, loss, backward, clip, update; with truncated backpropagation several times along it.

        Parameters
        ----------
        x : array_like
            As for a call of the model. For a Network that reads features and tokens, a pair of both.
        targets : array_like
            Cross-entropy: integers, in the shape of the output without its features. Squared error: in the shape of the output.
        lengths : sequence of N ints, optional
            What lies behind the end of a row counts for nothing.
        state : optional
            The initial state, as `hx`; zeros by default. Pass `report.state` of the step before to carry it.

        Returns
        -------
        StepReport

        Raises
        ------
        RNNError
            An argument does not fit; the weights are then as before.
        """
        with self._lock:
            return self._run(x, targets, lengths, state, learns=True)

    def evaluate(self, x: Any, targets: Any, lengths: Any = None, state: Any = None) -> StepReport:
        """The loss alone, without dropout and without an update; otherwise as `step`."""
        with self._lock:
            return self._run(x, targets, lengths, state, learns=False)

    def _run(self, x: Any, targets: Any, lengths: Any, hx: Any, learns: bool) -> StepReport:
        model = self.model
        self._follow()
        if model._version != self._version:
            raise argument_error("the model's weights were changed by someone else: make a new Trainer")
        if self.optimizer.lr != self._lr:
            check(_abi.rnn_trainer_learning_rate_set(self._trainer.value, self.optimizer.lr))
            self._lr = self.optimizer.lr
        plan, features, tokens, initial, lengths = model._batch(x, hx, lengths)
        _, batch, batched = plan.key
        classes = values = None
        if self._loss == _abi.RNN_LOSS_CROSS_ENTROPY:
            classes = integers(targets, "targets")
            shape, meaning = plan.output_shape[:-1], "as y without its features"
        else:
            values = floats(targets, model.dtype, "targets")
            shape, meaning = plan.output_shape, "as y"
        given = values if classes is None else classes
        assert given is not None
        if given.shape != shape:
            raise shape_error(f"targets has shape {given.shape}, expected {shape}, {meaning}")
        if model.batch_first and batched:
            features, tokens = _time_major(features), _time_major(tokens)
            if not model._single_step:
                classes, values = _time_major(classes), _time_major(values)
        state = model._take_state(batch) if model._states else None
        report = _abi.rnn_step_report()
        try:
            if state is not None:
                model._begin(state, initial, plan)
            self._ahead = learns
            status = (self._c_step if learns else self._c_evaluate)(
                self._trainer.value, plan.time, plan.batch,
                None if features is None else address(features), plan.input_count,
                None if tokens is None else address(tokens), plan.tokens_count,
                None if lengths is None else address(lengths), 0 if lengths is None else batch,
                None if classes is None else address(classes), 0 if classes is None else classes.size,
                None if values is None else address(values), 0 if values is None else values.size,
                None if state is None else state.value, byref(report),
            )  # fmt: skip
            if status:
                self._ahead = False
                raise last_error(status)
            leaves = [] if state is None else model._read_state(state, plan)
            if report.updates == 0:
                self._ahead = False
        finally:
            # Also on Ctrl-C, which Python delivers after the step: the model has the weights of the last finished one.
            self._follow()
            if state is not None:
                model._give_state(batch, plan, state)
        largest = None
        if report.updates or report.skipped:
            largest = model._parameters[report.largest_parameter].name[len(model._prefix) :]
        return StepReport(
            loss=report.loss,
            terms=report.terms,
            gradient_norm=report.gradient_norm,
            gradient_scale=report.gradient_scale,
            largest=largest,
            updates=report.updates,
            skipped=report.skipped,
            **self._non_finite(report),
            state=model._nest(leaves),
        )

    def _non_finite(self, report: _abi.rnn_step_report) -> Dict[str, Any]:
        """The fields of a `StepReport` that say what went wrong first."""
        kind = NON_FINITE.get(report.non_finite)
        if kind is None:
            return {}
        fields: Dict[str, Any] = {"non_finite": kind}
        if kind in ("forward", "backward"):
            labels, _ = self.model._flow_names()
            row = report.non_finite_layer
            fields["non_finite_layer"] = labels[row] if row < len(labels) else f"layer and direction {row}"
            fields["non_finite_step"] = report.non_finite_step
        if report.non_finite_parameter < len(self.model._parameters):
            name = self.model._parameters[report.non_finite_parameter].name
            fields["non_finite_parameter"] = name[len(self.model._prefix) :]
        return fields

    def _follow(self) -> None:
        """Give the trainer's weights to the model, if they may be newer; Ctrl-C has to wait for it."""
        if not self._ahead:
            return
        try:
            self._give_weights()
        except KeyboardInterrupt:
            self._give_weights()
            raise

    def _give_weights(self) -> None:
        model = self.model
        with model._lock:
            check(_abi.rnn_trainer_update_network(self._trainer.value, model._network.value))
            model._weights_changed()
            self._version = model._version
        self._ahead = False

    def gradients(self) -> Dict[str, np.ndarray]:
        """The gradients of the last update, after clipping, by name: copies."""
        flat = np.empty(self.model._parameter_elements, self.model.dtype)
        if flat.size:
            check(self._c_gradients(self._trainer.value, address(flat), flat.size))
        return self.model._split(flat)

    @property
    def flow(self) -> GradientFlow:
        """The flow of the last update's gradient, over the steps that it looked back; needs ``gradient_flow=True``."""
        time, nothing = c_size_t(), _abi.rnn_backward_options()
        with self._lock:
            check(_abi.rnn_trainer_flow(self._trainer.value, byref(nothing), byref(time)))
            arrays = FlowArrays(self.model._layer_directions, time.value)
            wanted = _abi.rnn_backward_options(**arrays.fields())
            check(_abi.rnn_trainer_flow(self._trainer.value, byref(wanted), byref(time)))
        return arrays.report(*self.model._flow_names())

    def snapshot(self) -> Any:
        """A model of its own with the present weights, which later steps leave as they are."""
        network = create(_abi.rnn_network_destroy, _abi.rnn_trainer_snapshot, self._trainer.value)
        return model_of(network)

    # ------------------------------------------------------------------ loop

    def fit(
        self,
        batches: Iterable[Any],
        *,
        epochs: int = 1,
        carry_state: bool = False,
        progress: Union[None, bool, Callable[[EpochReport], Any]] = None,
        on_step: Optional[Callable[[StepReport], Any]] = None,
    ) -> History:
        """The whole loop: a step for each batch, again for each epoch.

        Ctrl-C ends it with `KeyboardInterrupt`; the model has the weights of the last finished step, and `history` what was
        done.

        Parameters
        ----------
        batches : iterable of (x, targets) or (x, targets, lengths)
            Gone through once for each epoch; a generator, which can only be gone through once, is for one epoch.
        epochs : int
        carry_state : bool
            Begin each batch with the final state of the one before, for a long sequence in pieces; each epoch begins with
            zeros.
        progress : callable or True, optional
            Called with an `EpochReport` after each epoch, such as ``print``; True writes it to stderr.
        on_step : callable, optional
            Called with the `StepReport` of each step, its state included. True as its result ends the loop.

        Returns
        -------
        History
        """
        epochs = index(epochs, "epochs")
        if epochs < 0:
            raise argument_error(f"epochs is {epochs}, expected at least 0")
        if epochs > 1 and iter(batches) is batches:
            raise argument_error("batches can be gone through once only, and there are several epochs: give a list")
        report_epoch = _print_progress if progress is True else progress or None
        history = self.history = History()
        try:
            for epoch in range(epochs):
                start, first, state = time.perf_counter(), len(history.steps), None
                for number, batch in enumerate(batches):
                    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
                        raise argument_error(
                            f"batch {number} is {_shown(batch)}, expected (x, targets) or (x, targets, lengths)"
                        )
                    report = self.step(batch[0], batch[1], batch[2] if len(batch) == 3 else None, state)
                    state = report.state if carry_state else None
                    history.steps.append(replace(report, state=None))
                    if on_step is not None and on_step(report) is True:
                        return history
                if len(history.steps) == first:
                    raise argument_error(f"batches gave nothing in epoch {epoch + 1}")
                steps = history.steps[first:]
                terms = sum(step.terms for step in steps)
                history.epochs.append(
                    EpochReport(
                        epoch=epoch + 1,
                        epochs=epochs,
                        loss=sum(step.loss * step.terms for step in steps if step.terms) / terms if terms else float("nan"),
                        terms=terms,
                        steps=len(steps),
                        updates=sum(step.updates for step in steps),
                        skipped=sum(step.skipped for step in steps),
                        seconds=time.perf_counter() - start,
                        message=next((step.message for step in steps if step.message), ""),
                    )
                )
                if report_epoch is not None:
                    report_epoch(history.epochs[-1])
        except KeyboardInterrupt:
            self._follow()
            raise
        return history


def _time_major(array: Optional[np.ndarray]) -> Optional[np.ndarray]:
    """[N, T, …] to [T, N, …]."""
    return None if array is None else np.ascontiguousarray(array.swapaxes(0, 1))


def _print_progress(report: EpochReport) -> None:
    print(report, file=sys.stderr, flush=True)


def _shown(batch: Any) -> str:
    return f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, (tuple, list)) else type(batch).__name__
