"""Sequential: a chain of modules in one network."""

import numpy as np
import pytest

import librnn
from helpers import DTYPES, assert_same_bits, randoms
from librnn import _abi


def test_a_chain_computes_its_modules_one_after_the_other():
    for dtype in DTYPES:
        lstm, gru = librnn.LSTM(3, 5, bidirectional=True, dtype=dtype, seed=1), librnn.GRU(10, 4, 2, dtype=dtype, seed=2)
        rnn, linear = librnn.RNN(4, 6, dtype=dtype, seed=3), librnn.Linear(6, 2, dtype=dtype, seed=4)
        model = librnn.Sequential([lstm, gru, librnn.Dropout(0.5), rnn, linear])
        x, lengths = randoms(7, 4, 3, dtype=dtype), [7, 2, 5, 1]
        y, state = model(x, lengths=lengths)
        a, lstm_state = lstm(x, None, lengths)
        b, gru_state = gru(a, None, lengths)
        c, rnn_state = rnn(b, None, lengths)
        assert_same_bits(state, [lstm_state, gru_state, rnn_state])
        expected = linear(c)
        for n, length in enumerate(lengths):
            assert_same_bits(y[:length, n], expected[:length, n])
            assert not y[length:, n].any()
        assert_same_bits(model(x, state)[1], model(x, [lstm_state, gru_state, rnn_state])[1])
        assert_same_bits(model(x, [None, gru_state, None])[0], model(x, [(None, None), gru_state, rnn_state * 0])[0])


def test_linear_is_the_product_with_weight_transposed_plus_bias():
    for dtype in DTYPES:
        for outputs in (1, 3, 40):
            linear = librnn.Linear(20, outputs, dtype=dtype, seed=1)
            w, b = linear.state_dict()["weight"].astype(np.float64), linear.state_dict()["bias"].astype(np.float64)
            x = randoms(4, 3, 20, dtype=dtype)
            bound = 25 * np.finfo(dtype).eps * (np.abs(x).astype(np.float64) @ np.abs(w).T + np.abs(b))
            assert (np.abs(linear(x) - (x.astype(np.float64) @ w.T + b)) <= bound).all()
            assert_same_bits(linear(x[0, 0]), linear(x)[0, 0])
            assert linear(np.zeros((0, 20))).shape == (0, outputs)
    assert list(librnn.Linear(2, 3, bias=False).parameters) == ["weight"]


def test_an_embedding_is_a_row_for_each_token_and_one_hot_a_one():
    embedding = librnn.Embedding(5, 3, seed=1)
    tokens = np.array([[0, 4], [2, 2]])
    assert_same_bits(embedding(tokens), embedding.state_dict()["weight"][tokens])
    assert embedding(3).shape == (3,)
    model = librnn.Sequential([librnn.OneHot(5), librnn.Linear(5, 5, bias=False)])
    model.load_state_dict({"1.weight": np.eye(5)})
    assert_same_bits(model(tokens)[0], np.eye(5, dtype=np.float32)[tokens])


