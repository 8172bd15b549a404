"""2. The same network from the library: one step (a cell), a whole sequence (a layer), and the gradients."""

import time
from importlib import import_module

import numpy as np

import librnn

by_hand = import_module("1_by_hand")


def main():
    X, W_xh, W_hh, b_h = by_hand.X, by_hand.W_xh, by_hand.W_hh, by_hand.b_h
    states = by_hand.forward(X, W_xh, W_hh, b_h)

    # A layer takes the letters of the equations, and runs all steps.
    layer = librnn.RNN.from_gates(W_xh=W_xh, W_hh=W_hh, b_h=b_h, dtype="float64")
    y, h_n = layer(X)
    print(f"layer against the equations: largest difference {abs(y - states[1:]).max():.1e}")
    assert abs(y - states[1:]).max() < 1e-13

    # A cell is one step of it. The loop over time is yours.
    cell = librnn.RNNCell(by_hand.I, by_hand.H, dtype="float64")
    cell.load_state_dict({
        "weight_ih": W_xh.T, "weight_hh": W_hh.T, "bias_ih": b_h[0], "bias_hh": 0 * b_h[0],
    })  # fmt: skip
    h = np.zeros((by_hand.N, by_hand.H))
    for t in range(by_hand.T):
        h = cell(X[t], h)
    print(f"cell in a loop and layer have the same bits: {np.array_equal(h, h_n[0])}")
    assert np.array_equal(h, h_n[0])

    # The gradients. The parameters have PyTorch's names and shapes: weight_hh_l0 is W_hh transposed.
    y, h_n, tape = layer.forward_train(X)
    gradients = layer.backward(tape, y).parameters
    dW_xh, dW_hh, db_h = by_hand.backward(X, states, W_hh, states[1:])
    error = max(abs(gradients["weight_ih_l0"].T - dW_xh).max(), abs(gradients["weight_hh_l0"].T - dW_hh).max(),
                abs(gradients["bias_l0"] - db_h).max())  # fmt: skip
    print(f"gradients {sorted(gradients)} against those by hand: largest difference {error:.1e}")
    assert error < 1e-12

    # What the library is for.
    big, x = librnn.RNN(64, 256, seed=1), np.ones((100, 32, 64), np.float32)
    W = {name: np.ascontiguousarray(value) for name, value in big.gates().items()}
    seconds = []
    for run in (lambda: by_hand.forward(x, W["W_xh"], W["W_hh"], W["b_h"]), lambda: big(x)):
        times = []
        for _ in range(4):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        seconds.append(min(times))
    print(f"100 steps, 32 rows, 256 units: NumPy {1e3 * seconds[0]:.1f} ms, librnn {1e3 * seconds[1]:.1f} ms")


if __name__ == "__main__":
    main()
