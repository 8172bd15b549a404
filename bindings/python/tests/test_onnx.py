"""librnn.onnx.load: the operators with every attribute, graphs as exporters write them, and what is refused."""

import sys

import numpy as np
import pytest

import librnn
from helpers import CONFORMANCE, assert_same_bits

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from onnxfile import (  # noqa: E402
    GATES, OUTPUTS, VECTORS, conformance, conformance_case, graph, info, recurrent, weights,
)  # fmt: skip

OPS = ("RNN", "GRU", "LSTM")
#: Both sides compute in float32, with values up to about 1: a few units in the last place for each of up to 40 steps.
FLOAT32 = 2e-6


def runtime(model, feeds, outputs=None):
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = [entry.name for entry in session.get_outputs()] if outputs is None else outputs
    return dict(zip(names, session.run(names, feeds)))


def assert_as_onnxruntime(model, feeds, tolerance=FLOAT32, **keywords):
    """librnn and onnxruntime give the same shapes and, up to rounding, numbers."""
    expected = runtime(model, feeds)
    actual = librnn.onnx.load(model, **keywords).run(feeds)
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].shape == array.shape, name
        np.testing.assert_allclose(actual[name], array, rtol=tolerance, atol=tolerance, err_msg=name)
    return actual


def refusal(model, **keywords):
    with pytest.raises(librnn.RNNError) as caught:
        librnn.onnx.load(model, **keywords).network  # noqa: B018
    return caught.value.message


def uniform(*shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(dtype)


# ------------------------------------------------------------- conformance

CASES = [(folder, name) for folder in ("onnx_node", "onnx_random") for name in conformance(folder)]


@pytest.mark.skipif(not CASES, reason=f"{CONFORMANCE} is not there")
def test_conformance_cases_are_there():
    """The folders and what is in them: nothing is left out."""
    assert len(CASES) == sum(len(list((CONFORMANCE / folder).iterdir())) for folder in ("onnx_node", "onnx_random")) > 80


#: How a case is written as a file. The opset is the case's own unless the form names one; 7 has no attribute `layout`.
FORMS = ("weights as inputs", "weights as constants", "all but X as constants", "typed data", "external data", "double", "opset 7", "opset 22")


def as_file(folder, name, form, path):
    """Writes a case; the inputs that its run takes, and the outputs that it gives."""
    meta, inputs, outputs = conformance_case(folder, name)
    fixed = {"weights as inputs": (), "all but X as constants": set(inputs) - {"X"}}.get(form, ("W", "R", "B", "P"))
    if form == "double":
        inputs = {key: array.astype(np.float64) if array.dtype == np.float32 else array for key, array in inputs.items()}
    feeds = {key: array for key, array in inputs.items() if key not in fixed}
    if form == "weights as inputs" and folder == "onnx_node":
        path.write_bytes((CONFORMANCE / folder / name / "model.onnx").read_bytes())
        return feeds, outputs
    opset = {"opset 7": 14 if "layout" in meta["attributes"] else 7, "opset 22": 22}.get(form, meta["opset"])
    constants = {key: array for key, array in inputs.items() if key in fixed}
    model = recurrent(meta["op"], feeds, constants, meta["attributes"], list(outputs), opset)
    if form == "typed data":
        del model.graph.initializer[:]
        model.graph.initializer.extend(helper.make_tensor(k, TensorProto.FLOAT, a.shape, a.reshape(-1)) for k, a in constants.items())
        assert not any(tensor.HasField("raw_data") for tensor in model.graph.initializer)
    external = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0} if form == "external data" else {}
    onnx.save(model, path, **external)
    return feeds, outputs


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("folder", "name"), CASES)
def test_a_conformance_file_gives_its_known_answer(folder, name, form, tmp_path):
    feeds, outputs = as_file(folder, name, form, tmp_path / "model.onnx")
    assert (tmp_path / "weights.bin").exists() == (form == "external data")
    results = librnn.onnx.load(tmp_path / "model.onnx").run(feeds)
    assert results.keys() == outputs.keys()
    for key, expected in outputs.items():
        assert results[key].shape == expected.shape and results[key].dtype == feeds["X"].dtype
        np.testing.assert_allclose(results[key], expected, rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("name", conformance("onnx_random"))
def test_a_conformance_case_in_double_is_as_near_to_onnxruntime_as_the_specification_in_numpy(name):
    meta, inputs, outputs = conformance_case("onnx_random", name)
    inputs = {key: array.astype(np.float64) if array.dtype == np.float32 else array for key, array in inputs.items()}
    feeds = {key: array for key, array in inputs.items() if key in ("X", "sequence_lens", "initial_h", "initial_c")}
    constants = {key: array for key, array in inputs.items() if key not in feeds}
    model = recurrent(meta["op"], feeds, constants, meta["attributes"], list(outputs), meta["opset"])
    results = librnn.onnx.load(model).run(feeds)
    for key, expected in outputs.items():
        assert results[key].dtype == np.float64
        difference = float(np.abs(results[key] - expected).max())
        # The same double-precision answer on both sides: the distances to onnxruntime's float32 agree to double's rounding.
        assert difference == pytest.approx(meta["numpy64_max_abs_diff"][key], rel=1e-4, abs=1e-12)


#: Activations, and how many numbers each takes as alpha and beta.
ACTIVATIONS = {
    "Relu": (0, 0), "Tanh": (0, 0), "Sigmoid": (0, 0), "HardSigmoid": (1, 1), "LeakyRelu": (1, 0), "ThresholdedRelu": (1, 0),
    "ScaledTanh": (1, 1), "Elu": (1, 0), "Softsign": (0, 0), "Softplus": (0, 0), "Affine": (1, 1),
}  # fmt: skip


def random_case(seed):
    """A node of random sizes with random attributes and optional inputs, and its feeds."""
    random = np.random.default_rng(seed)

    def coin():
        return bool(random.integers(2))

    def fractions(count):
        return [float(np.float32(number)) for number in random.uniform(0.1, 1, count)]

    op = OPS[random.integers(3)]
    directions = 1 + coin()
    H, I, N, T = (int(size) for size in random.integers(1, 9, 4))
    attributes = {"direction": "bidirectional" if directions == 2 else "reverse" if coin() else "forward"}
    w = weights(op, H, I, directions, seed=seed, P=op == "LSTM" and coin(), initial_h=N, initial_c=N * (op == "LSTM"))
    for name in ("B", "initial_h", "initial_c"):
        if coin():
            w.pop(name, None)
    if coin():
        attributes["clip"] = fractions(1)[0]
    if op != "RNN" and coin():
        attributes["linear_before_reset" if op == "GRU" else "input_forget"] = 1
    if coin():
        names = [list(ACTIVATIONS)[place] for place in random.integers(0, len(ACTIVATIONS), {"RNN": 1, "GRU": 2, "LSTM": 3}[op] * directions)]
        attributes["activations"] = names
        for index, key in enumerate(("activation_alpha", "activation_beta")):
            count = sum(ACTIVATIONS[name][index] for name in names)
            if count and coin():
                attributes[key] = fractions(count if coin() else int(random.integers(1, count + 1)))
    feeds = {"X": random.uniform(-1, 1, (T, N, I)).astype(np.float32)}
    if coin():
        feeds["sequence_lens"] = random.integers(0, T + 1, N).astype(np.int32)
    return recurrent(op, feeds, w, attributes), feeds


@pytest.mark.parametrize("seed", range(120))
def test_a_node_of_random_attributes_is_as_in_onnxruntime(seed):
    model, feeds = random_case(seed)
    expected = runtime(model, feeds)
    actual = librnn.onnx.load(model).run(feeds)
    for name, array in expected.items():
        # Without a bound of the activations values grow, and rounding with them.
        scale = max(1.0, float(np.abs(array).max()))
        np.testing.assert_allclose(actual[name], array, rtol=0, atol=5e-6 * scale, err_msg=name)


# ---------------------------------------------------- exported models

EXPORTED = sorted(VECTORS.glob("torch_*.onnx"))
KERAS = sorted(VECTORS.glob("keras*.onnx"))


@pytest.mark.parametrize("path", EXPORTED, ids=lambda path: path.stem)
def test_a_model_exported_by_pytorch_gives_pytorchs_numbers(path, tmp_path):
    with np.load(VECTORS / (path.name.split(".")[0] + ".npz")) as file:
        arrays = dict(file)
    model = librnn.onnx.load(path)
    feeds = {entry.name: arrays[f"in_{entry.name}"] for entry in model.inputs}
    results = model.run(feeds)
    assert {f"out_{name}" for name in results} == {key for key in arrays if key.startswith("out_")}
    for name, actual in results.items():
        expected = arrays[f"out_{name}"]
        if path.name.startswith("torch_packed") and name == "out0":
            # Past a row's length PyTorch pads the layer's output with 0, and the head makes its bias of it.
            assert np.abs(actual[2, 2:]).max() > 0
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=0, atol=FLOAT32)
    librnn.save(model.network, tmp_path / "model.safetensors")
    again = librnn.load(tmp_path / "model.safetensors")
    assert_same_bits(list(again.state_dict().values()), list(model.network.state_dict().values()))


