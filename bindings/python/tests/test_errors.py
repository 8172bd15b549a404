"""Every mistake is an RNNError with a code and a message that says what was expected and what came."""

import copy
import pickle

import numpy as np
import pytest

import librnn
from helpers import CELLS, make, randoms
from librnn import _abi

SHAPE, ARGUMENT, DTYPE = _abi.RNN_ERROR_SHAPE, _abi.RNN_ERROR_INVALID_ARGUMENT, _abi.RNN_ERROR_DTYPE


def refused(code, function, *arguments, says=(), **keywords):
    with pytest.raises(librnn.RNNError) as caught:
        function(*arguments, **keywords)
    error = caught.value
    assert code is None or error.code == code, error
    for text in says:
        assert text in error.message, error.message
    return error


def test_an_error_has_code_status_and_message_and_is_a_value_error():
    error = refused(SHAPE, librnn.GRU(3, 4), np.zeros((2, 5)), says=["(2, 5)", "(T, N, 3)"])
    assert isinstance(error, ValueError)
    assert error.status == "RNN_ERROR_SHAPE"
    assert str(error) == f"{error.message} (RNN_ERROR_SHAPE)"
    again = pickle.loads(pickle.dumps(error))
    assert (again.code, again.message) == (error.code, error.message)
    assert librnn.RNNError(-999, "?").status == "unknown status"


@pytest.mark.parametrize("kind", [librnn.RNN, librnn.GRU, librnn.LSTM])
def test_sizes_and_choices_that_make_no_sense_are_refused(kind):
    for sizes in [(0, 3), (3, 0), (-1, 3), (3, -1), (2.5, 3), ("3", 3), (None, 3), (2**64, 3), (3, 2**63)]:
        refused(ARGUMENT, kind, *sizes, says=["_size is"])
    for layers in (0, -1, 1.5, None):
        refused(ARGUMENT, kind, 3, 4, layers, says=["num_layers"])
    for keywords in [
        {"dropout": 1.0}, {"dropout": -0.1}, {"dropout": float("nan")}, {"dropout": "much"}, {"bias": "triple"}, {"bias": None},
        {"init": "random"}, {"forget_bias": float("nan")}, {"seed": -1}, {"seed": 2**64}, {"seed": 1.5}, {"forget_bias": "x"},
    ]:  # fmt: skip
        refused(ARGUMENT, kind, 3, 4, **keywords)
    for dtype in ("float16", "int32", None, "complex64", object(), "no dtype"):
        refused(DTYPE, kind, 3, 4, dtype=dtype, says=["float32"])


def test_what_nobody_knows_is_refused_by_name():
    with pytest.raises(TypeError):
        librnn.GRU(3, 4, zoneout=0.1)


def test_a_choice_that_only_another_cell_has_is_refused():
    refused(ARGUMENT, librnn.GRU, 3, 4, variant="reset_sometimes", says=["reset_before", "reset_after"])
    refused(ARGUMENT, librnn.RNN, 3, 4, nonlinearity="sigmoid", says=["tanh", "relu"])
    refused(ARGUMENT, librnn.GRU, 3, 4, forget_bias=1.0, says=["forget gate"])
    refused(ARGUMENT, librnn.RNN, 3, 4, forget_bias=1.0, says=["forget gate"])


@pytest.mark.parametrize("cell", CELLS)
def test_wrong_inputs_states_and_lengths_are_refused(cell):
    layer = make(cell, 3, 4, 2)
    x = randoms(5, 2, 3)
    for wrong in [np.zeros((5, 2, 4)), np.zeros(3), np.zeros((1, 5, 2, 3)), 1.0, np.zeros((5, 4))]:
        refused(SHAPE, layer, wrong, says=["expected (T, N, 3)"])
    refused(SHAPE, make(cell, 3, 4, batch_first=True), np.zeros((1, 2, 4)), says=["(N, T, 3)"])
    refused(SHAPE, layer, [[1.0, 2.0], [3.0]], says=["x does not become an array"])
    for wrong in [np.zeros((5, 2, 3), complex), np.array("text"), np.full((5, 2, 3), None), np.zeros((5, 2, 3), "M8[s]")]:
        refused(DTYPE, layer, wrong, says=["x has dtype"])
    refused(ARGUMENT, layer, np.zeros((5, 0, 3)))

    def state(array):
        return (array, array) if cell == "lstm" else array

    for wrong in [np.zeros((2, 3, 4)), np.zeros((1, 2, 4)), np.zeros((2, 2, 5)), np.zeros((2, 4)), np.zeros(4)]:
        refused(SHAPE, layer, x, state(wrong), says=["hx", "(2, 2, 4)"])
    refused(SHAPE, layer, x[:, 0], state(np.zeros((2, 1, 4))), says=["(2, 4)"])
    refused(DTYPE, layer, x, state(np.zeros((2, 2, 4), complex)))
    refused(SHAPE, layer, x, None, [5], says=["lengths", "(2,)"])
    refused(SHAPE, layer, x, None, 5)
    refused(DTYPE, layer, x, None, [5.0, 2.0], says=["integers"])
    refused(DTYPE, layer, x, None, [True, True])
    for wrong in [[6, 2], [-1, 2], [2**62, 1]]:
        refused(ARGUMENT, layer, x, None, wrong)
    if cell == "lstm":
        refused(SHAPE, layer, x, np.zeros((2, 2, 4)), says=["pair"])
        refused(SHAPE, layer, x, [np.zeros((2, 2, 4))], says=["pair"])


