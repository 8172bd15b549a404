#!/usr/bin/env python3
"""The adding problem: which cell can remember two numbers over a hundred steps?

A sequence of T random numbers in [0, 1). Two of them are marked, one in each half; the answer, after the last step, is the
sum of these two. Who always answers 1 has a squared error of 1/6 = 0.167. To do better, a network must carry what it saw over
50 steps or more, and while it learns, the gradient must come back over as many. (Hochreiter and Schmidhuber 1997; Le,
Jaitly and Hinton 2015, arXiv:1504.00941.)

Prints a table of squared errors, and with --plot a picture of the gradients: docs/long-memory.md.
"""

import argparse
import time

import numpy as np

import librnn

CELLS = {
    "vanilla": lambda hidden, seed: librnn.RNN(2, hidden, seed=seed),
    "GRU": lambda hidden, seed: librnn.GRU(2, hidden, seed=seed),
    # A forget gate that is open at first: σ(2) = 0.88.
    "LSTM": lambda hidden, seed: librnn.LSTM(2, hidden, forget_bias=2.0, seed=seed),
}


def make_batch(generator, rows, length):
    """x [T, N, 2]: numbers and marks; answers [N, 1]."""
    x = np.zeros((length, rows, 2), np.float32)
    x[:, :, 0] = generator.random((length, rows))
    n, first, second = np.arange(rows), *(generator.integers(0, length // 2, rows) for _ in range(2))
    second += length // 2
    x[first, n, 1] = x[second, n, 1] = 1
    return x, (x[first, n, 0] + x[second, n, 0])[:, None]


def test_batch(options):
    return make_batch(np.random.default_rng(1000), 2000, options.length)


def make_model(cell, hidden, seed):
    return librnn.Sequential([CELLS[cell](hidden, seed), librnn.LastStep(), librnn.Linear(hidden, 1, seed=seed + 100)])


def train(model, options, seed):
    """Trains, and gives the squared error on 2000 sequences that were not trained on."""
    trainer = librnn.Trainer(model, "mse", librnn.optim.Adam(model, lr=options.lr), clip_norm=1.0)
    generator = np.random.default_rng(seed)
    for step in range(options.steps):
        # The last quarter with a falling rate.
        trainer.lr = options.lr * min(1.0, 0.02 + 3.92 * (1 - step / options.steps))
        trainer.step(*make_batch(generator, options.batch, options.length))
    return trainer.evaluate(*test_batch(options)).loss


def gradient_flow(model, options):
    """||dL/dH_t|| of each step, for one batch."""
    x, answer = make_batch(np.random.default_rng(2000), 64, options.length)
    prediction, _, tape = model.forward_train(x)
    gradient = librnn.losses.mse(prediction, answer)[1]
    return model.backward(tape, gradient, gradient_flow=True).flow.hidden[0]


def plot(flows, path):
    """Two panels: before and after training, each relative to the gradient at the last step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, when in zip(figure.subplots(1, 2, sharey=True), ("before training", "after training")):
        for (cell, flow), colour in zip(flows[when].items(), ("tab:red", "tab:blue", "tab:green")):
            axes.plot(np.arange(len(flow)), np.where(flow > 0, flow / flow[-1], np.nan), label=cell, color=colour)
        axes.set_yscale("log")
        axes.set_title(when)
        axes.set_xlabel("step t")
        axes.grid(True, color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel(r"$\Vert\partial L/\partial H_t\Vert$, last step = 1")
    figure.axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=100, help="T, steps of a sequence (default: 100)")
    parser.add_argument("--hidden", type=int, default=32, help="H (default: 32)")
    parser.add_argument("--batch", type=int, default=32, help="N, sequences of an update (default: 32)")
    parser.add_argument("--steps", type=int, default=2000, help="updates (default: 2000)")
    parser.add_argument("--lr", type=float, default=0.02, help="Adam's learning rate (default: 0.02)")
    parser.add_argument("--seeds", type=int, default=3, help="how many runs of each cell (default: 3)")
    parser.add_argument("--plot", metavar="FILE", help="save the picture of the gradients; needs matplotlib")
    options = parser.parse_args()
    print(f"adding problem, T = {options.length}: {options.steps} updates of {options.batch} sequences, H = {options.hidden}, "
          f"Adam {options.lr}, gradients clipped to norm 1; always answering 1: {((test_batch(options)[1] - 1) ** 2).mean():.5f}\n")  # fmt: skip
    heads = "".join(f"   seed {seed}" for seed in range(1, options.seeds + 1))
    print(f"cell      weights  {heads}   gradient at step 0, before training")
    flows = {"before training": {}, "after training": {}}
    start = time.perf_counter()
    for cell in CELLS:
        errors = []
        for seed in range(1, options.seeds + 1):
            model = make_model(cell, options.hidden, seed)
            if seed == 1:
                flows["before training"][cell] = flow = gradient_flow(model, options)
            errors.append(train(model, options, seed))
            if seed == 1:
                flows["after training"][cell] = gradient_flow(model, options)
        weights = sum(value.size for value in model.parameters.values())
        values = "".join(f"  {error:.5f}" for error in errors)
        print(f"{cell:8} {weights:8}  {values}   {flow[0] / flow[-1]:.0e} of that at the last step", flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s, kernels {librnn.kernels()}, {librnn.get_num_threads()} threads")
    if options.plot:
        plot(flows, options.plot)


if __name__ == "__main__":
    main()
