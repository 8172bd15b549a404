"""librnn.torch: state_dicts and files of PyTorch become models, and back; what they do not say is asked for."""

import json
import pickle
import pickletools
import struct
import zipfile

import numpy as np
import pytest

import librnn
from helpers import CONFORMANCE, ROOT
from hostile import assert_refused, cut_and_flipped
from modelfile import safetensors
from torchfile import checkpoint_file

VECTORS = ROOT / "Tests" / "Vectors" / "torch"
CASES = sorted(path.name for path in (CONFORMANCE / "torch" / "rnn").iterdir()) if CONFORMANCE.is_dir() else []
MODELS = CONFORMANCE / "models"
#: Float64 against float64: sums of a few terms of size 1.
ROUNDING = 1e-14


def weights(rows, inputs, hidden, suffix="_l0", bias=True, seed=0):
    generator = np.random.default_rng(seed)
    state = {f"weight_ih{suffix}": (rows, inputs), f"weight_hh{suffix}": (rows, hidden)}
    if bias:
        state.update({f"bias_ih{suffix}": (rows,), f"bias_hh{suffix}": (rows,)})
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in state.items()}


class Tensor:
    """What a torch.Tensor offers, as far as it is used."""

    def __init__(self, values, dtype="torch.float32"):
        self._values, self.dtype = np.asarray(values), dtype

    def detach(self):
        return self

    def cpu(self):
        return self

    def float(self):
        return Tensor(self._values.astype(np.float32))

    def numpy(self):
        if self.dtype == "torch.bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self._values


# ------------------------------------------------------------------------------------------------ state_dicts


@pytest.mark.parametrize("case", CASES)
def test_every_case_of_pytorch_computes_the_same_and_goes_back(case):
    folder = CONFORMANCE / "torch" / "rnn" / case
    meta, arrays = json.loads((folder / "meta.json").read_text()), dict(np.load(folder / "tensors.npz"))
    kind = meta["module"].rpartition(".")[2]
    state = {name[len("param.") :]: value for name, value in arrays.items() if name.startswith("param.")}
    spelled = {"batch_first": meta["args"].get("batch_first", False), "dtype": "float64"}
    if kind == "GRU":
        spelled["variant"] = "reset_after"
    if kind == "RNN":
        spelled["nonlinearity"] = meta["args"].get("nonlinearity", "tanh")
    model = librnn.torch.load(state, **spelled)
    assert type(model).__name__ == kind
    hx = None
    if meta["initial_state"]:
        hx = (arrays["h0"], arrays["c0"]) if kind == "LSTM" else arrays["h0"]
    y, _ = model(arrays["x"], hx, arrays.get("lengths"))
    assert np.abs(y - arrays["f64.y"]).max() <= 1e-13 * max(np.abs(arrays["f64.y"]).max(), 1)
    back = librnn.torch.state_dict(model)
    assert list(back) == list(state)
    assert all(np.array_equal(back[name], state[name].astype(np.float64)) for name in state)


def test_tensors_are_read_without_pytorch():
    state = {name: Tensor(value) for name, value in weights(16, 3, 4).items()}
    state["bias_hh_l0"].dtype = "torch.bfloat16"
    model = librnn.torch.load(state, batch_first=True)
    assert isinstance(model, librnn.LSTM) and model.batch_first
    assert np.array_equal(model.parameters["weight_ih_l0"], state["weight_ih_l0"].numpy())


@pytest.mark.parametrize(
    "state, spelled, asks",
    [
        (weights(16, 3, 4), {}, ["batch_first"]),
        (weights(12, 3, 4), {}, ["batch_first", "variant", "reset_after", "reset_before"]),
        (weights(12, 3, 4), {"variant": "reset_after"}, ["batch_first"]),
        (weights(12, 3, 4, bias=False), {"batch_first": False}, ["variant"]),
        (weights(4, 3, 4), {"batch_first": False}, ["nonlinearity", "tanh", "relu"]),
    ],
)
def test_what_the_weights_do_not_say_is_asked_for(state, spelled, asks):
    with pytest.raises(librnn.RNNError) as caught:
        librnn.torch.load(state, **spelled)
    assert all(word in caught.value.message for word in asks)
    assert ("batch_first" in caught.value.message) == ("batch_first" not in spelled)


def test_a_gru_is_the_variant_that_is_spelled_out():
    state = weights(12, 3, 4)
    x = np.random.default_rng(1).standard_normal((5, 2, 3)).astype(np.float32)
    after = librnn.torch.load(state, variant="reset_after", batch_first=False)
    before = librnn.torch.load(state, variant="reset_before", batch_first=False)
    assert before.bias == "double" and before.variant == "reset_before"
    assert np.abs(after(x)[0] - before(x)[0]).max() > 0.01
    with pytest.raises(librnn.RNNError, match="reset_before"):
        librnn.torch.state_dict(before)


