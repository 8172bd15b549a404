"""The gradient flow that a backward pass reports, and what a tape lets one read."""

import numpy as np
import pytest

import librnn
import reference
from helpers import CELLS, assert_same_bits, like, make, random_state, randoms
from recurrent_options import active, combined, expected, inputs, make_layer, probe_masks, random_hx

T, N, I, H = 5, 3, 2, 3


@pytest.mark.parametrize("lengths", [None, [5, 2, 0]])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_the_flow_is_the_norm_of_the_gradient_that_reaches_each_state(cell, bidirectional, lengths):
    layer = make(cell, I, H, 2, bidirectional=bidirectional, dtype="float64", seed=3)
    x, hx = randoms(T, N, I, dtype="float64"), random_state(layer, N)
    y, state, tape = layer.forward_train(x, hx, lengths)
    grad_y, grad_state = randoms(*y.shape, seed=1, dtype="float64"), like(state, 2)
    flow = layer.backward(tape, grad_y, grad_state, gradient_flow=True).flow.hidden
    rows = 2 * (2 if bidirectional else 1)
    assert flow.shape == (rows, T) and flow.dtype == np.float64

    h0, c0 = hx if isinstance(hx, tuple) else (hx, None)
    grad_h, grad_c = grad_state if isinstance(grad_state, tuple) else (grad_state, None)

    def loss(nudge):
        y, h, c = reference.run(layer.cell, layer.parameters, x, h0, c0, lengths, nudge=nudge, **CELLS[cell][1])
        total = (y.value * grad_y).sum() + (h.value * grad_h).sum()
        return total + (c.value * grad_c).sum() if c is not None else total

    for row in range(rows):
        for t in range(T):
            gradient = np.zeros((N, H))
            for index in np.ndindex(N, H):
                # The complex step: exact to rounding, since nothing is subtracted.
                nudge = np.zeros((N, H), complex)
                nudge[index] = 1e-30j
                gradient[index] = loss((row, t, nudge)).imag / 1e-30
            np.testing.assert_allclose(flow[row, t], np.linalg.norm(gradient), rtol=1e-11, atol=1e-13)


def test_the_flow_shows_a_gradient_that_vanishes_and_one_that_explodes():
    for scale, exploding in ((0.5, False), (1.5, True)):
        layer = librnn.RNN(1, 4, nonlinearity="relu", bias=False)
        layer.load_state_dict({"weight_ih_l0": np.ones((4, 1)), "weight_hh_l0": np.eye(4) * scale})
        y, _, tape = layer.forward_train(np.ones((20, 1, 1), np.float32))
        grad_y = np.zeros_like(y)
        grad_y[-1] = 1
        flow = layer.backward(tape, grad_y, gradient_flow=True).flow.hidden
        np.testing.assert_allclose(flow[0], 2 * scale ** np.arange(19, -1, -1), rtol=1e-5)
        assert (flow[0, 0] > 1000) == exploding


def test_the_flow_is_only_computed_when_asked_for():
    layer = librnn.GRU(2, 3, seed=1)
    y, _, tape = layer.forward_train(randoms(4, 2, 2))
    assert layer.backward(tape, y).flow is None


#: Options that change what flows.
FLOWING = [
    (), ("activations", "gate clip"), ("recurrent dropout", "learned state"), ("two sizes",), ("product", "deep"), ("reverse", "mask"),
    ("residual", "dropout"), ("projection", "two sizes"), ("peepholes", "projection"), ("cell clip", "peepholes"),
    ("coupled gates", "peepholes"), ("gate clip of the output", "deep", "sum"),
]  # fmt: skip
FLOWS = [(cell, names) for cell in CELLS for names in FLOWING if combined(cell, *names) is not None]


@pytest.mark.parametrize("cell, names", FLOWS)
def test_with_options_the_flow_is_the_norm_of_what_reaches_h_and_c(cell, names):
    keywords, call = combined(cell, *names)
    layer = make_layer(cell, keywords)
    x, call = inputs(layer, call, nan=False)
    hx = random_hx(layer, 3)
    y, state, tape = layer.forward_train(x, hx, step=1, **call)
    grad_y, grad_state = randoms(*y.shape, seed=1, dtype="float64"), like(state, 2)
    flow = layer.backward(tape, grad_y, grad_state, gradient_flow=True).flow
    recurrent, between = probe_masks(layer, 1)

    def loss(**nudges):
        y, h, c = expected(layer, x, hx, call, recurrent_masks=recurrent, dropout_masks=between, **nudges)
        pairs = [(y, grad_y)]
        for part, grad in ((h, grad_state[0]), (c, grad_state[1])) if cell == "lstm" else ((h, grad_state),):
            pairs += zip(part, grad) if isinstance(part, tuple) else [(part, grad)]
        return sum((part.value * grad).sum() for part, grad in pairs)

    here = active(call, len(x), 3)
    kept = tape.read()
    ends = ["", "_reverse"][: 2 if layer.bidirectional else 1]
    for row in range(layer._layer_directions):
        end = f"_l{row // len(ends)}{ends[row % len(ends)]}"
        for letter, name, values in [("h", "nudge", flow.hidden)] + [("c", "nudge_cell", flow.cell)] * (cell == "lstm"):
            for t in range(len(x)):
                size = kept[letter + end].shape[2]
                gradient = np.zeros((3, size))
                for n, j in np.ndindex(3, size):
                    if here[t, n]:
                        nudge = np.zeros((3, size), complex)
                        nudge[n, j] = 1e-30j
                        gradient[n, j] = loss(**{name: (row, t, nudge)}).imag / 1e-30
                np.testing.assert_allclose(values[row, t], np.linalg.norm(gradient), rtol=1e-11, atol=1e-13, err_msg=f"{name} {row} {t}")
        if cell != "lstm":
            assert not flow.cell.any()