@pytest.mark.parametrize("path", KERAS, ids=lambda path: path.stem)
def test_a_model_converted_by_tf2onnx_gives_keras_numbers(path):
    with np.load(path.with_suffix(".npz")) as file:
        x, y = file["x"], file["y"]
    model = librnn.onnx.load(path)
    (result,) = model.run({model.inputs[0].name: x}).values()
    assert result.shape == y.shape
    # Normalization by small variances magnifies rounding; onnxruntime is 1.3e-5 away from Keras there.
    # Values of an elu grow, and rounding with them.
    np.testing.assert_allclose(result, y, rtol=FLOAT32, atol=1.5e-5 if "normalized" in path.name else FLOAT32)


@pytest.mark.parametrize("path", EXPORTED, ids=lambda path: path.stem)
def test_sizes_of_a_run_need_not_be_those_of_the_export(path):
    """Other numbers of steps and rows than the exporter has seen, against onnxruntime; unless the graph works for one number only."""
    model = onnx.load(path)
    generator = np.random.default_rng(5)
    sizes = {"time": 4, "rows": 2}
    feeds = {}
    for entry in librnn.onnx.load(path).inputs:
        shape = [sizes.get(size, size) for size in entry.shape]
        if entry.dtype == "float32":
            feeds[entry.name] = generator.uniform(-1, 1, shape).astype(np.float32)
        else:
            feeds[entry.name] = np.array([4, 2]) if len(shape) == 1 else generator.integers(0, 11, shape)
    assert_as_onnxruntime(model, feeds)


def test_a_size_that_the_graph_fixes_is_a_number_in_its_inputs():
    """PyTorch's newer exporter writes the number of steps of its example into some GRUs, and declares the axis by a name."""
    model = librnn.onnx.load(VECTORS / "torch_gru.dynamo.onnx")
    assert [entry.shape for entry in model.inputs] == [(7, "rows", 5)]
    with pytest.raises(librnn.RNNError, match=r"expected \(7, rows, 5\)"):
        model.run({"in0": uniform(4, 2, 5)})


# ------------------------------------------------------------- forms of a file


@pytest.mark.parametrize("opset", range(7, 23))
@pytest.mark.parametrize("op", OPS)
def test_every_opset_from_7_to_22(op, opset):
    w = weights(op)
    x = uniform(5, 2, 3)
    # Squeeze and Slice changed their form between these opsets.
    squeeze = ("Squeeze", ["Y"], ["y"], {"axes": [1]}) if opset < 13 else ("Squeeze", ["Y", "one"], ["y"])
    cut = (
        ("Slice", ["y"], ["z"], {"starts": [1], "ends": [3], "axes": [2]}) if opset < 10
        else ("Slice", ["y", "one", "three", "two"], ["z"])
    )  # fmt: skip
    constants = {**w, "one": np.array([1]), "two": np.array([2]), "three": np.array([3])}
    model = graph(
        [(op, ["X", "W", "R", "B"], ["Y"]), squeeze, cut], {"X": ("float32", x.shape)}, ["z"], constants, opset
    )
    z = librnn.onnx.load(model).run({"X": x})["z"]
    whole = librnn.onnx.load(recurrent(op, {"X": x}, w, {"hidden_size": 4}, ["Y"])).run({"X": x})["Y"]
    assert_same_bits(z, whole[:, 0, :, 1:3])


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_raw_typed_and_external_data_are_the_same(op, dtype, tmp_path):
    w = weights(op, dtype=dtype)
    x = uniform(5, 2, 3, dtype=dtype)
    raw = recurrent(op, {"X": x}, w, {"hidden_size": 4})
    expected = librnn.onnx.load(raw).run({"X": x})
    typed = onnx.ModelProto()
    typed.CopyFrom(raw)
    kind = TensorProto.FLOAT if dtype == "float32" else TensorProto.DOUBLE
    del typed.graph.initializer[:]
    typed.graph.initializer.extend(helper.make_tensor(name, kind, a.shape, a.reshape(-1)) for name, a in w.items())
    assert not typed.graph.initializer[0].HasField("raw_data")
    assert_same_bits(librnn.onnx.load(typed).run({"X": x}), expected)
    path = tmp_path / "sub" / "model.onnx"
    path.parent.mkdir()
    onnx.save(raw, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "sub" / "weights.bin").stat().st_size >= sum(a.nbytes for a in w.values())
    assert_same_bits(librnn.onnx.load(path).run({"X": x}), expected)
    assert_same_bits(librnn.onnx.load(path.read_bytes(), directory=str(path.parent)).run({"X": x}), expected)
    with pytest.raises(librnn.RNNError, match="directory="):
        librnn.onnx.load(path.read_bytes())


@pytest.mark.parametrize("op", OPS)
def test_a_path_bytes_and_a_model_are_the_same(op, tmp_path):
    w, x = weights(op), uniform(5, 2, 3)
    model = recurrent(op, {"X": x}, w, {"hidden_size": 4})
    onnx.save(model, tmp_path / "model.onnx")
    expected = librnn.onnx.load(model).run({"X": x})
    for source in (tmp_path / "model.onnx", str(tmp_path / "model.onnx"), model.SerializeToString()):
        assert_same_bits(librnn.onnx.load(source).run({"X": x}), expected)