@pytest.mark.parametrize(
    "state, text",
    [
        ({}, "no tensors"),
        (weights(20, 3, 4), "20 rows are not 4"),
        ({"weight_ih_l0": np.zeros((16, 3))}, "weight_hh_l0 is missing"),
        ({**weights(16, 3, 4), "weight_hh_l0_g": np.zeros(3)}, "weight normalization"),
        ({**weights(16, 3, 4), **weights(16, 3, 4, "")}, "a cell and a layer"),
        ({**weights(16, 3, 4), "bias_hh_l0": np.zeros(5, np.float32)}, "bias_hh_l0 has shape"),
        ({**weights(16, 3, 4), **weights(16, 3, 4, "_l2")}, "missing: weight_ih_l1"),
        ({**weights(16, 3, 4), **weights(16, 3, 4, "_l9999")}, "the limit is 1000"),
        ({"weight_ih_l0": "words"}, "expected a tensor of numbers"),
        ({"state_dict": weights(16, 3, 4), "epoch": 3}, "key="),
        ({name: value.astype(np.int8) for name, value in weights(16, 3, 4).items()}, "quantized"),
        ({name: value.astype("f8" if "bias" in name else "f4") for name, value in weights(16, 3, 4).items()}, "dtype="),
        ({**weights(16, 3, 4), "weight_hr_l0": np.zeros((2, 4), np.float32)}, "weight_hh_l0 has shape"),
        ({"fc.weight": np.zeros((3, 4)), "fc.bias": np.zeros(3)}, "no recurrent module"),
    ],
)  # fmt: skip
def test_what_makes_no_module_is_an_error_that_says_why(state, text):
    with pytest.raises(librnn.RNNError) as caught:
        librnn.torch.load(state, batch_first=False)
    assert text.lower() in caught.value.message.lower()


def test_an_option_that_does_not_belong_to_the_weights_is_an_error():
    with pytest.raises(librnn.RNNError, match="variant.*LSTM"):
        librnn.torch.load(weights(16, 3, 4), variant="reset_after", batch_first=False)
    with pytest.raises(librnn.RNNError, match="nonlinearity.*GRU"):
        librnn.torch.load(weights(12, 3, 4), nonlinearity="tanh", batch_first=False)


def model_state():
    state = {f"decoder.rnn.{name}": value for name, value in weights(12, 5, 4).items()}
    generator = np.random.default_rng(3)
    for name, shape in {"emb.weight": (7, 5), "head.0.weight": (6, 4), "head.0.bias": (6,), "norm.weight": (6,), "norm.bias": (6,),
                        "head.2.weight": (2, 6)}.items():
        state[name] = generator.standard_normal(shape).astype(np.float32)
    return state


CHAIN = [
    ("emb", "Embedding"), librnn.Dropout(0.5), ("decoder.rnn", "GRU", {"variant": "reset_after"}), ("head.0", "Linear"),
    librnn.Activation("relu"), ("norm", "LayerNorm", {"eps": 1e-5}), ("head.2", "Linear"),
]  # fmt: skip


def test_modules_become_a_sequential_in_the_order_given():
    state = model_state()
    model = librnn.torch.load(state, CHAIN, batch_first=True)
    assert isinstance(model, librnn.Sequential) and model.batch_first and len(model) == 7
    tokens = np.array([[1, 2, 3], [4, 5, 6]])
    h, _ = librnn.torch.load(state, prefix="decoder.rnn", variant="reset_after", batch_first=True)(state["emb.weight"][tokens])
    h = np.maximum(h.astype(np.float64) @ state["head.0.weight"].T + state["head.0.bias"], 0)
    h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5) * state["norm.weight"] + state["norm.bias"]
    assert np.abs(model(tokens)[0] - h @ state["head.2.weight"].T).max() < 1e-5
    back = librnn.torch.state_dict(model)
    assert set(back) == set(state) and all(np.array_equal(back[name], state[name]) for name in state)
    assert "a.weight" in librnn.torch.state_dict(model, ["a", None, "b", "c", None, "d", "e"])


def test_a_mapping_of_modules_is_the_list():
    state = {name: value for name, value in model_state().items() if "norm" not in name and "head.0" not in name}
    state["head.2.weight"] = np.ones((2, 4), np.float32)
    model = librnn.torch.load(
        state, {"emb": "Embedding", "decoder.rnn": ("GRU", {"variant": "reset_after"}), "head.2": "Linear"}, batch_first=False
    )
    assert [kind for kind, _ in model._specs] == ["embedding", "gru", "linear"]


