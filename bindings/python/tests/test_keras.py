"""librnn.keras: models that Keras 2 and 3 saved compute what they computed there; what is not computed is refused by name."""

import json
import random
import zipfile

import numpy as np
import pytest

import librnn
from helpers import CONFORMANCE, ROOT, assert_same_bits, python
from librnn._describe import describe

h5py = pytest.importorskip("h5py")

from hostile import assert_refused, cut_and_flipped, mutated  # noqa: E402
from kerasfile import (  # noqa: E402
    CELLS,
    arrays,
    calls,
    dense,
    functional,
    gru,
    h5_file,
    keras_file,
    layer,
    lstm,
    sequential,
    tensor,
    weights_file,
)

VECTORS = ROOT / "Tests" / "Vectors" / "keras"
FILES = sorted(path.name for path in VECTORS.iterdir() if path.suffix in (".keras", ".h5"))
FOLDER = CONFORMANCE / "keras"
CASES = sorted(path.name for path in FOLDER.iterdir()) if FOLDER.is_dir() else []


def run(model, arrays_):
    """Outputs of a model for the x of a vector."""
    x = arrays_["x"]
    if "x1" in arrays_:
        return model(x, tuple(arrays_[key][None] for key in ("x1", "x2") if key in arrays_))
    if isinstance(model, librnn.Network) and not model.input_size:
        return model.run(tokens=x)
    return model(x)


# --------------------------------------------------------------------------------------------- known answers


def weights_of_keras_3(path, config, layers, version):
    path.write_bytes(weights_file(layers))
    return {"path": path, "config": config, "keras_version": version}


def weights_of_keras_2(path, config, layers, version):
    return {"path": h5_file(path, None, layers, version), "config": json.dumps(config)}


#: What a user has: a .keras file, an .h5 file, or weights alone beside model.to_json().
WRITERS = {
    ".keras": lambda *given, version: {"path": keras_file(*given, version=version)},
    ".h5": lambda *given, version: {"path": h5_file(*given, version=version)},
    ".weights.h5": weights_of_keras_3,
    ".h5 of weights": weights_of_keras_2,
}


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("case", CASES)
def test_every_case_of_keras_computes_the_same_from_a_file(case, form, tmp_path):
    meta, values = json.loads((FOLDER / case / "meta.json").read_text()), dict(np.load(FOLDER / case / "tensors.npz"))
    kind, config = meta["layer"], meta["config"]
    entry = layer(kind, **config)
    weights = [values[f"weight.{index}"] for index in range(3) if f"weight.{index}" in values]
    given = WRITERS[form](tmp_path / "model", sequential([entry]), [(kind, config["name"], weights)], version="3.15.1")
    model = librnn.keras.load(**given)
    assert model.batch_first
    states = [values[f"initial_state.{index}"][None] for index in range(2) if f"initial_state.{index}" in values]
    y, state = model(values["x"], (states[0] if len(states) == 1 else tuple(states)) if states else None)
    outputs = [y] + [value[0] for value in (state if isinstance(state, tuple) else [state])]
    for index in range(len([name for name in values if name.startswith("out.")])):
        expected = values[f"out.{index}"]
        assert outputs[index].shape == expected.shape
        # Both compute in float32: a few roundings of numbers below 1.
        assert np.abs(outputs[index] - expected).max() < 1e-6


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_keras_itself_computes_what_keras_computed(name, tmp_path):
    values = np.load(VECTORS / (name.rpartition(".")[0] + ".npz"))
    model = librnn.keras.load(VECTORS / name)
    y, state = run(model, values)
    # Keras 3 keeps the states that it makes itself in float32, and so has errors of 2**-24 in each step; with given states, and
    # in Keras 2, all is float64.
    tolerance = 1e-14 if name.startswith("keras2") or "states" in name else 1e-6
    assert y.shape == values["y"].shape and np.abs(y - values["y"]).max() < tolerance
    if "y1" in values:
        assert np.abs(state[0][0] - values["y1"]).max() < tolerance and np.abs(state[1][0] - values["y2"]).max() < tolerance
    librnn.save(model, tmp_path / "model.safetensors")
    again = librnn.load(tmp_path / "model.safetensors")
    assert type(again) is type(model) and again.batch_first and dict(again.metadata) == dict(model.metadata)
    assert_same_bits(run(again, values)[0], y)


