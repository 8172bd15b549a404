"""The float64 reference, and that its tolerance lets float32 pass and nothing coarser."""

import numpy as np
import pytest
from harness import reference
from harness.configurations import CELLS, Configuration


def forward_in(dtype, c, data):
    """The reference's own forward pass with every array rounded to a type after each operation that makes one."""

    class Rounding(reference.Exact):
        def product(self, a, b):
            return (a.astype(dtype) @ b.astype(dtype)).astype(np.float64)

        def rounded(self, a):
            return a.astype(dtype).astype(np.float64)

    return reference.results(c, data, Rounding())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", [(5, 3, 4, 6, 1, 1), (4, 2, 6, 6, 2, 1), (3, 2, 5, 4, 1, 2)])
def test_gradients_are_central_differences(cell, shape):
    c = Configuration("training", cell, *shape)
    data = {name: a.astype(np.float64) for name, a in reference.make_data(c).items()}
    gradients = reference.results(c, data, reference.Exact())
    random = np.random.default_rng(3)

    def loss(changed):
        return float((reference.forward(c, changed, reference.Exact())[0] * data["dy"]).sum())

    for name in [key for key in gradients if key != "y"]:
        direction = random.standard_normal(data[name].shape)
        ends = [loss({**data, name: data[name] + sign * 1e-6 * direction}) for sign in (1, -1)]
        # Differences of 1e-6 lose half of the 16 digits, and curvature adds 1e-12.
        assert np.vdot(gradients[name], direction) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=2e-7, abs=2e-7)


@pytest.mark.parametrize("cell", CELLS)
def test_float32_is_within_the_tolerance(cell):
    c = Configuration("training", cell, 40, 5, 33, 48, 1, 1)
    data = reference.make_data(c)
    found, where = reference.error(reference.expected(c, data), forward_in(np.float32, c, data))
    assert found < 1, where


@pytest.mark.parametrize("cell", CELLS)
def test_half_precision_is_far_outside(cell):
    c = Configuration("sequence", cell, 40, 5, 33, 48, 1, 1)
    data = reference.make_data(c)
    found, _ = reference.error(reference.expected(c, data), forward_in(np.float16, c, data))
    assert found > 16


def test_missing_arrays_other_shapes_and_nan_are_infinitely_wrong():
    c = Configuration("sequence", "rnn", 2, 1, 3, 4)
    wanted = reference.expected(c, reference.make_data(c))
    y = wanted.arrays["y"].astype(np.float32)
    assert reference.error(wanted, {"y": y})[0] < 1
    assert reference.error(wanted, {})[0] == np.inf
    assert reference.error(wanted, {"y": y[:, :, :3]})[0] == np.inf
    assert reference.error(wanted, {"y": np.where(y == y[0, 0, 0], np.nan, y)})[0] == np.inf


def test_gradients_are_held_against_norms_too():
    wanted = reference.Expected({"weight_ih_l0": np.ones((100, 100))}, {"weight_ih_l0": 1e-3})
    shifted = {"weight_ih_l0": np.full((100, 100), 1 + 0.9e-3)}
    found, _ = reference.error(wanted, shifted)
    assert 0.89 < found < 0.91


@pytest.mark.parametrize("cell", CELLS)
def test_steps_are_judged_one_by_one(cell):
    c = Configuration("step", cell, 1, 1, 7, 9)
    data = reference.make_data(c)
    sequence = Configuration("sequence", cell, 4, 1, 7, 9)
    repeated = {**data, "x": np.repeat(data["x"], 4, 0)}
    y, kept = reference.forward(sequence, repeated, reference.Exact())
    states = [np.stack([k[0] for k in pair]) for pair in zip(kept[0][0].h, kept[0][0].c)]
    if cell != "lstm":
        states = [state[:1] for state in states]
    before, after = np.stack(states[:-1]), np.stack(states[1:])
    assert reference.step_error(c, data, before, after.astype(np.float32)) < 1
    assert reference.step_error(c, data, before, after + 1e-4) > 16
