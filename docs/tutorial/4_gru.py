"""4. The GRU: two gates that can hold the state as it is.

    R_t = σ(X_t W_xr + H_{t-1} W_hr + b_r)                     reset gate: how much of the old state the candidate sees
    Z_t = σ(X_t W_xz + H_{t-1} W_hz + b_z)                     update gate: how much of the old state stays
    H̃_t = tanh(X_t W_xh + (R_t ⊙ H_{t-1}) W_hh + b_h)          candidate state
    H_t = Z_t ⊙ H_{t-1} + (1 - Z_t) ⊙ H̃_t

There are two GRUs. The one above multiplies by R_t before the product with W_hh ("reset_before"). PyTorch, cuDNN and Keras
multiply after it ("reset_after"). Many textbooks write the first one from scratch, and then call their framework's, which is
the second one.
"""

from importlib import import_module

import numpy as np

import librnn

T, N, I, H = 100, 8, 4, 64
rng = np.random.default_rng(0)


def sigma(a):
    return 1 / (1 + np.exp(-a))


def gru(X, W_xr, W_hr, b_r, W_xz, W_hz, b_z, W_xh, W_hh, b_h, variant):
    H_t, states = np.zeros((X.shape[1], len(W_hh))), []
    for X_t in X:
        R = sigma(X_t @ W_xr + H_t @ W_hr + b_r)
        Z = sigma(X_t @ W_xz + H_t @ W_hz + b_z)
        recurrent = (R * H_t) @ W_hh if variant == "reset_before" else R * (H_t @ W_hh)
        candidate = np.tanh(X_t @ W_xh + recurrent + b_h)
        H_t = Z * H_t + (1 - Z) * candidate
        states.append(H_t)
    return np.array(states)


def main():
    X = rng.standard_normal((T, N, I))
    gates = {"W_x" + gate: rng.standard_normal((I, H)) * 0.5 for gate in "rzh"}
    gates.update({"W_h" + gate: rng.standard_normal((H, H)) / np.sqrt(H) for gate in "rzh"})
    gates.update({"b_" + gate: np.zeros((1, H)) for gate in "rzh"})

    outputs = {}
    for variant in ("reset_before", "reset_after"):
        layer = librnn.GRU.from_gates(**gates, variant=variant, dtype="float64")
        outputs[variant], _ = layer(X)
        error = abs(outputs[variant] - gru(X, **gates, variant=variant)).max()
        print(f"{variant:12} against the equations: largest difference {error:.1e}")
        assert error < 1e-12

    difference = abs(outputs["reset_before"] - outputs["reset_after"]).max(axis=(1, 2))
    print("the two variants, same weights: largest difference of H_t at t = 1, 2, 3, 10, 100:",
          ", ".join(f"{difference[t - 1]:.2g}" for t in (1, 2, 3, 10, 100)))  # fmt: skip
    # H_0 is zero, and so is what R_t multiplies: the first step is the same. Later ones are not.
    assert difference[0] < 1e-12 and difference[-1] > 0.1

    print("\n||dL/dH_t|| at t =       99        90        75        50        25         0")
    vanishing = import_module("3_vanishing")
    x = (0.1 * X).astype(np.float32)
    vanishing.show("vanilla", vanishing.flow_of(librnn.RNN(I, H, seed=1), x).flow.hidden[0])
    for b_z in (0.0, 2.0, 4.0):
        layer = librnn.GRU(I, H, seed=1)
        letters = layer.gates()
        letters["b_z"] = letters["b_z"] + b_z
        opened = librnn.GRU.from_gates(letters)
        flow = vanishing.flow_of(opened, x).flow.hidden[0]
        vanishing.show(f"GRU, b_z + {b_z:.0f}", flow)
    # With Z_t near 1 the state, and the gradient, pass almost unchanged.
    assert flow[0] > 0.01 * flow[-1]


if __name__ == "__main__":
    main()
