"""Makes torch_*.onnx and torch_*.npz: `python make_torch_models.py` with torch, onnx and onnxscript installed.

Small models of many forms, exported by both exporters of PyTorch (2.13): "legacy" is the one of TorchScript, "dynamo" that of
torch.export. The .npz holds inputs (in_NAME) and what PyTorch computes of them (out_NAME). Tests need neither torch nor this file.
"""

import contextlib
import io
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

HERE = Path(__file__).resolve().parent
T, N, I, H = 7, 3, 5, 6


class Layer(nn.Module):
    """A recurrent layer alone, with all its outputs."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        y, final = self.layer(x)
        return (y, *final) if isinstance(final, tuple) else (y, final)


class LSTMWithState(Layer):
    def forward(self, x, h, c):
        y, final = self.layer(x, (h, c))
        return (y, *final)


class GRUWithState(Layer):
    def forward(self, x, h):
        return self.layer(x, h)


class Tagger(nn.Module):
    """Tokens to a distribution at each step."""

    def __init__(self, kind, batch_first, bidirectional, layers):
        super().__init__()
        width = 2 * H if bidirectional else H
        self.embedding = nn.Embedding(11, I)
        self.layer = kind(I, H, layers, batch_first=batch_first, bidirectional=bidirectional)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 4)

    def forward(self, tokens):
        y, _ = self.layer(self.embedding(tokens))
        return torch.log_softmax(self.head(self.norm(torch.relu(y))), -1)


class Classifier(nn.Module):
    """One number for each sequence, from the final state or the last step."""

    def __init__(self, kind, of_state, bidirectional, batch_first=True):
        super().__init__()
        self.layer = kind(I, H, 2, batch_first=batch_first, bidirectional=bidirectional)
        self.of_state = of_state
        self.head = nn.Linear(2 * H if bidirectional else H, 1)

    def forward(self, x):
        y, h = self.layer(x)
        h = h[0] if isinstance(h, tuple) else h
        if not self.of_state:
            z = y[:, -1] if self.layer.batch_first else y[-1]
        elif self.layer.bidirectional:
            z = torch.cat([h[-2], h[-1]], 1)
        else:
            z = h[-1]
        return torch.sigmoid(self.head(z).squeeze(-1))


class Residual(nn.Module):
    """Residual connections, a gate, and features side by side."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(I, H)
        self.first, self.second = nn.GRU(H, H, batch_first=True), nn.GRU(H, H, batch_first=True)
        self.norm, self.gate, self.head = nn.LayerNorm(H), nn.Linear(H, H), nn.Linear(2 * H, 3)

    def forward(self, x):
        x = torch.tanh(self.enter(x))
        x = self.norm(x + self.first(x)[0])
        y = self.second(x)[0]
        return self.head(torch.cat([x, torch.sigmoid(self.gate(x)) * y], -1))


class LearnedState(nn.Module):
    """An initial state that is a parameter, the same for every row."""

    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(I, H, batch_first=True)
        self.h, self.c = nn.Parameter(torch.randn(1, 1, H)), nn.Parameter(torch.randn(1, 1, H))

    def forward(self, x):
        state = tuple(part.expand(-1, x.shape[0], -1).contiguous() for part in (self.h, self.c))
        return self.layer(x, state)[0]


class Flattened(nn.Module):
    """Steps and rows on one axis for the linear layer."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.GRU(I, H, batch_first=True), nn.Linear(H, 4)

    def forward(self, x):
        y = self.layer(x)[0]
        return self.head(y.reshape(-1, H)).reshape(y.shape[0], y.shape[1], 4)


class Packed(nn.Module):
    """Rows of different lengths, packed."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.LSTM(I, H, 2, batch_first=True, bidirectional=True), nn.Linear(2 * H, 3)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        y, (h, c) = self.layer(packed)
        y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
        return torch.tanh(self.head(y)), h, c


class Frame(nn.Module):
    """One step with the state as one input and output, as voice activity detectors have it."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.LSTM(I, H), nn.Linear(H, 1)

    def forward(self, x, state):
        y, (h, c) = self.layer(x.unsqueeze(0), (state[0:1], state[1:2]))
        return torch.sigmoid(self.head(torch.relu(y.squeeze(0)))), torch.cat([h, c], 0)


class Channels(nn.Module):
    """Features on axis 1, as convolutions have them, with batch normalization."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm, self.head = nn.GRU(I, H, batch_first=True), nn.BatchNorm1d(H), nn.Linear(H, 3)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        y = self.layer(x.transpose(1, 2))[0].transpose(1, 2)
        return self.head(self.norm(y).transpose(1, 2))