def test_a_configuration_is_an_object_its_text_or_a_file(tmp_path):
    config, path = sequential([gru()]), h5_file(tmp_path / "weights.h5", None, GRU)
    (tmp_path / "config.json").write_text(json.dumps(config))
    models = [librnn.keras.load(path, config=given) for given in (config, json.dumps(config), tmp_path / "config.json")]
    assert len({model.parameters["weight_ih_l0"].tobytes() for model in models}) == 1
    with pytest.raises(librnn.RNNError, match="weights only.*config="):
        librnn.keras.load(path)


# ------------------------------------------------------------------------------------------------ conventions


def test_the_keras_that_wrote_the_file_decides_which_hard_sigmoid_it_is(tmp_path):
    entry, weights = lstm(recurrent_activation="hard_sigmoid"), [("LSTM", "lstm", arrays("LSTM", 4))]
    for version, slope in (("2.2.4-tf", 0.2), ("2.15.0", 0.2), ("3.0.0", 1 / 6)):
        for write in (keras_file, h5_file):
            model = librnn.keras.load(write(tmp_path / "model", sequential([entry]), weights, version=version))
            assert {model.activations[gate] for gate in "ifo"} == {librnn.Activation("hard_sigmoid", slope, 0.5)}
    path = h5_file(tmp_path / "model", sequential([entry]), weights, version=None)
    with pytest.raises(librnn.RNNError, match='keras_version="2".*keras_version="3"'):
        librnn.keras.load(path)
    assert librnn.keras.load(path, keras_version="3").activations["i"].alpha == 1 / 6
    assert librnn.keras.load(path, keras_version="2.3.1").activations["i"].alpha == 0.2


def test_a_gru_without_the_key_reset_after_is_of_before_there_was_one(tmp_path):
    entry = gru()
    del entry["config"]["reset_after"]
    before = h5_file(tmp_path / "before.h5", sequential([entry]), [("GRU", "gru", arrays("GRU", 4, variant="before"))])
    assert librnn.keras.load(before).variant == "reset_before"
    after = h5_file(tmp_path / "after.h5", sequential([entry]), [("GRU", "gru", arrays("GRU", 4))])
    with pytest.raises(librnn.RNNError, match="reset_after=True has \\(2, 3"):
        librnn.keras.load(after)


def test_weights_belong_to_layers_by_class_and_order_not_by_name(tmp_path):
    entries = [lstm("b", 3), gru("lstm", 4), lstm("a", 2)]
    weights = [("LSTM", "b", arrays("LSTM", 4, 3, 1)), ("GRU", "lstm", arrays("GRU", 3, 4, 2)), ("LSTM", "a", arrays("LSTM", 4, 2, 3))]
    one = librnn.keras.load(keras_file(tmp_path / "a.keras", sequential(entries), weights))
    two = librnn.keras.load(h5_file(tmp_path / "a.h5", sequential(entries), weights))
    old = librnn.keras.load(keras_file(tmp_path / "b.keras", sequential(entries), weights, attribute=False))
    x = np.random.default_rng(1).standard_normal((2, 5, 4)).astype(np.float32)
    assert_same_bits(one(x)[0], two(x)[0])
    assert_same_bits(one(x)[0], old(x)[0])
    assert json.loads(one.metadata["keras.layers"]) == {"input": "input", "0": "b", "1": "lstm", "2": "a"}
    swapped = [weights[2], weights[1], weights[0]]
    with pytest.raises(librnn.RNNError, match="belong to 'a'.*'b'"):
        librnn.keras.load(keras_file(tmp_path / "c.keras", sequential(entries), swapped))


def test_the_size_of_x_comes_from_the_weights_where_nothing_else_tells(tmp_path):
    for entries, weights in (
        ([gru(), dense()], [("GRU", "gru", arrays("GRU", 4)), ("Dense", "dense", arrays("Dense", 3, 2))]),
        ([dense("d", 3), gru()], [("Dense", "d", arrays("Dense", 4)), ("GRU", "gru", arrays("GRU", 3))]),
    ):
        model = librnn.keras.load(keras_file(tmp_path / "model", sequential(entries, None), weights))
        assert model.input_size == 4


def test_layers_that_act_in_training_only_are_let_go(tmp_path):
    config = sequential([
        layer("GaussianNoise", "noise", stddev=0.1), gru(dropout=0.3, recurrent_dropout=0.2, stateful=True, unroll=True),
        layer("SpatialDropout1D", "spatial", rate=0.2), layer("Dropout", "drop", rate=0.5, noise_shape=None),
    ])  # fmt: skip
    model = librnn.keras.load(keras_file(tmp_path / "model", config, [("GRU", "gru", arrays("GRU", 4))]))
    assert [kind for kind, _ in model._specs] == ["gru", "dropout"]


