"""Makes format-1-*.safetensors and format-1.json: `python make_format_1.py` with NumPy installed.

Model files of format version 1, written from docs/format.md without librnn, and what the networks in them compute, from the
equations of docs/equations.md in double precision. Every later version of librnn must load these files and give these numbers.
They are never made again: a change here that changes a file would hide what the test is for.
"""

import json
import struct
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(p, x, h, c):
    """p: weight_ih [4H, I], weight_hh [4H, H], bias [4H]; x [T, N, I]; gates i, f, g, o."""
    outputs = []
    for x_t in x:
        i, f, g, o = np.split(x_t @ p["weight_ih"].T + h @ p["weight_hh"].T + p["bias"], 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs), h, c


def gru(p, x, h, variant):
    """Gates r, z, n; bias_ih and bias_hh [3H]."""
    H = h.shape[1]
    outputs = []
    for x_t in x:
        a = x_t @ p["weight_ih"].T + p["bias_ih"]
        b = h @ p["weight_hh"][: 2 * H].T + p["bias_hh"][: 2 * H]
        r, z = sigmoid(a[:, :H] + b[:, :H]), sigmoid(a[:, H : 2 * H] + b[:, H:])
        w, c = p["weight_hh"][2 * H :].T, p["bias_hh"][2 * H :]
        n = np.tanh(a[:, 2 * H :] + ((r * h) @ w + c if variant == "reset_before" else r * (h @ w + c)))
        h = z * h + (1 - z) * n
        outputs.append(h)
    return np.array(outputs), h


def vanilla(p, x, h, nonlinearity):
    outputs = []
    for x_t in x:
        h = x_t @ p["weight_ih"].T + h @ p["weight_hh"].T
        h = np.tanh(h) if nonlinearity == "tanh" else np.maximum(h, 0)
        outputs.append(h)
    return np.array(outputs), h


def node(name, op, inputs=None, **attributes):
    return {"name": name, "op": op, "version": 1, **({"inputs": inputs} if inputs else {}), **attributes}


def recurrent(name, op, inputs, hidden_size, num_layers=1, bidirectional=False, bias="double", dropout=0.0, **attributes):
    return node(name, op, inputs, hidden_size=hidden_size, num_layers=num_layers, bidirectional=bidirectional, bias=bias,
                dropout=dropout, **attributes)