@pytest.mark.parametrize(
    "modules, text",
    [
        (CHAIN[:3], "head.0.bias, head.0.weight, head.2.weight, norm.bias, norm.weight"),
        ([("emb", "Embedding"), ("decoder.rnn", "LSTM")], "said to be LSTM.*GRU"),
        ([("emb", "Conv1d")], "Conv1d.*expected one of"),
        ([("embed", "Embedding")], "no tensor of 'embed'"),
        ([("emb", "Embedding", {"padding_idx": 0})], "no option padding_idx; it has none"),
        ([("emb",)], "expected \\(prefix, kind\\)"),
        ("emb", "expected a list"),
        ([CHAIN[0], CHAIN[2], ("head.0", "Linear"), ("norm", "LayerNorm"), ("head.2", "Linear")], "eps.*norm"),
        ([("norm", "Linear")], "norm.weight has shape \\(6,\\)"),
        ([("norm", "Embedding")], "norm.*bias, weight, expected weight"),
        ([CHAIN[0], ("decoder.rnn", "GRU")], "variant"),
    ],
)  # fmt: skip
def test_modules_that_do_not_fit_the_tensors_are_an_error(modules, text):
    with pytest.raises(librnn.RNNError, match=text):
        librnn.torch.load(model_state(), modules, batch_first=False)


def test_tensors_are_left_out_only_when_they_are_named():
    model = librnn.torch.load(model_state(), CHAIN[:3], batch_first=False, ignore=["head", "norm"])
    assert len(model) == 3
    with pytest.raises(librnn.RNNError, match="expected a list of prefixes"):
        librnn.torch.load(model_state(), CHAIN[:3], batch_first=False, ignore="head")


def test_several_modules_without_a_list_are_an_error_that_shows_them():
    with pytest.raises(librnn.RNNError) as caught:
        librnn.torch.load(model_state(), batch_first=False)
    assert "'decoder.rnn' (GRU(5, 4))" in caught.value.message and "'emb' (weight [7, 5])" in caught.value.message


# --------------------------------------------------------------------------------------------------- and back


def test_a_single_bias_goes_back_as_two_that_compute_the_same_bits():
    layer = librnn.LSTM(3, 4, 2, bias="single", bidirectional=True, seed=1)
    state = librnn.torch.state_dict(layer)
    assert not state["bias_hh_l1_reverse"].any() and np.array_equal(state["bias_ih_l0"], layer.parameters["bias_l0"])
    again = librnn.torch.load(state, batch_first=False)
    x = np.random.default_rng(1).standard_normal((4, 2, 3)).astype(np.float32)
    assert np.array_equal(layer(x)[0], again(x)[0])


@pytest.mark.parametrize(
    "layer, named",
    [
        (lambda: librnn.GRU(3, 4), "reset_before"),
        (lambda: librnn.LSTM(3, 4, peepholes=True), "peepholes"),
        (lambda: librnn.LSTM(3, 4, coupled_gates=True), "coupled_gates"),
        (lambda: librnn.LSTM(3, 4, cell_clip=1.0), "cell_clip"),
        (lambda: librnn.LSTM(3, 4, gate_clip=1.0), "gate_clip"),
        (lambda: librnn.LSTM(3, 4, runtime_forget_bias=1.0), "forget_bias"),
        (lambda: librnn.RNN(3, 4, direction="reverse"), "backwards"),
        (lambda: librnn.RNN(3, 4, bidirectional=True, merge="sum"), "merge"),
        (lambda: librnn.RNN(3, 4, bidirectional=True, hidden_size_reverse=5), "hidden_size_reverse"),
        (lambda: librnn.RNN(4, 4, 2, residual=True), "residual"),
        (lambda: librnn.RNN(3, 4, learn_initial_state=True), "learned_initial_state"),
        (lambda: librnn.LSTM(3, 4, activations={"i": ("hard_sigmoid", 0.2, 0.5)}), "activations"),
        (lambda: librnn.Sequential([librnn.ScaleShift(3)]), "scale_shift"),
    ],
)  # fmt: skip
def test_what_pytorch_does_not_have_is_refused_by_name(layer, named):
    with pytest.raises(librnn.RNNError, match=named) as caught:
        librnn.torch.state_dict(layer())
    assert caught.value.status == "RNN_ERROR_UNSUPPORTED"


# ------------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("name", ["lstm.pt", "lstm_old.pt", "lstm_module.pt", "lstm_script.pt", "lstm.safetensors"])
def test_every_form_of_file_gives_the_same_model(name):
    arrays = np.load(VECTORS / "lstm.npz")
    model = librnn.torch.load(VECTORS / name, batch_first=False)
    y, (h_n, c_n) = model(arrays["x"])
    assert model.proj_size == 2 and model.dtype == np.float64
    for actual, key in ((y, "y"), (h_n, "hn"), (c_n, "cn")):
        assert np.abs(actual - arrays[key]).max() < ROUNDING