@pytest.mark.parametrize("op", OPS)
def test_the_hidden_size_may_be_missing(op):
    w, x = weights(op), uniform(5, 2, 3)
    with_size = librnn.onnx.load(recurrent(op, {"X": x}, w, {"hidden_size": 4})).run({"X": x})
    assert_same_bits(librnn.onnx.load(recurrent(op, {"X": x}, w, {}, with_hidden_size=False)).run({"X": x}), with_size)
    assert "hidden_size is 5" in refusal(recurrent(op, {"X": x}, w, {"hidden_size": 5}))


@pytest.mark.parametrize("op", OPS)
def test_missing_optional_inputs_may_be_empty_or_cut_off(op):
    w, x = weights(op), uniform(5, 2, 3)
    del w["B"]
    results = []
    for count in range(3, 6):
        sources = ["X", "W", "R"] + [""] * (count - 3)
        results.append(
            librnn.onnx.load(graph([(op, sources, ["Y"])], {"X": ("float32", x.shape)}, ["Y"], w)).run({"X": x})
        )
    for result in results[1:]:
        assert_same_bits(result, results[0])


def test_a_bias_whose_second_half_is_zero_is_one_bias_but_for_the_reset_after_gru():
    for op, attributes, name in (
        ("LSTM", {}, "bias_l0"), ("RNN", {}, "bias_l0"), ("GRU", {}, "bias_l0"),
        ("GRU", {"linear_before_reset": 1}, "bias_hh_l0"),
    ):  # fmt: skip
        w, x = weights(op), uniform(5, 2, 3)
        w["B"][:, GATES[op] * 4 :] = 0
        model = recurrent(op, {"X": x}, w, attributes)
        assert f"n0.{name}" in librnn.onnx.load(model).network.parameters
        assert_as_onnxruntime(model, {"X": x})


# ----------------------------------------------------------- conventions


def test_alpha_and_beta_are_taken_by_the_functions_that_have_one():
    w, x = weights("LSTM"), uniform(5, 2, 3)
    for activations, more in (
        (["Sigmoid", "HardSigmoid", "Tanh"], {"activation_alpha": [0.3]}),
        (["Sigmoid", "HardSigmoid", "Tanh"], {"activation_alpha": [0.9, 0.3, 0.9]}),
        (["HardSigmoid", "ScaledTanh", "LeakyRelu"], {"activation_alpha": [0.3, 0.8, 0.2], "activation_beta": [0.4, 0.9]}),
        (["Affine", "Elu", "ThresholdedRelu"], {"activation_alpha": [0.3], "activation_beta": [0.2]}),
    ):
        assert_as_onnxruntime(recurrent("LSTM", {"X": x}, w, {"activations": activations, **more}), {"X": x})


def test_a_list_of_alphas_that_is_too_long_is_an_error_by_the_specification():
    w, x = weights("LSTM"), uniform(5, 2, 3)
    attributes = {"activations": ["Sigmoid", "HardSigmoid", "Tanh"], "activation_alpha": [0.9, 0.3, 0.9]}
    message = refusal(recurrent("LSTM", {"X": x}, w, attributes), conventions="specification")
    assert "activation_alpha has 3 numbers" in message


@pytest.mark.parametrize("op", OPS)
def test_affine_without_numbers_is_zero_as_in_onnxruntime_and_an_error_by_the_specification(op):
    w, x = weights(op), uniform(5, 2, 3)
    names = {"RNN": ["Affine"], "GRU": ["Sigmoid", "Affine"], "LSTM": ["Sigmoid", "Affine", "Tanh"]}[op]
    model = recurrent(op, {"X": x}, w, {"activations": names}, ["Y"])
    assert_as_onnxruntime(model, {"X": x})
    assert "Affine has no alpha" in refusal(model, conventions="specification")


def test_clip_before_h_of_c_only_by_the_specification():
    """With all gates open C grows by 0.5 a step; o tanh(C) stays below tanh(0.5) where C is clipped to 0.5."""
    H = 2
    w = {"W": np.zeros((1, 4 * H, 1), np.float32), "R": np.zeros((1, 4 * H, H), np.float32), "B": np.zeros((1, 8 * H), np.float32)}
    w["B"][0, 3 * H : 4 * H] = 9  # c, clipped to 0.5
    x = np.zeros((6, 1, 1), np.float32)
    model = recurrent("LSTM", {"X": x}, w, {"clip": 0.5, "activations": ["Sigmoid", "Tanh", "Tanh"]}, ["Y", "Y_c"])
    as_runtime = assert_as_onnxruntime(model, {"X": x})
    as_written = librnn.onnx.load(model, conventions="specification").run({"X": x})
    assert_same_bits(as_written["Y_c"], as_runtime["Y_c"])
    c = as_runtime["Y_c"].max()
    assert c > 0.4
    gate = 0.5  # o = sigmoid(0)
    np.testing.assert_allclose(as_runtime["Y"][-1].max(), gate * np.tanh(c), rtol=1e-6)
    np.testing.assert_allclose(as_written["Y"][-1].max(), gate * np.tanh(min(c, 0.5)), rtol=1e-6)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_rows_of_length_0_end_with_0_as_in_onnxruntime_or_with_their_initial_state(op, direction):
    directions = 2 if direction == "bidirectional" else 1
    w = weights(op, directions=directions, initial_h=3)
    x, h = uniform(5, 3, 3), w.pop("initial_h")
    feeds = {"X": x, "sequence_lens": np.array([2, 0, 5], np.int32), "initial_h": h}
    model = recurrent(op, feeds, w, {"direction": direction})
    assert_as_onnxruntime(model, feeds)
    final = librnn.onnx.load(model, conventions="specification").run(feeds)["Y_h"]
    assert_same_bits(final[:, 1], h[:, 1])


def test_a_clip_that_onnxruntime_refuses_is_refused():
    for value in (0.0, -1.0, float("nan")):
        assert "clip is" in refusal(recurrent("LSTM", {"X": uniform(5, 2, 3)}, weights("LSTM"), {"clip": value}))


def test_names_of_conventions_are_checked():
    with pytest.raises(librnn.RNNError, match="conventions is 'onnx'"):
        librnn.onnx.load(b"", conventions="onnx")


# --------------------------------------------------------- lengths and states


