"""Calls through the extension module and through ctypes are the same: steps of streams, runs of models."""

import gc
import inspect
import os
import subprocess
import sys
import threading
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest

import librnn
from helpers import DTYPES, assert_same_bits, python, randoms
from librnn import _abi, _extension, _stepper
from librnn._extension import function_address

NATIVE = _stepper.BestStepper is not _stepper.Stepper
needs_native = pytest.mark.skipif(
    not NATIVE, reason="no _native.abi3.so: librnn was built without the headers of Python 3.11 and NumPy"
)


class ThroughCtypes(_stepper.Stepper):
    """A stream's memory, stepped through ctypes."""

    def __init__(self, stream):
        self._stream = stream
        self._bind_step(function_address(_abi.rnn_stream_step), stream._handle.value, stream.input, stream.output)

    def _step_any(self, x=None, tokens=None):
        return self._stream._step_any(x, tokens)


def kept_memory(calls):
    """Bytes that are left of what `calls` takes, when it is not called for the first time."""
    tracemalloc.start()
    try:
        calls()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        calls()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def models():
    yield librnn.LSTM(4, 5, 2, seed=1), randoms(6, 1, 4)
    yield librnn.GRU(4, 5, seed=1, dtype="float64"), randoms(6, 1, 4, dtype="float64")
    yield librnn.Sequential([librnn.Embedding(9, 3, seed=1), librnn.RNN(3, 2, seed=2)]), np.arange(6).reshape(6, 1)


def forms(x):
    """A row in every form in which step takes it."""
    yield x
    yield x[0]
    yield x.astype(np.float64) if x.dtype.kind == "f" else x.astype(np.int32)
    yield x[0].tolist()
    yield np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim == 2 else x
    yield x.astype(x.dtype.newbyteorder())
    yield x.view(np.memmap) if x.ndim == 2 else x


@needs_native
def test_both_ways_give_the_same_arrays():
    for model, x in models():
        native, other = model.stream(), ThroughCtypes(model.stream())
        for row in x:
            for form in forms(row):
                a, b = native.step(form), other.step(form)
                assert type(a) is type(b) is np.ndarray and a.shape == b.shape and a.flags.owndata
                assert_same_bits(a, b)
                assert_same_bits(native.step(x=form), other.step(x=form))
            native.input[...] = row
            other._stream.input[...] = row
            assert native.step() is native.output
            assert_same_bits(native.output, other.step())
            assert_same_bits(native.step(None), other.step(None))
            assert_same_bits(native.step(tokens=None), other.step(tokens=None))


@needs_native
def test_a_batch_steps_alike_and_refuses_alike():
    layer = librnn.GRU(4, 5, seed=1)
    native, other = layer.stream(batch=3), ThroughCtypes(layer.stream(batch=3))
    for x in randoms(5, 3, 4):
        assert_same_bits(native.step(x), other.step(x))
    for wrong in (x[0], x[:2], x[None], x.astype(complex), "x", [1.0]):
        for way in (native, other):
            with pytest.raises(librnn.RNNError):
                way.step(wrong)


@needs_native
def test_the_documentation_and_the_signature_are_the_same():
    native, other = _stepper.BestStepper.step, _stepper.Stepper.step
    assert inspect.getdoc(native) == inspect.getdoc(other)
    assert list(inspect.signature(native).parameters) == list(inspect.signature(other).parameters)


@pytest.mark.parametrize("way", ["native", "ctypes"])
def test_wrong_calls_raise_what_python_and_the_library_say(way):
    stream = librnn.LSTM(4, 5, seed=1).stream()
    step = stream.step if way == "native" else ThroughCtypes(stream).step
    for wrong in ({"y": 1}, {"x": np.ones(4), "z": 2}):
        with pytest.raises(TypeError):
            step(**wrong)
    with pytest.raises(TypeError):
        step(1, 2, 3)
    with pytest.raises(librnn.RNNError, match="no token input"):
        step(np.ones(4, np.float32), 3)