def as_python_2_wrote(data):
    """A pickle of Python 3 as Python 2 would have written it: strings as bytes, an ordered dictionary with its items as an argument."""
    positions = [position for _, _, position in pickletools.genops(data)] + [len(data)]
    operations = [data[begin:end] for begin, end in zip(positions, positions[1:])]
    # X, four bytes of length, text: U, one byte of length, text.
    return b"".join(b"U" + bytes([len(each) - 5]) + each[5:] if each[:1] == b"X" else each for each in operations)


def test_a_checkpoint_of_python_2_is_read(tmp_path):
    """Zip archives are younger, but the pickle is the same in both forms."""
    with zipfile.ZipFile(VECTORS / "lstm.pt") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in parts if name.endswith("data.pkl"))
    changed = as_python_2_wrote(parts[name])
    assert b"Uweight" not in changed and b"U\x0cweight_ih_l0" in changed and b"X" + struct.pack("<I", 12) not in changed
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        for entry, data in {**parts, name: changed}.items():
            archive.writestr(entry, data)
    old, new = librnn.torch.tensors(tmp_path / "a.pt"), librnn.torch.tensors(VECTORS / "lstm.pt")
    assert old.keys() == new.keys() and all(np.array_equal(old[name], new[name]) for name in new)
    # OrderedDict([["weight_ih_l0", tensor]]), as Python 2 pickles it.
    one = tensor((2, 2), (2, 1))[3:-2].replace(b"X\x0c\0\0\0weight_ih_l0", b"U\x0cweight_ih_l0")
    checkpoint(b"\x80\x02ccollections\nOrderedDict\n]](" + one + b"ea\x85R.", FLOATS)(tmp_path / "b.pt")
    assert librnn.torch.tensors(tmp_path / "b.pt")["weight_ih_l0"].shape == (2, 2)


def test_a_tensor_of_a_subclass_is_the_tensor(tmp_path):
    plain = tensor((2, 2), (2, 1))
    call = plain.index(b"ctorch._utils")
    name, arguments = plain[call : plain.index(b"((") ], plain[plain.index(b"((") : -3]
    wrapped = b"ctorch._tensor\n_rebuild_from_type_v2\n(" + name + b"cmine\nTensor\n" + arguments + b"}tR"
    checkpoint(plain[:call] + wrapped + b"s.", FLOATS)(tmp_path / "a.pt")
    assert librnn.torch.tensors(tmp_path / "a.pt")["weight_ih_l0"].shape == (2, 2)


def test_a_checkpoint_of_a_training_is_read_as_far_as_it_is_tensors():
    path, arrays = VECTORS / "tagger_checkpoint.pt", np.load(VECTORS / "tagger.npz")
    with pytest.raises(librnn.RNNError) as caught:
        librnn.torch.load(path)
    assert "'model_state_dict' (21 tensors), 'ema.shadow' (21 tensors)" in caught.value.message
    modules = [
        ("embedding", "Embedding"), ("rnn", "GRU", {"variant": "reset_after", "dropout": 0.25}),
        ("norm", "LayerNorm", {"eps": 1e-3}), librnn.Activation("relu"), ("fc", "Linear"),
    ]  # fmt: skip
    model = librnn.torch.load(path, modules, key="model_state_dict", prefix="module", batch_first=True)
    assert np.abs(model(arrays["x"])[0] - arrays["y"]).max() < ROUNDING
    shadow = librnn.torch.load(path, modules, key="ema.shadow", prefix="module", batch_first=True)
    assert not any(value.any() for value in shadow.parameters.values())
    with pytest.raises(librnn.RNNError, match="'optimizer', but the sets"):
        librnn.torch.load(path, key="optimizer")


LIGHTNING = [
    ("norm", "BatchNorm1d", {"eps": 1e-3}), ("lstm", "LSTM"), librnn.LastStep(), ("head.0", "Linear"), librnn.Activation("relu"),
    ("head.2", "Linear"),
]  # fmt: skip


def test_the_model_of_a_lightning_checkpoint_is_told_from_its_metrics():
    path, arrays = VECTORS / "lightning.ckpt", np.load(VECTORS / "lightning.npz")
    model = librnn.torch.load(path, LIGHTNING, prefix="model._orig_mod", batch_first=True)
    assert model.dtype == np.float64 and np.abs(model(arrays["x"])[0] - arrays["y"]).max() < ROUNDING
    # Asked for by name, also what has no matrix is looked at.
    with pytest.raises(librnn.RNNError, match="no recurrent module"):
        librnn.torch.load(path, key="callbacks.ModelCheckpoint{'monitor': 'loss'}", batch_first=True)