def test_a_failed_call_leaves_the_layer_as_it_was():
    layer = librnn.LSTM(3, 4, seed=1)
    x = randoms(5, 2, 3)
    expected, _ = layer(x)
    for _ in range(20):
        refused(ARGUMENT, layer, x, None, [9, 9])
        refused(ARGUMENT, layer.forward_train, x, None, [9, 9])
    assert np.array_equal(layer(x)[0], expected)


def test_wrong_gradients_and_tapes_are_refused():
    layer, other = librnn.GRU(3, 4, seed=1), librnn.GRU(3, 4, seed=1)
    y, h, tape = layer.forward_train(randoms(5, 2, 3))
    refused(SHAPE, layer.backward, tape, y[:-1], says=["grad_y", "(5, 2, 4)"])
    refused(SHAPE, layer.backward, tape, y, h[:, :1], says=["grad_h_n"])
    refused(SHAPE, other.backward, tape, y, says=["another model"])
    refused(ARGUMENT, layer.backward, None, y, says=["tape"])
    tape.close()
    tape.close()
    refused(_abi.RNN_ERROR_INVALID_HANDLE, layer.backward, tape, y)
    refused(ARGUMENT, layer.forward_train, randoms(5, 2, 3), step=-1, says=["step"])


def test_a_closed_model_and_a_closed_stream_are_refused():
    layer = librnn.GRU(3, 4, seed=1)
    x = randoms(5, 2, 3)
    expected, _ = layer(x)
    y, _, tape = layer.forward_train(x)
    stream = layer.stream(batch=2)
    with layer:
        pass
    calls = [lambda: layer(x), layer.state_dict, layer.stream, lambda: layer.forward_train(x), lambda: dict(layer.metadata)]
    for call in calls:
        refused(_abi.RNN_ERROR_INVALID_HANDLE, call)
    layer.close()
    # What was made from it lives on.
    assert np.array_equal(stream.process(x), expected)
    bound = stream.output
    last = bound.copy()
    stream.close()
    refused(_abi.RNN_ERROR_INVALID_HANDLE, stream.step)
    refused(_abi.RNN_ERROR_INVALID_HANDLE, stream.step, x[0])
    refused(_abi.RNN_ERROR_INVALID_HANDLE, stream.process, x)
    refused(_abi.RNN_ERROR_INVALID_HANDLE, stream.reset)
    del stream
    assert np.array_equal(bound, last), "memory that is still referenced is still there"


def test_wrong_arguments_of_cells_are_refused():
    cell = librnn.LSTMCell(3, 4)
    for wrong in [np.zeros(4), np.zeros((2, 4)), np.zeros((1, 2, 3)), 0.0]:
        refused(SHAPE, cell, wrong, says=["expected (N, 3)"])
    refused(SHAPE, cell, np.zeros((2, 3)), np.zeros((2, 4)), says=["pair"])
    refused(SHAPE, cell, np.zeros((2, 3)), (np.zeros((2, 4)), np.zeros((1, 4))), says=["(2, 4)"])
    refused(ARGUMENT, cell, np.zeros((0, 3)))
    refused(ARGUMENT, cell.backward, None, np.zeros((2, 4)))
    refused(ARGUMENT, librnn.GRUCell, 3, 4, variant="x")
    refused(ARGUMENT, librnn.GRUCell, 3, 0)


def test_the_message_is_that_of_the_failing_call_on_its_own_thread():
    from concurrent.futures import ThreadPoolExecutor

    layer = librnn.RNN(3, 4, seed=1)

    def fail(number):
        with pytest.raises(librnn.RNNError) as caught:
            layer(np.zeros((5, 1, 3), np.float32), None, [1000 + number])
        return str(1000 + number) in caught.value.message

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(fail, range(200)))


def test_a_repr_can_be_read_as_the_call_that_makes_the_model():
    for model in [
        librnn.RNN(3, 4, nonlinearity="relu"),
        librnn.GRU(3, 4, 2, variant="reset_after", bidirectional=True, dtype="float64"),
        librnn.LSTM(3, 4, bias="single", batch_first=True),
        librnn.Sequential([librnn.Embedding(5, 3), librnn.GRU(3, 4), librnn.Dropout(0.1), librnn.LastStep()]),
        librnn.Sequential([librnn.OneHot(3), librnn.Linear(3, 2, bias=False), librnn.Linear(2, 2)]),
        librnn.GRUCell(3, 4, bias=False),
    ]:
        names = {name: getattr(librnn, name) for name in librnn.__all__}
        assert repr(eval(repr(model), names)) == repr(model)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_models_can_be_copied_and_pickled(duplicate):
    models = [make(cell, 3, 4, 2, batch_first=True, bias=False) for cell in CELLS] + [
        librnn.Sequential([librnn.LSTM(3, 4), librnn.Dropout(0.5), librnn.Linear(4, 2)])
    ]
    for model in models:
        model.metadata["note"] = "wörld"
        other = duplicate(model)
        assert repr(other) == repr(model)
        assert dict(other.metadata) == {"note": "wörld"}
        x = randoms(5, 2, 3)
        assert np.array_equal(other(x)[0], model(x)[0])
        assert np.array_equal(other.forward_train(x, step=1)[0], model.forward_train(x, step=1)[0])
    for cell in (librnn.GRUCell(3, 4, bias=False), librnn.LSTMCell(3, 4), librnn.RNNCell(3, 4, nonlinearity="relu")):
        assert repr(duplicate(cell)) == repr(cell)
        assert np.array_equal(duplicate(cell).state_dict()["weight_hh"], cell.state_dict()["weight_hh"])
    linear = librnn.Linear(3, 4)
    assert np.array_equal(duplicate(linear)(np.ones(3)), linear(np.ones(3)))
