"""Known answers of PyTorch for losses and optimizers, in ../shared/conformance beside the checkout."""

import ast
import json

import numpy as np
import pytest

import librnn
from helpers import CONFORMANCE, DTYPES

LOSSES, OPTIMIZERS = CONFORMANCE / "torch" / "cross_entropy", CONFORMANCE / "torch" / "optim"


def cases(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def load(folder):
    return json.loads((folder / "meta.json").read_text()), dict(np.load(folder / "tensors.npz"))


def close(actual, arrays, name, dtype, roundings=1):
    """Within rounding of PyTorch's float64; in float32 within a few times of PyTorch's own float32 error."""
    exact, single = (np.asarray(arrays[f"{kind}.{name}"], np.float64) for kind in ("f64", "f32"))
    assert np.shape(actual) == exact.shape, name
    size = max(np.abs(exact).max(), 1e-3)
    if dtype == "float64":
        bound = 1e-14 * roundings * max(size, 1)
    else:
        bound = 8 * np.abs(single - exact).max() + 4 * roundings * 2.0**-24 * size
    error = np.abs(np.asarray(actual, np.float64) - exact).max()
    assert error <= bound, (name, error, bound)


def test_there_are_cases():
    if not cases(LOSSES):
        pytest.skip(f"{LOSSES} is not there: the PyTorch cases were not run")
    assert len(cases(LOSSES)) >= 3 and len(cases(OPTIMIZERS)) >= 7


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", cases(LOSSES))
def test_cross_entropy_is_pytorchs(case, dtype):
    meta, arrays = load(LOSSES / case)
    loss, gradient = librnn.losses.cross_entropy(arrays["logits"].astype(dtype), arrays["targets"], **meta["kwargs"])
    # Sums of a dozen rows.
    close(loss, arrays, "loss", dtype, roundings=4)
    close(gradient, arrays, "grad.logits", dtype)


def start(arrays, dtype):
    """LSTM(3,5), the last output, Linear(5,3), with PyTorch's initial weights, and the names of both sides."""
    model = librnn.Sequential(
        [librnn.LSTM(3, 5, dtype=dtype), librnn.LastStep(), librnn.Linear(5, 3, dtype=dtype)], dtype=dtype
    )
    names = {}
    for name in arrays:
        if name.startswith("param0."):
            _, module, tensor = name.split(".")
            names[f"{module}.{tensor}"] = {"lstm": "0", "lin": "2"}[module] + "." + tensor
    model.load_state_dict({our: arrays["param0." + name] for name, our in names.items()})
    return model, names


def optimizer_of(meta, model):
    """From "SGD lr=.1 momentum=.9 nesterov"."""
    kind, *words = meta["optimizer"].split()
    keywords = {}
    for word in words:
        name, _, value = word.partition("=")
        keywords[{"wd": "weight_decay"}.get(name, name)] = ast.literal_eval(value) if value else True
    return getattr(librnn.optim, kind)(model, **keywords)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("through", ["parts", "arrays", "trainer"])
@pytest.mark.parametrize("case", cases(OPTIMIZERS))
def test_ten_updates_are_pytorchs(case, through, dtype):
    meta, arrays = load(OPTIMIZERS / case)
    model, names = start(arrays, dtype)
    factor = 8 if meta["clip"] else 1
    if through == "trainer":
        if meta["clip"]:
            pytest.skip("the clipped cases multiply the logits by 8, which no module does")
        trainer = librnn.Trainer(model, "cross_entropy", optimizer_of(meta, model))
    weights = model.state_dict()
    optimizer = optimizer_of(meta, weights if through == "arrays" else model)
    # Each update passes on the error of the one before; ten of them, with products of about 40 roundings.
    for i in range(10):
        if through == "trainer":
            report = trainer.step(arrays["x"][i], arrays["target"][i])
            loss, gradients = report.loss, trainer.gradients()
            assert (report.updates, report.skipped, report.terms) == (1, 0, 4)
        else:
            y, _, tape = model.forward_train(arrays["x"][i])
            loss, gradient = librnn.losses.cross_entropy(y * factor, arrays["target"][i])
            gradients = model.backward(tape, gradient * factor).parameters
            if meta["clip"]:
                clipped = librnn.clip_grad_norm(gradients, meta["clip"]["max_norm"], float(meta["clip"]["norm_type"]))
                norms = {kind: arrays[f"{kind}.total_norm_before_clip"][i] for kind in ("f64", "f32")}
                close(clipped.total_norm, {f"{kind}.norm": norm for kind, norm in norms.items()}, "norm", dtype, 40 * (i + 1))
            optimizer.step(gradients)
            if through == "arrays":
                model.load_state_dict(weights)
        close(loss, {f"{kind}.loss": arrays[f"{kind}.losses"][i] for kind in ("f64", "f32")}, "loss", dtype, 40 * (i + 1))
        for name, our in names.items():
            if i == 0:
                close(gradients[our], arrays, "grad1." + name, dtype, roundings=10)
            if i in (0, 9):
                close(model.parameters[our], arrays, f"param{i + 1}.{name}", dtype, roundings=40 * (i + 1))