def test_a_number_beside_a_state_dict_does_not_hide_it(tmp_path):
    """``{"epoch": torch.tensor(3), "model": model.state_dict()}``: the outer dictionary has a tensor, too."""
    state = weights(16, 3, 4)
    path = checkpoint_file(tmp_path / "a.pt", {"epoch": np.array(3), "model": state, "best": {"loss": np.ones((), np.float32)}})
    assert librnn.torch.tensors(path).keys() == state.keys() == librnn.torch.tensors(path, key="model").keys()
    assert list(librnn.torch.tensors(path, key="")) == ["epoch"] and list(librnn.torch.tensors(path, key="best")) == ["loss"]
    path = checkpoint_file(tmp_path / "b.pt", {**state, "extra": {"matrix": np.ones((2, 2))}})
    with pytest.raises(librnn.RNNError, match=r"several sets of tensors: '' \(4 tensors\), 'extra' \(1 tensors\)"):
        librnn.torch.tensors(path)
    assert librnn.torch.tensors(path, key="").keys() == state.keys()


def test_modules_that_were_saved_whole_say_themselves_what_they_are():
    path, arrays = VECTORS / "modules.pt", np.load(VECTORS / "modules.npz")
    modules = [("table", "Embedding"), ("rnn", "RNN"), ("norm", "LayerNorm"), ("gru", "GRU"), ("batch", "BatchNorm1d"), ("fc", "Linear")]
    model = librnn.torch.load(path, modules)
    assert model.batch_first and np.abs(model(arrays["x"])[0] - arrays["y"]).max() < ROUNDING
    gru = librnn.torch.load(path, prefix="gru")
    assert (gru.variant, gru.batch_first, gru.num_layers, gru.dropout) == ("reset_after", True, 2, 0.25)
    assert not librnn.torch.load(path, prefix="gru", batch_first=False).batch_first
    assert librnn.torch.load(path, prefix="gru", dropout=0.5).dropout == 0.5
    assert not librnn.torch.load(VECTORS / "lstm_module.pt").batch_first
    for options, text in (
        ({"prefix": "gru", "variant": "reset_before"}, "variant is 'reset_before' for the module, but the file says 'reset_after'"),
        ({"prefix": "rnn", "nonlinearity": "tanh"}, "nonlinearity is 'tanh'.*the file says 'relu'"),
        ({"modules": [("rnn", "RNN"), ("norm", "LayerNorm", {"eps": 1e-5})], "ignore": ["table", "gru", "batch", "fc"]}, "eps is 1e-05 for norm"),
    ):
        with pytest.raises(librnn.RNNError, match=text):
            librnn.torch.load(path, **options)


def stored_rnn(name="RNN", **attributes):
    """The pickle of a module of PyTorch with a weight_ih and a weight_hh of 2 x 2."""

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def number_or_text(value):
        return text(value) if isinstance(value, str) else b"G" + struct.pack(">d", value)

    entries = b"".join(text(key) + number_or_text(value) for key, value in attributes.items())
    one = tensor((2, 2), (2, 1))
    made = one[one.index(b"ctorch._utils") : -2]
    parameters = b"}" + b"".join(text(key) + made + b"s" for key in ("weight_ih_l0", "weight_hh_l0"))
    entries += text("_modules") + b"}" + text("_parameters") + parameters
    return b"\x80\x02ctorch.nn.modules.rnn\n" + name.encode() + b"\n)\x81}(" + entries + b"ub."


@pytest.mark.parametrize("attributes, text", [
    ({"nonlinearity": "system('ls')"}, "nonlinearity is .*expected"),
    ({"nonlinearity": 3.0}, "nonlinearity is 3.0"),
    ({"nonlinearity": "tanh", "dropout": 7.0}, "dropout"),
    ({"nonlinearity": "tanh", "dropout": "much"}, "dropout"),
    ({}, "spell out nonlinearity"),
])  # fmt: skip
def test_what_a_stored_module_says_is_checked(attributes, text, tmp_path):
    checkpoint(stored_rnn(**attributes), FLOATS)(tmp_path / "a.pt")
    with pytest.raises(librnn.RNNError, match=text):
        librnn.torch.load(tmp_path / "a.pt", batch_first=True)
    checkpoint(stored_rnn(nonlinearity="relu"), FLOATS)(tmp_path / "a.pt")
    assert librnn.torch.load(tmp_path / "a.pt", batch_first=True).nonlinearity == "relu"


