"""Keras' layers in NumPy, in float64, from a configuration and the arrays of get_weights(): an oracle that knows nothing of librnn.

Written from the equations and the code of Keras 3: keras/src/layers/rnn/{rnn,simple_rnn,gru,lstm,bidirectional}.py. Values are
(array [N, T, F] or [N, F], mask [N, T] or None), as they go from layer to layer there.
"""

import numpy as np


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


FUNCTIONS = {
    "linear": lambda x: x,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "relu": lambda x: np.maximum(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "softplus": lambda x: np.logaddexp(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softmax": softmax,
}


def step(kind, config, arrays, x, state):
    """One step of a cell: x [N, F], state (h,) or (h, c), each [N, U]; the new state."""
    kernel, recurrent = arrays[0], arrays[1]
    bias = arrays[2] if config["use_bias"] else 0.0
    f = FUNCTIONS[config["activation"]]
    h = state[0]
    if kind == "SimpleRNN":
        return (f(x @ kernel + bias + h @ recurrent),)
    g = FUNCTIONS[config["recurrent_activation"]]
    if kind == "LSTM":
        i, forget, c, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
        cell = g(forget) * state[1] + g(i) * f(c)
        return g(o) * f(cell), cell
    units = h.shape[1]
    if config["reset_after"]:
        input_bias, recurrent_bias = bias if config["use_bias"] else (0.0, 0.0)
        xz, xr, xh = np.split(x @ kernel + input_bias, 3, axis=1)
        hz, hr, hh = np.split(h @ recurrent + recurrent_bias, 3, axis=1)
        z, r = g(xz + hz), g(xr + hr)
        candidate = f(xh + r * hh)
    else:
        xz, xr, xh = np.split(x @ kernel + bias, 3, axis=1)
        z, r = g(xz + h @ recurrent[:, :units]), g(xr + h @ recurrent[:, units : 2 * units])
        candidate = f(xh + (r * h) @ recurrent[:, 2 * units :])
    return (z * h + (1 - z) * candidate,)


def recurrent(kind, config, arrays, x, mask, zero_output=False):
    """Outputs [N, T, U] in the order in which they are computed, and the final states."""
    if config.get("go_backwards"):
        x, mask = x[:, ::-1], None if mask is None else mask[:, ::-1]
    rows, steps = x.shape[:2]
    state = tuple(np.zeros((rows, config["units"])) for _ in range(2 if kind == "LSTM" else 1))
    output, outputs = np.zeros((rows, config["units"])), []
    for t in range(steps):
        new = step(kind, config, arrays, x[:, t], state)
        if mask is None:
            state, output = new, new[0]
        else:
            present = mask[:, t, None]
            output = np.where(present, new[0], 0.0 if zero_output else output)
            state = tuple(np.where(present, after, before) for after, before in zip(new, state))
        outputs.append(output)
    return np.stack(outputs, axis=1), state


def run_layer(entry, arrays, x, mask):
    """A layer on a value; the value after it."""
    kind, config = entry["class_name"], entry["config"]
    if kind in ("SimpleRNN", "GRU", "LSTM"):
        y, state = recurrent(kind, config, arrays, x, mask, config.get("zero_output_for_mask", False))
        return (y, mask) if config["return_sequences"] else (state[0], None)
    if kind == "Bidirectional":
        return bidirectional(config, arrays, x, mask)
    if kind == "TimeDistributed":
        return run_layer(config["layer"], arrays, x, None)[0], mask
    if kind == "Masking":
        mask = (x != config["mask_value"]).any(-1)
        return x * mask[..., None], mask
    if kind == "Embedding":
        return arrays[0][x], (x != 0) if config["mask_zero"] else None
    if kind == "Dense":
        return FUNCTIONS[config["activation"]](x @ arrays[0] + (arrays[1] if config["use_bias"] else 0)), mask
    if kind == "Activation":
        return FUNCTIONS[config["activation"]](x), mask
    if kind == "LeakyReLU":
        return np.where(x > 0, x, config["negative_slope"] * x), mask
    if kind == "BatchNormalization":
        gamma, beta, mean, variance = arrays
        return gamma * (x - mean) / np.sqrt(variance + config["epsilon"]) + beta, mask
    if kind == "LayerNormalization":
        centred = x - x.mean(-1, keepdims=True)
        return arrays[0] * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + config["epsilon"]) + arrays[1], mask
    assert kind == "Dropout", kind
    return x, mask


MERGES = {
    "concat": lambda a, b: np.concatenate([a, b], -1),
    "sum": np.add,
    "mul": np.multiply,
    "ave": lambda a, b: (a + b) / 2,
}


def bidirectional(config, arrays, x, mask):
    forward = config["layer"]
    kind, options = forward["class_name"], forward["config"]
    backward = config.get("backward_layer", {"config": {**options, "go_backwards": True}})["config"]
    half = len(arrays) // 2
    sequences = options["return_sequences"]
    y, state = recurrent(kind, options, arrays[:half], x, mask, zero_output=True)
    reverse, reverse_state = recurrent(kind, backward, arrays[half:], x, mask, zero_output=True)
    merge = MERGES[config["merge_mode"]]
    if not sequences:
        return merge(state[0], reverse_state[0]), None
    return merge(y, reverse[:, ::-1]), mask


def join(kind, values):
    """Add, Multiply, Average or Concatenate of values with one mask."""
    arrays = [x for x, _ in values]
    joined = {
        "Add": lambda: sum(arrays),
        "Multiply": lambda: np.prod(arrays, axis=0),
        "Average": lambda: sum(arrays) / len(arrays),
        "Concatenate": lambda: np.concatenate(arrays, -1),
    }[kind]()
    return joined, values[0][1]
