"""3. Gradients vanish or explode: how much of the gradient at the last step reaches the first ones.

With each step back, the gradient is multiplied by W_hhᵀ and by the slope of the tanh, which is at most 1. A hundred factors
below 1 leave nothing; a hundred factors above 1 leave no usable number. `backward(..., gradient_flow=True)` gives the norm of
dL/dH_t for every step.
"""

import numpy as np

import librnn

T, N, I, H = 100, 8, 4, 64


def flow_of(layer, x):
    """||dL/dH_t|| of each step, for a loss that looks at the last step only."""
    y, _, tape = layer.forward_train(x)
    gradient = np.zeros_like(y)
    gradient[-1] = 1 / np.sqrt(gradient[-1].size)
    return layer.backward(tape, gradient, gradient_flow=True)


def show(name, flow):
    steps = [99, 90, 75, 50, 25, 0]
    print(f"  {name:22}" + "  ".join(f"{flow[t]:8.1e}" for t in steps))


def main():
    rng = np.random.default_rng(0)
    x = 0.1 * rng.standard_normal((T, N, I)).astype(np.float32)
    rotation = np.linalg.qr(rng.standard_normal((H, H)))[0]
    W_xh = rng.standard_normal((I, H)) * 0.1
    print("||dL/dH_t|| at t =       99        90        75        50        25         0")
    for size in (0.9, 1.0, 1.1):
        # A rotation keeps every length; times 0.9 it shortens each by a tenth.
        layer = librnn.RNN.from_gates(W_xh=W_xh, W_hh=size * rotation, b_h=np.zeros((1, H)))
        gradients = flow_of(layer, x)
        show(f"W_hh = {size} x rotation", gradients.flow.hidden[0])
    plain = flow_of(librnn.RNN(I, H, seed=1), x)
    show("usual initial weights", plain.flow.hidden[0])
    relu = librnn.RNN.from_gates(W_xh=abs(W_xh), W_hh=1.2 * abs(rotation) / abs(rotation).sum(axis=0), b_h=np.zeros((1, H)),
                                 nonlinearity="relu")  # fmt: skip
    exploded = flow_of(relu, abs(x))
    show("ReLU, factor 1.2", exploded.flow.hidden[0])
    assert plain.flow.hidden[0][0] < 1e-6 * plain.flow.hidden[0][-1]
    assert exploded.flow.hidden[0][0] > 1e6 * exploded.flow.hidden[0][-1]

    # Clipping keeps one such gradient from throwing the weights away. It says what it did. It cannot bring back what vanished.
    report = librnn.clip_grad_norm(exploded.parameters, max_norm=1.0)
    print(f"clipping the last one: norm {report.total_norm:.2e}, multiplied by {report.scale:.1e}; largest is {report.largest}")


if __name__ == "__main__":
    main()