def test_time_major_models_have_time_first(tmp_path):
    config = sequential([gru(time_major=True)])
    model = librnn.keras.load(h5_file(tmp_path / "model", config, [("GRU", "gru", arrays("GRU", 4))]))
    usual = librnn.keras.load(h5_file(tmp_path / "usual", sequential([gru()]), [("GRU", "gru", arrays("GRU", 4))]))
    x = np.random.default_rng(1).standard_normal((5, 2, 4)).astype(np.float32)
    assert not model.batch_first
    assert_same_bits(model(x)[0], np.ascontiguousarray(usual(np.ascontiguousarray(x.swapaxes(0, 1)))[0].swapaxes(0, 1)))


def test_the_keras_that_wrote_the_file_decides_whether_a_sum_with_an_unmasked_value_has_a_mask(tmp_path):
    """Keras 2 takes the mask of those that have one, Keras 3 has none then."""

    def model(version, value):
        config = functional([
            calls(layer("Masking", "masking", mask_value=value), tensor("input")), calls(dense("plain", 4), tensor("input")),
            calls(layer("Add", "add"), [tensor("masking"), tensor("plain")]), calls(gru(), tensor("add")),
        ], [("gru", 0)])  # fmt: skip
        weights = [("Dense", "plain", arrays("Dense", 4, 4, 1)), ("GRU", "gru", arrays("GRU", 4))]
        return librnn.keras.load(keras_file(tmp_path / "model.keras", config, weights, version=version))

    assert model("2.15.0", 0.0)._mask_rule is not None and model("3.15.1", 0.0)._mask_rule is None
    assert model("2.15.0", -1.0)._mask_rule is not None
    # Without a mask the steps that Masking has set to 0 are read.
    with pytest.raises(librnn.RNNError, match="'add' \\(Add\\).*with and without a mask, after Masking has set steps to 0"):
        model("3.15.1", -1.0)


def test_two_outputs_are_columns_of_one(tmp_path):
    config = functional(
        [calls(gru(), tensor("input")), calls(dense(), tensor("gru")), calls(dense("other", 1), tensor("input"))],
        [("dense", 0), ("other", 0)],
    )
    weights = [("GRU", "gru", arrays("GRU", 4)), ("Dense", "dense", arrays("Dense", 3, 2)), ("Dense", "other", arrays("Dense", 4, 1, 5))]
    model = librnn.keras.load(keras_file(tmp_path / "model", config, weights))
    x = np.random.default_rng(1).standard_normal((2, 5, 4)).astype(np.float32)
    y, state = model.run(x)
    assert y.shape == (2, 5, 3) and set(state) == {"gru.h"}
    columns = json.loads(model.metadata["keras.outputs"])
    assert columns == [{"layer": "dense", "begin": 0, "end": 2}, {"layer": "other", "begin": 2, "end": 3}]
    assert np.abs(y[..., 2:] - (x @ weights[2][2][0] + weights[2][2][1])).max() < 1e-6


def test_an_encoder_that_gives_its_states_only_has_them(tmp_path):
    config = functional([calls(lstm(return_state=True, return_sequences=False), tensor("input"))], [("lstm", 1), ("lstm", 2)])
    model = librnn.keras.load(keras_file(tmp_path / "model", config, [("LSTM", "lstm", arrays("LSTM", 4))]))
    y, ((h, c),) = model(np.ones((2, 5, 4), np.float32))
    assert_same_bits(y, h[0])
    assert c.shape == h.shape


# ------------------------------------------------------------------------------------------------------ masks


def mask_model(tmp_path, *entries, weights):
    return librnn.keras.load(keras_file(tmp_path / "model", sequential(entries), weights))