def test_tokens_take_every_layout():
    model = librnn.Sequential([librnn.Embedding(9, 4, seed=1), librnn.GRU(4, 5, seed=2), librnn.Linear(5, 9, seed=3)])
    flipped = librnn.Sequential(
        [librnn.Embedding(9, 4, seed=1), librnn.GRU(4, 5, seed=2, batch_first=True), librnn.Linear(5, 9, seed=3)]
    )
    tokens = np.random.default_rng(0).integers(0, 9, (6, 3))
    y, state = model(tokens)
    assert y.shape == (6, 3, 9)
    assert flipped.batch_first
    assert_same_bits(flipped(tokens.T)[0], np.ascontiguousarray(y.transpose(1, 0, 2)))
    alone, alone_state = model(tokens[:, 0].astype(np.int32))
    assert_same_bits([alone, alone_state], [y[:, 0], [state[0][:, 0]]])
    assert_same_bits(model(tokens.tolist())[0], y)
    stream = model.stream()
    assert_same_bits(np.stack([stream.step(t) for t in tokens[:, 0]]), y[:, 0])
    stream.reset()
    assert_same_bits(stream.process(tokens[:, 0]), y[:, 0])
    for wrong in ([[9]], [[-1]], [[2**40]]):
        with pytest.raises(librnn.RNNError):
            model(wrong)
        with pytest.raises(librnn.RNNError):
            model.stream().step(wrong[0])
    for wrong in (np.zeros((2, 2)), np.zeros((2, 2), bool), np.zeros((2, 2, 2), int)):
        with pytest.raises(librnn.RNNError):
            model(wrong)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_last_step_is_each_rows_own(bidirectional):
    gru = librnn.GRU(3, 4, bidirectional=bidirectional, seed=1)
    linear = librnn.Linear(8 if bidirectional else 4, 2, seed=2)
    model = librnn.Sequential([gru, librnn.LastStep(), linear])
    x, lengths = randoms(6, 4, 3), [6, 1, 0, 3]
    y, _ = model(x, lengths=lengths)
    assert y.shape == (4, 2)
    full, _ = gru(x, None, lengths)
    for n, length in enumerate(lengths):
        last = full[length - 1, n] if length else np.zeros(full.shape[2], np.float32)
        assert_same_bits(y[n], linear(last))
    assert_same_bits(model(x[:, 0])[0], y[0])
    assert_same_bits(model(x)[0][1], linear(gru(x)[0][-1, 1]))
    if not bidirectional:
        stream = model.stream(batch=4)
        for t in range(6):
            out = stream.step(x[t])
        assert_same_bits(out, model(x)[0])
        stream.reset()
        assert_same_bits(stream.process(x), model(x)[0])


def test_an_empty_chunk_through_a_stream_is_an_empty_sequence():
    model = librnn.Sequential([librnn.GRU(3, 4, seed=1), librnn.LastStep(), librnn.Linear(4, 2, seed=2)])
    empty = np.zeros((0, 3), np.float32)
    assert_same_bits(model(empty)[0], model.parameters["2.bias"].copy())
    # Through the C interface, into memory that is known not to hold the answer by chance.
    stream, y = model.stream(), np.full(2, np.nan, np.float32)
    assert _abi.rnn_stream_process(stream._pointer, 0, None, 0, None, 0, y.ctypes.data, y.size) == 0
    assert_same_bits(y, model(empty)[0])


def test_the_weights_are_copied_and_named_by_position():
    gru, linear = librnn.GRU(3, 4, seed=1), librnn.Linear(4, 2, seed=2)
    model = librnn.Sequential([gru, librnn.Dropout(0.1), linear])
    assert list(model.parameters) == ["0.weight_ih_l0", "0.weight_hh_l0", "0.bias_l0", "2.weight", "2.bias"]
    assert_same_bits(model.state_dict()["0.weight_hh_l0"], gru.state_dict()["weight_hh_l0"])
    assert_same_bits(model.parameters["2.bias"], linear.parameters["bias"])
    before = model.state_dict()
    gru.load_state_dict({name: value * 0 for name, value in gru.state_dict().items()})
    assert_same_bits(model.state_dict(), before)
    model.load_state_dict({name: value * 2 for name, value in before.items()})
    assert_same_bits(linear.parameters["bias"], before["2.bias"])
    assert len(model) == 3


