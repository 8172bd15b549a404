#!/usr/bin/env python3
"""Writes training-losses.json: the losses of the first 50 training steps of small models in PyTorch, in double precision.

    python3 Tests/Vectors/make_training_losses.py         needs torch; Tests/Docs/test_training_losses.py replays librnn

Model: two recurrent layers and a linear layer. Weights and data are a formula, so that both sides have the same. Each step:
cross-entropy of all steps and rows, gradients clipped to a global norm, one update of the optimizer.
"""

import json
from pathlib import Path

import numpy as np

T, N, I, H, C, STEPS, CLIP = 12, 4, 5, 8, 6, 50, 0.15
CASES = {
    "gru_sgd": ("gru", "SGD", {"lr": 0.5}),
    "gru_adam": ("gru", "Adam", {"lr": 0.01}),
    "lstm_adam": ("lstm", "Adam", {"lr": 0.01}),
    "rnn_sgd_momentum": ("rnn", "SGD", {"lr": 0.1, "momentum": 0.9}),
}
PATH = Path(__file__).with_name("training-losses.json")


def numbers(seed, *shape):
    """The same in any program: fractional parts of multiples of an irrational number, in [-1, 1)."""
    k = np.arange(1, 1 + int(np.prod(shape)), dtype=np.float64) + 1000 * seed
    return (2 * ((k * 0.6180339887498949) % 1) - 1).reshape(shape)


def weights(gates):
    """Names and values of all parameters, as PyTorch names them."""
    shapes = {}
    for layer in range(2):
        shapes[f"weight_ih_l{layer}"] = (gates * H, I if layer == 0 else H)
        shapes[f"weight_hh_l{layer}"] = (gates * H, H)
        shapes[f"bias_ih_l{layer}"] = shapes[f"bias_hh_l{layer}"] = (gates * H,)
    recurrent = {name: numbers(seed, *shape) / np.sqrt(H) for seed, (name, shape) in enumerate(shapes.items())}
    return recurrent, {"weight": numbers(20, C, H) / np.sqrt(H), "bias": numbers(21, C) / np.sqrt(H)}


def batch(step):
    """x [T, N, I]; the target says in which of C parts of its range the first feature of the step before was."""
    x = numbers(100 + step, T, N, I)
    past = np.concatenate([np.zeros((1, N)), x[:-1, :, 0]])
    return x, np.clip(((past + 1) / 2 * C).astype(np.int64), 0, C - 1)


def torch_losses(cell, optimizer, options):
    import torch

    recurrent, linear = weights({"rnn": 1, "gru": 3, "lstm": 4}[cell])
    layers = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell](I, H, 2).double()
    last = torch.nn.Linear(H, C).double()
    layers.load_state_dict({name: torch.from_numpy(value) for name, value in recurrent.items()})
    last.load_state_dict({name: torch.from_numpy(value) for name, value in linear.items()})
    parameters = [*layers.parameters(), *last.parameters()]
    update = getattr(torch.optim, optimizer)(parameters, **options)
    losses, norms = [], []
    for step in range(STEPS):
        x, y = (torch.from_numpy(array) for array in batch(step))
        logits = last(layers(x)[0])
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, C), y.reshape(-1))
        update.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, CLIP).item())
        update.step()
        losses.append(loss.item())
    return {"losses": losses, "gradient_norms": norms}


def main():
    import torch

    result = {"torch": torch.__version__, "clip": CLIP}
    for name, case in CASES.items():
        result[name] = torch_losses(*case)
    PATH.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{PATH.name}: {', '.join(CASES)}")


if __name__ == "__main__":
    main()