def saturated(activation, values):
    name, alpha, _ = activation
    if name in ("sigmoid", "hard_sigmoid"):
        return (values < 0.1) | (values > 0.9)
    if name in ("tanh", "softsign", "scaled_tanh"):
        return np.abs(values) > 0.9 * (abs(alpha) if name == "scaled_tanh" else 1)
    return values == 0 if name in ("relu", "thresholded_relu") else np.zeros(values.shape, bool)


@pytest.mark.parametrize("cell, names", FLOWS)
def test_the_flow_tells_mean_and_saturation_of_each_gate(cell, names):
    keywords, call = combined(cell, *names)
    layer = make_layer(cell, keywords, hidden=5, scale=1.5)
    x, call = inputs(layer, {**call, "lengths": [3, 2, 0]}, steps=3)
    y, _, tape = layer.forward_train(x, **call)
    flow = layer.backward(tape, y, gradient_flow=True).flow
    kept, here = tape.read(), active(call, 3, 3)
    ends = ["", "_reverse"][: 2 if layer.bidirectional else 1]
    for row in range(layer._layer_directions):
        gates = kept[f"gates_l{row // len(ends)}{ends[row % len(ends)]}"]
        activations = reference.gate_activations(cell.split("_")[0], {**reference.DEFAULTS, **vars(layer)}, row % len(ends))
        for t in range(3):
            values = gates[t, here[t]]
            for gate, letter in enumerate(flow.gates[row]):
                part = values[:, gate]
                # F = 1 - I is saturated where I is.
                rule = activations["i" if letter == "f" and getattr(layer, "coupled_gates", False) else letter]
                mean, share = (part.mean(), saturated(rule, part).mean()) if part.size else (0, 0)
                np.testing.assert_allclose(flow.gate_mean[row, t, gate], mean, rtol=1e-13, atol=1e-15)
                np.testing.assert_allclose(flow.gate_saturation[row, t, gate], share, rtol=1e-13)
    gates = len(flow.gates[0])
    assert not flow.gate_mean[:, :, gates:].any() and not flow.gate_saturation[:, :, gates:].any()
    assert flow.gate_saturation.any() or names not in [(), ("deep",)]


#: One layer of one direction: its step is enough.
STEPS = [(cell, names) for cell, names in FLOWS if not {"two sizes", "product", "deep", "mask", "residual"} & set(names)]


@pytest.mark.parametrize("cell, names", STEPS)
def test_the_jacobian_norm_is_the_largest_singular_value_from_below(cell, names):
    layer = make_layer(cell, combined(cell, *names)[0], hidden=4)
    x = randoms(4, 3, 2, dtype="float64")
    hx = random_hx(layer, 3)
    y, _, tape = layer.forward_train(x, hx, step=1)
    norms = layer.backward(tape, y, gradient_flow=True).flow.jacobian_norm
    recurrent, _ = probe_masks(layer, 1, steps=4)
    kept = tape.read()
    first = hx if cell == "lstm" else (hx,)
    before = [part[0] for part in first]
    for t in range(4):
        states = [part[None].astype(complex) for part in before]
        size = states[0].shape[2]
        jacobians = np.zeros((3, size, size))
        for j in range(size):
            states[0][0, :, j] += 1e-30j
            moved = expected(
                layer, x[t : t + 1], tuple(states) if cell == "lstm" else states[0], {}, recurrent_masks=recurrent
            )
            jacobians[:, :, j] = moved[1].value[0].imag / 1e-30
            states[0][0, :, j] -= 1e-30j
        largest = np.linalg.norm(jacobians, 2, (1, 2)).max()
        assert norms[0, t] <= largest * (1 + 1e-12) + 1e-15
        # Twelve steps of power iteration: exact, unless two singular values are nearly the same.
        assert norms[0, t] >= 0.98 * largest, (t, norms[0, t], largest)
        before = [kept[f"{letter}_l0"][t] for letter in "hc"[: len(first)]]


def test_a_linear_recurrence_shows_powers_of_its_factor():
    for a in (0.9, -1.1):
        layer = librnn.RNN(1, 1, bias=False, activations={"h": ("affine", 1.0, 0.0)}, dtype="float64")
        layer.load_state_dict({"weight_ih_l0": [[1.0]], "weight_hh_l0": [[a]]})
        y, _, tape = layer.forward_train(randoms(30, 1, 1, dtype="float64"))
        grad_y = np.zeros_like(y)
        grad_y[-1] = 1
        flow = layer.backward(tape, grad_y, gradient_flow=True).flow
        np.testing.assert_allclose(flow.hidden[0], np.abs(a) ** np.arange(29, -1, -1), rtol=1e-13)
        np.testing.assert_allclose(flow.jacobian_norm[0], abs(a), rtol=1e-13)
        np.testing.assert_allclose(flow.gate_mean[0, :, 0], y[:, 0, 0], rtol=1e-15)