def test_a_closed_stream_says_so_and_its_arrays_stay_readable():
    stream = librnn.LSTM(4, 5, seed=1).stream()
    y = stream.step(randoms(1, 4))
    output = stream.output
    stream.close()
    for arguments in ((), (randoms(1, 4),), (randoms(4),)):
        with pytest.raises(librnn.RNNError) as error:
            stream.step(*arguments)
        assert error.value.status == "RNN_ERROR_INVALID_HANDLE"
    assert_same_bits(output, y)


@needs_native
@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_leave_no_reference_behind(dtype):
    stream = librnn.LSTM(4, 5, seed=1, dtype=dtype).stream()
    x = randoms(1, 4, dtype=dtype)
    held = [x, x[0], stream.input, stream.output, None, stream.input.dtype, [0.5] * 4]

    def calls():
        for _ in range(200):
            stream.step(x), stream.step(held[1]), stream.step(), stream.step(held[-1]), stream.step(x=x)
            with pytest.raises(librnn.RNNError):
                stream.step(x[:0])

    calls()
    counts = [sys.getrefcount(a) for a in held]
    calls()
    # None is counted by the whole interpreter: some references come and go.
    assert [abs(sys.getrefcount(a) - n) < 20 for a, n in zip(held, counts)] == [True] * len(held)
    assert kept_memory(calls) < 4096


@needs_native
def test_a_stream_and_its_model_are_freed_when_they_are_let_go():
    model = librnn.GRU(4, 5, seed=1)
    stream = model.stream()
    stream.step(randoms(1, 4))
    handle = weakref.ref(stream._handle)
    gc.disable()
    try:
        del stream
        assert handle() is None
    finally:
        gc.enable()


@needs_native
def test_other_threads_run_during_a_step():
    stream = librnn.LSTM(1024, 1024, 4, seed=1).stream()
    x = randoms(1, 1024)
    ran, begun = threading.Event(), threading.Event()
    counter = threading.Thread(target=lambda: (begun.wait(), ran.set()))
    counter.start()
    old = sys.getswitchinterval()
    try:
        sys.setswitchinterval(60)  # who holds the interpreter keeps it until it lets go by itself
        begun.set()
        stream.step(x)
        assert ran.is_set()
    finally:
        sys.setswitchinterval(old)
    counter.join()


def test_the_environment_chooses_ctypes():
    code = "import librnn.stream as s, librnn._stepper as b; print(s.Stream.__mro__[1] is b.Stepper)"
    assert python(code, LIBRNN_NATIVE="0").strip() == "True"


@needs_native
def test_a_module_that_cannot_be_loaded_is_passed_over(tmp_path):
    """As one that was built for another machine, beside a library that is taken."""
    (tmp_path / "librnn.so").symlink_to(Path(_abi.library._name).absolute())
    (tmp_path / "_native.abi3.so").write_bytes(b"\x7fELF nothing")
    code = "import librnn, numpy as np; print(librnn.GRU(2, 3, seed=1).stream().step(np.ones((1, 2), 'f')).shape)"
    assert python(code, LIBRNN_LIBRARY=str(tmp_path / "librnn.so")).strip() == "(1, 3)"


# --------------------------------------------------------------------------------------------- runs


def runs():
    """Models, and an x in each form that they take."""
    lstm = lambda **keywords: librnn.LSTM(4, 5, 2, seed=1, **keywords)  # noqa: E731
    yield lstm, randoms(6, 3, 4)
    yield lambda: lstm(dtype="float64", bidirectional=True), randoms(6, 3, 4, dtype="float64")
    yield lambda: lstm(batch_first=True), randoms(3, 6, 4)
    yield lambda: librnn.RNN(4, 5, bidirectional=True, hidden_size_reverse=3, seed=1), randoms(6, 4)
    yield lambda: librnn.GRU(4, 5, learn_initial_state=True, seed=1), randoms(6, 2, 4)
    yield lambda: librnn.Sequential([librnn.Embedding(9, 3, seed=1), librnn.GRU(3, 2, seed=2), librnn.LastStep()]), np.arange(12).reshape(6, 2) % 9
    yield lambda: librnn.Sequential([librnn.Linear(4, 2, seed=3)]), randoms(6, 2, 4)
    yield lambda: librnn.GRU(4, 5, seed=1), np.zeros((0, 2, 4), np.float32)


