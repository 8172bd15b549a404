"""Loops over steps that compute a cell are read as that cell; a body that is changed is read right or refused, never read wrong."""

import numpy as np
import pytest

import librnn

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper  # noqa: E402

from onnxfile import VECTORS  # noqa: E402

LOOPS = [
    "keras2_loop", "keras2_simple_rnn_both_directions", "keras2_gru_reset_before", "keras2_gru_without_bias",
    "keras3_gru_twice", "keras3_gru_of_seven_steps", "keras3_lstm_hard_sigmoid",
]  # fmt: skip
#: What an operator of the body is exchanged for.
OTHERS = {"Sigmoid": ["Tanh", "HardSigmoid"], "Tanh": ["Sigmoid", "Relu"], "Add": ["Sub", "Mul"], "Sub": ["Add"], "Mul": ["Add", "Sub"],
          "Less": ["Greater", "LessOrEqual"], "And": ["Or"], "Clip": ["Relu"], "MatMul": []}  # fmt: skip
#: Values of integer and fractional constants of the body: cuts of matrices, the counter's step, 1 - Z.
NUMBERS = {"i": [0, 1, 2, 3, 6, 12], "f": [0.0, 1.0, 0.5, 6.0]}


def loops_of(model):
    return [node for node in model.graph.node if node.op_type == "Loop"]


def body_of(node):
    return next(attribute.g for attribute in node.attribute if attribute.name == "body")


def change_operator(model, loop):
    """(description, change) for each change of one node, constant or output of a body; the change is undone by reading the file anew."""
    body = body_of(loop)
    for index, node in enumerate(body.node):
        for other in OTHERS.get(node.op_type, ["Identity"]):
            yield f"{node.op_type} {index} becomes {other}", ("operator", index, other)
        if len(node.input) > 1:
            yield f"inputs of {node.op_type} {index} are exchanged", ("exchange", index, None)
        for place in range(len(node.input)):
            for source in (body.input[0].name, body.input[3].name, body.node[(index * 7 + place) % max(index, 1)].output[0]):
                if index and source != node.input[place]:
                    yield f"input {place} of {node.op_type} {index} is {source}", ("input", index, (place, source))
        if node.op_type == "Split":
            yield f"the outputs of Split {index} are exchanged", ("outputs", index, None)
    for index, tensor in enumerate(body.initializer):
        array = numpy_helper.to_array(tensor)
        for number in NUMBERS.get(array.dtype.kind, []):
            if not (array == number).all():
                yield f"a number of {tensor.name} is {number}", ("constant", index, number)
    for index in range(1, len(body.output)):
        for other in range(1, len(body.output)):
            if other != index:
                yield f"output {index} is output {other}", ("result", index, other)
    for place in range(2, len(loop.input)):
        for other in range(2, len(loop.input)):
            if other != place:
                yield f"the loop's input {place} is its input {other}", ("carried", place, other)
    yield "the loop is not told how often to run", ("carried", 0, None)


def changed(model, number, change):
    kind, index, value = change
    loop = loops_of(model)[number]
    body = body_of(loop)
    if kind == "operator":
        body.node[index].op_type = value
        if value == "Identity":
            del body.node[index].input[1:], body.node[index].attribute[:]
        elif value == "Relu":
            del body.node[index].input[1:]
    elif kind == "exchange":
        first, second = body.node[index].input[:2]
        body.node[index].input[0], body.node[index].input[1] = second, first
    elif kind == "outputs":
        outputs = list(body.node[index].output)
        for place, name in enumerate(outputs[1:] + outputs[:1]):
            body.node[index].output[place] = name
    elif kind == "input":
        body.node[index].input[value[0]] = value[1]
    elif kind == "constant":
        array = np.array(numpy_helper.to_array(body.initializer[index]))
        array.reshape(-1)[-1] = value
        body.initializer[index].CopyFrom(numpy_helper.from_array(array, body.initializer[index].name))
    elif kind == "result":
        body.output[index].name = body.output[value].name
    else:
        assert kind == "carried"
        loop.input[index] = "" if value is None else loop.input[value]


def in_onnxruntime(model, feeds):
    """Its outputs; None if it refuses the model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feeds)
    except Exception:  # onnxruntime has many classes of exceptions, without a common one
        return None


@pytest.mark.parametrize("name", LOOPS)
def test_a_changed_body_is_read_right_or_refused(name):
    data = (VECTORS / f"{name}.onnx").read_bytes()
    original = onnx.ModelProto.FromString(data)
    with np.load(VECTORS / f"{name}.npz") as file:
        feeds = {"x": file["x"]}
    changes = [
        (number, what, change) for number, loop in enumerate(loops_of(original)) for what, change in change_operator(original, loop)
    ]
    read = 0
    for number, what, change in changes:
        model = onnx.ModelProto.FromString(data)
        changed(model, number, change)
        try:
            (actual,) = librnn.onnx.load(model).run(feeds).values()
        except librnn.RNNError:
            continue
        expected = in_onnxruntime(model, feeds)
        if expected is None:
            continue  # onnxruntime checks declared types of the body that librnn does not need
        read += 1
        assert actual.shape == expected[0].shape, what
        # Without a bound of the activations values grow, and rounding with them.
        scale = max(1.0, float(np.abs(expected[0]).max()))
        assert np.abs(actual - expected[0]).max() <= 5e-6 * scale, what
    assert len(changes) > 50 and read > 0


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_becomes_a_recurrent_node_of_a_model_file(name, tmp_path):
    with np.load(VECTORS / f"{name}.npz") as file:
        x, y = file["x"], file["y"]
    network = librnn.onnx.load(VECTORS / f"{name}.onnx").network
    librnn.save(network, tmp_path / "model.safetensors")
    again = librnn.load(tmp_path / "model.safetensors")
    result, _ = again.run(x.transpose(1, 0, 2))
    np.testing.assert_allclose(result if y.ndim == 2 else result.transpose(1, 0, 2), y, rtol=0, atol=2e-6)


def test_a_loop_that_is_no_cell_is_refused_with_what_to_do():
    model = onnx.load(VECTORS / "keras2_loop.onnx")
    (loop,) = loops_of(model)
    body = body_of(loop)
    new = next(node for node in body.node if node.op_type == "Tanh")
    body.node.append(helper.make_node("Mul", [new.output[0], new.output[0]], ["squared"]))
    body.output[2].name = "squared"
    with pytest.raises(librnn.RNNError, match="Loop .*is not the cell of an RNN, GRU or LSTM.*: export the layer"):
        librnn.onnx.load(model)