def test_a_mask_is_made_of_x_unless_one_is_given(tmp_path):
    weights = [("GRU", "gru", arrays("GRU", 4)), ("Dense", "dense", arrays("Dense", 3, 2, 1))]
    model = mask_model(tmp_path, layer("Masking", "masking", mask_value=0.0), gru(), dense(), weights=weights)
    x = np.random.default_rng(1).standard_normal((2, 6, 4)).astype(np.float32)
    x[0, :2] = x[1, 3] = x[1, 5] = 0
    y, _ = model(x)
    rows = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 1, 0]], bool)
    bias = weights[1][2][1]
    assert_same_bits(y, model(x, mask=rows)[0])
    assert np.abs(y[0, :2] - bias).max() < 1e-7 and np.array_equal(y[1, 3], y[1, 2]) and np.array_equal(y[1, 5], y[1, 4])
    # A row alone, without a batch, and another mask than that of x.
    assert_same_bits(model(x[1])[0], y[1])
    assert_same_bits(model(x, mask=np.ones_like(rows))[0][1, :3], y[1, :3])
    assert not model(x, padding="value")[0][0, :2].any()
    assert (model(x, padding_value=7.0)[0][~rows] == 7).all()
    trained, _, tape = model.forward_train(x)
    assert_same_bits(trained, y)
    assert not model.backward(tape, np.ones_like(y)).input[~rows].any()


def test_a_trainer_does_not_overlook_the_mask(tmp_path):
    model = mask_model(tmp_path, layer("Masking", "masking"), gru(), weights=[("GRU", "gru", arrays("GRU", 4))])
    with pytest.raises(librnn.RNNError, match="mask"):
        librnn.Trainer(model, "mse", librnn.optim.SGD(model, lr=0.1))


def test_a_rule_in_a_file_that_makes_no_sense_is_an_error(tmp_path):
    model = mask_model(tmp_path, layer("Masking", "masking"), gru(), weights=[("GRU", "gru", arrays("GRU", 4))])
    for text in ("{", "[]", "{}", json.dumps({**model._mask_rule._asdict(), "kind": "other"}),
                 json.dumps({**model._mask_rule._asdict(), "columns": [0, 9]}),
                 json.dumps({**model._mask_rule._asdict(), "kind": "token"}),
                 json.dumps({**model._mask_rule._asdict(), "fill": [1.0, 2.0]})):  # fmt: skip
        model.metadata["python.mask"] = text
        librnn.save(model, tmp_path / "saved.safetensors")
        with pytest.raises(librnn.RNNError, match="python.mask"):
            librnn.load(tmp_path / "saved.safetensors")


# --------------------------------------------------------------------------------------------------- refusals