@pytest.mark.parametrize("op", OPS)
def test_lengths_from_an_input_a_constant_or_a_calculation(op):
    w, x = weights(op), uniform(5, 3, 3)
    lengths = np.array([5, 1, 3], np.int32)
    given = {"X": ("float32", ("T", "N", 3)), "n": ("int64", ("N",))}
    computed = graph(
        [("Cast", ["n"], ["n32"], {"to": TensorProto.INT32}), (op, ["X", "W", "R", "B", "n32"], ["Y", "h"])],
        given, ["Y", "h"], w,
    )  # fmt: skip
    a = assert_as_onnxruntime(computed, {"X": x, "n": lengths.astype(np.int64)})
    masked = graph(
        [
            ("Cast", ["m"], ["m32"], {"to": TensorProto.INT32}),
            ("ReduceSum", ["m32", "axis"], ["n32"], {"keepdims": 0}),
            (op, ["X", "W", "R", "B", "n32"], ["Y", "h"]),
        ],
        {"X": given["X"], "m": ("bool", ("N", "T"))}, ["Y", "h"], {**w, "axis": np.array([1])},
    )  # fmt: skip
    assert_same_bits(librnn.onnx.load(masked).run({"X": x, "m": np.arange(5) < lengths[:, None]}), a)
    constant = graph(
        [(op, ["X", "W", "R", "B", "n32"], ["Y", "h"])], {"X": given["X"]}, ["Y", "h"], {**w, "n32": lengths}
    )
    assert_same_bits(librnn.onnx.load(constant).run({"X": x}), a)
    with pytest.raises(librnn.RNNError, match="sequence_lens"):
        librnn.onnx.load(constant).run({"X": x[:, :2]})


@pytest.mark.parametrize("value", [-1, 6])
def test_a_length_out_of_range_is_refused_as_in_onnxruntime(value):
    w, x = weights("GRU"), uniform(5, 2, 3)
    feeds = {"X": x, "sequence_lens": np.array([2, value], np.int32)}
    with pytest.raises(librnn.RNNError, match="length"):
        librnn.onnx.load(recurrent("GRU", feeds, w, {})).run(feeds)


def test_lengths_that_are_all_the_number_of_steps_are_none():
    """As tf2onnx writes them: the number of steps, repeated for each row."""
    w, x = weights("GRU"), uniform(5, 2, 3)
    model = graph(
        [
            ("Shape", ["X"], ["s"]), ("Slice", ["s", "zero", "one"], ["t"]), ("Slice", ["s", "one", "two"], ["n"]),
            ("Expand", ["t", "n"], ["l"]), ("Cast", ["l"], ["l32"], {"to": TensorProto.INT32}),
            ("GRU", ["X", "W", "R", "B", "l32"], ["Y"]), ("Gather", ["Y", "last"], ["y"], {"axis": 0}),
        ],
        {"X": ("float32", ("T", "N", 3))}, ["y"],
        {**w, "zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "last": np.array(-1)},
    )  # fmt: skip
    assert_as_onnxruntime(model, {"X": x})


def test_padding_is_what_the_graph_makes_of_zero():
    """A linear layer gives its bias, a residual connection its input, at steps that a row does not have."""
    w = weights("GRU", hidden=3)
    extra = {"M": uniform(3, 3, seed=1), "b": uniform(3, seed=2), "one": np.array([1])}
    model = graph(
        [
            ("GRU", ["X", "W", "R", "B", "n"], ["Y"]), ("Squeeze", ["Y", "one"], ["y"]), ("MatMul", ["y", "M"], ["z"]),
            ("Add", ["z", "b"], ["u"]), ("Tanh", ["u"], ["v"]), ("Add", ["v", "X"], ["out"]),
        ],
        {"X": ("float32", ("T", "N", 3)), "n": ("int32", ("N",))}, ["out", "y"], {**w, **extra},
    )  # fmt: skip
    actual = assert_as_onnxruntime(model, {"X": uniform(6, 4, 3), "n": np.array([6, 0, 3, 1], np.int32)})
    assert np.abs(actual["out"][4:, 1]).min() > 0 and not actual["y"][4:, 1].any()


def test_a_layer_with_lengths_and_one_without_are_refused_together():
    w = weights("GRU", features=4)
    first = {f"{key}1": array for key, array in weights("GRU").items()}
    model = graph(
        [
            ("GRU", ["X", "W1", "R1", "B1", "n"], ["Y"]), ("Squeeze", ["Y", "one"], ["y"]), ("GRU", ["y", "W", "R", "B"], ["Z"]),
        ],
        {"X": ("float32", ("T", "N", 3)), "n": ("int32", ("N",))}, ["Z"], {**w, **first, "one": np.array([1])},
    )  # fmt: skip
    assert "has no sequence_lens" in refusal(model)


def test_the_last_step_of_the_padded_array_is_refused_and_y_h_is_read():
    w = weights("GRU")
    constants = {**w, "last": np.array(-1), "one": np.array([1]), "zero": np.array([0]), "M": uniform(4, 2)}
    inputs = {"X": ("float32", ("T", "N", 3)), "n": ("int32", ("N",))}
    gru = ("GRU", ["X", "W", "R", "B", "n"], ["Y", "h"])
    padded = graph([gru, ("Gather", ["Y", "last"], ["y"], {"axis": 0}), ("MatMul", ["y", "M"], ["z"])], inputs, ["z"], constants)
    assert "padded array" in refusal(padded)
    state = graph([gru, ("Squeeze", ["h", "zero"], ["y"]), ("MatMul", ["y", "M"], ["z"])], inputs, ["z"], constants)
    assert_as_onnxruntime(state, {"X": uniform(5, 3, 3), "n": np.array([2, 0, 5], np.int32)})


@pytest.mark.parametrize("op", OPS)
def test_initial_states_zero_repeated_by_rows_and_from_inputs(op):
    N = 3
    x = uniform(5, N, 3)
    names = ["initial_h", "initial_c"] if op == "LSTM" else ["initial_h"]
    for kind in ("zeros", "repeated", "by rows", "inputs"):
        w = weights(op, initial_h=N, initial_c=N)
        if kind == "zeros":
            w["initial_h"][:] = w["initial_c"][:] = 0
        elif kind == "repeated":
            w["initial_h"], w["initial_c"] = (np.repeat(w[name][:, :1], N, axis=1) for name in ("initial_h", "initial_c"))
        given = {name: w.pop(name) for name in names}
        w.pop("initial_c", None)
        inputs = {"X": x, **(given if kind == "inputs" else {})}
        model = recurrent(op, inputs, {**w, **({} if kind == "inputs" else given)}, {})
        assert_as_onnxruntime(model, inputs)
        network = librnn.onnx.load(model).network
        assert any("h_0_l0" in name for name in network.parameters) == (kind == "repeated")


def test_an_initial_state_has_a_row_for_each_row_of_x():
    w = weights("GRU")
    model = graph([("GRU", ["X", "W", "R", "B", "", "h"], ["Y"])], {"X": ("float32", ("T", "N", 3))}, ["Y"],
                  {**w, "h": np.zeros((1, 3, 4), np.float32)})  # fmt: skip
    assert_as_onnxruntime(model, {"X": uniform(5, 3, 3)})
    with pytest.raises(librnn.RNNError, match="the size 3 is 3, expected 2, as N"):
        librnn.onnx.load(model).run({"X": uniform(5, 2, 3)})


def test_a_state_that_the_graph_computes_is_refused():
    w = weights("GRU", features=3, hidden=3)
    model = graph(
        [("GRU", ["X", "W", "R", "B"], ["Y", "h"]), ("GRU", ["X", "W", "R", "B", "", "h"], ["Z"])],
        {"X": ("float32", ("T", "N", 3))}, ["Z"], w,
    )  # fmt: skip
    assert "initial_h 'h' is computed in the graph" in refusal(model)


def test_the_cell_state_can_be_an_output_and_nothing_else():
    w = weights("LSTM")
    inputs = {"X": ("float32", ("T", "N", 3))}
    lstm = ("LSTM", ["X", "W", "R", "B"], ["Y", "h", "c"])
    moved = graph([lstm, ("Transpose", ["c"], ["t"], {"perm": [1, 0, 2]})], inputs, ["t", "Y"], w)
    assert_as_onnxruntime(moved, {"X": uniform(5, 2, 3)})
    computed = graph([lstm, ("Tanh", ["c"], ["t"])], inputs, ["t"], w)
    assert "Y_c of node 0" in refusal(computed)


# ---------------------------------------------------------------- layouts


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_layout_1_is_layout_0_transposed(op, direction):
    D = 2 if direction == "bidirectional" else 1
    w = weights(op, directions=D, initial_h=3)
    x, h = uniform(5, 3, 3), w.pop("initial_h")
    n = np.array([5, 2, 4], np.int32)
    first = librnn.onnx.load(
        recurrent(op, {"X": x, "sequence_lens": n, "initial_h": h}, w, {"direction": direction})
    ).run({"X": x, "sequence_lens": n, "initial_h": h})
    feeds = {"X": x.transpose(1, 0, 2), "sequence_lens": n, "initial_h": h.transpose(1, 0, 2)}
    second = librnn.onnx.load(recurrent(op, feeds, w, {"direction": direction, "layout": 1})).run(feeds)
    assert_same_bits(second["Y"].transpose(1, 2, 0, 3), first["Y"])
    for name in OUTPUTS[op][1:]:
        assert_same_bits(second[name].transpose(1, 0, 2), first[name])


def moving(nodes, constants, x, opset=17, shape=("T", "N", 3), op="GRU", directions=1):
    """A recurrent layer with nodes around it, which read X and Y and end in `out`, against onnxruntime."""
    w = weights(op, directions=directions)
    model = graph(nodes, {"X": (x.dtype, shape)}, ["out"], {**w, **constants}, opset)
    return assert_as_onnxruntime(model, {"X": x}), model


BOTH = ("GRU", ["X", "W", "R", "B"], ["Y", "h"], {"direction": "bidirectional"})


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([("Transpose", ["Y"], ["t"], {"perm": [0, 2, 1, 3]}), ("Reshape", ["t", "s"], ["out"])], {"s": np.array([0, 0, -1])}),
        ([("Transpose", ["Y"], ["t"], {"perm": [2, 0, 1, 3]}), ("Reshape", ["t", "s"], ["out"])], {"s": np.array([0, 0, 8])}),
        ([("Transpose", ["Y"], ["t"], {"perm": [0, 2, 3, 1]}), ("Reshape", ["t", "s"], ["out"])], {"s": np.array([0, 0, 8])}),
        ([("Transpose", ["Y"], ["t"], {"perm": [0, 2, 1, 3]}), ("Reshape", ["t", "s"], ["out"])], {"s": np.array([-1, 8])}),
        ([("Split", ["Y"], ["a", "b"], {"axis": 1}), ("Concat", ["a", "b"], ["c"], {"axis": 3}),
          ("Squeeze", ["c", "one"], ["out"])], {"one": np.array([1])}),
        ([("Gather", ["Y", "i"], ["out"], {"axis": 1})], {"i": np.array(1)}),
        ([("Gather", ["Y", "i"], ["out"], {"axis": 3})], {"i": np.array([3, 0])}),
        ([("Slice", ["Y", "one", "two", "one"], ["out"])], {"one": np.array([1]), "two": np.array([2])}),
        ([("Slice", ["Y", "m", "end", "zero", "m"], ["out"])],
         {"m": np.array([-1]), "end": np.array([-(2**63)]), "zero": np.array([0])}),
        ([("Gather", ["Y", "i"], ["out"], {"axis": 0})], {"i": np.array(-1)}),
        ([("Gather", ["Y", "i"], ["out"], {"axis": 0})], {"i": np.array([0])}),
        ([("Slice", ["Y", "m", "end", "zero"], ["out"])],
         {"m": np.array([-1]), "end": np.array([2**63 - 1]), "zero": np.array([0])}),
        ([("Transpose", ["h"], ["t"], {"perm": [1, 0, 2]}), ("Flatten", ["t"], ["f"]), ("Relu", ["f"], ["out"])], {}),
        ([("Unsqueeze", ["Y", "zero"], ["u"]), ("Squeeze", ["u", "zero"], ["out"])], {"zero": np.array([0])}),
        ([("Shape", ["Y"], ["s"]), ("Expand", ["Y", "s"], ["out"])], {}),
        ([("Relu", ["Y"], ["r"]), ("Transpose", ["r"], ["out"])], {}),
    ],
)  # fmt: skip
def test_axes_are_followed_as_onnxruntime_moves_them(nodes, constants):
    moving([BOTH, *nodes], constants, uniform(5, 2, 3), directions=2)