def write(path, dtype, nodes, tensors, metadata):
    architecture = {"dtype": dtype, "nodes": nodes, "outputs": [nodes[-1]["name"]]}
    header = {"__metadata__": {**metadata, "librnn.format_version": "1", "librnn.architecture": json.dumps(architecture)}}
    data = b""
    for name, values in tensors.items():
        raw = values.astype("<f4" if dtype == "float32" else "<f8").tobytes()
        header[name] = {"dtype": "F32" if dtype == "float32" else "F64", "shape": list(values.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def residual_lstm(generator):
    """float32: two feature inputs, linear nodes with and without bias, sums, an LSTM, dropout. [T, N, 2]."""
    nodes = [
        node("audio", "input", size=3), node("control", "input", size=2),
        node("audio4", "linear", ["audio"], output_size=4, bias=True),
        node("control4", "linear", ["control"], output_size=4, bias=False),
        node("mix", "sum", ["audio4", "control4"]),
        recurrent("lstm", "lstm", ["mix"], 4),
        node("residual", "sum", ["mix", "lstm"]), node("drop", "dropout", ["residual"], probability=0.5),
        node("out", "linear", ["drop"], output_size=2, bias=True),
    ]
    shapes = {
        "audio4.weight": (4, 3), "audio4.bias": (4,), "control4.weight": (4, 2), "lstm.weight_ih_l0": (16, 4),
        "lstm.weight_hh_l0": (16, 4), "lstm.bias_ih_l0": (16,), "lstm.bias_hh_l0": (16,), "out.weight": (2, 4), "out.bias": (2,),
    }
    t = {name: generator.uniform(-1, 1, shape).astype(np.float32).astype(float) for name, shape in shapes.items()}
    x = generator.uniform(-1, 1, (4, 2, 5)).astype(np.float32).astype(float)
    mix = x[..., :3] @ t["audio4.weight"].T + t["audio4.bias"] + x[..., 3:] @ t["control4.weight"].T
    p = {"weight_ih": t["lstm.weight_ih_l0"], "weight_hh": t["lstm.weight_hh_l0"],
         "bias": t["lstm.bias_ih_l0"] + t["lstm.bias_hh_l0"]}
    y, h, c = lstm(p, mix, np.zeros((2, 4)), np.zeros((2, 4)))
    output = (mix + y) @ t["out.weight"].T + t["out.bias"]
    # The order of tensors in a file is free: written backwards, which the reader must not mind.
    write(HERE / "format-1-residual-lstm.safetensors", "float32", nodes, dict(reversed(t.items())),
          {"sample_rate": "48000", "author": "J. S. Bach — π"})
    return {"file": "format-1-residual-lstm.safetensors", "steps": 4, "rows": 2, "features": x, "tokens": [], "output": output,
            "state": {"lstm.h": h, "lstm.c": c}, "metadata": {"sample_rate": "48000", "author": "J. S. Bach — π"}}


def classifier(generator):
    """float64: tokens, embedding, one-hot, both GRU variants (deep and bidirectional), vanilla cells, last step. [N, 3]."""
    nodes = [
        node("word", "token_input"), node("tag", "token_input"),
        node("embedding", "embedding", ["word"], vocabulary_size=6, embedding_size=3),
        node("one_hot", "one_hot", ["tag"], size=3),
        node("mix", "sum", ["embedding", "one_hot"]),
        recurrent("before", "gru", ["mix"], 3, bias="single", variant="reset_before"),
        recurrent("relu", "rnn", ["before"], 3, bias="none", nonlinearity="relu"),
        recurrent("after", "gru", ["relu"], 2, num_layers=2, bidirectional=True, dropout=0.25, variant="reset_after"),
        recurrent("tanh", "rnn", ["after"], 3, bias="none", nonlinearity="tanh"),
        node("last", "last_step", ["tanh"]), node("out", "linear", ["last"], output_size=3, bias=True),
    ]
    shapes = {"embedding.weight": (6, 3), "before.weight_ih_l0": (9, 3), "before.weight_hh_l0": (9, 3), "before.bias_l0": (9,),
              "relu.weight_ih_l0": (3, 3), "relu.weight_hh_l0": (3, 3)}
    for layer, width in ((0, 3), (1, 4)):
        for suffix in (f"l{layer}", f"l{layer}_reverse"):
            shapes |= {f"after.weight_ih_{suffix}": (6, width), f"after.weight_hh_{suffix}": (6, 2),
                       f"after.bias_ih_{suffix}": (6,), f"after.bias_hh_{suffix}": (6,)}
    shapes |= {"tanh.weight_ih_l0": (3, 4), "tanh.weight_hh_l0": (3, 3), "out.weight": (3, 3), "out.bias": (3,)}
    t = {name: generator.uniform(-1, 1, shape) for name, shape in shapes.items()}
    T, N = 5, 2
    words, tags = generator.integers(0, 6, (T, N)), generator.integers(0, 3, (T, N))

    def layer(name, suffix):
        get = lambda key: t.get(f"{name}.{key}_{suffix}")
        return {"weight_ih": get("weight_ih"), "weight_hh": get("weight_hh"), "bias_ih": get("bias_ih"), "bias_hh": get("bias_hh")}

    states = {}
    x = t["embedding.weight"][words] + np.eye(3)[tags]
    single = {**layer("before", "l0"), "bias_ih": t["before.bias_l0"], "bias_hh": np.zeros(9)}
    x, states["before.h"] = gru(single, x, np.zeros((N, 3)), "reset_before")
    x, states["relu.h"] = vanilla(layer("relu", "l0"), x, np.zeros((N, 3)), "relu")
    after = []
    for depth in range(2):
        forward, h = gru(layer("after", f"l{depth}"), x, np.zeros((N, 2)), "reset_after")
        backward, h_reverse = gru(layer("after", f"l{depth}_reverse"), x[::-1], np.zeros((N, 2)), "reset_after")
        after += [h, h_reverse]
        x = np.concatenate([forward, backward[::-1]], axis=2)
    states["after.h"] = np.array(after)
    x, states["tanh.h"] = vanilla(layer("tanh", "l0"), x, np.zeros((N, 3)), "tanh")
    output = x[-1] @ t["out.weight"].T + t["out.bias"]
    write(HERE / "format-1-classifier.safetensors", "float64", nodes, t, {"classes": '["low","high","none"]'})
    return {"file": "format-1-classifier.safetensors", "steps": T, "rows": N, "features": [],
            "tokens": np.stack([words, tags], axis=2), "output": output, "state": states,
            "metadata": {"classes": '["low","high","none"]'}}


def flat(value):
    return np.asarray(value).ravel().tolist()


def main():
    generator = np.random.default_rng(20260101)
    cases = [residual_lstm(generator), classifier(generator)]
    for case in cases:
        for key in ("features", "tokens", "output"):
            case[key] = flat(case[key])
        case["state"] = {name: flat(value) for name, value in case["state"].items()}
    (HERE / "format-1.json").write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