GRU = [("GRU", "gru", arrays("GRU", 4))]
INNER = {"class_name": "LSTM", "config": lstm()["config"]}
REFUSED = {
    "a convolution": (sequential([layer("Conv1D", "conv", filters=3)]), "'conv' \\(Conv1D\\).*no such layer"),
    "code": (sequential([layer("Lambda", "f", function={"code": "4wEAAAA="})]), "Lambda.*Python code, which is not run"),
    "a class of the user": (sequential([layer("MyLayer", "mine")]), "MyLayer"),
    "an attention": (sequential([layer("Attention", "attention")]), "Attention"),
    "a function of the user": (
        sequential([gru(activation={"module": "builtins", "class_name": "function", "config": "mine", "registered_name": "mine"})]),
        "activation is 'mine'"),
    "an activation that is not computed": (sequential([gru(activation="mish")]), "activation is 'mish'"),
    "softmax as a gate": (sequential([gru(recurrent_activation="softmax")]), "recurrent_activation is 'softmax'"),
    "no activation": (sequential([layer("GRU", "gru", units=3)]), "does not tell its activations"),
    "an attribute nobody knows": (sequential([gru(zoneout=0.1)]), "attribute zoneout = 0.1"),
    "quantized": (sequential([gru(dtype={"class_name": "QuantizedDTypePolicy", "config": {"name": "int8_from_float32"}})]), "int8"),
    "low rank": (sequential([gru(), dense(lora_rank=4)]), "lora_rank"),
    "another axis": (sequential([gru(), layer("Softmax", "softmax", axis=1)]), "axis is 1"),
    "normalisation over time": (sequential([gru(), layer("BatchNormalization", "bn", axis=1)]), "axis is 1"),
    "a limit of relu": (sequential([gru(), layer("ReLU", "relu", max_value=6.0)]), "max_value = 6.0"),
    "time first and not": (sequential([gru(), gru("second", time_major=True)]), "time_major"),
    "recurrent after the last step": (sequential([gru(return_sequences=False), gru("second")]), "no axis of time"),
    "an image": (sequential([gru()], (None, 8, 8, 3)), "input of shape \\(None, 8, 8, 3\\)"),
    "a vector": (sequential([dense()], (None, 4)), "without an axis of time"),
    "an unknown size": (sequential([gru()], (None, None, None)), "last axis"),
    "sparse": (sequential([gru()]), "sparse"),
    "words without a table": (sequential([layer("Embedding", "e", input_dim=9, output_dim=3)]), "something else than an input of integers"),
    "masking inside": (sequential([gru(), layer("Masking", "masking")]), "masks what a layer computed"),
    "masking alone": (sequential([layer("Masking", "masking"), layer("Activation", "a", activation="tanh")]), "without a recurrent layer"),
    "a bidirectional of something": (sequential([layer("Bidirectional", "both", layer=dense(), merge_mode="concat")]), "wraps a Dense"),
    "stacked cells": (
        sequential([layer("RNN", "rnn", return_sequences=True, cell={"class_name": "StackedRNNCells", "config": {"cells": []}})]),
        "'rnn' \\(RNN\\): it runs a StackedRNNCells"),
    "a merge that is no word": (sequential([layer("Bidirectional", "both", layer=INNER, merge_mode={})]), "merge_mode is an object"),
    "a backward layer of another kind": (
        sequential([layer("Bidirectional", "both", layer=INNER, backward_layer=dense(), merge_mode="sum")]), "it wraps a Dense"),
    "a quantized direction": (
        sequential([layer(
            "Bidirectional", "both", layer={**INNER, "config": {**INNER["config"], "dtype": "int8_from_float32"}}, merge_mode="sum")]),
        "quantized"),
    "a factor beyond float32": (sequential([layer("Rescaling", "r", scale=1e300), gru()]), "r: its weight holds a number that no float32"),
    "a merge nobody knows": (sequential([layer("Bidirectional", "both", layer=INNER, merge_mode="max")]), "merge_mode is 'max'"),
    "time-distributed recurrence": (sequential([layer("TimeDistributed", "td", layer=INNER)]), "a LSTM for each step"),
    "a shared layer": (
        functional([{**calls(gru(), tensor("input")), "inbound_nodes": [{"args": [tensor("input")], "kwargs": {}}] * 2}], [("gru", 0)]),
        "used 2 times"),
    "a decoder": (
        functional(
            [calls(gru(return_state=True), tensor("input")), calls(gru("second"), tensor("other"), initial_state=tensor("gru", 1))],
            [("second", 0)], ("input", "other")),
        "initial state is computed by other layers"),
    "a cell state as features": (
        functional([calls(lstm(return_state=True), tensor("input")), calls(dense(), tensor("lstm", 2))], [("dense", 0)]), "cell state"),
    "a circle": (
        functional([calls(gru(), tensor("second")), calls(gru("second"), tensor("gru"))], [("gru", 0)]), "read each other"),
    "an operation": (
        functional([calls({**layer("Tanh", "f"), "module": "keras.src.ops.numpy"}, tensor("input"))], [("f", 0)]), "does not compute this operation"),
    "a mask of steps that are there for one input only": (
        functional([
            calls(layer("NotEqual", "differs"), tensor("input"), 0.0), calls(layer("Any", "mask", axis=-1), tensor("differs")),
            calls(layer("ExpandDims", "wide", axis=-1), tensor("mask")), calls(layer("OnesLike", "ones"), tensor("input")),
            calls(layer("Concatenate", "both", axis=-1), [tensor("wide"), tensor("ones")]), calls(layer("Any", "any", axis=-1), tensor("both")),
            calls(gru(), tensor("input"), mask=tensor("any")),
        ], [("gru", 0)]), "'both' \\(Concatenate\\): librnn does not compute this operation"),
    "masks of two inputs": (
        functional([
            calls(layer("NotEqual", "d1"), tensor("input"), 0.0), calls(layer("Any", "m1", axis=-1), tensor("d1")),
            calls(layer("NotEqual", "d2"), tensor("other"), 0.0), calls(layer("Any", "m2", axis=-1), tensor("d2")),
            calls(layer("LogicalOr", "either"), tensor("m1"), tensor("m2")), calls(layer("Add", "add"), [tensor("input"), tensor("other")]),
            calls(gru(), tensor("add"), mask=tensor("either")),
        ], [("gru", 0)], ("input", "other")), "'either' \\(LogicalOr\\): librnn does not compute this operation"),
    "features that do not fit": (
        functional([calls(gru(), tensor("input")), calls(layer("Add", "add"), [tensor("gru"), tensor("input")])], [("add", 0)]),
        "joins \\[3, 4\\] features"),
    "a subclass": ({"class_name": "MyModel", "config": {"layers": [gru()]}}, "'MyModel', expected Sequential or Functional"),
    "an input nobody reads": (functional([calls(gru(), tensor("input"))], [("gru", 0)], ("input", "other")), "nothing reads the input other"),
    "nothing but an input": (functional([], [("input", 0)]), "gives back its input"),
}  # fmt: skip
REFUSED["sparse"][0]["config"]["layers"][0]["config"]["sparse"] = True