def test_batch_norm_is_folded_in_double_and_rounded_once():
    generator = np.random.default_rng(5)
    rows = {name: generator.standard_normal(4).astype(np.float32) for name in ("weight", "bias", "running_mean", "running_var")}
    rows["running_var"] = np.abs(rows["running_var"])
    state = {f"bn.{name}": value for name, value in rows.items()} | {"bn.num_batches_tracked": np.array(7)}
    model = librnn.torch.load(state, [("bn", "BatchNorm1d", {"eps": 1e-5})], batch_first=False)
    assert model.dtype == np.float32
    wide = {name: value.astype(np.float64) for name, value in rows.items()}
    factor = wide["weight"] / np.sqrt(wide["running_var"] + 1e-5)
    assert np.array_equal(model.parameters["0.weight"], factor.astype(np.float32))
    assert np.array_equal(model.parameters["0.bias"], (wide["bias"] - wide["running_mean"] * factor).astype(np.float32))
    # Without weight and bias, affine=False, they are 1 and 0.
    bare = {name: value for name, value in state.items() if "running" in name}
    plain = librnn.torch.load(bare, [("bn", "BatchNorm1d", {"eps": 1})], batch_first=False)
    assert np.allclose(plain.parameters["0.weight"], 1 / np.sqrt(wide["running_var"] + 1), rtol=1e-6)
    for change, text in (({"bn.running_var": -np.ones(4)}, "bn: a variance below 0"), ({"bn.bias": np.ones(3)}, "bn.bias has shape"),
                         ({"bn.running_mean": np.ones((2, 2))}, "one number for each feature")):  # fmt: skip
        with pytest.raises(librnn.RNNError, match=text):
            librnn.torch.load({**state, **change}, [("bn", "BatchNorm1d", {"eps": 1e-5})], batch_first=False, dtype="float32")
    with pytest.raises(librnn.RNNError, match="eps.*BatchNorm1d"):
        librnn.torch.load(state, [("bn", "BatchNorm1d")], batch_first=False)


def test_weight_normalization_is_named():
    state = {f"parametrizations.weight_hh_l0.original{i}": np.ones((16, 4)) for i in range(2)} | weights(16, 3, 4)
    del state["weight_hh_l0"]
    with pytest.raises(librnn.RNNError, match="remove_parametrizations"):
        librnn.torch.load(state, batch_first=False)


@pytest.mark.parametrize("content, text", [
    (b"]q\0.", "holds a list of 0, and no tensors"),
    (b"}X\5\0\0\0epochK\3s.", "holds a dictionary of 1 \\('epoch': a int\\), and no tensors"),
    (b"}X\1\0\0\0actorch._utils\n_rebuild_tensor_v3\n)Rs.", "'a': a tensor of a kind that is not read \\(tensor_v3\\)"),
    (b"ctorch\nScriptObject\n)\x81.", "an object of torch.ScriptObject"),
])  # fmt: skip
def test_a_checkpoint_without_tensors_says_what_it_holds(content, text, tmp_path):
    checkpoint(b"\x80\x02" + content)(tmp_path / "a.pt")
    with pytest.raises(librnn.RNNError, match=text):
        librnn.torch.load(tmp_path / "a.pt", batch_first=False)


def test_a_cell_is_a_layer():
    arrays = np.load(VECTORS / "cell.npz")
    model = librnn.torch.load(VECTORS / "cell.pt", nonlinearity="relu", batch_first=False)
    assert np.abs(model(arrays["x"][None], arrays["h"][None])[0][0] - arrays["y"]).max() < ROUNDING
    named = librnn.torch.load(VECTORS / "cell.pt", [("cell", "RNNCell", {"nonlinearity": "relu"})], batch_first=False)
    assert np.array_equal(named(arrays["x"][None])[0], model(arrays["x"][None])[0])


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_bfloat16_becomes_the_same_numbers_in_float32(suffix):
    arrays = np.load(VECTORS / "gru_bfloat16.npz")
    model = librnn.torch.load(VECTORS / f"gru_bfloat16.{suffix}", variant="reset_after", batch_first=False)
    assert model.dtype == np.float32
    assert all(np.array_equal(model.parameters[name], arrays[name]) for name in arrays.files)


def test_views_of_a_storage_are_the_tensors_they_show():
    arrays = np.load(VECTORS / "views.npz")
    found = librnn.torch.tensors(VECTORS / "views.pt")
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays.files)


@pytest.mark.parametrize("name", ["lstm.pt", "lstm_old.pt", "lstm.safetensors"])
def test_tensors_of_a_file_are_there_by_name(name):
    found = librnn.torch.tensors(VECTORS / name)
    assert found["weight_hr_l1"].shape == (2, 4) and found["bias_hh_l0"].dtype == np.float64
    with pytest.raises(ValueError):
        found["bias_hh_l0"][0] = 1
    assert len(librnn.torch.tensors(VECTORS / "tagger_checkpoint.pt", key="ema.shadow")) == 21
    with pytest.raises(librnn.RNNError, match="path is dict"):
        librnn.torch.tensors({})


