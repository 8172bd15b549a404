"""1. A recurrent network by hand: the equation, its gradient through time, and a check of both. NumPy only.

    H_t = tanh(X_t W_xh + H_{t-1} W_hh + b_h)

A row of a matrix is one sequence of the batch. The same three parameters serve every step.
"""

import numpy as np

T, N, I, H = 6, 2, 3, 4
rng = np.random.default_rng(0)
X = rng.standard_normal((T, N, I))
W_xh = rng.standard_normal((I, H)) * 0.5
W_hh = rng.standard_normal((H, H)) * 0.5
b_h = np.zeros((1, H))


def forward(X, W_xh, W_hh, b_h):
    """All hidden states, [T + 1, N, H]; the first one is H_0 = 0."""
    states = [np.zeros((X.shape[1], len(W_hh)), X.dtype)]
    for X_t in X:
        states.append(np.tanh(X_t @ W_xh + states[-1] @ W_hh + b_h))
    return np.array(states)


def backward(X, states, W_hh, output_gradient):
    """Backpropagation through time: from the last step to the first, the gradients of all steps added up."""
    dW_xh, dW_hh, db_h = 0, 0, 0
    from_later = 0
    for t in reversed(range(len(X))):
        G = output_gradient[t] + from_later  # what reaches H_t: from the loss at t, and from step t + 1
        A = G * (1 - states[t + 1] ** 2)  # through the tanh
        dW_xh = dW_xh + X[t].T @ A
        dW_hh = dW_hh + states[t].T @ A
        db_h = db_h + A.sum(axis=0, keepdims=True)
        from_later = A @ W_hh.T
    return dW_xh, dW_hh, db_h


def main():
    states = forward(X, W_xh, W_hh, b_h)
    print(f"X {X.shape} -> states {states[1:].shape}")
    for t, row in enumerate(states[1:, 0], 1):
        print(f"  H_{t} of row 0:", np.array2string(row, precision=3, floatmode="fixed"))

    # The loss: half the sum of squares of all states, so that its gradient with respect to H_t is H_t.
    def loss(W_hh):
        return 0.5 * (forward(X, W_xh, W_hh, b_h)[1:] ** 2).sum()

    _, dW_hh, _ = backward(X, states, W_hh, states[1:])
    worst = 0.0
    for index in np.ndindex(W_hh.shape):
        step = np.zeros_like(W_hh)
        step[index] = 1e-6
        difference = (loss(W_hh + step) - loss(W_hh - step)) / 2e-6
        worst = max(worst, abs(difference - dW_hh[index]))
    print(f"dL/dW_hh against central differences: largest error {worst:.1e}")
    assert worst < 1e-8


if __name__ == "__main__":
    main()
