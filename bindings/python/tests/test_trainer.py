"""The trainer equals its parts, bit for bit: forward_train, loss, backward, clip_grad_norm, optimizer."""

import gc
import json
import math
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import librnn
from helpers import CELLS, DTYPES, assert_same_bits, leaves, make, python, randoms

losses, optim = librnn.losses, librnn.optim


def tokens(*shape, vocabulary=11, seed=0):
    return np.random.default_rng(seed).integers(0, vocabulary, shape)


def language_model(dtype="float32", vocabulary=11, hidden=8, dropout=0.0, batch_first=False, seed=5):
    """Embedding, GRU, LSTM, Linear: every kind of state."""
    return librnn.Sequential(
        [
            librnn.Embedding(vocabulary, 6, seed=1, dtype=dtype),
            librnn.GRU(6, hidden, seed=2, dtype=dtype),
            librnn.Dropout(dropout),
            librnn.LSTM(hidden, 7, seed=3, dtype=dtype),
            librnn.Linear(7, vocabulary, seed=4, dtype=dtype),
        ],
        batch_first=batch_first, dtype=dtype, seed=seed,
    )  # fmt: skip


def counted(lengths, steps):
    """1 where a step of a row is not padding, [T, N]."""
    return np.arange(steps)[:, None] < np.asarray(lengths)


def parts(model, loss, x, targets, hx=None, lengths=None, step=None, first=0, skip=0, ignore_index=-100):
    """Loss, gradients and final state by the functions that a trainer is made of; `skip` steps at the front have no loss."""
    y, state, tape = model.forward_train(x, hx, lengths, step=step, first_time=first)
    targets = np.asarray(targets)
    mask = np.ones(y.shape[:-1], bool)
    if not model._single_step:
        if lengths is not None:
            mask &= counted(lengths, len(y))
        mask[:skip] = False
    if loss == "cross_entropy":
        used = np.where(mask, targets, ignore_index)
        value, gradient = losses.cross_entropy(y, used, ignore_index=ignore_index)
        terms = int((used != ignore_index).sum())
        value *= terms
    else:
        # The mean over what is not padding, which losses.mse does not know.
        value, gradient = losses.mse(y, np.where(mask[..., None], targets, y), reduction="sum")
        terms = int(mask.sum()) * y.shape[-1]
        gradient = gradient * model.dtype.type(1 / terms)
    gradients = model.backward(tape, gradient)
    return value, terms, gradients.parameters, state


CASES = {
    "gru": (lambda dtype: librnn.GRU(3, 5, 2, seed=1, dtype=dtype), "mse"),
    "lstm_bidirectional": (lambda dtype: librnn.LSTM(3, 5, 2, bidirectional=True, seed=1, dtype=dtype), "mse"),
    "rnn": (lambda dtype: librnn.RNN(3, 5, seed=1, dtype=dtype), "cross_entropy"),
    "language": (lambda dtype: language_model(dtype), "cross_entropy"),
    "last_step": (
        lambda dtype: librnn.Sequential(
            [librnn.GRU(3, 5, seed=1, dtype=dtype), librnn.LastStep(), librnn.Linear(5, 4, seed=2, dtype=dtype)]
        ),
        "cross_entropy",
    ),
    "last_step_mse": (lambda dtype: librnn.Sequential([librnn.LSTM(3, 5, seed=1, dtype=dtype), librnn.LastStep()]), "mse"),
}


def batch_for(model, loss, steps, rows, seed=0):
    if model._token_count:
        x = tokens(steps, rows, seed=seed)
    else:
        x = randoms(steps, rows, model.input_size, seed=seed, dtype=model.dtype)
    shape = (rows,) if model._single_step else (steps, rows)
    if loss == "mse":
        return x, randoms(*shape, model.output_size, seed=seed + 50, dtype=model.dtype)
    return x, tokens(*shape, vocabulary=model.output_size, seed=seed + 50)


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("lengths", [None, [7, 3, 1, 5]])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_losses_gradients_weights_and_states_are_those_of_the_parts(case, dtype, lengths, clip):
    make_model, loss = CASES[case]
    model, by_parts = make_model(dtype), make_model(dtype)
    trainer = librnn.Trainer(model, loss, optim.Adam(model, lr=0.01), clip_norm=clip)
    optimizer = optim.Adam(by_parts, lr=0.01)
    state = other = None
    for i in range(3):
        x, targets = batch_for(model, loss, 7, 4, seed=i)
        report = trainer.step(x, targets, lengths, state)
        value, terms, gradients, other = parts(by_parts, loss, x, targets, other, lengths, step=i)
        clipped = librnn.clip_grad_norm(gradients, math.inf if clip is None else clip)
        optimizer.step(gradients)
        assert report.terms == terms and (report.updates, report.skipped) == (1, 0)
        # Sums of a few dozen losses in double, in another order.
        assert math.isclose(report.loss, value / terms, rel_tol=1e-6 if loss == "mse" and dtype == "float32" else 1e-13)
        assert report.gradient_norm == clipped.total_norm and report.gradient_scale == clipped.scale
        assert report.largest == clipped.largest and report.largest in model.parameters
        for name, value in trainer.gradients().items():
            assert_same_bits(value, gradients[name], name)
        for name, value in model.state_dict().items():
            assert_same_bits(value, by_parts.parameters[name], name)
            assert_same_bits(value, model.parameters[name], name)
        assert_same_bits(report.state, other)
        assert_same_bits(model(x)[0], by_parts(x)[0])
        assert_same_bits(trainer.snapshot()(x)[0], by_parts(x)[0])
        assert type(trainer.snapshot()) is type(model)
        state = report.state


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "vocabulary, hidden, steps, rows, dtype",
    # Blocks of rows, several and the last one shorter; classes that fill no whole vector; more columns than stay in the cache; one
    # block of many groups.
    [(6001, 13, 25, 40, "float32"), (6001, 5, 25, 40, "float64"), (1003, 400, 11, 200, "float32"), (5, 7, 30, 50, "float32")],
)
def test_the_output_layer_of_a_large_vocabulary_has_the_bits_of_the_parts(vocabulary, hidden, steps, rows, dtype, threads):
    def classifier():
        return librnn.Sequential(
            [
                librnn.Embedding(vocabulary, 6, seed=1, dtype=dtype),
                librnn.GRU(6, hidden, seed=2, dtype=dtype),
                librnn.Linear(hidden, vocabulary, seed=4, dtype=dtype),
            ],
            dtype=dtype,
        )  # fmt: skip

    before = librnn.get_num_threads()
    librnn.set_num_threads(threads)
    try:
        model, by_parts = classifier(), classifier()
        trainer = librnn.Trainer(model, "cross_entropy", optim.SGD(model, lr=0.1), ignore_index=3)
        optimizer = optim.SGD(by_parts, lr=0.1)
        lengths = np.random.default_rng(3).integers(1, steps + 1, rows)
        for i in range(2):
            x, targets = (tokens(steps, rows, vocabulary=vocabulary, seed=seed) for seed in (i, i + 9))
            lengths_now = lengths if i else None
            evaluated = trainer.evaluate(x, targets, lengths_now)
            report = trainer.step(x, targets, lengths_now)
            value, terms, gradients, _ = parts(
                by_parts, "cross_entropy", x, targets, lengths=lengths_now, step=i, ignore_index=3
            )
            assert (evaluated.loss, evaluated.terms) == (report.loss, report.terms)
            assert report.terms == terms and math.isclose(report.loss, value / terms, rel_tol=1e-13)
            for name, value in trainer.gradients().items():
                assert_same_bits(value, gradients[name], name)
            optimizer.step(gradients)
            assert_same_bits(model.state_dict(), by_parts.state_dict())
    finally:
        librnn.set_num_threads(before)


