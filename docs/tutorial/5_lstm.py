"""5. The LSTM: a memory cell C_t beside the hidden state.

    I_t, F_t, O_t = σ(X_t W_x* + H_{t-1} W_h* + b_*)           input, forget and output gate
    C̃_t = tanh(X_t W_xc + H_{t-1} W_hc + b_c)                  candidate
    C_t = F_t ⊙ C_{t-1} + I_t ⊙ C̃_t                            memory cell
    H_t = O_t ⊙ tanh(C_t)

The way from C_{t-1} to C_t has no matrix and no tanh: along it, the gradient is only multiplied by F_t.
"""

from importlib import import_module

import numpy as np

import librnn

T, N, I, H = 100, 8, 4, 64
rng = np.random.default_rng(0)


def sigma(a):
    return 1 / (1 + np.exp(-a))


def lstm(X, W, b):
    H_t = C_t = np.zeros((X.shape[1], H))
    states = []
    for X_t in X:
        a = {gate: X_t @ W["W_x" + gate] + H_t @ W["W_h" + gate] + b["b_" + gate] for gate in "ifco"}
        C_t = sigma(a["f"]) * C_t + sigma(a["i"]) * np.tanh(a["c"])
        H_t = sigma(a["o"]) * np.tanh(C_t)
        states.append(H_t)
    return np.array(states), C_t


def main():
    X = rng.standard_normal((T, N, I))
    W = {"W_x" + gate: rng.standard_normal((I, H)) * 0.5 for gate in "ifco"}
    W.update({"W_h" + gate: rng.standard_normal((H, H)) / np.sqrt(H) for gate in "ifco"})
    b = {"b_" + gate: np.zeros((1, H)) for gate in "ifco"}
    layer = librnn.LSTM.from_gates(**W, **b, dtype="float64")
    y, (h_n, c_n) = layer(X)
    states, C_T = lstm(X, W, b)
    error = max(abs(y - states).max(), abs(c_n[0] - C_T).max())
    print(f"LSTM against the equations: largest difference {error:.1e}")
    assert error < 1e-12

    # An initial forget gate near 1/2 halves the memory with each step. A bias of 3 opens it: σ(3) = 0.95, σ(5) = 0.993.
    vanishing = import_module("3_vanishing")
    x = (0.1 * X).astype(np.float32)
    print("||dL/dH_t|| at t =       99        90        75        50        25         0")
    reached = []
    for bias in (0.0, 1.0, 3.0, 5.0):
        flow = vanishing.flow_of(librnn.LSTM(I, H, forget_bias=bias, seed=1), x).flow.hidden[0]
        vanishing.show(f"LSTM, forget_bias {bias:.0f}", flow)
        reached.append(flow[0])
    assert reached == sorted(reached) and reached[-1] > 1e6 * reached[0]


if __name__ == "__main__":
    main()