def test_a_silero_cell_in_a_safetensors_file_computes_its_trace():
    folder = MODELS / "silero_vad"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    with pytest.raises(librnn.RNNError) as caught:
        librnn.torch.load(folder / "silero_vad_16k.safetensors", batch_first=False)
    assert "LSTM(128, 128)" in caught.value.message
    prefix = next(
        name.rpartition(".")[0]
        for name in librnn.torch.tensors(folder / "silero_vad_16k.safetensors") if name.endswith("weight_ih")
    )
    model = librnn.torch.load(folder / "silero_vad_16k.safetensors", prefix=prefix, batch_first=False)
    assert (model.input_size, model.hidden_size, model.num_layers) == (128, 128, 1)


def test_a_model_of_librnn_is_not_mistaken_for_one_of_pytorch(tmp_path):
    librnn.save(librnn.LSTM(3, 4), tmp_path / "model.safetensors")
    with pytest.raises(librnn.RNNError, match="librnn.load"):
        librnn.torch.load(tmp_path / "model.safetensors", batch_first=False)


# ------------------------------------------------------------------------------------------------ hostile files


def checkpoint(data_pkl, storages=(), compression=zipfile.ZIP_STORED, name="archive/data.pkl", extra=()):
    def write(path):
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr(name, data_pkl)
            for key, data in storages:
                archive.writestr(f"archive/data/{key}", data)
            for entry, data in extra:
                archive.writestr(entry, data)

    return write


class Attack:
    """Its pickle calls a function."""

    def __reduce__(self):
        return (open, ("pickle-was-executed", "w"))


def tensor(shape, strides, elements=4, offset=0, key="0"):
    """The pickle of {"weight_ih_l0": a tensor}."""

    def number(value):
        return b"\x8a\x08" + struct.pack("<q", value)

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX" + struct.pack("<I", len(key)) + key.encode() + b"X\x03\0\0\0cpu"
    return (
        b"\x80\x02}X\x0c\0\0\0weight_ih_l0ctorch._utils\n_rebuild_tensor_v2\n((" + storage[1:] + number(elements) + b"tQ"
        + number(offset) + numbers(shape) + numbers(strides) + b"\x89NtRs."
    )