def test_hidden_clip_scales_each_rows_gradient_inside_the_recursion():
    layer = make_layer("rnn_tanh", {"bias": False}, hidden=3, scale=1.0)
    x, hx = randoms(6, 4, 2, dtype="float64"), random_hx(layer, 4)
    y, state, tape = layer.forward_train(x, hx)
    grad_y, grad_h = randoms(*y.shape, seed=1, dtype="float64"), like(state, 2)
    limit = 1.2
    g = layer.backward(tape, grad_y, grad_h, gradient_flow=True, hidden_clip=limit)
    weight_ih, weight_hh = layer.parameters["weight_ih_l0"], layer.parameters["weight_hh_l0"]
    carried, hidden, clipped = grad_h[0], [], []
    sums, grad_x = {"weight_ih_l0": 0, "weight_hh_l0": 0}, []
    for t in reversed(range(6)):
        reaching = carried + grad_y[t]
        norms = np.linalg.norm(reaching, axis=1, keepdims=True)
        hidden.append(np.linalg.norm(reaching))
        reaching = reaching * np.minimum(1, limit / norms)
        clipped.append(np.linalg.norm(reaching))
        a = reaching * (1 - y[t] ** 2)
        before = y[t - 1] if t else hx[0]
        sums["weight_ih_l0"] += a.T @ x[t]
        sums["weight_hh_l0"] += a.T @ before
        grad_x.append(a @ weight_ih)
        carried = a @ weight_hh
    np.testing.assert_allclose(g.flow.hidden[0], hidden[::-1], rtol=1e-13)
    np.testing.assert_allclose(g.flow.clipped[0], clipped[::-1], rtol=1e-13)
    np.testing.assert_allclose(g.input, grad_x[::-1], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(g.state[0], carried, rtol=1e-12, atol=1e-14)
    for name, value in sums.items():
        np.testing.assert_allclose(g.parameters[name], value, rtol=1e-12, atol=1e-14)
    free = layer.backward(tape, grad_y, grad_h, gradient_flow=True)
    wide = layer.backward(tape, grad_y, grad_h, gradient_flow=True, hidden_clip=1e9)
    assert np.array_equal(wide.input, free.input) and np.array_equal(wide.flow.clipped, free.flow.hidden)


@pytest.mark.parametrize("cell", CELLS)
def test_asking_for_the_flow_changes_no_bit(cell):
    layer = make(cell, 9, 11, 2, bidirectional=True)
    y, state, tape = layer.forward_train(randoms(7, 5, 9), None, [7, 2, 0, 5, 1])
    plain, asked = layer.backward(tape, y), layer.backward(tape, y, gradient_flow=True)
    assert_same_bits([asked.input, asked.state, asked.parameters], [plain.input, plain.state, plain.parameters])


def test_a_tape_gives_h_c_and_gates_in_the_layout_of_y():
    for kind, gates in ((librnn.RNN, 1), (librnn.GRU, 3), (librnn.LSTM, 4)):
        layer = kind(3, 4, 2, bidirectional=True, batch_first=True, seed=1)
        x = randoms(2, 5, 3)
        y, state, tape = layer.forward_train(x, None, [5, 3])
        kept = tape.read()
        letters = ["h", "gates"] + ["c"] * (gates == 4)
        assert set(kept) == {f"{letter}_l{n}{end}" for letter in letters for n in (0, 1) for end in ("", "_reverse")}
        assert kept["h_l1"].shape == (2, 5, 4) and kept["gates_l0"].shape == (2, 5, gates, 4)
        assert_same_bits(kept["h_l1"][0], y[0, :, :4])
        h = state[0] if gates == 4 else state
        # Past the end: the state that stays, and gates of 0.
        assert_same_bits(kept["h_l1"][1, 3:], np.repeat(h[2:3, 1], 2, 0))
        assert not kept["gates_l1"][1, 3:].any()
        assert_same_bits(tape.read("h_l0"), {"h_l0": kept["h_l0"]})
        flat = layer.forward_train(x[0])[2].read()
        assert flat["gates_l0"].shape == (5, gates, 4)
    model = librnn.Sequential([librnn.GRU(3, 4, seed=1), librnn.Linear(4, 2, seed=2), librnn.LSTM(2, 3, seed=3)])
    _, _, tape = model.forward_train(randoms(5, 2, 3))
    assert sorted(tape.read()) == ["0.gates_l0", "0.h_l0", "2.c_l0", "2.gates_l0", "2.h_l0"]
    _, _, tape = model.forward_train(randoms(0, 2, 3))
    assert tape.read()["2.gates_l0"].shape == (0, 2, 4, 3)
    tape.close()
    with pytest.raises(librnn.RNNError):
        tape.read()