def test_features_on_axis_1_of_the_input_are_turned_outside_of_the_network():
    moving(
        [("Transpose", ["X"], ["x"], {"perm": [2, 0, 1]}), ("GRU", ["x", "W", "R", "B"], ["Y"]), ("Tanh", ["Y"], ["out"])],
        {}, uniform(2, 3, 5), shape=("N", 3, "T"),
    )  # fmt: skip


def test_an_input_is_read_once_where_two_layouts_of_it_are_used():
    nodes = [
        ("Transpose", ["X"], ["x"], {"perm": [1, 0, 2]}), ("GRU", ["x", "W", "R", "B"], ["Y"]),
        ("Squeeze", ["Y", "one"], ["y"]), ("Transpose", ["y"], ["t"], {"perm": [1, 0, 2]}),
        ("MatMul", ["X", "M"], ["z"]), ("Add", ["t", "z"], ["out"]),
    ]  # fmt: skip
    _, model = moving(nodes, {"one": np.array([1]), "M": uniform(3, 4)}, uniform(2, 5, 3), shape=("N", "T", 3))
    assert librnn.onnx.load(model).network.input_size == 3


def test_an_axis_that_is_time_here_and_rows_there_is_refused():
    w = weights("GRU", features=4)
    first = {f"{key}1": array for key, array in weights("GRU").items()}
    model = graph(
        [
            ("GRU", ["X", "W1", "R1", "B1"], ["Y"]), ("Squeeze", ["Y", "one"], ["y"]),
            ("Transpose", ["y"], ["t"], {"perm": [1, 0, 2]}), ("GRU", ["t", "W", "R", "B"], ["Z"]),
        ],
        {"X": ("float32", ("T", "N", 3))}, ["Z"], {**w, **first, "one": np.array([1])},
    )  # fmt: skip
    assert "is time here and rows in" in refusal(model) or "is rows here and time in" in refusal(model)