@pytest.mark.parametrize("case", REFUSED)
def test_what_librnn_does_not_compute_is_refused_by_name(case, tmp_path):
    config, text = REFUSED[case]
    weights = [("GRU", "gru", arrays("GRU", 4)), ("GRU", "second", arrays("GRU", 3)), ("LSTM", "lstm", arrays("LSTM", 4)),
               ("Dense", "dense", arrays("Dense", 3, 2))]  # fmt: skip
    # The folder of a class is found in order: leave out what the configuration does not have.
    names = json.dumps(config)
    weights = [entry for entry in weights if f'"{entry[1]}"' in names]
    for write in (keras_file, h5_file):
        with pytest.raises(librnn.RNNError, match=text):
            librnn.keras.load(write(tmp_path / "model", config, weights))


@pytest.mark.parametrize(
    "values, text",
    [
        ([], "has 0 arrays"),
        (arrays("GRU", 4)[:2], "has 2 arrays, expected kernel, recurrent kernel, bias"),
        (arrays("GRU", 5), "kernel has shape \\(5, 9\\), expected \\(4, 9\\)"),
        (arrays("GRU", 4, 2), "\\(2, 6\\), and there are 3 units"),
        ([*arrays("GRU", 4)[:2], np.zeros((3, 9), np.float32)], "bias has shape \\(3, 9\\)"),
        (arrays("LSTM", 4), "kernel has shape \\(4, 12\\)"),
        ([np.zeros(()), np.zeros(()), np.zeros(())], "shape \\(\\)"),
    ],
)
def test_arrays_that_do_not_fit_the_configuration_are_an_error(values, text, tmp_path):
    for write in (keras_file, h5_file):
        with pytest.raises(librnn.RNNError, match=text):
            librnn.keras.load(write(tmp_path / "model", sequential([gru()]), [("GRU", "gru", values)]))


def test_missing_weights_are_an_error(tmp_path):
    for write in (keras_file, h5_file):
        with pytest.raises(librnn.RNNError, match="weights of 'second' \\(GRU\\) are missing"):
            librnn.keras.load(write(tmp_path / "model", sequential([gru(), gru("second")]), GRU))


def test_without_h5py_the_error_says_what_to_install(tmp_path):
    """In a process where the import fails, as where it is not installed; what needs no h5py works there."""
    path = keras_file(tmp_path / "model.keras", sequential([gru()]), GRU)
    printed = python(f"""
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("h5py", "onnx", "safetensors", "torch"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import librnn
assert librnn.torch.load({str(ROOT / "Tests" / "Vectors" / "torch" / "lstm.pt")!r}, batch_first=True).num_layers == 2
try:
    librnn.keras.load({str(path)!r})
except librnn.RNNError as error:
    print(error.status, error.message)
from librnn._cli import main
sys.stderr = sys.stdout
print(main(["convert", {str(path)!r}, {str(tmp_path / "out")!r}]))
""")
    assert printed.count("needs the package h5py, which is not installed: pip install 'librnn[keras]'") == 2
    assert printed.startswith("RNN_ERROR_UNSUPPORTED") and printed.rstrip().endswith("\n1")


# ------------------------------------------------------------------------------------------------ hostile files


def raw_h5(write):
    """model.weights.h5 with the group of one GRU, filled by a function."""
    import io

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write(file.create_group("layers/gru/cell/vars"))
    return buffer.getvalue()


def lying(config=None, layers=None, **keywords):
    return lambda path: keras_file(path, sequential([gru()]) if config is None else config, GRU if layers is None else layers, **keywords)


def claims(shape, **keywords):
    def write(group):
        for index, array in enumerate(GRU[0][2]):
            group.create_dataset(str(index), data=array)
        del group["0"]
        group.create_dataset("0", shape, "f4", **keywords)

    return raw_h5(write)


