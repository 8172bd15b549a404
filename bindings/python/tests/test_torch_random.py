"""Random models of PyTorch: loaded from every kind of source they compute the equations, and go back as they came."""

import random

import numpy as np
import pytest

import librnn
import reference
from modelfile import safetensors
from torchfile import checkpoint_file

CELLS = {"RNN": ("rnn", 1), "GRU": ("gru", 3), "LSTM": ("lstm", 4)}
PREFIXES = ("", "module", "_orig_mod.module", "model.encoder.rnn", "net.0")


class Maker:
    """Draws modules with their tensors, and knows how many features come next."""

    def __init__(self, seed):
        self.random, self.numbers = random.Random(seed), np.random.default_rng(seed)
        self.dtype = self.random.choice(["float32", "float64"])
        self.prefix = self.random.choice(PREFIXES)
        self.state, self.modules, self.steps = {}, [], []

    def draw(self, *shape, low=-0.6, high=0.6):
        return self.numbers.uniform(low, high, shape).astype(self.dtype)

    def add(self, name, kind, tensors, run, options=None):
        self.state.update({f"{name}.{key}": value for key, value in tensors.items()})
        self.modules.append((name, kind, options or {}))
        self.steps.append(run)

    def recurrent(self, name, size):
        """A recurrent module; the features that it gives."""
        kind = self.random.choice(list(CELLS))
        cell, gates = CELLS[kind]
        hidden, layers = self.random.randint(1, 6), self.random.randint(1, 3)
        ends, bias = ["", "_reverse"] if self.random.random() < 0.4 else [""], self.random.random() < 0.7
        projection = self.random.randint(1, hidden - 1) if kind == "LSTM" and hidden > 1 and self.random.random() < 0.4 else None
        width = projection or hidden
        options = {"GRU": {"variant": "reset_after"}, "RNN": {"nonlinearity": self.random.choice(["tanh", "relu"])}}.get(kind, {})
        tensors = {}
        for layer in range(layers):
            for end in ends:
                reads = size if layer == 0 else width * len(ends)
                tensors[f"weight_ih_l{layer}{end}"] = self.draw(gates * hidden, reads)
                tensors[f"weight_hh_l{layer}{end}"] = self.draw(gates * hidden, width)
                if bias:
                    tensors[f"bias_ih_l{layer}{end}"], tensors[f"bias_hh_l{layer}{end}"] = self.draw(gates * hidden), self.draw(gates * hidden)
                if projection:
                    tensors[f"weight_hr_l{layer}{end}"] = self.draw(projection, hidden)

        def run(x):
            return reference.run(cell, tensors, x, **options)[0].value

        self.add(name, kind, tensors, run, options)
        return width * len(ends)

    def linear(self, name, size):
        outputs, bias = self.random.randint(1, 5), self.random.random() < 0.6
        tensors = {"weight": self.draw(outputs, size), **({"bias": self.draw(outputs)} if bias else {})}
        self.add(name, "Linear", tensors, lambda x: x @ tensors["weight"].astype(np.float64).T + tensors.get("bias", 0.0))
        return outputs

    def norm(self, name, size):
        tensors = {"weight": self.draw(size), "bias": self.draw(size)}

        def run(x):
            centred = x - x.mean(-1, keepdims=True)
            return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3) * tensors["weight"] + tensors["bias"]

        self.add(name, "LayerNorm", tensors, run, {"eps": 1e-3})
        return size

    def embedding(self, name, size):
        table = self.draw(9, size)
        self.add(name, "Embedding", {"weight": table}, lambda tokens: table[tokens].astype(np.float64))
        return size


def source_of(maker, state, path):
    """The tensors as a mapping, a safetensors file or a checkpoint; and what `load` must be told for it."""
    form = maker.random.choice(["mapping", "safetensors", "checkpoint", "training"])
    if form == "mapping":
        return state, {}
    if form == "safetensors":
        header, data = {}, b""
        for name, value in state.items():
            kind = {"float32": "F32", "float64": "F64"}[value.dtype.name]
            header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [len(data), len(data) + value.nbytes]}
            data += np.ascontiguousarray(value).tobytes()
        path.write_bytes(safetensors(header, data))
        return path, {}
    if form == "checkpoint":
        return checkpoint_file(path, state), {}
    content = {"epoch": 3, "ema": {name: value * 0 for name, value in state.items()}, "model": state, "scale": np.ones((), np.float32)}
    return checkpoint_file(path, content), {"key": "model"}