FLOATS = [("0", b"\0" * 16)]
LIES = {
    "nothing": b"",
    "text": b"weight_ih_l0 = 1",
    "a zip of nothing": checkpoint(b""),
    "no pickle": checkpoint(b"x", name="archive/other"),
    "two pickles": checkpoint(b"\x80\x02}.", extra=[("second/data.pkl", b"\x80\x02}.")]),
    "an empty dictionary": checkpoint(b"\x80\x02}."),
    "a call": checkpoint(pickle.dumps({"weight_ih_l0": Attack()}, 2)),
    "a call, old": pickle.dumps(Attack(), 2),
    "a call, protocol 4": checkpoint(pickle.dumps({"a": Attack()}, 4)),
    "a call, text protocol": checkpoint(b"cos\nsystem\n(S'touch pickle-was-executed'\ntR."),
    "an instance": checkpoint(b"(cos\nsystem\nX\x01\0\0\0ao."),
    "an extension": checkpoint(b"\x80\x02\x82\x01."),
    "protocol 9": checkpoint(b"\x80\x09}."),
    "an empty stack": checkpoint(b"\x80\x02" + b"0" * 10 + b"."),
    "no stop": checkpoint(b"\x80\x02" + b"N0" * 1000),
    "a million dictionaries": checkpoint(b"\x80\x02(" + b"}" * 2_000_000 + b"t."),
    "a quarter of a million small dictionaries": checkpoint(
        b"\x80\x02}(" + b"".join(b"X\x06\0\0\0%06d}" % i for i in range(250_000)) + b"u."),
    "a long loop": checkpoint(b"\x80\x02" + b"N0" * 3_000_000 + b"N."),
    "a large pickle": checkpoint(b"\x80\x02" + b"N0" * 12_000_000 + b"N."),
    "a large pickle, compressed": checkpoint(b"\x80\x02" + b"N0" * 50_000_000 + b"N.", compression=zipfile.ZIP_DEFLATED),
    "a tower of references": checkpoint(b"\x80\x02]q\0" + b"".join(b"(h%ch%ctq%c" % (i, i, i + 1) for i in range(200)) + b"."),
    "a tower as a key": checkpoint(
        b"\x80\x02}" + b"Nq\0" + b"".join(b"(h%ch%ctq%c" % (i, i, i + 1) for i in range(200)) + b"Ns."),
    "a dictionary that holds itself": checkpoint(b"\x80\x02}q\0X\x01\0\0\0ah\0s."),
    "a huge string": checkpoint(b"\x80\x02X" + struct.pack("<I", 2**31) + b"abc."),
    "a huge integer": checkpoint(b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"abc."),
    "a negative length": checkpoint(b"\x80\x02\x8b" + struct.pack("<i", -5) + b"abc."),
    "2 GB of numbers": checkpoint(tensor((2**14, 2**15), (2**15, 1), 2**29), FLOATS),
    "2 GB of one number": checkpoint(tensor((2**14, 2**15), (0, 0)), FLOATS),
    "more than there is": checkpoint(tensor((3, 3), (3, 1)), FLOATS),
    "behind its end": checkpoint(tensor((2, 2), (2, 1), offset=2), FLOATS),
    "negative sizes": checkpoint(tensor((-2, 2), (2, 1)), FLOATS),
    "negative strides": checkpoint(tensor((2, 2), (-2, 1)), FLOATS),
    "huge sizes": checkpoint(tensor((2**62, 2), (2, 1)), FLOATS),
    "a missing storage": checkpoint(tensor((2, 2), (2, 1), key="9"), FLOATS),
    "a storage elsewhere": checkpoint(tensor((2, 2), (2, 1), key="../../../../../etc/passwd"), FLOATS),
    "a storage of half a number": checkpoint(tensor((2, 2), (2, 1)), [("0", b"\0" * 15)]),
    "a byte order nobody knows": checkpoint(tensor((2, 2), (2, 1)), FLOATS, extra=[("archive/byteorder", b"middle")]),
    "a zip bomb": checkpoint(tensor((2**13, 2**13), (2**13, 1), 2**26), [("0", b"\0" * 2**28)], zipfile.ZIP_DEFLATED),
    "thirty thousand entries": checkpoint(b"\x80\x02}.", extra=[(f"archive/x{i}", b"") for i in range(30_000)]),
    "a tensor without a partner": checkpoint(tensor((2, 2), (2, 1)), FLOATS),
    "old, of another kind": pickle.dumps(3, 2),
    "old, without storages": pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    + tensor((2, 2), (2, 1)) + pickle.dumps(["0"], 2),
    "old, with a storage of 2**60 numbers": pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    + tensor((2, 2), (2, 1)) + pickle.dumps(["0"], 2) + struct.pack("<q", 2**60) + b"\0" * 16,
    "safetensors, cut": struct.pack("<Q", 1000) + b'{"a": ',
    "safetensors, a header of 2 GB": struct.pack("<Q", 2**31) + b'{"a": 1}',
    "safetensors, no header": struct.pack("<Q", 0) + b"{",
    "safetensors, nested": safetensors(b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}"),
    "safetensors, twice": safetensors(b'{"a": 1, "a": 2}'),
    "safetensors, 2 GB of numbers": safetensors({"weight_ih_l0": {"dtype": "F32", "shape": [2**14, 2**15], "data_offsets": [0, 2**31]}}, b""),
    "safetensors, a shape that does not fit": safetensors({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 4]}}, b"abcd"),
    "safetensors, negative": safetensors({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}, b"abcd"),
    "safetensors, no type": safetensors({"w": {"dtype": "F4", "shape": [1], "data_offsets": [0, 4]}}, b"abcd"),
    "safetensors, overlapping": safetensors(
        {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in ("weight_ih_l0", "weight_hh_l0")}, b"abcd"),
    "safetensors, millions of lists": safetensors(b'{"a": [' + b"[]," * 1_300_000 + b"[]]}"),
    "safetensors, endless digits": safetensors(b'{"a": ' + b"1" * 1_000_000 + b"}"),
}  # fmt: skip


def test_a_hostile_file_is_refused_at_once_and_nothing_in_it_is_executed(tmp_path):
    assert_refused(tmp_path, LIES, "librnn.torch.load(path, batch_first=False)", setup=f"os.chdir({str(tmp_path)!r})")
    assert not (tmp_path / "pickle-was-executed").exists()


@pytest.mark.parametrize("name", ["lstm.pt", "lstm_old.pt", "lstm.safetensors", "tagger_checkpoint.pt"])
def test_a_damaged_file_is_an_error_or_a_model_of_other_numbers(name, tmp_path):
    for _, content in cut_and_flipped((VECTORS / name).read_bytes(), flips=150):
        path = tmp_path / "damaged"
        path.write_bytes(content)
        try:
            librnn.torch.load(path, batch_first=False)
        except librnn.RNNError:
            pass


def test_a_missing_file_is_an_error(tmp_path):
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(librnn.RNNError) as caught:
            librnn.torch.load(path)
        assert caught.value.status == "RNN_ERROR_IO"
    with pytest.raises(librnn.RNNError, match="expected a path"):
        librnn.torch.load(3)