def cases():
    x, x_first = torch.randn(T, N, I), torch.randn(N, T, I)
    tokens = torch.randint(0, 11, (N, T))
    state = lambda layers: torch.randn(layers, N, H)  # noqa: E731
    time, rows = {0: "time", 1: "rows"}, {0: "rows", 1: "time"}
    yield "gru", Layer(nn.GRU(I, H)), [x], [time]
    yield "gru_without_bias", Layer(nn.GRU(I, H, bias=False)), [x], [time]
    yield "lstm_both_directions", Layer(nn.LSTM(I, H, 2, batch_first=True, bidirectional=True)), [x_first], [rows]
    yield "rnn_relu", Layer(nn.RNN(I, H, 2, nonlinearity="relu", bidirectional=True)), [x], [time]
    yield "rnn_tanh", Layer(nn.RNN(I, H, batch_first=True)), [x_first], [rows]
    yield "lstm_unbatched", Layer(nn.LSTM(I, H)), [torch.randn(T, I)], [{0: "time"}]
    yield "lstm_with_state", LSTMWithState(nn.LSTM(I, H, 2)), [x, state(2), state(2)], [time, {1: "rows"}, {1: "rows"}]
    yield "gru_with_state", GRUWithState(nn.GRU(I, H, 2, bidirectional=True)), [x, state(4)], [time, {1: "rows"}]
    yield "tagger", Tagger(nn.LSTM, True, True, 2), [tokens], [rows]
    yield "tagger_time_first", Tagger(nn.GRU, False, False, 1), [tokens.T.contiguous()], [time]
    yield "classifier_of_state", Classifier(nn.LSTM, True, True), [x_first], [rows]
    yield "classifier_of_state_one_direction", Classifier(nn.LSTM, True, False), [x_first], [rows]
    yield "classifier_of_last_step", Classifier(nn.GRU, False, False), [x_first], [rows]
    yield "classifier_of_last_step_both_directions", Classifier(nn.GRU, False, True, False), [x], [time]
    yield "residual", Residual(), [x_first], [rows]
    yield "learned_state", LearnedState(), [x_first], [rows]
    yield "flattened", Flattened(), [x_first], [rows]
    yield "packed", Packed(), [x_first, torch.tensor([7, 5, 2])], [rows, {0: "rows"}]
    yield "frame", Frame(), [torch.randn(N, I), state(2)], [{0: "rows"}, {1: "rows"}]
    yield "cell", nn.LSTMCell(I, H), [torch.randn(N, I), (torch.randn(N, H), torch.randn(N, H))], [{0: "rows"}] * 3
    yield "channels", Channels(), [torch.randn(N, I, T)], [{0: "rows", 2: "time"}]


def flat(values):
    for value in values:
        if isinstance(value, (tuple, list)):
            yield from value
        else:
            yield value


def dynamo_shapes(arguments, axes):
    """The axes in the structure of the arguments, as torch.export wants them."""
    dims = {name: torch.export.Dim(name) for name in ("time", "rows")}
    rest = [{axis: dims[name] for axis, name in entry.items()} for entry in axes]
    result = []
    for argument in arguments:
        result.append(tuple(rest.pop(0) for _ in argument) if isinstance(argument, tuple) else rest.pop(0))
    return result


def without_traces(path):
    """Takes away what tells only which line of this file a node comes from."""
    model = onnx.load(path)
    del model.metadata_props[:], model.graph.metadata_props[:]
    for entry in [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer]:
        del entry.metadata_props[:]
        entry.ClearField("doc_string")
    onnx.save(model, path)


def main():
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    for name, model, arguments, axes in cases():
        model.eval()
        with torch.no_grad():
            results = list(flat([model(*arguments)]))
        inputs = [f"in{index}" for index, _ in enumerate(flat(arguments))]
        outputs = [f"out{index}" for index, _ in enumerate(results)]
        arrays = {f"in_{key}": value.numpy() for key, value in zip(inputs, flat(arguments))}
        arrays.update({f"out_{key}": value.numpy() for key, value in zip(outputs, results)})
        np.savez_compressed(HERE / f"torch_{name}.npz", **arrays)
        torch.onnx.export(
            model, tuple(arguments), str(HERE / f"torch_{name}.legacy.onnx"), input_names=inputs, output_names=outputs,
            dynamic_axes=dict(zip(inputs, axes)), dynamo=False, opset_version=14,
        )  # fmt: skip
        without_traces(HERE / f"torch_{name}.legacy.onnx")
        if name.startswith("rnn") or name == "packed":
            continue  # the first become products of matrices for one fixed T; the second cannot be exported
        shapes = dynamo_shapes(arguments, axes)
        with contextlib.redirect_stdout(io.StringIO()):
            program = torch.onnx.export(
                model, tuple(arguments), input_names=inputs, output_names=outputs, dynamic_shapes=tuple(shapes), dynamo=True,
            )  # fmt: skip
        program.save(str(HERE / f"torch_{name}.dynamo.onnx"))
        without_traces(HERE / f"torch_{name}.dynamo.onnx")


if __name__ == "__main__":
    main()
