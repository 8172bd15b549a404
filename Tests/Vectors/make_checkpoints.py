#!/usr/bin/env python3
"""Writes Tests/Vectors/torch: files of PyTorch in every form in which it writes them, and what PyTorch computes with them.

    python make_checkpoints.py         # with torch and safetensors; the committed files: PyTorch 2.13.0

NAME.npz has x and y in float64, and hn, cn where there is one recurrent module.
"""

import argparse
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

FOLDER = Path(__file__).resolve().parent / "torch"


class Tagger(nn.Module):
    """Modules in another order than that in which they run."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 3)
        self.rnn = nn.GRU(5, 4, num_layers=2, bidirectional=True, batch_first=True, dropout=0.25)
        self.norm = nn.LayerNorm(8, eps=1e-3)
        self.embedding = nn.Embedding(7, 5, padding_idx=0)

    def forward(self, tokens):
        return self.fc(torch.relu(self.norm(self.rnn(self.embedding(tokens))[0])))


def save_arrays(name, **arrays):
    np.savez(FOLDER / f"{name}.npz", **{key: value.detach().numpy() for key, value in arrays.items()})


def main():
    torch.manual_seed(1)
    FOLDER.mkdir(exist_ok=True)
    torch.set_default_dtype(torch.float64)

    lstm = nn.LSTM(3, 4, num_layers=2, proj_size=2)
    x = torch.randn(5, 2, 3)
    y, (hn, cn) = lstm(x)
    save_arrays("lstm", x=x, y=y, hn=hn, cn=cn)
    torch.save(lstm.state_dict(), FOLDER / "lstm.pt")
    torch.save(lstm.state_dict(), FOLDER / "lstm_old.pt", _use_new_zipfile_serialization=False)
    torch.save(lstm, FOLDER / "lstm_module.pt")
    save_file(lstm.state_dict(), FOLDER / "lstm.safetensors")
    torch.jit.script(nn.Sequential()).save(FOLDER / "empty_script.pt")

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = lstm

        def forward(self, x: torch.Tensor):
            return self.cell(x)[0]

    torch.jit.script(Wrapped()).save(FOLDER / "lstm_script.pt")

    model = Tagger().eval()
    tokens = torch.randint(0, 7, (3, 6))
    save_arrays("tagger", x=tokens, y=model(tokens))
    optimizer = torch.optim.Adam(model.parameters())
    model(tokens).sum().backward()
    optimizer.step()
    model.zero_grad()
    save_arrays("tagger", x=tokens, y=model(tokens))
    torch.save(
        {
            "epoch": 3,
            "loss": 0.5,
            "args": argparse.Namespace(rate=0.1),
            "model_state_dict": {f"module.{name}": value for name, value in model.state_dict().items()},
            "ema": {"shadow": {f"module.{name}": value * 0 for name, value in model.state_dict().items()}},
            "optimizer": optimizer.state_dict(),
            "best": np.float64(0.25),
        },
        FOLDER / "tagger_checkpoint.pt",
        pickle_protocol=4,
    )

    rnn = nn.RNNCell(3, 4, nonlinearity="relu")
    x, h = torch.randn(2, 3), torch.randn(2, 4)
    save_arrays("cell", x=x, h=h, y=rnn(x, h))
    torch.save({"cell." + name: nn.Parameter(value) for name, value in rnn.state_dict().items()}, FOLDER / "cell.pt")

    gru = nn.GRU(3, 4, bias=False).to(torch.bfloat16)
    torch.save(gru.state_dict(), FOLDER / "gru_bfloat16.pt")
    save_file(gru.state_dict(), FOLDER / "gru_bfloat16.safetensors")
    save_arrays("gru_bfloat16", **{name: value.double() for name, value in gru.state_dict().items()})

    # Views: a transposed matrix, and two tensors in one storage.
    both = torch.randn(8, 6)
    torch.save({"weight_ih_l0": both[:4, :3], "weight_hh_l0": both.T[:4, 4:].t().contiguous().t()}, FOLDER / "views.pt")
    save_arrays("views", weight_ih_l0=both[:4, :3], weight_hh_l0=both.T[:4, 4:])

    lightning()
    whole()


class Classifier(nn.Module):
    """As `torch.compile` names its parts."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3, eps=1e-3)
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2, bias=False))

    def forward(self, x):
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return self.head(self.lstm(x)[0][:, -1])


def lightning():
    """A checkpoint as PyTorch Lightning arranges it: beside the model a loss with a weight, metrics, callbacks and an optimizer."""
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(3):
        model(torch.randn(4, 6, 3) * 2 + 1).square().sum().backward()
        optimizer.step()
    model.eval()
    x = torch.randn(2, 5, 3)
    save_arrays("lightning", x=x, y=model(x))
    torch.save(
        {
            "epoch": 2,
            "global_step": 3,
            "pytorch-lightning_version": "2.5.0",
            "state_dict": {
                **{f"model._orig_mod.{name}": value for name, value in model.state_dict().items()},
                "criterion.weight": torch.ones(2),
                "accuracy.correct": torch.zeros(2, dtype=torch.int64),
            },
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 3}}}},
            "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best_model_score": torch.tensor(0.25), "dirpath": PurePosixPath("runs")}},
            "optimizer_states": [optimizer.state_dict()],
            "lr_schedulers": [],
            "hyper_parameters": {"rate": 0.1, "options": argparse.Namespace(layers=1)},
        },
        FOLDER / "lightning.ckpt",
    )


def whole():
    """Modules that are saved whole say what a state_dict does not."""
    modules = nn.ModuleDict({
        "table": nn.Embedding(7, 3), "rnn": nn.RNN(3, 4, nonlinearity="relu", batch_first=True), "norm": nn.LayerNorm(4, eps=1e-3),
        "gru": nn.GRU(4, 5, bidirectional=True, batch_first=True, dropout=0.25, num_layers=2), "batch": nn.BatchNorm1d(10, eps=1e-2),
        "fc": nn.Linear(10, 2, bias=False),
    })  # fmt: skip
    nn.init.uniform_(modules["batch"].running_mean)
    modules.eval()
    tokens = torch.randint(0, 7, (2, 5))
    x = modules["norm"](modules["rnn"](modules["table"](tokens))[0])
    x = modules["batch"](modules["gru"](x)[0].transpose(1, 2)).transpose(1, 2)
    save_arrays("modules", x=tokens, y=modules["fc"](x))
    torch.save(modules, FOLDER / "modules.pt")


if __name__ == "__main__":
    main()