@needs_native
def test_runs_through_the_module_and_through_ctypes_give_the_same_arrays(monkeypatch):
    for make, x in runs():
        native = make()
        first = native(x)
        second = native(x, first[1])
        assert all(plan.native is not None for plan in native._plans.values())
        with monkeypatch.context() as patch:
            patch.setattr(librnn._extension, "native", None)
            other = make()
            assert_same_bits(first, other(x))
            assert_same_bits(second, other(x, first[1]))
            assert all(plan.native is None for plan in other._plans.values())
        strided = np.repeat(x, 2, axis=0)[::2]
        assert_same_bits(native(strided), first)
        if x.dtype.kind == "f":
            assert_same_bits(native(x.astype(x.dtype.newbyteorder())), first)
        if x.dtype == np.float32:
            assert_same_bits(native(x.astype(np.float64)), first)
        assert_same_bits(native(x.tolist()) if x.size else first, first)


def test_tokens_of_every_integer_type_are_the_same_tokens():
    model = librnn.Sequential([librnn.Embedding(9, 3, seed=1), librnn.GRU(3, 2, seed=2)])
    x = np.arange(12).reshape(6, 2) % 9
    expected = model(x)
    for kind in "bBhHiIlLqQ":
        for _ in range(2):
            assert_same_bits(model(x.astype(kind)), expected)


@needs_native
def test_a_run_of_a_closed_model_says_so():
    model = librnn.GRU(4, 5, seed=1)
    x = randoms(6, 2, 4)
    model(x)
    model.close()
    with pytest.raises(librnn.RNNError) as error:
        model(x)
    assert error.value.status == "RNN_ERROR_INVALID_HANDLE"


@needs_native
def test_a_run_leaves_what_it_was_not_planned_for_to_its_caller():
    model = librnn.LSTM(4, 5, seed=1)
    x = randoms(6, 2, 4)
    model(x)
    (plan,) = model._plans.values()
    state = np.zeros(plan.state_shape, np.float32)
    read_only = state.copy()
    read_only.flags.writeable = False
    for wrong in ((x[:5], None), (x.astype(np.float64), None), (x[:, ::-1], None), ("x", None), (None, None), (x, state[:1]),
                  (x, state.astype(np.float64)), (x, read_only), (x, "h")):  # fmt: skip
        assert plan.native.run(*wrong) is None
    for wrong in ((x,), (), (x, None, None)):
        with pytest.raises(TypeError):
            plan.native.run(*wrong)
    y, same = plan.native.run(x, state)
    assert same is state and y.shape == (6, 2, 5)
    for wrong in ((), (1, 2), (0, 0, 1, 1, 4, False, False, (1,) * 5, None, 0, None), (0, 0, 1, 1, 4, False, False, (-1,), None, 0, None),
                  (0, 0, 1, 1, 4, False, False, None, None, 0, None), ("f", 0, 1, 1, 4, False, False, (1,), None, 0, None)):  # fmt: skip
        with pytest.raises((TypeError, ValueError)):
            _extension.native.PlannedRun(*wrong)


@needs_native
def test_runs_leave_no_reference_behind():
    model = librnn.LSTM(4, 5, seed=1)
    x = randoms(6, 2, 4)

    def calls():
        for _ in range(200):
            y, state = model(x)
            model(x, state)
            with pytest.raises(librnn.RNNError):
                model(x[:, :, :2])

    calls()
    (plan,) = model._plans.values()
    count = sys.getrefcount(x), sys.getrefcount(plan.native)
    assert kept_memory(calls) < 4096
    assert count == (sys.getrefcount(x), sys.getrefcount(plan.native))


@needs_native
def test_the_tests_of_calls_pass_through_ctypes_too():
    """The suite itself uses the extension module where it is there."""
    folder = Path(__file__).parent
    names = ["test_stream.py", "test_calls.py", "test_forward.py"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(str(folder / name) for name in names)],
        env={**os.environ, "LIBRNN_NATIVE": "0"}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-2000:]