def linked(link):
    def write(group):
        for index, array in enumerate(GRU[0][2]):
            group.create_dataset(str(index), data=array)
        del group["0"]
        group["0"] = link

    return raw_h5(write)


def virtual(group):
    source = h5py.VirtualSource("/etc/passwd", "x", shape=(4, 9))
    layout = h5py.VirtualLayout((4, 9), "f4")
    layout[:] = source
    group.create_virtual_dataset("0", layout)


def with_entries(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


GOOD = json.dumps(sequential([gru()]))
H5 = weights_file(GRU)
LIES = {
    "nothing": b"",
    "text": b"model",
    "a pickle": b"\x80\x04N.",
    "the beginning of a zip": b"PK\3\4" + b"\0" * 100,
    "the beginning of an HDF5 file": b"\x89HDF\r\n\x1a\n" + b"\0" * 500,
    "no weights": lambda path: with_entries(path, {"config.json": GOOD}),
    "no configuration": lambda path: with_entries(path, {"model.weights.h5": H5}),
    "names that lead out": lambda path: with_entries(path, {"../config.json": GOOD, "/model.weights.h5": H5}),
    "a configuration that is no JSON": lying("{"),
    "a configuration that is a list": lying("[1]"),
    "a configuration that is deep": lying('{"a":' * 50000 + "1" + "}" * 50000),
    "a configuration of 100 MB": lambda path: with_entries(
        path, {"config.json": '{"a": "' + "x" * 10**8 + '"}', "model.weights.h5": H5}, zipfile.ZIP_DEFLATED),
    "a configuration of lists": lying('{"a": [' + "[]," * 3_000_000 + "[]]}"),
    "a configuration with NaN": lying('{"a": NaN}'),
    "a key twice": lying('{"class_name": "Sequential", "class_name": "Functional"}'),
    "layers that are no list": lying({"class_name": "Sequential", "config": {"layers": {"a": 1}}}),
    "layers that are numbers": lying({"class_name": "Sequential", "config": {"layers": [1, 2]}}),
    "no layers": lying({"class_name": "Sequential", "config": {"layers": []}}),
    "a million layers": lying({"class_name": "Sequential", "config": {"layers": [{}] * 60_000}}),
    "a layer without a class": lying({"class_name": "Sequential", "config": {"layers": [{"config": {}}]}}),
    "a layer whose class is a list": lying({"class_name": "Sequential", "config": {"layers": [{"class_name": [], "config": {}}]}}),
    "a layer whose name is a list": lying({"class_name": "Sequential", "config": {"layers": [{"class_name": "GRU", "config": {"name": [1]}}]}}),
    "units of 2**40": lying(sequential([gru(units=2**40)])),
    "units of 2**30": lying(sequential([gru(units=2**30)])),
    "units below zero": lying(sequential([gru(units=-3)])),
    "units in words": lying(sequential([gru(units="three")])),
    "units of truth": lying(sequential([gru(units=True)])),
    "features of 2**40": lying(sequential([gru()], (None, None, 2**40))),
    "features of 2**30": lying(sequential([gru()], (None, None, 2**30))),
    "a vocabulary of 2**40": lying(sequential([layer("Embedding", "e", input_dim=2**40, output_dim=3)], (None, None))),
    "a flag in words": lying(sequential([gru(go_backwards="no")])),
    "an activation that is a number": lying(sequential([gru(activation=3)])),
    "a scale of many": lying(sequential([layer("Rescaling", "r", scale=[1.0] * 1000)])),
    "a scale of lists": lying(sequential([layer("Rescaling", "r", scale=[[1.0], [1.0, 2.0]])])),
    "references to nothing": lying(functional([calls(gru(), tensor("ghost"))], [("gru", 0)])),
    "an output of nothing": lying(functional([calls(gru(), tensor("input"))], [("ghost", 0)])),
    "a tensor of nothing": lying(functional([calls(gru(), tensor("input"))], [("gru", 7)])),
    "references that are none": lying(functional([{**gru(), "name": "gru", "inbound_nodes": [[[1, 2, 3]]]}], [("gru", 0)])),
    "models in models": lying(json.dumps(sequential([]))[:-3] + ', {"class_name": "Sequential", "config": {"layers": [' * 2000 + "]}}" * 2000 + "]}}"),
    "weights that are no HDF5": lying(layers=b"\0" * 1000),
    "weights cut short": lying(layers=H5[: len(H5) // 2]),
    "weights of nothing": lying(layers=raw_h5(lambda group: None)),
    "2 GB that are not there": lying(layers=claims((2**14, 2**15))),
    "2 GB in chunks that are not there": lying(layers=claims((2**14, 2**15), chunks=(64, 64))),
    "2 GB in one chunk": lying(layers=claims((2**14, 2**14), chunks=(2**14, 2**14))),
    "an array without an end": lying(layers=claims((4, 9), maxshape=(None, None), chunks=(2**12, 2**12))),
    "256 MB of zeros": lying(layers=raw_h5(
        lambda group: group.create_dataset("0", data=np.zeros((2**13, 2**13), "f4"), compression="gzip", compression_opts=9))),
    "256 MB of zeros in a zip": lambda path: with_entries(
        path, {"config.json": GOOD, "model.weights.h5": b"\0" * 2**28}, zipfile.ZIP_DEFLATED),
    "numbers in another file": lying(layers=raw_h5(lambda group: group.create_dataset("0", (4, 9), "f4", external="/etc/passwd"))),
    "a link to another file": lying(layers=linked(h5py.ExternalLink("/etc/passwd", "/x"))),
    "a link to itself": lying(layers=linked(h5py.SoftLink("/layers/gru/cell/vars/0"))),
    "a virtual array": lying(layers=raw_h5(virtual)),
    "words as numbers": lying(layers=raw_h5(lambda group: group.create_dataset("0", data=np.array([b"abc"] * 9)))),
    "a group as an array": lying(layers=raw_h5(lambda group: group.create_group("0"))),
    "arrays with other names": lying(layers=raw_h5(lambda group: group.create_dataset("kernel", data=np.zeros((4, 9))))),
    "an h5 file without layers": lambda path: h5_file(path, sequential([gru()]), []),
    "an h5 file of other layers": lambda path: h5_file(path, sequential([gru()]), [("GRU", "other", GRU[0][2])]),
}  # fmt: skip


def test_a_hostile_file_is_refused_at_once_and_nothing_is_written(tmp_path):
    assert_refused(tmp_path, LIES, "librnn.keras.load(path)")


@pytest.mark.parametrize("name", ["keras3_classifier.keras", "keras2_cudnn.h5"])
def test_a_damaged_file_is_an_error_or_a_model_of_other_numbers(name, tmp_path):
    # Within a zip archive a sum of all bytes finds any damage: change what is in it.
    packed = name.endswith(".keras")
    entries = {}
    if packed:
        with zipfile.ZipFile(VECTORS / name) as archive:
            entries = {entry: archive.read(entry) for entry in archive.namelist()}
    whole = entries["model.weights.h5"] if packed else (VECTORS / name).read_bytes()
    for _, content in cut_and_flipped(whole, flips=40, cuts=8):
        if packed:
            with_entries(tmp_path / "damaged", {**entries, "model.weights.h5": content})
        else:
            (tmp_path / "damaged").write_bytes(content)
        try:
            librnn.keras.load(tmp_path / "damaged")
        except librnn.RNNError:
            pass


@pytest.mark.parametrize("name", ["keras3_graph.keras", "keras3_masking.keras", "keras2_both_mul_last.keras", "keras2_nested.h5"])
def test_a_changed_configuration_is_an_error_or_a_model(name, monkeypatch):
    """Fields left out, repeated, exchanged and replaced; the weights are read once."""
    from librnn import keras

    file, generator = keras.open_keras(str(VECTORS / name), None, None), random.Random(1)
    models = 0
    for _ in range(150):
        config = mutated(file.config.value, generator)
        monkeypatch.setattr(keras, "open_keras", lambda *_: file._replace(config=file.config.__class__(config, "config")))
        try:
            model = librnn.keras.load(name)
        except librnn.RNNError as error:
            assert error.message
            continue
        models += 1
        assert describe(model)
    assert 10 < models < 140


def test_a_file_on_which_the_hdf5_library_never_ends_is_an_error(tmp_path):
    """One changed byte in the heap of strings, found by chance: HDF5 1.14 looks for the next string for ever."""
    content = bytearray((VECTORS / "keras2_cudnn.h5").read_bytes())
    content[content.index(b"GCOL") + 2113] = 4
    assert_refused(tmp_path, {"endless": bytes(content)}, "librnn.keras.load(path)")


def test_cells_of_the_tests_are_those_of_keras():
    assert set(CELLS) == {"GRU", "LSTM", "SimpleRNN"}
