"""Training gives PyTorch's losses: the first 50 steps of small models, with the numbers of Tests/Vectors/training-losses.json."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import librnn

VECTORS = Path(__file__).resolve().parents[1] / "Vectors"
spec = importlib.util.spec_from_file_location("make_training_losses", VECTORS / "make_training_losses.py")
vectors = importlib.util.module_from_spec(spec)
spec.loader.exec_module(vectors)
EXPECTED = json.loads((VECTORS / "training-losses.json").read_text())
LAYERS = {
    "rnn": lambda *sizes, **options: librnn.RNN(*sizes, **options),
    "gru": lambda *sizes, **options: librnn.GRU(*sizes, variant="reset_after", **options),
    "lstm": lambda *sizes, **options: librnn.LSTM(*sizes, **options),
}


@pytest.mark.parametrize("name", vectors.CASES)
def test_losses_of_50_steps_are_pytorchs(name):
    cell, optimizer, options = vectors.CASES[name]
    recurrent, linear = vectors.weights({"rnn": 1, "gru": 3, "lstm": 4}[cell])
    layers = LAYERS[cell](vectors.I, vectors.H, 2, dtype="float64")
    layers.load_state_dict(recurrent)
    last = librnn.Linear(vectors.H, vectors.C, dtype="float64")
    last.load_state_dict(linear)
    model = librnn.Sequential([layers, last])
    trainer = librnn.Trainer(
        model, "cross_entropy", getattr(librnn.optim, optimizer)(model, **options), clip_norm=EXPECTED["clip"]
    )
    reports = [trainer.step(*vectors.batch(step)) for step in range(vectors.STEPS)]
    losses, norms = EXPECTED[name]["losses"], EXPECTED[name]["gradient_norms"]
    print(name, "losses", np.max(np.abs(np.array([r.loss for r in reports]) / losses - 1)))
    np.testing.assert_allclose([report.loss for report in reports], losses, rtol=1e-10)
    np.testing.assert_allclose([report.gradient_norm for report in reports], norms, rtol=1e-9)
    assert any(report.gradient_scale < 1 for report in reports) and losses[-1] < losses[0]
