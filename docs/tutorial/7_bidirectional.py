"""7. Bidirectional networks: a second cell reads the sequence backwards, and both states stand side by side.

    →H_t = cell(X_t, →H_{t-1}),   ←H_t = cell'(X_t, ←H_{t+1}),   H_t = [→H_t, ←H_t]

What is right at step t may depend on what comes after it. It needs the whole sequence: there is no stream.
"""

import numpy as np

import librnn

T, N, SYMBOLS, H = 20, 32, 5, 24
rng = np.random.default_rng(0)


def batch():
    """Random symbols, and for each step the symbol that comes next; -100 for the last step, which has none."""
    x = rng.integers(0, SYMBOLS, (T, N))
    following = np.full((T, N), -100)
    following[:-1] = x[1:]
    return x, following


def learn(bidirectional, steps=100):
    features = 2 * H if bidirectional else H
    model = librnn.Sequential([
        librnn.OneHot(SYMBOLS), librnn.GRU(SYMBOLS, H, bidirectional=bidirectional, seed=1),
        librnn.Linear(features, SYMBOLS, seed=2),
    ])  # fmt: skip
    trainer = librnn.Trainer(model, "cross_entropy", librnn.optim.Adam(model, lr=1e-2), clip_norm=1.0)
    for _ in range(steps):
        trainer.step(*batch())
    x, following = batch()
    logits, _ = model(x)
    return (logits.argmax(axis=-1) == following)[:-1].mean(), model


def main():
    both = librnn.GRU(4, 8, bidirectional=True, seed=1)
    forward, backward = (librnn.GRU.from_gates(gates) for gates in both.gates())
    x = rng.standard_normal((T, N, 4)).astype(np.float32)
    y, h_n = both(x)
    parts = np.concatenate([forward(x)[0], backward(x[::-1])[0][::-1]], axis=-1)
    print(f"[→H, ←H] is one layer on x and another on x reversed: same bits {np.array_equal(y, parts)}; y is {y.shape}")
    assert np.array_equal(y, parts)

    # Sequences of different lengths: the backward cell begins at each row's own end, not in the padding.
    lengths = rng.integers(5, T + 1, N)
    padded, _ = both(x, lengths=lengths)
    alone, _ = both(x[: lengths[3], 3:4])
    print(f"a padded row and the row alone: same bits {np.array_equal(padded[: lengths[3], 3], alone[:, 0])}")

    right = {}
    for bidirectional in (False, True):
        right[bidirectional], model = learn(bidirectional)
        print(f"'which random symbol comes next?' {'both directions' if bidirectional else 'forward only   '}: "
              f"{100 * right[bidirectional]:.1f} % right")  # fmt: skip
    assert right[True] > 0.98 and right[False] < 0.4

    try:
        model.stream()
    except librnn.RNNError as error:
        print(f"a stream is refused: {error}")


if __name__ == "__main__":
    main()
