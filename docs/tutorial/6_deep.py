"""6. Deep networks: layers on top of each other.

    H_t^(1) = cell(X_t, H_{t-1}^(1))
    H_t^(l) = cell(H_t^(l-1), H_{t-1}^(l))
    O_t     = H_t^(L) W_hq + b_q
"""

import numpy as np

import librnn

T, N, I, H = 30, 16, 8, 32


def main():
    # A stack of two layers is two layers, one after the other: the same bits.
    deep = librnn.GRU(I, H, num_layers=2, seed=1)
    lower, upper = (librnn.GRU.from_gates(gates) for gates in deep.gates())
    x = np.random.default_rng(0).standard_normal((T, N, I)).astype(np.float32)
    y, h_n = deep(x)
    below, _ = lower(x)
    above, _ = upper(below)
    print(f"two layers in one, and one after the other: same bits {np.array_equal(y, above)}; h_n is {h_n.shape}")
    assert np.array_equal(y, above)

    # Sequential mixes cells and sizes.
    model = librnn.Sequential([
        librnn.LSTM(I, H, seed=1), librnn.GRU(H, 24, seed=2), librnn.RNN(24, 16, seed=3), librnn.Linear(16, I, seed=4),
    ])  # fmt: skip
    print(model)

    # A task: the running sum of past inputs, with a decay. The loss falls as the network learns to remember.
    target = np.zeros_like(x)
    for t in range(T):
        target[t] = 0.8 * (target[t - 1] if t else 0) + 0.2 * x[t]
    trainer = librnn.Trainer(model, "mse", librnn.optim.Adam(model, lr=5e-3), clip_norm=1.0)
    losses = [trainer.step(x, target).loss for _ in range(150)]
    print("loss after 1, 50, 100, 150 steps:", ", ".join(f"{losses[i]:.4f}" for i in (0, 49, 99, 149)))
    assert losses[-1] < 0.2 * losses[0]

    # Which layer gets how much of the gradient.
    y, _, tape = model.forward_train(x)
    flow = model.backward(tape, librnn.losses.mse(y, target)[1], gradient_flow=True).flow
    for label, row in zip(flow.labels, flow.hidden):
        print(f"  {label:24} ||dL/dH_t|| first step {row[0]:.1e}, last step {row[-1]:.1e}")


if __name__ == "__main__":
    main()
