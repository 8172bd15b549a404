#!/usr/bin/env python3
"""Writes ctc.json: losses and gradients of PyTorch's ctc_loss of log_softmax(logits), in double precision.

    python3 Tests/Vectors/make_ctc.py         needs torch; bindings/python/tests/test_ctc.py replays librnn

Logits are a formula, so that both sides have the same. A row without an alignment has the loss Infinity and the gradient
NaN, which Python's json writes so.
"""

import json
from pathlib import Path

import numpy as np

#: T, N, C and the arguments of the loss. Targets with one dimension are not padded.
CASES = {
    "padded": ((9, 3, 5), {"targets": [[1, 2, 2, 4], [3, 3, 0, 0], [4, 0, 0, 0]], "input_lengths": [9, 7, 4],
                           "target_lengths": [4, 2, 1], "reduction": "none"}),
    "blank_last": ((8, 2, 4), {"targets": [[0, 1, 2], [2, 2, 0]], "input_lengths": [8, 8], "target_lengths": [3, 3], "blank": 3,
                               "reduction": "sum"}),
    "blank_between": ((8, 2, 5), {"targets": [[0, 4, 4], [3, 1, 0]], "input_lengths": [6, 8], "target_lengths": [3, 2],
                                  "blank": 2, "reduction": "mean"}),
    "concatenated": ((7, 3, 4), {"targets": [1, 2, 3, 3, 2], "input_lengths": [7, 5, 6], "target_lengths": [3, 0, 2],
                                 "reduction": "mean"}),
    "no_alignment": ((5, 3, 4), {"targets": [[1, 1, 1], [1, 2, 3], [2, 2, 1]], "input_lengths": [4, 5, 0],
                                 "target_lengths": [3, 3, 1], "reduction": "none"}),
    "zero_infinity": ((5, 3, 4), {"targets": [[1, 1, 1], [1, 2, 3], [2, 2, 1]], "input_lengths": [4, 5, 0],
                                  "target_lengths": [3, 3, 1], "zero_infinity": True, "reduction": "mean"}),
    "no_labels": ((6, 2, 3), {"targets": [[1, 1], [2, 1]], "input_lengths": [6, 0], "target_lengths": [0, 0],
                              "reduction": "none"}),
    "one_alignment": ((6, 1, 4), {"targets": [[1, 2, 3, 1, 2, 3]], "input_lengths": [6], "target_lengths": [6],
                                  "reduction": "mean"}),
}  # fmt: skip
PATH = Path(__file__).with_name("ctc.json")


def logits(name):
    """[T, N, C] in [-3, 3): fractional parts of multiples of an irrational number, the same in any program."""
    shape = CASES[name][0]
    k = np.arange(1, 1 + int(np.prod(shape)), dtype=np.float64) + 1000 * list(CASES).index(name)
    return (6 * ((k * 0.6180339887498949) % 1) - 3).reshape(shape)


def main():
    import torch

    result = {"torch": torch.__version__}
    for name, (_, arguments) in CASES.items():
        x = torch.from_numpy(logits(name)).requires_grad_()
        tensors = {key: torch.tensor(value) if isinstance(value, list) else value for key, value in arguments.items()}
        loss = torch.nn.functional.ctc_loss(torch.log_softmax(x, -1), **tensors)
        loss.sum().backward()
        result[name] = {"loss": loss.tolist(), "gradient": x.grad.tolist()}
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in result.items()]
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{PATH.name}: {', '.join(CASES)}")


if __name__ == "__main__":
    main()