def test_dropout_acts_in_training_only_and_its_masks_are_a_function_of_seed_step_and_time():
    def build(seed):
        return librnn.Sequential([librnn.Dropout(0.5), librnn.Linear(50, 50, bias=False, init="zeros")], seed=seed)

    model = build(7)
    model.load_state_dict({"1.weight": np.eye(50)})
    x = np.ones((40, 10, 50), np.float32)
    assert_same_bits(model(x)[0], x)
    y = model.forward_train(x, step=0)[0]
    assert set(np.unique(y)) == {0, 2}
    # 20000 draws: the standard deviation of the mean of y is 1/√20000 = 0.007.
    assert abs(y.mean() - 1) < 0.03
    assert_same_bits(model.forward_train(x, step=0)[0], y)
    assert (model.forward_train(x, step=1)[0] != y).any()
    chunk = model.forward_train(x[10:], step=0, first_time=10)[0]
    assert_same_bits(chunk, y[10:])
    # y above was explicit; the counter begins at 0.
    assert_same_bits(model.forward_train(x)[0], y)
    assert (model.forward_train(x)[0] != y).any()
    twin = build(7)
    twin.load_state_dict(model.state_dict())
    assert_same_bits(twin.forward_train(x)[0], y)
    other = build(8)
    other.load_state_dict(model.state_dict())
    assert (other.forward_train(x)[0] != y).any()


def test_dropout_between_layers_leaves_the_last_layer_alone():
    layer = librnn.GRU(3, 4, 2, dropout=0.5, seed=1)
    x = randoms(6, 2, 3)
    assert_same_bits(layer(x), librnn.GRU(3, 4, 2, seed=1)(x))
    trained = layer.forward_train(x)[0]
    assert (trained != layer(x)[0]).any() and (trained != 0).all()
    single = librnn.GRU(3, 4, 1, dropout=0.5, seed=1)
    assert_same_bits(single.forward_train(x)[0], single(x)[0])


def refused(*modules, **keywords):
    with pytest.raises(librnn.RNNError) as caught:
        librnn.Sequential(list(modules), **keywords)
    return caught.value.message


def test_modules_that_do_not_fit_are_refused():
    gru, double = librnn.GRU(3, 4), librnn.GRU(4, 3, dtype="float64")
    assert "at least one" in refused()
    assert "module 1 reads 3 features" in refused(gru, librnn.GRU(3, 4))
    assert "module 1" in refused(gru, "linear")
    assert "module 1" in refused(gru, librnn.Sequential([gru]))
    assert "float64" in refused(gru, double)
    assert "size of x" in refused(librnn.LastStep())
    refused(gru, librnn.Embedding(3, 4))
    refused(librnn.OneHot(3), librnn.OneHot(3))
    refused(gru, librnn.LastStep(), librnn.LastStep())
    refused(gru, librnn.LastStep(), librnn.GRU(4, 3))
    refused(gru, librnn.Dropout(1.5))
    assert "batch_first" in refused(gru, librnn.GRU(4, 3, batch_first=True))
    assert librnn.Sequential([gru, double], dtype="float64").dtype == np.float64
    for kind, *sizes in ((librnn.Linear, 0, 3), (librnn.Embedding, 3, 0), (librnn.OneHot, -1), (librnn.Dropout, "x")):
        with pytest.raises(librnn.RNNError):
            kind(*sizes)


def test_wrong_states_are_refused():
    model = librnn.Sequential([librnn.LSTM(3, 4), librnn.GRU(4, 2)])
    x = randoms(2, 1, 3)
    h, c, g = np.zeros((1, 1, 4)), np.zeros((1, 1, 4)), np.zeros((1, 1, 2))
    model(x, [(h, c), g])
    for wrong in ([h, g], [(h, c)], {"0": h}, [(h, c), g, g], [(h, c), h], h):
        with pytest.raises(librnn.RNNError):
            model(x, wrong)


def test_bidirectional_models_have_no_stream_and_say_so():
    for model in (librnn.GRU(3, 4, bidirectional=True), librnn.Sequential([librnn.LSTM(3, 4, bidirectional=True)])):
        with pytest.raises(librnn.RNNError, match="reads backwards") as caught:
            model.stream()
        assert caught.value.status == "RNN_ERROR_UNSUPPORTED"