def test_a_trainer_of_one_linear_layer_has_the_bits_of_the_parts():
    model, by_parts = (librnn.Sequential([librnn.Linear(3, 70, seed=1)]) for _ in range(2))
    trainer, optimizer = librnn.Trainer(model, "cross_entropy", optim.SGD(model, 0.5)), optim.SGD(by_parts, 0.5)
    for i in range(2):
        x, targets = randoms(9, 5, 3, seed=i), tokens(9, 5, vocabulary=70, seed=i)
        assert trainer.evaluate(x, targets).loss == trainer.step(x, targets).loss
        optimizer.step(parts(by_parts, "cross_entropy", x, targets)[2])
        assert_same_bits(model.state_dict(), by_parts.state_dict())


@pytest.mark.parametrize(
    "mode, clip",
    [("global_norm", librnn.clip_grad_norm), ("tensor_norm", librnn.clip_grad_norm_each), ("value", librnn.clip_grad_value)],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_clip_mode_is_its_function(dtype, mode, clip):
    model, by_parts = language_model(dtype), language_model(dtype)
    limit = 1e-3 if mode == "value" else 0.05
    trainer = librnn.Trainer(model, "cross_entropy", optim.SGD(model, lr=0.1), clip_norm=limit, clip_mode=mode)
    optimizer = optim.SGD(by_parts, lr=0.1)
    x, targets = tokens(6, 4), tokens(6, 4, seed=1)
    report = trainer.step(x, targets)
    gradients = parts(by_parts, "cross_entropy", x, targets, None, None, step=0)[2]
    before = {name: value.copy() for name, value in gradients.items()}
    clipped = clip(gradients, limit)
    assert any((gradients[name] != value).any() for name, value in before.items())
    assert report.gradient_norm == clipped.total_norm
    assert (report.gradient_scale, report.largest) == (clipped.scale, clipped.largest)
    for name, value in trainer.gradients().items():
        assert_same_bits(value, gradients[name], name)
    optimizer.step(gradients)
    for name, value in model.state_dict().items():
        assert_same_bits(value, by_parts.parameters[name], name)


@pytest.mark.parametrize("mode", ["global_norm", "tensor_norm", "value"])
def test_without_a_clip_norm_no_mode_clips(mode):
    model, plain = language_model(), language_model()
    x, targets = tokens(6, 4), tokens(6, 4, seed=1)
    report = librnn.Trainer(model, "cross_entropy", optim.SGD(model, lr=0.1), clip_mode=mode).step(x, targets)
    assert report == librnn.Trainer(plain, "cross_entropy", optim.SGD(plain, lr=0.1)).step(x, targets)
    assert report.gradient_scale == 1
    assert_same_bits(model.state_dict(), plain.state_dict())


def test_an_unknown_clip_mode_is_an_error_that_lists_them():
    model = language_model()
    for mode in ("norm", None, 0):
        with pytest.raises(librnn.RNNError, match="clip_mode is .*, expected one of 'global_norm', 'tensor_norm', 'value'"):
            librnn.Trainer(model, "cross_entropy", optim.SGD(model, lr=0.1), clip_norm=1.0, clip_mode=mode)


@pytest.mark.parametrize("case", CASES)
def test_evaluate_gives_the_loss_of_a_step_and_changes_nothing(case):
    make_model, loss = CASES[case]
    model = make_model("float32")
    trainer = librnn.Trainer(model, loss, optim.SGD(model, lr=0.1))
    x, targets = batch_for(model, loss, 7, 4)
    before = model.state_dict()
    evaluated = trainer.evaluate(x, targets, [7, 3, 1, 5])
    assert (evaluated.updates, evaluated.skipped, evaluated.largest) == (0, 0, None)
    assert_same_bits(model.state_dict(), before)
    stepped = trainer.step(x, targets, [7, 3, 1, 5])
    assert (evaluated.loss, evaluated.terms) == (stepped.loss, stepped.terms)
    assert_same_bits(evaluated.state, stepped.state)
    # With the new weights, and again without a trace of the first time.
    again = trainer.evaluate(x, targets, [7, 3, 1, 5])
    assert again.loss == trainer.evaluate(x, targets, [7, 3, 1, 5]).loss < stepped.loss


def test_every_optimizer_works_in_a_trainer_as_alone():
    for make_optimizer in (
        lambda m: optim.SGD(m, 0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
        lambda m: optim.SGD(m, 0.1, momentum=0.9, nesterov=True),
        lambda m: optim.Adam(m, betas=(0.0, 0.5), eps=1e-4, weight_decay=0.1, amsgrad=True),
        lambda m: optim.AdamW(m, weight_decay=0.3),
        lambda m: optim.RMSprop(m, alpha=0.5, momentum=0.5, centered=True),
        lambda m: optim.SGD(m, 0.0),
    ):
        model, by_parts = (librnn.GRU(3, 5, seed=1) for _ in range(2))
        trainer, optimizer = librnn.Trainer(model, losses.mse, make_optimizer(model)), make_optimizer(by_parts)
        for i in range(3):
            x, targets = batch_for(model, "mse", 4, 2, seed=i)
            trainer.step(x, targets)
            optimizer.step(parts(by_parts, "mse", x, targets)[2])
            assert_same_bits(model.state_dict(), by_parts.state_dict())


def test_batch_first_and_sequences_without_a_batch_axis():
    plain, flipped = language_model(), language_model(batch_first=True)
    trainers = [librnn.Trainer(model, "cross_entropy", optim.Adam(model)) for model in (plain, flipped)]
    state = None
    for i in range(2):
        x, targets = tokens(6, 3, seed=i), tokens(6, 3, seed=9 + i)
        a = trainers[0].step(x, targets, [6, 2, 4], state)
        b = trainers[1].step(x.T, targets.T, [6, 2, 4], state)
        assert a == b
        assert_same_bits(a.state, b.state)
        assert_same_bits(plain.state_dict(), flipped.state_dict())
        state = a.state
    one = trainers[0].evaluate(x[:, :1], targets[:, :1])
    for trainer in trainers:
        alone = trainer.evaluate(x[:, 0], targets[:, 0])
        assert alone.loss == one.loss and leaves(alone.state)[0].ndim == 2
    single = librnn.Sequential([librnn.GRU(3, 5, seed=1, batch_first=True), librnn.LastStep(), librnn.Linear(5, 4, seed=2)])
    trainer = librnn.Trainer(single, "cross_entropy", optim.SGD(single, 0.1))
    x = randoms(4, 6, 3)
    assert trainer.evaluate(x, [0, 1, 2, 3], [6, 1, 2, 3]).terms == 4
    assert trainer.evaluate(x[0], 3).loss == trainer.evaluate(x[:1], [3]).loss


def network_of_two_inputs():
    """x and tokens side by side, with a residual sum: nothing that a chain is."""
    from ctypes import byref, c_char_p

    from librnn import _abi
    from librnn._handle import create
    from librnn.errors import check
    from librnn.network import Network

    builder = create(_abi.rnn_builder_destroy, _abi.rnn_builder_create, None)
    check(_abi.rnn_builder_add_input(builder.value, b"x", 3))
    check(_abi.rnn_builder_add_token_input(builder.value, b"token"))
    check(_abi.rnn_builder_add_embedding(builder.value, b"embedding", b"token", 7, 3))
    names = (c_char_p * 2)(b"x", b"embedding")
    check(_abi.rnn_builder_add_sum(builder.value, b"sum", names, 2))
    options = _abi.rnn_recurrent_options(hidden_size=4, num_layers=1, cell=_abi.RNN_CELL_LSTM)
    check(_abi.rnn_builder_add_recurrent(builder.value, b"lstm", b"sum", byref(options)))
    build = _abi.rnn_build_options(seed=3)
    return Network._from_network(create(_abi.rnn_network_destroy, _abi.rnn_builder_build, builder.value, byref(build)))


def test_a_network_that_reads_features_and_tokens():
    model, by_parts = network_of_two_inputs(), network_of_two_inputs()
    trainer = librnn.Trainer(model, "mse", optim.SGD(model, 0.5))
    x, words, targets = randoms(5, 2, 3), tokens(5, 2, vocabulary=7), randoms(5, 2, 4)
    report = trainer.step((x, words), targets)
    y, state, tape = by_parts.forward_train(x, words)
    gradient = losses.mse(y, targets, reduction="sum")[1] * np.float32(1 / y.size)
    optim.SGD(by_parts, 0.5).step(by_parts.backward(tape, gradient))
    assert_same_bits(model.state_dict(), by_parts.state_dict())
    assert_same_bits(report.state, state)
    with pytest.raises(librnn.RNNError, match="expected a pair"):
        trainer.step(x, targets)
    assert isinstance(trainer.snapshot(), librnn.Network)


# ------------------------------------------------------------------------------- the weights of the model


def test_streams_and_tapes_keep_their_weights_while_a_trainer_goes_on():
    """The memory of replaced weights is used again, but not while something reads it."""
    model, copy = librnn.GRU(3, 20, seed=1), librnn.GRU(3, 20, seed=1)
    trainer = librnn.Trainer(model, "mse", optim.SGD(model, 0.5))
    x, targets = randoms(5, 2, 3), randoms(5, 2, 20)
    kept = []
    for _ in range(6):
        copy.load_state_dict(model.state_dict())
        kept.append((model.stream(), model.forward_train(x), copy.stream(), copy.forward_train(x)))
        trainer.step(x, targets)
    for stream, (y, _, tape), other_stream, (other_y, _, other_tape) in kept:
        for t in range(5):
            assert_same_bits(stream.step(x[t, 0]), other_stream.step(x[t, 0]))
        gradients = model.backward(tape, y), copy.backward(other_tape, other_y)
        assert_same_bits(*(gradient.parameters for gradient in gradients))
    assert (kept[0][1][0] != kept[5][1][0]).any()


def test_a_trainer_gives_its_weights_to_networks_with_its_parameters_and_to_no_other():
    from librnn import _abi
    from librnn.errors import check

    model, other = librnn.GRU(3, 4, seed=1), librnn.GRU(3, 4, seed=2)
    trainer = librnn.Trainer(model, "mse", optim.SGD(model, 0.5))
    trainer.step(randoms(5, 2, 3), randoms(5, 2, 4))
    check(_abi.rnn_trainer_update_network(trainer._trainer.value, other._network.value))
    other._weights_changed()
    assert_same_bits(other.state_dict(), model.state_dict())
    for wrong, message in (
        (librnn.GRU(3, 5, seed=1), r"the network has other parameters than the trainer \(RNN_ERROR_SHAPE\)"),
        (librnn.LSTM(3, 3, seed=1), "RNN_ERROR_SHAPE"),
        (librnn.GRU(3, 4, seed=1, dtype="float64"), "RNN_ERROR_DTYPE"),
    ):
        before = wrong.state_dict()
        with pytest.raises(librnn.RNNError, match=message):
            check(_abi.rnn_trainer_update_network(trainer._trainer.value, wrong._network.value))
        wrong._weights_changed()
        assert_same_bits(wrong.state_dict(), before)


# ------------------------------------------------------------------------------------------ same bits

THREADS = """
import sys, zlib
import numpy as np, librnn
librnn.set_num_threads({threads})
assert librnn.get_num_threads() == {threads}
generator = np.random.default_rng(0)
model = librnn.Sequential([librnn.Embedding(90, 24, seed=1), librnn.{cell}(24, 128, {layers}, dropout=0.2, seed=2{more}),
                           librnn.Linear({width}, 90, seed=3)], seed=4)
trainer = librnn.Trainer(model, "cross_entropy", librnn.optim.Adam(model), clip_norm=0.5, dropout_seed=1)
lengths = generator.integers(1, 21, 64)
crc = []
def add(*arrays):
    crc.extend(zlib.crc32(np.ascontiguousarray(a).tobytes()) for a in arrays)
for step in range(3):
    x, y = generator.integers(0, 90, (2, 20, 64))
    report = trainer.step(x, y, lengths if step == 1 else None)
    add(np.array([report.loss, report.gradient_norm]), *trainer.gradients().values(), *model.state_dict().values())
out, state, tape = model.forward_train(x)
g = model.backward(tape, out, gradient_flow=True)
add(out, model(x)[0], g.flow.hidden, *g.parameters.values())
add(*librnn.losses.cross_entropy(out, y))
print(crc)
"""


@pytest.mark.parametrize(
    "cell, layers, more",
    [("GRU", 2, ""), ("GRU", 1, ", variant='reset_after'"), ("LSTM", 1, ", bidirectional=True"), ("RNN", 1, "")],
)
def test_any_number_of_threads_gives_the_same_bits(cell, layers, more):
    width = 256 if "bidirectional" in more else 128
    results = {
        threads: json.loads(python(THREADS.format(threads=threads, cell=cell, layers=layers, more=more, width=width)))
        for threads in (1, 2, 3, 7)
    }
    assert len(results[1]) > 30
    for threads, result in results.items():
        assert result == results[1], f"{threads} threads"


def test_the_number_of_threads_is_checked():
    before = librnn.get_num_threads()
    assert before >= 1
    for wrong in (0, -1, 1025, 1.5, None):
        with pytest.raises(librnn.RNNError):
            librnn.set_num_threads(wrong)
    assert librnn.get_num_threads() == before
    assert python("import librnn; print(librnn.get_num_threads())", RNN_NUM_THREADS="3").strip() == "3"


def test_the_same_seeds_give_the_same_bits_and_others_do_not():
    def train(dropout_seed):
        model = language_model(dropout=0.5)
        trainer = librnn.Trainer(model, "cross_entropy", optim.Adam(model), dropout_seed=dropout_seed)
        for i in range(4):
            trainer.step(tokens(6, 3, seed=i), tokens(6, 3, seed=10 + i))
        return model.state_dict()

    assert_same_bits(train(3), train(3))
    assert any((a != b).any() for a, b in zip(train(3).values(), train(4).values()))


def test_dropout_has_the_masks_of_forward_train_and_none_in_evaluate():
    model, by_parts = language_model(dropout=0.5, seed=8), language_model(dropout=0.5, seed=8)
    trainer, optimizer = librnn.Trainer(model, "cross_entropy", optim.SGD(model, 0.1), dropout_seed=8), optim.SGD(by_parts, 0.1)
    for i in range(3):
        x, targets = tokens(6, 3, seed=i), tokens(6, 3, seed=10 + i)
        evaluated = trainer.evaluate(x, targets)
        assert math.isclose(evaluated.loss, losses.cross_entropy(by_parts(x)[0], targets)[0], rel_tol=1e-12)
        report = trainer.step(x, targets)
        assert report.loss != evaluated.loss
        optimizer.step(parts(by_parts, "cross_entropy", x, targets, step=i)[2])
        assert_same_bits(model.state_dict(), by_parts.state_dict())


def test_threads_then_fork_gives_the_same_bits():
    code = """
import os, zlib
import numpy as np, librnn
librnn.set_num_threads(2)
generator = np.random.default_rng(0)
model = librnn.Sequential([librnn.OneHot(90), librnn.GRU(90, 128, seed=2), librnn.Linear(128, 90, seed=3)])
trainer = librnn.Trainer(model, "cross_entropy", librnn.optim.Adam(model))
x, y = generator.integers(0, 90, (2, 20, 64))
trainer.step(x, y)
read, write = os.pipe()
child = os.fork()
for i in range(2):
    loss = trainer.step(x, y).loss
crc = [loss, librnn.get_num_threads()] + [zlib.crc32(v.tobytes()) for v in model.state_dict().values()]
if child == 0:
    os.write(write, repr(crc).encode())
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert os.read(read, 65536).decode() == repr(crc)
print("same")
"""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    assert python(code).strip() == "same"


# --------------------------------------------------------------------------- truncated backpropagation


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("steps, interval", [(12, 4), (12, 1), (5, 9), (12, 12), (13, 4), (7, 3)])
def test_truncated_backpropagation_is_chunks_with_the_state_carried(steps, interval, dtype):
    model, chunked = language_model(dtype), language_model(dtype)
    trainer = librnn.Trainer(model, "cross_entropy", optim.Adam(model, lr=0.01), clip_norm=0.3, update_interval=interval)
    by_hand = librnn.Trainer(chunked, "cross_entropy", optim.Adam(chunked, lr=0.01), clip_norm=0.3)
    state = carried = None
    for i in range(2):
        x, targets = tokens(steps, 3, seed=i), tokens(steps, 3, seed=20 + i)
        report = trainer.step(x, targets, None, state)
        state, total, terms, updates = report.state, 0.0, 0, 0
        for begin in range(0, steps, interval):
            part = slice(begin, begin + interval)
            one = by_hand.step(x[part], targets[part], None, carried)
            carried, total, terms, updates = one.state, total + one.loss * one.terms, terms + one.terms, updates + 1
        assert (report.updates, report.terms) == (updates, terms)
        assert math.isclose(report.loss, total / terms, rel_tol=1e-13)
        assert (report.gradient_norm, report.largest) == (one.gradient_norm, one.largest)
        assert_same_bits(report.state, carried)
        assert_same_bits(trainer.gradients(), by_hand.gradients())
        assert_same_bits(model.state_dict(), chunked.state_dict())


@pytest.mark.parametrize("lengths", [None, [12, 3, 8]])
@pytest.mark.parametrize("dtype", DTYPES)
# With an output layer that has no state, and without one.
@pytest.mark.parametrize("case", ["language", "gru"])
@pytest.mark.parametrize(
    "steps, interval, back",
    [(12, 2, 4), (12, 3, 5), (12, 4, 12), (12, 1, 5), (12, 4, 100), (12, 5, 7), (11, 2, 4), (11, 4, 6), (10, 4, 5), (3, 8, 9)],
)
def test_updates_look_further_back_than_they_are_apart(case, steps, interval, back, dtype, lengths):
    """Each update has the losses of its own `interval` steps, and gradients through the `back - interval` steps before."""
    make_model, loss = CASES[case]
    model, by_parts = make_model(dtype), make_model(dtype)
    trainer = librnn.Trainer(
        model, loss, optim.SGD(model, lr=0.2), update_interval=interval, backward_steps=back
    )  # fmt: skip
    optimizer = optim.SGD(by_parts, lr=0.2)
    x, targets = batch_for(model, loss, steps, 3)
    lengths = None if lengths is None else np.minimum(lengths, steps)
    report = trainer.step(x, targets, lengths)

    def rest(first, end):
        return None if lengths is None else np.clip(lengths - first, 0, end - first)

    state, history, total, terms = None, [], 0.0, 0
    for begin in range(0, steps, interval):
        end, first = min(begin + interval, steps), max(0, begin + interval - back)
        history.append(state)
        border = first // interval
        if first < begin:
            state = history[border]
            if border * interval < first:
                # With the present weights.
                span = slice(border * interval, first)
                _, state = by_parts(x[span], state, rest(span.start, first))
        value, count, gradients, state = parts(
            by_parts, loss, x[first:end], targets[first:end], state, rest(first, end), skip=begin - first
        )
        optimizer.step(gradients)
        total, terms = total + value, terms + count
    assert report.terms == terms and math.isclose(
        report.loss, total / terms, rel_tol=1e-6 if loss == "mse" and dtype == "float32" else 1e-13
    )
    assert_same_bits(report.state, state)
    assert_same_bits(trainer.gradients(), gradients)
    assert_same_bits(model.state_dict(), by_parts.state_dict())


def test_truncated_dropout_has_the_masks_of_the_whole_sequence():
    model, by_parts = language_model(dropout=0.4, seed=3), language_model(dropout=0.4, seed=3)
    trainer = librnn.Trainer(model, "cross_entropy", optim.SGD(model, lr=0.2), update_interval=4, dropout_seed=3)
    optimizer = optim.SGD(by_parts, lr=0.2)
    x, targets = tokens(12, 3, seed=1), tokens(12, 3, seed=2)
    trainer.step(x, targets)
    state = None
    for begin in (0, 4, 8):
        part = slice(begin, begin + 4)
        _, _, gradients, state = parts(by_parts, "cross_entropy", x[part], targets[part], state, step=0, first=begin)
        optimizer.step(gradients)
    assert_same_bits(model.state_dict(), by_parts.state_dict())


def test_truncated_backpropagation_that_cannot_be_is_an_error():
    for model in (CASES["lstm_bidirectional"][0]("float32"), CASES["last_step"][0]("float32")):
        with pytest.raises(librnn.RNNError, match="truncated backpropagation"):
            librnn.Trainer(model, "mse", optim.SGD(model, 0.1), update_interval=3)


# ------------------------------------------------------------------------------------ data that counts


@pytest.mark.parametrize("case", CASES)
def test_what_lies_behind_the_end_of_a_row_does_not_count(case):
    make_model, loss = CASES[case]
    results = []
    for filler in (0, 1):
        model = make_model("float32")
        trainer = librnn.Trainer(model, loss, optim.Adam(model, lr=0.01))
        x, targets = batch_for(model, loss, 9, 4)
        lengths = [4, 9, 1, 6]
        if filler:
            for n, length in enumerate(lengths):
                x[length:, n] = 7 if model._token_count else np.nan
                if not model._single_step:
                    targets[length:, n] = 1 if loss == "cross_entropy" else np.nan
        report = trainer.step(x, targets, lengths)
        results.append([np.array(report.loss), report.state, trainer.gradients(), model.state_dict()])
        if not model._single_step:
            assert report.terms == sum(lengths) * (1 if loss == "cross_entropy" else model.output_size)
    assert_same_bits(*results)
    assert np.isfinite(results[0][0]).all()


def test_ignored_targets_do_not_count():
    model, other = language_model(), language_model()
    trainer = librnn.Trainer(model, "cross_entropy", optim.SGD(model, 0.1))
    special = librnn.Trainer(other, losses.cross_entropy, optim.SGD(other, 0.1), ignore_index=10)
    x, targets = tokens(6, 3), tokens(6, 3, vocabulary=10, seed=1)
    targets[2:4, 1] = targets[0] = -100
    report = trainer.step(x, targets)
    assert report.terms == 18 - 5
    again = special.step(x, np.where(targets == -100, 10, targets))
    assert (again.loss, again.terms) == (report.loss, report.terms)
    assert_same_bits(model.state_dict(), other.state_dict())
    before = model.state_dict()
    nothing = trainer.step(x, np.full((6, 3), -100))
    assert math.isnan(nothing.loss) and (nothing.terms, nothing.updates, nothing.skipped) == (0, 0, 0)
    assert_same_bits(model.state_dict(), before)


@pytest.mark.parametrize("what", ["nan in x", "inf in targets", "huge"])
def test_an_update_that_is_not_finite_is_skipped_and_the_weights_stay(what):
    model = librnn.GRU(3, 4, seed=1)
    trainer = librnn.Trainer(model, "mse", optim.Adam(model), clip_norm=1.0)
    x, targets = batch_for(model, "mse", 5, 2)
    trainer.step(x, targets)
    before = model.state_dict()
    bad_x, bad_targets = x.copy(), targets.copy()
    if what == "nan in x":
        bad_x[2, 1, 0] = np.nan
    elif what == "inf in targets":
        bad_targets[1, 0, 0] = -np.inf
    else:
        bad_targets[:] = 1e37
    report = trainer.step(bad_x, bad_targets)
    if what == "huge":
        # The loss is in double, and so is the norm.
        assert (report.updates, report.skipped) == (1, 0) and report.loss > 1e73
        assert math.isfinite(report.gradient_norm) and report.gradient_scale < 1e-30
        return
    assert (report.updates, report.skipped) == (0, 1)
    assert not math.isfinite(report.loss) and report.largest in model.parameters
    assert_same_bits(model.state_dict(), before)
    # As if it had not been.
    other = librnn.GRU(3, 4, seed=1)
    trainer_of_other = librnn.Trainer(other, "mse", optim.Adam(other), clip_norm=1.0)
    trainer_of_other.step(x, targets)
    assert trainer.step(x, targets) == trainer_of_other.step(x, targets)
    assert_same_bits(model.state_dict(), other.state_dict())


def test_errors_leave_weights_and_optimizer_as_they_were():
    model = language_model()
    trainer = librnn.Trainer(model, "cross_entropy", optim.Adam(model))
    x, targets = tokens(6, 3), tokens(6, 3, seed=1)
    trainer.step(x, targets)
    before = model.state_dict()
    state = trainer.evaluate(x, targets).state
    wrong = targets.copy()
    wrong[5, 2] = 11
    for arguments, message in [
        ((x, wrong), "targets.*is 11"),
        ((x, targets[:5]), r"targets has shape \(5, 3\), expected \(6, 3\)"),
        ((x, targets.astype(float)), "targets has dtype float64"),
        ((x[:, :, None], targets), "x has shape"),
        ((x + 11, targets), "token"),
        ((x, targets, [6, 7, 1]), "lengths"),
        ((x, targets, [6, 6]), r"lengths has shape \(2,\)"),
        ((x, targets, None, state[:1]), "hx is list of 1"),
        ((x, targets, None, [state[0][:, :2], state[1]]), "hx"),
    ]:
        for call in (trainer.step, trainer.evaluate):
            with pytest.raises(librnn.RNNError, match=message):
                call(*arguments)
    assert_same_bits(model.state_dict(), before)
    fresh = language_model()
    second = librnn.Trainer(fresh, "cross_entropy", optim.Adam(fresh))
    second.step(x, targets)
    assert trainer.step(x, targets) == second.step(x, targets)


def test_a_trainer_that_makes_no_sense_is_an_error():
    model, linear = librnn.GRU(2, 3), librnn.Linear(2, 3)
    sgd = optim.SGD(model, 0.1)
    for arguments, options, message in [
        ((linear, "mse", optim.SGD(linear, 0.1)), {}, "model is Linear"),
        ((model, "l1", sgd), {}, "loss is 'l1', expected one of 'cross_entropy', 'mse'"),
        ((model, print, sgd), {}, "loss is a function that a trainer does not know"),
        ((model, None, sgd), {}, "loss is NoneType"),
        ((model, "mse", optim.SGD(librnn.GRU(2, 3), 0.1)), {}, "not made from this model"),
        ((model, "mse", optim.SGD({}, 0.1)), {}, "not made from this model"),
        ((model, "mse", "adam"), {}, "optimizer is str"),
        ((model, "mse", sgd), {"clip_norm": 0}, "clip_norm is 0"),
        ((model, "mse", sgd), {"clip_norm": math.nan}, "clip_norm is nan"),
        ((model, "mse", sgd), {"update_interval": 0}, "update_interval is 0"),
        ((model, "mse", sgd), {"backward_steps": 3}, "backward_steps"),
        ((model, "mse", sgd), {"backward_steps": 3, "update_interval": 4}, "backward_steps is 3"),
        ((model, "mse", sgd), {"dropout_seed": -1}, "dropout_seed is -1"),
        ((model, "mse", sgd), {"ignore_index": None}, "ignore_index is None"),
    ]:
        with pytest.raises(librnn.RNNError, match=message):
            librnn.Trainer(*arguments, **options)


def test_a_trainer_is_the_only_writer_of_its_model():
    model = librnn.GRU(2, 3, seed=1)
    trainer = librnn.Trainer(model, "mse", optim.SGD(model, 0.1))
    x, targets = batch_for(model, "mse", 4, 2)
    trainer.step(x, targets)
    model.load_state_dict({name: value * 2 for name, value in model.state_dict().items()})
    for call in (trainer.step, trainer.evaluate):
        with pytest.raises(librnn.RNNError, match="changed by someone else"):
            call(x, targets)
    trainer = librnn.Trainer(model, "mse", optim.SGD(model, 0.1))
    trainer.step(x, targets)
    with trainer:
        pass
    with pytest.raises(librnn.RNNError, match="trainer"):
        trainer.step(x, targets)


def test_the_learning_rate_follows_the_optimizer():
    model, other = librnn.GRU(2, 3, seed=1), librnn.GRU(2, 3, seed=1)
    optimizer = optim.SGD(model, 0.1)
    trainer, by_parts = librnn.Trainer(model, "mse", optimizer), optim.SGD(other, 0.1)
    x, targets = batch_for(model, "mse", 4, 2)
    for lr, through in ((0.1, trainer), (0.5, trainer), (0.02, optimizer), (0.0, trainer)):
        through.lr = by_parts.lr = lr
        assert trainer.lr == optimizer.lr == lr
        trainer.step(x, targets)
        by_parts.step(parts(other, "mse", x, targets)[2])
        assert_same_bits(model.state_dict(), other.state_dict())
    with pytest.raises(librnn.RNNError):
        trainer.lr = -1
    assert trainer.lr == 0


def test_a_stream_that_is_reset_has_the_new_weights():
    model = librnn.GRU(2, 3, seed=1)
    stream = model.stream()
    trainer = librnn.Trainer(model, "mse", optim.SGD(model, 0.5))
    x, targets = batch_for(model, "mse", 4, 1)
    trainer.step(x, targets)
    stream.reset()
    assert_same_bits(np.stack([stream.step(x[t]) for t in range(4)]), model(x)[0])


def test_threads_that_share_a_trainer_take_turns():
    model, other = language_model(), language_model()
    trainer, alone = (librnn.Trainer(m, "cross_entropy", optim.Adam(m)) for m in (model, other))
    x, targets = tokens(9, 3), tokens(9, 3, seed=1)
    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(lambda _: trainer.step(x, targets).loss, range(60)))
    expected = [alone.step(x, targets).loss for _ in range(60)]
    assert sorted(reports) == sorted(expected)
    assert_same_bits(model.state_dict(), other.state_dict())


def test_a_snapshot_is_a_model_of_its_own():
    model = librnn.GRU(2, 3, batch_first=True, seed=1)
    model.metadata["unit"] = "volt"
    trainer = librnn.Trainer(model, "mse", optim.SGD(model, 0.5))
    x = randoms(2, 4, 2)
    trainer.step(x, randoms(2, 4, 3))
    snapshot = trainer.snapshot()
    assert isinstance(snapshot, librnn.GRU) and snapshot.batch_first and snapshot.metadata["unit"] == "volt"
    expected = model(x)[0]
    trainer.step(x, randoms(2, 4, 3))
    assert_same_bits(snapshot(x)[0], expected)
    assert (model(x)[0] != expected).any()


# ------------------------------------------------------------------------------------------------ loop


def test_fit_is_the_loop_over_batches_and_epochs():
    model, other = language_model(), language_model()
    trainer = librnn.Trainer(model, "cross_entropy", optim.Adam(model))
    steps = librnn.Trainer(other, "cross_entropy", optim.Adam(other))
    batches = [(tokens(6, 3, seed=i), tokens(6, 3, seed=9 + i), [6, 1 + i, 3]) for i in range(3)]
    seen, lines = [], []
    history = trainer.fit(batches, epochs=2, progress=lines.append, on_step=seen.append)
    expected = [steps.step(*batch) for _ in range(2) for batch in batches]
    assert history.steps == expected == seen and history is trainer.history
    assert history.losses == [report.loss for report in expected]
    assert all(report.state is None for report in history.steps) and seen[0].state is not None
    assert_same_bits(model.state_dict(), other.state_dict())
    assert lines == history.epochs and [epoch.epoch for epoch in lines] == [1, 2]
    first = expected[:3]
    assert math.isclose(lines[0].loss, sum(r.loss * r.terms for r in first) / sum(r.terms for r in first), rel_tol=1e-12)
    assert lines[0].steps == lines[0].updates == 3 and str(lines[0]).startswith("epoch 1/2: loss ")


def test_fit_carries_the_state_from_batch_to_batch_but_not_over_epochs():
    model, other = language_model(), language_model()
    trainer = librnn.Trainer(model, "cross_entropy", optim.Adam(model))
    steps = librnn.Trainer(other, "cross_entropy", optim.Adam(other))
    batches = [[tokens(6, 3, seed=i), tokens(6, 3, seed=9 + i)] for i in range(3)]
    trainer.fit(batches, epochs=2, carry_state=True)
    for _ in range(2):
        state = None
        for batch in batches:
            state = steps.step(*batch, state=state).state
    assert_same_bits(model.state_dict(), other.state_dict())


def test_fit_says_what_is_wrong_with_the_batches():
    model = librnn.GRU(2, 3, seed=1)
    trainer = librnn.Trainer(model, "mse", optim.SGD(model, 0.1))
    batch = batch_for(model, "mse", 4, 2)
    for batches, options, message in [
        (iter([batch]), {"epochs": 2}, "once only"),
        ([batch, batch[0]], {}, "batch 1 is ndarray"),
        ([batch[:1]], {}, "batch 0 is tuple of 1"),
        ([], {}, "batches gave nothing"),
        ([batch], {"epochs": -1}, "epochs is -1"),
        ([batch], {"epochs": 1.5}, "epochs is 1.5"),
    ]:
        with pytest.raises(librnn.RNNError, match=message):
            trainer.fit(batches, **options)
    assert len(trainer.fit(iter([batch])).steps) == 1
    assert trainer.fit([batch], epochs=0).steps == []
    assert len(trainer.fit([batch] * 9, on_step=lambda report: len(trainer.history.steps) == 4).steps) == 4


def test_progress_is_written_to_stderr(capsys):
    model = librnn.GRU(2, 3, seed=1)
    trainer = librnn.Trainer(model, "mse", optim.SGD(model, 0.1))
    trainer.fit([batch_for(model, "mse", 4, 2)], epochs=2, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 2 and "epoch 2/2: loss " in err


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_interrupting_fit_leaves_the_model_with_the_weights_of_a_finished_step():
    model = language_model(hidden=48)
    trainer = librnn.Trainer(model, "cross_entropy", optim.Adam(model))
    batches = [(tokens(20, 16, seed=i), tokens(20, 16, seed=9 + i)) for i in range(4)]

    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        for turn in range(12):
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.004 + 0.0017 * turn)
                trainer.fit(batches, epochs=10**6)
            assert_same_bits(model.state_dict(), trainer.snapshot().state_dict())
            assert_same_bits(dict(model.parameters), model.state_dict())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    # And it goes on from there.
    assert trainer.step(*batches[0]).updates == 1


def test_memory_does_not_grow_with_steps():
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("no /proc here")

    def resident():
        gc.collect()
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    model = language_model(hidden=64)
    trainer = librnn.Trainer(model, "cross_entropy", optim.Adam(model), update_interval=7, backward_steps=10)
    state = None

    def use(i):
        nonlocal state
        # Changing shapes, as real batches have.
        x, targets = tokens(20 + i % 5, 8, seed=i), tokens(20 + i % 5, 8, seed=i + 1)
        state = trainer.step(x, targets, None, state).state
        trainer.evaluate(x, targets)
        trainer.gradients()
        trainer.snapshot().close()
        librnn.Trainer(model, "cross_entropy", optim.SGD(model, 0.1)).close()
        with pytest.raises(librnn.RNNError):
            trainer.step(x, targets + 11)

    for i in range(30):
        use(i)
    before = resident()
    for i in range(200):
        use(i)
    # The weights alone are 70 kB, the memory of a step several times that: 200 of them forgotten would be 60 MB.
    assert resident() - before < 8 << 20


@pytest.mark.parametrize("cell", CELLS)
def test_the_loss_falls_on_the_adding_problem(cell):
    """The sum of the two numbers that are marked in a sequence of ten."""
    generator = np.random.default_rng(0)

    def batch():
        x = np.zeros((10, 32, 2), np.float32)
        x[..., 0] = generator.random((10, 32))
        for n in range(32):
            x[generator.choice(10, 2, replace=False), n, 1] = 1
        return x, (x[..., 0] * x[..., 1]).sum(axis=0)[:, None]

    layer = make(cell, 2, 24)
    model = librnn.Sequential([layer, librnn.LastStep(), librnn.Linear(24, 1, seed=2)])
    trainer = librnn.Trainer(model, "mse", optim.Adam(model, lr=1e-2), clip_norm=1.0)
    history = trainer.fit(batch() for _ in range(400))
    # Always answering 1, the mean, has an error of 1/6.
    assert np.mean(history.losses[-20:]) < 0.1, (history.losses[0], np.mean(history.losses[-20:]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_chunks_are_legal_and_learn_nothing(dtype):
    model = language_model(dtype)
    trainer = librnn.Trainer(model, "cross_entropy", optim.Adam(model))
    state = trainer.step(tokens(4, 3), tokens(4, 3, seed=1)).state
    before = model.state_dict()
    report = trainer.step(np.zeros((0, 3), int), np.zeros((0, 3), int), None, state)
    assert (report.terms, report.updates, report.skipped) == (0, 0, 0) and math.isnan(report.loss)
    assert_same_bits(report.state, state)
    assert_same_bits(model.state_dict(), before)
    assert trainer.step(tokens(4, 3), tokens(4, 3, seed=1), [4, 0, 2]).terms == 6