def test_steps_among_the_features_are_refused():
    w = weights("GRU")
    model = graph(
        [("GRU", ["X", "W", "R", "B"], ["Y"]), ("Reshape", ["Y", "s"], ["y"]), ("MatMul", ["y", "M"], ["z"])],
        {"X": ("float32", (5, "N", 3))}, ["z"], {**w, "s": np.array([-1, 20]), "M": uniform(20, 2)},
    )  # fmt: skip
    assert "becomes [N, 20]" in refusal(model)


# --------------------------------------------------------- other operators


def after(nodes, constants=None, opset=17, tolerance=FLOAT32, width=4, axes=False):
    """Nodes that read y [T, N, 4], the output of a GRU, and end in `out`, against onnxruntime."""
    w = weights("GRU", hidden=width)
    squeeze = ("Squeeze", ["Y"], ["y"], {"axes": [1]}) if axes else ("Squeeze", ["Y", "axis1"], ["y"])  # until opset 12, and since
    model = graph(
        [("GRU", ["X", "W", "R", "B"], ["Y"]), squeeze, *nodes],
        {"X": ("float32", ("T", "N", 3))}, ["out"], {**w, "axis1": np.array([1]), **(constants or {})}, opset,
    )  # fmt: skip
    assert_as_onnxruntime(model, {"X": uniform(5, 2, 3)}, tolerance)
    return librnn.onnx.load(model).network


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("HardSigmoid", {}), ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("LeakyRelu", {}), ("LeakyRelu", {"alpha": 0.3}), ("ThresholdedRelu", {"alpha": 0.1}), ("Elu", {}), ("Elu", {"alpha": 0.5}),
        ("Softsign", {}), ("Softplus", {}), ("Softmax", {}), ("LogSoftmax", {"axis": 2}), ("Neg", {}), ("Identity", {}),
        ("Dropout", {}),
    ],
)  # fmt: skip
def test_an_elementwise_operator_is_as_in_onnxruntime(op, attributes):
    after([(op, ["y"], ["out"], attributes)])


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (4,), (1, 1, 4)])
def test_arithmetic_with_constants(op, shape):
    constant = np.abs(uniform(*shape, seed=3)) + np.float32(0.5)
    after([(op, ["y", "c"], ["out"])], {"c": constant})
    if op != "Div":
        after([(op, ["c", "y"], ["out"])], {"c": constant})


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Sum"])
def test_arithmetic_of_two_sequences(op):
    after([("Tanh", ["y"], ["a"]), (op, ["y", "a"], ["out"])])


def test_linear_layers_as_products_and_as_gemm():
    M, b = uniform(4, 3, seed=1), uniform(3, seed=2)
    network = after([("MatMul", ["y", "M"], ["p"]), ("Add", ["b", "p"], ["out"])], {"M": M, "b": b})
    assert sum(name.endswith(".weight") for name in network.parameters) == 1  # the bias is part of the linear node
    for attributes, matrix in (({}, M), ({"transB": 1}, M.T), ({"alpha": 0.5, "beta": 2.0}, M)):
        after(
            [("Reshape", ["y", "s"], ["f"]), ("Gemm", ["f", "M", "b"], ["out"], attributes)],
            {"M": matrix, "b": b, "s": np.array([-1, 4])},
        )
    after([("MatMul", ["y", "M"], ["p"]), ("Add", ["p", "b"], ["q"]), ("Add", ["q", "b"], ["out"])], {"M": M, "b": b})


def test_layer_normalization_as_an_operator_and_written_out():
    c = {"w": uniform(4, seed=1), "b": uniform(4, seed=2), "e": np.array(1e-3, np.float32), "two": np.array(2.0, np.float32)}
    after([("LayerNormalization", ["y", "w", "b"], ["out"], {"epsilon": 1e-3})], c, tolerance=1e-5)
    after([("LayerNormalization", ["y", "w"], ["out"])], c, tolerance=1e-5)
    mean = lambda source, out: ("ReduceMean", [source], [out], {"axes": [-1]})  # noqa: E731
    for square in (("Pow", ["d", "two"], ["q"]), ("Mul", ["d", "d"], ["q"])):
        network = after(
            [
                mean("y", "m"), ("Sub", ["y", "m"], ["d"]), square, mean("q", "v"), ("Add", ["v", "e"], ["ve"]),
                ("Sqrt", ["ve"], ["s"]), ("Div", ["d", "s"], ["n"]), ("Mul", ["n", "w"], ["nw"]), ("Add", ["nw", "b"], ["out"]),
            ],
            c, tolerance=1e-5,
        )  # fmt: skip
        assert [name for name in network.parameters if "weight_" not in name and "bias_" not in name] != []
        assert len(network.parameters) == 4 + 2
    after(
        [
            mean("y", "m"), ("Sub", ["y", "m"], ["d"]), ("Mul", ["d", "d"], ["q"]), mean("q", "v"), ("Add", ["v", "e"], ["ve"]),
            ("Sqrt", ["ve"], ["s"]), ("Reciprocal", ["s"], ["r"]), ("Mul", ["r", "w"], ["i"]), ("Mul", ["y", "i"], ["yi"]),
            ("Mul", ["m", "i"], ["mi"]), ("Sub", ["b", "mi"], ["shift"]), ("Add", ["yi", "shift"], ["out"]),
        ],
        c, tolerance=1e-5,
    )  # fmt: skip


def test_a_mean_that_is_no_layer_normalization_is_refused():
    w = weights("GRU")
    model = graph(
        [("GRU", ["X", "W", "R", "B"], ["Y"]), ("ReduceMean", ["Y"], ["m"], {"axes": [-1]}), ("Tanh", ["m"], ["out"])],
        {"X": ("float32", ("T", "N", 3))}, ["out"], w,
    )  # fmt: skip
    assert "layer normalization" in refusal(model)
    over_time = graph(
        [("GRU", ["X", "W", "R", "B"], ["Y"]), ("ReduceMean", ["Y"], ["out"], {"axes": [0]})],
        {"X": ("float32", ("T", "N", 3))}, ["out"], w,
    )  # fmt: skip
    assert "a mean other than" in refusal(over_time)


def test_batch_normalization_of_the_features_axis():
    c = {name: uniform(4, seed=i) for i, name in enumerate(("s", "b", "m", "v"))}
    c["v"] = np.abs(c["v"]) + np.float32(0.5)
    nodes = [
        ("Transpose", ["y"], ["t"], {"perm": [1, 2, 0]}), ("BatchNormalization", ["t", "s", "b", "m", "v"], ["n"], {"epsilon": 1e-3}),
        ("Transpose", ["n"], ["out"], {"perm": [2, 0, 1]}),
    ]  # fmt: skip
    after(nodes, c)


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-0.25, 0.1), (0.0, 6.0), (-0.1, 0.1), (0.0, None), (0.1, None), (None, 0.05), (None, None)]
)
def test_a_clip_is_as_in_onnxruntime(low, high):
    limits = {name: np.array(value, np.float32) for name, value in (("low", low), ("high", high)) if value is not None}
    after([("Clip", ["y", "low" if low is not None else "", "high" if high is not None else ""], ["out"])], limits)
    after([("Clip", ["y"], ["out"], {name: value for name, value in (("min", low), ("max", high)) if value is not None})], opset=10,
          axes=True)  # fmt: skip