@pytest.mark.parametrize("seed", range(40))
def test_a_random_module_computes_its_equations_and_goes_back(seed, tmp_path):
    maker = Maker(seed)
    size = maker.random.randint(1, 5)
    maker.recurrent("rnn", size)
    (_, kind, options), tensors = maker.modules[0], {name[len("rnn.") :]: value for name, value in maker.state.items()}
    cut = maker.prefix + "." if maker.prefix else ""
    source, told = source_of(maker, {cut + name: value for name, value in tensors.items()}, tmp_path / "file")
    batch_first = maker.random.random() < 0.5
    model = librnn.torch.load(source, batch_first=batch_first, **options, **told)
    assert type(model).__name__ == kind and model.dtype == maker.dtype
    x = maker.draw(7, 3, size)
    y, state = model(x.swapaxes(0, 1) if batch_first else x)
    cell = CELLS[kind][0]
    expected, h_n, c_n = reference.run(cell, tensors, x, u=reference.roundoff(maker.dtype), **options)
    reference.assert_within(y.swapaxes(0, 1) if batch_first else y, expected, name="y")
    reference.assert_within(state[0] if kind == "LSTM" else state, h_n, name="h_n")
    if kind == "LSTM":
        reference.assert_within(state[1], c_n, name="c_n")
    back = librnn.torch.state_dict(model)
    assert list(back) == list(tensors)
    assert all(np.array_equal(back[name], value) and back[name].dtype == value.dtype for name, value in tensors.items())


@pytest.mark.parametrize("seed", range(40))
def test_a_random_chain_of_modules_computes_their_equations_and_goes_back(seed, tmp_path):
    maker = Maker(1000 + seed)
    chance, size = maker.random, maker.random.randint(1, 5)
    of_tokens = chance.random() < 0.5
    x = maker.numbers.integers(0, 9, (7, 3)) if of_tokens else maker.draw(7, 3, size)
    if of_tokens:
        maker.embedding("embedding", size)
    for index in range(chance.randint(1, 2)):
        if chance.random() < 0.4:
            size = maker.linear(f"before{index}.0", size)
        size = maker.recurrent(f"layers.{index}.rnn", size)
        if chance.random() < 0.4 and size > 1:
            size = maker.norm(f"norm{index}", size)
    size = maker.linear("head", size)
    # PyTorch writes modules in the order in which they were made, which is not that in which they run.
    names = list(maker.state)
    chance.shuffle(names)
    cut = maker.prefix + "." if maker.prefix else ""
    state = {cut + name: maker.state[name] for name in names}
    state[cut + "loss.weight"] = maker.draw(4)
    source, told = source_of(maker, state, tmp_path / "file")
    model = librnn.torch.load(source, maker.modules, batch_first=False, prefix=maker.prefix or None, ignore=["loss"], **told)
    expected = x
    for run in maker.steps:
        expected = run(expected)
    y, _ = model(x)
    # Up to nine layers of a dozen terms each; none makes an error more than a few times larger, but a norm divides by √0.001.
    tolerance = 1e-3 if maker.dtype == "float32" else 1e-11
    assert y.shape == expected.shape and np.abs(y - expected).max() < tolerance * max(1.0, np.abs(expected).max())
    back = librnn.torch.state_dict(model)
    assert set(back) == set(maker.state)
    assert all(np.array_equal(back[name], value) and back[name].dtype == value.dtype for name, value in maker.state.items())
    librnn.save(model, tmp_path / "model.safetensors")
    again = librnn.torch.state_dict(librnn.load(tmp_path / "model.safetensors"))
    assert all(np.array_equal(again[name], value) for name, value in maker.state.items())


@pytest.mark.parametrize("seed", range(10))
def test_pytorch_takes_what_goes_back_and_computes_the_same(seed):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: its own modules were not asked")
    maker = Maker(2000 + seed)
    size = maker.random.randint(1, 5)
    maker.recurrent("rnn", size)
    _, kind, options = maker.modules[0]
    model = librnn.torch.load(maker.state, batch_first=False, **options)
    sizes = {key: getattr(model, key) for key in ("num_layers", "bidirectional")}
    if kind == "LSTM":
        sizes["proj_size"] = model.proj_size or 0
    if kind == "RNN":
        sizes["nonlinearity"] = options["nonlinearity"]
    module = getattr(torch.nn, kind)(size, model.hidden_size, bias=bool(model.bias), dtype=getattr(torch, maker.dtype), **sizes)
    module.load_state_dict({name: torch.from_numpy(value) for name, value in librnn.torch.state_dict(model).items()})
    x = maker.draw(7, 3, size)
    with torch.no_grad():
        expected = module(torch.from_numpy(x))[0].numpy()
    assert np.abs(model(x)[0] - expected).max() < (1e-5 if maker.dtype == "float32" else 1e-13) * max(1.0, np.abs(expected).max())