def test_a_clip_whose_limits_leave_nothing_is_refused():
    model = graph([("GRU", ["X", "W", "R", "B"], ["Y"]), ("Clip", ["Y", "c", "c"], ["out"])], {"X": ("float32", ("T", "N", 3))},
                  ["out"], {**weights("GRU"), "c": np.array(0.5, np.float32)})  # fmt: skip
    assert "limits from 0.5 to 0.5" in refusal(model)


def test_a_convolution_over_one_step_is_a_linear_layer():
    nodes = [("Transpose", ["y"], ["t"], {"perm": [1, 2, 0]}), ("Conv", ["t", "K", "b"], ["c"], {"kernel_shape": [1]}),
             ("Relu", ["c"], ["r"]), ("Transpose", ["r"], ["out"], {"perm": [2, 0, 1]})]  # fmt: skip
    network = after(nodes, {"K": uniform(2, 4, 1, seed=1), "b": uniform(2, seed=2)})
    assert network.output_size == 2
    message = refusal(graph([("Transpose", ["X"], ["t"], {"perm": [1, 2, 0]}), ("Conv", ["t", "K"], ["out"], {"strides": [2]})],
                            {"X": ("float32", ("T", "N", 3))}, ["out"], {"K": uniform(2, 3, 1)}))  # fmt: skip
    assert "strides is [2]" in message


def test_embeddings_and_one_hot_read_tokens_also_from_the_end():
    w = weights("GRU")
    tokens = np.array([[1, 0, -1], [6, -7, 3]])
    table = graph(
        [("Gather", ["E", "k"], ["e"]), ("GRU", ["e", "W", "R", "B"], ["out"])], {"k": ("int64", ("T", "N"))}, ["out"],
        {**w, "E": uniform(7, 3)},
    )  # fmt: skip
    assert_as_onnxruntime(table, {"k": tokens})
    w = weights("GRU", features=7)
    hot = graph(
        [("OneHot", ["k", "d", "v"], ["e"]), ("GRU", ["e", "W", "R", "B"], ["out"])], {"k": ("int64", ("T", "N"))}, ["out"],
        {**w, "d": np.array(7), "v": np.array([-0.5, 2], np.float32)},
    )  # fmt: skip
    assert_as_onnxruntime(hot, {"k": tokens % 7})
    for bad in (7, -8):
        with pytest.raises(librnn.RNNError):
            librnn.onnx.load(table).run({"k": np.full((2, 3), bad)})


def test_several_outputs_become_one_network():
    w = weights("LSTM", directions=2)
    model = graph(
        [
            ("LSTM", ["X", "W", "R", "B"], ["Y", "h", "c"], {"direction": "bidirectional"}),
            ("Split", ["Y"], ["f", "b"], {"axis": 1}), ("Squeeze", ["f", "one"], ["forward"]), ("Tanh", ["b"], ["tb"]),
            ("Transpose", ["tb"], ["backward"], {"perm": [2, 0, 1, 3]}), ("Concat", ["h", "c"], ["state"], {"axis": 0}),
        ],
        {"X": ("float32", ("T", "N", 3))}, ["forward", "state", "backward", "Y"], {**w, "one": np.array([1])},
    )  # fmt: skip
    feeds = {"X": uniform(5, 2, 3)}
    actual = assert_as_onnxruntime(model, feeds)
    loaded = librnn.onnx.load(model)
    assert_same_bits(loaded.run(feeds, ["state"])["state"], actual["state"])
    assert {"onnx.inputs", "onnx.outputs", "onnx.opset", "onnx.conventions"} <= set(loaded.network.metadata)
    only = librnn.onnx.load(model, outputs=["forward"])
    assert only.network.output_size == 4
    assert_same_bits(only.run(feeds)["forward"], actual["forward"])


def test_a_constant_can_be_an_output_beside_others():
    model = graph([("GRU", ["X", "W", "R", "B"], ["Y"]), ("Neg", ["c"], ["number"])], {"X": ("float32", ("T", "N", 3))},
                  ["Y", "number"], {**weights("GRU"), "c": np.array(2.0, np.float32)})  # fmt: skip
    assert assert_as_onnxruntime(model, {"X": uniform(5, 2, 3)})["number"].shape == ()


def test_an_output_of_one_step_beside_one_of_all_steps():
    """From the sequence where it is only moved; else refused, and either can be chosen."""
    w = weights("GRU")
    constants = {**w, "last": np.array(-1), "M": uniform(4, 2)}
    gru = ("GRU", ["X", "W", "R", "B"], ["Y", "h"])
    last = ("Gather", ["Y", "last"], ["z"], {"axis": 0})
    inputs = {"X": ("float32", ("T", "N", 3))}
    feeds = {"X": uniform(5, 2, 3)}
    assert_as_onnxruntime(graph([gru, last], inputs, ["Y", "z"], constants), feeds)
    model = graph([gru, last, ("MatMul", ["z", "M"], ["out"])], inputs, ["Y", "out"], constants)
    assert "choose with outputs" in refusal(model)
    for name in ("Y", "out"):
        expected = runtime(model, feeds, [name])[name]
        np.testing.assert_allclose(librnn.onnx.load(model, outputs=[name]).run(feeds)[name], expected, rtol=0, atol=FLOAT32)


# ------------------------------------------------------------------ refusals

GRU_NODE = ("GRU", ["X", "W", "R", "B"], ["Y", "h"])
REFUSED = {
    "DynamicQuantizeLSTM": (
        [("com.microsoft::DynamicQuantizeLSTM", ["X", "W", "R"], ["out"])],
        "DynamicQuantizeLSTM is not among the operators that librnn reads: it computes with integers",
    ),
    "a convolution": (
        [("Conv", ["X", "R"], ["out"])], "a Conv over the steps [4], expected one step: librnn has no such node: cut the graph",
    ),
    "a pooling": ([("MaxPool", ["X"], ["out"], {"kernel_shape": [2]})], "MaxPool is not among"),
    "a product of sequences": ([GRU_NODE, ("MatMul", ["Y", "Y"], ["out"])], "node 1 (MatMul 'n1'): a product of two sequences"),
    "an unknown attribute": ([("GRU", ["X", "W", "R", "B"], ["out"], {"zoneout": 0.1})], "'zoneout'"),
    "an unknown direction": ([("GRU", ["X", "W", "R", "B"], ["out"], {"direction": "both"})], "direction is 'both'"),
    "an unknown activation": ([("GRU", ["X", "W", "R", "B"], ["out"], {"activations": ["Sigmoid", "Gelu"]})], "'Gelu'"),
    "too few activations": ([("GRU", ["X", "W", "R", "B"], ["out"], {"activations": ["Sigmoid"]})], "expected 2 names"),
    "a layout of 2": ([("GRU", ["X", "W", "R", "B"], ["out"], {"layout": 2})], "layout is 2"),
    "linear_before_reset 3": ([("GRU", ["X", "W", "R", "B"], ["out"], {"linear_before_reset": 3})], "linear_before_reset is 3"),
    "a clip of another type": ([("GRU", ["X", "W", "R", "B"], ["out"], {"clip": 3})], "'clip' is 3"),
    "W of another shape": ([("GRU", ["X", "R", "R", "B"], ["out"])], "W [1, 12, 4] reads 4"),
    "R of another shape": ([("GRU", ["X", "W", "W", "B"], ["out"])], "R has the shape (1, 12, 3)"),
    "B of another shape": ([("GRU", ["X", "W", "R", "W"], ["out"])], "B has the shape"),
    "two directions with weights of one": (
        [("GRU", ["X", "W", "R", "B"], ["out"], {"direction": "bidirectional"})], "R has the shape (1, 12, 4), expected [2,"),
    "no W": ([("GRU", ["X", "", "R"], ["out"])], "W is missing"),
    "too many inputs": ([("GRU", ["X", "W", "R", "B", "", "", "X"], ["out"])], "7 inputs"),
    "X of two axes": ([("Squeeze", ["X"], ["x"]), ("GRU", ["x", "W", "R", "B"], ["out"])], "node 0 (Squeeze 'n0')"),
    "steps chosen from the middle": ([GRU_NODE, ("Gather", ["Y", "three"], ["y"]), ("Tanh", ["y"], ["out"])], "neither the first nor the last"),
    "a mean over rows": ([GRU_NODE, ("ReduceMax", ["Y"], ["out"])], "ReduceMax"),
    "a sequence divided by another": ([GRU_NODE, ("Div", ["Y", "Y"], ["out"])], "divided by another"),
    "a sequence in another precision": ([GRU_NODE, ("Cast", ["Y"], ["out"], {"to": TensorProto.DOUBLE})], "becomes float64"),
    "repeated rows": ([GRU_NODE, ("Tile", ["Y", "tiles"], ["y"]), ("Tanh", ["y"], ["out"])], "repeats"),
    "an output of nothing": ([("Identity", ["X"], ["out"])], "nothing for a network to compute"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_librnn_cannot_say_is_refused_by_name(name):
    nodes, part = REFUSED[name]
    model = graph(
        nodes, {"X": ("float32", ("T", "N", 3))}, ["out"],
        {**weights("GRU"), "three": np.array(3), "tiles": np.array([1, 1, 2, 1])}, domains=["com.microsoft"],
    )  # fmt: skip
    assert part in refusal(model)


def test_a_node_that_no_output_needs_may_be_anything():
    model = graph(
        [("Conv", ["X", "W"], ["unused"]), GRU_NODE], {"X": ("float32", ("T", "N", 3))}, ["Y"], weights("GRU")
    )
    assert_same_bits(
        librnn.onnx.load(model).run({"X": uniform(5, 2, 3)}),
        librnn.onnx.load(recurrent("GRU", {"X": uniform(5, 2, 3)}, weights("GRU"), {}, ["Y"])).run({"X": uniform(5, 2, 3)}),
    )


def test_half_precision_is_refused_by_name():
    w = {name: array.astype(np.float16) for name, array in weights("GRU").items()}
    model = graph([GRU_NODE], {"X": ("float32", ("T", "N", 3))}, ["Y"], w)
    assert "float16" in refusal(model)


def test_opsets_out_of_range_are_refused():
    w, x = weights("GRU"), uniform(5, 2, 3)
    for opset in (6, 999):
        model = recurrent("GRU", {"X": x}, w, {})
        model.opset_import[0].version = opset
        assert f"opset is {opset}" in refusal(model)


def test_feeds_are_checked():
    w, x = weights("GRU"), uniform(5, 2, 3)
    inputs = {"X": ("float32", ("T", "N", 3)), "h": ("float32", (1, "N", 4))}
    model = librnn.onnx.load(graph([("GRU", ["X", "W", "R", "B", "", "h"], ["Y"])], inputs, ["Y"], w))
    h = uniform(1, 2, 4)
    model.run({"X": x, "h": h})
    for feeds, part in (
        ({"X": x}, "'h' is missing"), ({"X": x, "h": h, "q": h}, "feeds has q"), ({"X": x[0], "h": h}, "expected (T, N, 3)"),
        ({"X": x[..., :2], "h": h}, "expected (T, N, 3)"), ({"X": x, "h": h[:, :1]}, "N is 2 in another place"),
        ({"X": x.astype(np.float64), "h": h}, "'X' is float64"), ([x, h], "feeds is list"),
    ):  # fmt: skip
        with pytest.raises(librnn.RNNError) as caught:
            model.run(feeds)
        assert part in caught.value.message
    assert [(entry.name, entry.dtype, entry.shape) for entry in model.inputs] == [
        ("X", "float32", ("T", "N", 3)), ("h", "float32", (1, "N", 4))
    ]  # fmt: skip
    assert "X [T, N, 3]" in repr(model)


def test_weights_that_are_inputs_come_with_a_run_or_as_constants():
    w, x = weights("GRU"), uniform(5, 2, 3)
    model = recurrent("GRU", {"X": x, **w}, {}, {}, ["Y"])
    loaded = librnn.onnx.load(model)
    with pytest.raises(librnn.RNNError, match="constants="):
        loaded.network  # noqa: B018
    first = loaded.run({"X": x, **w})
    other = {name: array * np.float32(0.5) for name, array in w.items()}
    second = loaded.run({"X": x, **other})
    assert np.abs(first["Y"] - second["Y"]).max() > 0.01
    fixed = librnn.onnx.load(model, constants=other)
    assert_same_bits(fixed.run({"X": x}), second)
    assert [entry.name for entry in fixed.inputs] == ["X"]
    with pytest.raises(librnn.RNNError, match="constants has 'Q'"):
        librnn.onnx.load(model, constants={"Q": x})


def test_without_the_package_onnx_the_error_tells_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(librnn.RNNError, match=r"pip install librnn\[onnx\]"):
        librnn.onnx.load(tmp_path / "model.onnx")
    with pytest.raises(librnn.RNNError, match=r"pip install librnn\[onnx\]"):
        librnn.onnx.save(librnn.GRU(2, 3), tmp_path / "model.onnx")


def test_a_squeeze_of_no_axes_takes_all_of_size_1_as_in_onnxruntime():
    w = {**weights("GRU"), "none": np.zeros(0, np.int64)}
    model = graph([GRU_NODE, ("Squeeze", ["Y", "none"], ["out"])], {"X": ("float32", (5, 2, 3))}, ["out"], w)
    assert assert_as_onnxruntime(model, {"X": uniform(5, 2, 3)})["out"].shape == (5, 2, 4)


def test_tensors_of_scalars_and_attributes_of_constants():
    """Constant nodes of every form that holds a number."""
    w = weights("GRU")
    for attribute in ({"value": numpy_helper.from_array(np.array([1]))}, {"value_ints": [1]}):
        model = graph(
            [GRU_NODE, ("Constant", [], ["axis"], attribute), ("Squeeze", ["Y", "axis"], ["out"])],
            {"X": ("float32", ("T", "N", 3))}, [info("out", "float32", None)], w,
        )  # fmt: skip
        assert_as_onnxruntime(model, {"X": uniform(5, 2, 3)})
