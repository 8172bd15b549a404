"""Damages ONNX files at random and reads and runs them: anything but a result or an RNNError is a fault of librnn.

    python onnxfuzz.py --seconds 600 [--seed 0] [--compare]

With --compare, what librnn computes of a damaged file must be what onnxruntime computes of it, where that runs it.

Each case is made from its number alone, so that `--case N` repeats it. Cases run in a process of their own: one that crashes
or does not end is reported with its number, too.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import traceback

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

import librnn
from helpers import ROOT
from onnxfile import graph, weights

VECTORS = ROOT / "Tests" / "Vectors" / "onnx"
#: Cases that one process runs, and the seconds that it may take for them.
BATCH, LONGEST = 400, 180
INTEGERS = [0, 1, 2, 3, 4, 7, -1, -2, 5, 64, 255, 1 << 20, 1 << 31, -(1 << 31), (1 << 40), (1 << 63) - 1, -(1 << 63)]
FLOATS = [0.0, 1.0, -1.0, 1e-30, 1e38, float("nan"), float("inf"), float("-inf"), 0.5]
TEXTS = ["", "X", "forward", "reverse", "bidirectional", "Tanh", "Affine", "NOTSET", "\u00e9", "a" * 300]
#: Operators that a node may turn into: those of the reader, and some that it does not have.
OPERATORS = [
    "RNN", "GRU", "LSTM", "Constant", "Identity", "Cast", "Shape", "Size", "Gather", "Concat", "Slice", "Unsqueeze", "Squeeze",
    "Transpose", "Reshape", "Flatten", "Expand", "ConstantOfShape", "Range", "Tile", "Split", "Add", "Sub", "Mul", "Div", "Neg",
    "Mod", "Pow", "Sqrt", "Min", "Max", "Where", "Equal", "Not", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or",
    "ReduceProd", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "Abs", "Floor", "Ceil", "DequantizeLinear", "MatMul", "Gemm",
    "Sum", "Relu", "Sigmoid", "Tanh", "HardSigmoid", "LeakyRelu", "ThresholdedRelu", "Elu", "Softsign", "Softplus", "PRelu",
    "Softmax", "LogSoftmax", "LayerNormalization", "GlobalAveragePool", "Reciprocal", "BatchNormalization", "OneHot", "Dropout",
    "ReverseSequence", "Loop", "Scan", "If", "Conv", "GatherElements", "Einsum",
]  # fmt: skip
ATTRIBUTES = [
    "axis", "axes", "perm", "to", "value", "value_int", "value_ints", "value_float", "direction", "layout", "clip", "activations",
    "activation_alpha", "activation_beta", "hidden_size", "linear_before_reset", "input_forget", "keepdims", "allowzero", "alpha",
    "beta", "transA", "transB", "epsilon", "starts", "ends", "split", "num_outputs", "start", "end", "body", "mode", "fmod",
    "batch_axis", "time_axis", "noop_with_empty_axes", "block_size", "ratio",
]  # fmt: skip


def corpus():
    """Bytes of good models: the committed ones, and what `librnn.onnx.save` writes."""
    files = [path.read_bytes() for path in sorted(VECTORS.glob("*.onnx"))]
    models = [
        librnn.LSTM(3, 2, 2, bidirectional=True, peepholes=True, gate_clip=0.7, seed=0),
        librnn.GRU(3, 2, activations={"r": ("hard_sigmoid", 0.2, 0.5), "z": ("hard_sigmoid", 0.2, 0.5), "n": "softsign"}, seed=0),
        librnn.GRU(3, 2, bidirectional=True, merge="mean", hidden_size_reverse=2, learn_initial_state=True, seed=0),
        librnn.Sequential(
            [librnn.Embedding(7, 3), librnn.GRU(3, 4), librnn.LayerNorm(4), librnn.Linear(4, 3), librnn.Softmax()], seed=0
        ),
        librnn.Sequential(
            [librnn.OneHot(5), librnn.RNN(5, 3), librnn.Activation("scaled_tanh", 1.5, 0.5), librnn.LastStep(), librnn.Linear(3, 2)],
            seed=0,
        ),
    ]  # fmt: skip
    for model in models:
        for options in ({}, {"states": True}, {"lengths": True}):
            files.append(librnn.onnx.to_model(model, **options).SerializeToString())
    return files + [model.SerializeToString() for model in written()]


def written():
    """Graphs with the operators that the others lack."""
    gru = ("GRU", ["X", "W", "R", "B"], ["Y", "h"])
    squeezed = [gru, ("Squeeze", ["Y", "one"], ["y"])]
    x = {"X": ("float32", ("T", "N", 3))}
    vector = np.linspace(0.5, 1, 4, dtype=np.float32)
    constants = {
        **weights("GRU"), "zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "m": np.array([-1]),
        "low": np.array([-(2**63)]), "v": vector, "e": np.array(1e-3, np.float32), "M": np.ones((4, 4), np.float32),
        "q": np.ones((4, 4), np.int8), "scale": np.array(0.1, np.float32), "seven": np.array(7), "hot": np.array([0, 1], np.float32),
        "W7": weights("GRU", features=7)["W"], "n": np.array([2, 1], np.int32),
    }  # fmt: skip
    norm = [
        ("ReduceMean", ["y"], ["m1"], {"axes": [-1]}), ("Sub", ["y", "m1"], ["d"]), ("Mul", ["d", "d"], ["q1"]),
        ("ReduceMean", ["q1"], ["v1"], {"axes": [-1]}), ("Add", ["v1", "e"], ["ve"]), ("Sqrt", ["ve"], ["s"]),
        ("Div", ["d", "s"], ["nn"]), ("Mul", ["nn", "v"], ["nw"]), ("Add", ["nw", "v"], ["out"]),
    ]  # fmt: skip
    tails = [
        norm,
        [("Transpose", ["y"], ["t"], {"perm": [1, 2, 0]}), ("BatchNormalization", ["t", "v", "v", "v", "v"], ["out"])],
        [("Slice", ["y", "m", "low", "zero", "m"], ["t"]), ("LeakyRelu", ["t"], ["out"], {"alpha": 0.1})],
        [("DequantizeLinear", ["q", "scale"], ["w"]), ("Reshape", ["y", "s2"], ["f"]), ("Gemm", ["f", "w", "v"], ["out"])],
        [("Split", ["y"], ["a", "b"], {"axis": 2}), ("Mul", ["a", "b"], ["p"]), ("Concat", ["p", "b"], ["out"], {"axis": -1})],
        [("Shape", ["y"], ["s"]), ("Expand", ["one", "s"], ["ones"]), ("Tile", ["y", "tiles"], ["t"]), ("Sum", ["t", "y"], ["out"])],
        [("Unsqueeze", ["y", "zero"], ["u"]), ("Flatten", ["h"], ["out"]), ("Softmax", ["u"], ["out2"])],
        [("PRelu", ["y", "e"], ["p"]), ("Dropout", ["p"], ["d"]), ("Neg", ["d"], ["n1"]), ("Gather", ["n1", "m0"], ["out"])],
    ]
    more = {"s2": np.array([-1, 4]), "tiles": np.array([1, 1, 1]), "m0": np.array(-1)}
    models = [graph(squeezed + tail, x, ["out"], {**constants, **more}) for tail in tails]
    tokens = {"k": ("int64", ("T", "N")), "l": ("int64", ("N",))}
    hot = [
        ("Where", ["less", "k7", "k"], ["kk"]), ("OneHot", ["kk", "seven", "hot"], ["e1"]), ("Cast", ["l"], ["n32"], {"to": 6}),
        ("LSTM", ["e1", "LW", "LR", "LB", "n32"], ["Y", "h", "c"], {"direction": "bidirectional", "clip": 3.0}),
        ("Transpose", ["Y"], ["t"], {"perm": [0, 2, 1, 3]}), ("Reshape", ["t", "s3"], ["out"]),
    ]  # fmt: skip
    start = [("Less", ["k", "nil"], ["less"]), ("Add", ["k", "seven"], ["k7"])]
    lstm = {"L" + name: array for name, array in weights("LSTM", features=7, directions=2).items()}
    models.append(graph(start + hot, tokens, ["out", "c"], {**constants, **lstm, "nil": np.array(0), "s3": np.array([0, 0, -1])}))
    open_weights = [
        ("GRU", ["X", "W", "R", "B", "", "i"], ["Y", "h"], {"linear_before_reset": 1}),
        ("ReverseSequence", ["Y", "n"], ["r"], {"batch_axis": 2}), ("LayerNormalization", ["Y", "v"], ["out"]),
    ]  # fmt: skip
    inputs = {**x, "i": ("float32", (1, "N", 4)), "R": ("float32", (1, 12, 4))}
    models.append(graph(open_weights, inputs, ["out", "h"], {name: array for name, array in constants.items() if name != "R"}))
    decoder = [
        ("LSTM", ["X", "EW", "ER", "EB"], ["Y", "h", "c"]), ("Tanh", ["c"], ["c0"]), ("Transpose", ["Y"], ["t"], {"perm": [2, 1, 0, 3]}),
        ("Squeeze", ["t", "one"], ["x2"]), ("LSTM", ["x2", "FW", "FR", "FB", "", "h0", "c0"], ["out", "h1"]),
        ("Expand", ["h", "tiles"], ["h0"]),
    ]  # fmt: skip
    decoder.insert(1, decoder.pop())
    pair = {"E" + name: array for name, array in weights("LSTM").items()} | {
        "F" + name: array for name, array in weights("LSTM", features=4).items()
    }
    models.append(graph(decoder, {"X": ("float32", (2, 2, 3))}, ["out", "Y", "h1"], {**pair, **more, "one": np.array([1])}))
    return models


class Damage:
    """Random changes of one model."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def choose(self, entries):
        return entries[int(self.random.integers(len(entries)))]

    def changed(self, data):
        kind = self.random.integers(10)
        if kind == 0:
            return data[: int(self.random.integers(len(data)))]
        if kind == 1:
            return self.bytes(data)
        model = onnx.ModelProto.FromString(data)
        changes = [
            self.operator, self.input, self.output, self.attribute, self.new_attribute, self.attribute_type, self.dims, self.data,
            self.tensor_type, self.values, self.declaration, self.opset, self.remove, self.twice, self.new_input, self.swap,
            self.graph_output, self.constant_input, self.small_ints,
        ]  # fmt: skip
        for _ in range(int(self.choose([1, 1, 1, 2, 3]))):
            self.choose(changes)(model)
        return model.SerializeToString()

    def bytes(self, data):
        data = bytearray(data)
        for _ in range(int(self.random.integers(1, 8))):
            place = int(self.random.integers(len(data)))
            if self.random.integers(2):
                data[place] ^= 1 << int(self.random.integers(8))
            else:
                data[place] = int(self.random.integers(256))
        return bytes(data)

    def node(self, model):
        return self.choose(model.graph.node) if model.graph.node else model.graph.node.add()

    def names(self, model):
        graph = model.graph
        return (
            [""] + [entry.name for entry in graph.input] + [entry.name for entry in graph.initializer]
            + [name for node in graph.node for name in node.output]
        )  # fmt: skip

    def operator(self, model):
        self.node(model).op_type = self.choose(OPERATORS)

    def input(self, model):
        node = self.node(model)
        if node.input:
            node.input[int(self.random.integers(len(node.input)))] = self.choose(self.names(model))

    def new_input(self, model):
        self.node(model).input.append(self.choose(self.names(model)))

    def output(self, model):
        node = self.node(model)
        if self.random.integers(2):
            node.output.append(f"new{self.random.integers(1 << 30)}")
        elif node.output:
            del node.output[int(self.random.integers(len(node.output)))]

    def graph_output(self, model):
        """Another value of the graph is an output."""
        model.graph.output.add(name=self.choose(self.names(model)))

    def attribute(self, model):
        node = self.node(model)
        if not node.attribute:
            return
        attribute = self.choose(node.attribute)
        if attribute.type == AttributeProto.INT:
            attribute.i = self.choose(INTEGERS)
        elif attribute.type == AttributeProto.INTS:
            ints = list(attribute.ints)
            if ints and self.random.integers(2):
                ints[int(self.random.integers(len(ints)))] = self.choose(INTEGERS)
            else:
                ints = [self.choose(INTEGERS) for _ in range(int(self.random.integers(5)))]
            del attribute.ints[:]
            attribute.ints.extend(ints)
        elif attribute.type == AttributeProto.FLOAT:
            attribute.f = self.choose(FLOATS)
        elif attribute.type == AttributeProto.STRING:
            attribute.s = self.choose(TEXTS).encode()
        elif attribute.type == AttributeProto.TENSOR:
            attribute.t.CopyFrom(self.array())
        elif attribute.type == AttributeProto.STRINGS:
            del attribute.strings[:]
            attribute.strings.extend(self.choose(TEXTS).encode() for _ in range(int(self.random.integers(7))))
        elif attribute.type == AttributeProto.FLOATS:
            del attribute.floats[:]
            attribute.floats.extend(self.choose(FLOATS) for _ in range(int(self.random.integers(7))))

    def attribute_type(self, model):
        node = self.node(model)
        if node.attribute:
            self.choose(node.attribute).type = self.choose(list(AttributeProto.AttributeType.values()))

    def new_attribute(self, model):
        value = self.choose(
            [
                self.choose(INTEGERS), self.choose(FLOATS), self.choose(TEXTS), [self.choose(INTEGERS) for _ in range(3)],
                [self.choose(FLOATS) for _ in range(2)], [self.choose(TEXTS) for _ in range(2)], self.array(),
            ]
        )  # fmt: skip
        node = self.node(model)
        name = self.choose(ATTRIBUTES)
        for attribute in list(node.attribute):
            if attribute.name == name:
                node.attribute.remove(attribute)
        node.attribute.append(helper.make_attribute(name, value))

    def array(self, name=""):
        dtype = self.choose(["float32", "float64", "int64", "int32", "bool", "uint8", "int8", "uint64", "float16"])
        shape = tuple(int(size) for size in self.random.integers(0, 5, int(self.random.integers(4))))
        values = self.random.integers(-3, 8, shape)
        return numpy_helper.from_array(values.astype(dtype), name)

    def tensor(self, model):
        return self.choose(model.graph.initializer) if model.graph.initializer else model.graph.initializer.add()

    def dims(self, model):
        tensor = self.tensor(model)
        sizes = list(tensor.dims)
        kind = self.random.integers(4)
        if kind == 0 and sizes:
            self.random.shuffle(sizes)
        elif kind == 1:
            sizes.insert(int(self.random.integers(len(sizes) + 1)), 1)
        elif kind == 2 and sizes:
            sizes[int(self.random.integers(len(sizes)))] = self.choose(INTEGERS)
        else:
            sizes = [int(np.prod(sizes, dtype=object))]
        del tensor.dims[:]
        tensor.dims.extend(int(size) for size in sizes if -(1 << 63) <= size < 1 << 63)

    def data(self, model):
        tensor = self.tensor(model)
        tensor.CopyFrom(self.array(tensor.name))

    def tensor_type(self, model):
        self.tensor(model).data_type = int(self.random.integers(25))

    def values(self, model):
        """Other numbers in a tensor of the same shape."""
        tensor = self.tensor(model)
        try:
            array = np.array(numpy_helper.to_array(tensor))
        except Exception:  # an earlier change has damaged it
            return
        if array.size and array.dtype.kind in "iuf":
            choices = FLOATS if array.dtype.kind == "f" else [value for value in INTEGERS if abs(value) < 100]
            with np.errstate(all="ignore"):
                array.reshape(-1)[int(self.random.integers(array.size))] = np.array(self.choose(choices)).astype(array.dtype)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    def small_ints(self, model):
        """Axes, shapes and indices are the integer tensors: another value in one of them, or another length."""
        tensors = [tensor for tensor in model.graph.initializer if tensor.data_type in (TensorProto.INT64, TensorProto.INT32)]
        tensors += [a.t for node in model.graph.node if node.op_type == "Constant" for a in node.attribute if a.HasField("t")]
        if tensors:
            tensor = self.choose(tensors)
            values = [self.choose(INTEGERS[:10]) for _ in range(int(self.random.integers(4)))]
            array = np.array(values[0] if self.random.integers(4) == 0 and values else values, np.int64)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    def declaration(self, model):
        entries = list(model.graph.input) + list(model.graph.output)
        if not entries:
            return
        kind = self.choose(entries).type.tensor_type
        change = self.random.integers(5)
        if change == 0:
            kind.elem_type = int(self.random.integers(20))
        elif change == 1:
            kind.ClearField("shape")
        elif change == 2:
            dim = kind.shape.dim.add()
            dim.dim_value = self.choose([1, 2, 3])
        elif kind.shape.dim and change == 3:
            dim = self.choose(kind.shape.dim)
            if self.random.integers(2):
                dim.dim_value = self.choose(INTEGERS)
            else:
                dim.dim_param = self.choose(["batch", "T", "n", ""])
        elif kind.shape.dim:
            del kind.shape.dim[int(self.random.integers(len(kind.shape.dim)))]

    def opset(self, model):
        if model.opset_import:
            model.opset_import[0].version = int(self.random.integers(5, 27))

    def remove(self, model):
        graph = model.graph
        entries = self.choose([graph.node, graph.initializer, graph.input, graph.output])
        if entries:
            del entries[int(self.random.integers(len(entries)))]

    def twice(self, model):
        node = onnx.NodeProto()
        node.CopyFrom(self.node(model))
        if self.random.integers(4):
            for index in range(len(node.output)):
                node.output[index] += f"_{self.random.integers(1 << 20)}"
            model.graph.output.add(name=node.output[0] if node.output else "")
        model.graph.node.append(node)

    def swap(self, model):
        """Two inputs of a node change places."""
        node = self.node(model)
        if len(node.input) > 1:
            first, second = self.random.choice(len(node.input), 2, replace=False)
            node.input[first], node.input[second] = node.input[second], node.input[first]

    def constant_input(self, model):
        """An input of a node is a new constant."""
        node = self.node(model)
        name = f"c{self.random.integers(1 << 30)}"
        model.graph.initializer.append(self.array(name))
        if node.input:
            node.input[int(self.random.integers(len(node.input)))] = name
        else:
            node.input.append(name)


def feeds_of(model, random):
    """Arrays for the inputs of a model, as they are declared; now and then not quite."""
    sizes = {}
    feeds = {}
    for entry in model.inputs:
        shape = entry.shape
        if shape is None:
            shape = tuple(f"?{axis}" for axis in range(int(random.integers(5))))
        actual = []
        for size in shape:
            if isinstance(size, str):
                size = sizes.setdefault(size, int(random.integers(0, 5)))
            actual.append(min(size, 40))
        if random.integers(20) == 0 and actual:
            actual[int(random.integers(len(actual)))] += 1
        dtype = np.dtype(entry.dtype or "float32")
        values = random.uniform(-1, 1, actual) if dtype.kind == "f" else random.integers(0, 3, actual)
        feeds[entry.name] = values.astype(dtype)
    return feeds


def compare(data, feeds, results):
    """Raises if onnxruntime runs the file to other numbers. In a process of its own: damaged files make it crash."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            os.write(writing, differences(data, feeds, results).encode()[:1000])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(child, 0)
    if text:
        raise AssertionError(text)


def differences(data, feeds, results):
    """What onnxruntime computes otherwise; nothing where it refuses the file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(data, options)
        expected = dict(zip(results, session.run(list(results), feeds)))
    except Exception:  # onnxruntime has many classes of exceptions, without a common one
        return ""
    for name, array in expected.items():
        actual = results[name]
        if not array.size and not actual.size:
            continue  # onnxruntime's Loop of no iteration forgets sizes
        if actual.shape != array.shape:
            return f"{name} has the shape {actual.shape}, in onnxruntime {array.shape}"
        if array.dtype.kind != "f" or not np.isfinite(array).all() or not np.isfinite(actual).all() or np.abs(array).max() > 1e3:
            continue  # NaN, infinity and huge values depend on the order of sums, and 0 times NaN on whether it is computed
        worst = float(np.abs(actual - array).max())
        if not worst < 1e-3 * max(1.0, float(np.abs(array).max())):
            return f"{name} differs from onnxruntime's by {worst}"
    return ""


def attempt(files, case, compared=False):
    """Reads and runs one damaged file. Whether it was refused, or ran; raises what librnn should not."""
    damage = Damage(case)
    data = damage.changed(damage.choose(files))
    conventions = damage.choose(["onnxruntime", "specification"])
    try:
        model = librnn.onnx.load(data, conventions="onnxruntime" if compared else conventions)
        feeds = feeds_of(model, damage.random)
        with np.errstate(all="ignore"):
            results = model.run(feeds)
        if compared and all(array.size for array in feeds.values()):  # without a step, onnxruntime's final states are not defined
            compare(data, feeds, results)
    except librnn.RNNError as error:
        if not 10 < len(error.message) < 4000:
            raise AssertionError(f"a message of {len(error.message)} characters") from error
        return False
    return True


def run(files, first, count, seconds=None, keep_going=False, compared=False):
    """Cases from `first` on: how many were tried, how many ran to an end, and the faults {place: (case, text)}."""
    end = None if seconds is None else time.monotonic() + seconds
    tried = good = 0
    faults = {}
    for case in range(first, first + count):
        if end is not None and time.monotonic() > end:
            break
        tried += 1
        begin = time.monotonic()
        try:
            good += attempt(files, case, compared)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            place = next((frame for frame in reversed(frames) if f"{os.sep}librnn{os.sep}" in frame.filename), frames[-1])
            key = f"{type(error).__name__} at {os.path.basename(place.filename)}:{place.lineno}"
            if isinstance(error, AssertionError):
                key = f"{key}, {str(error)[-60:]}"
            faults.setdefault(key, (case, "".join(traceback.format_exception(type(error), error, error.__traceback__))))
            if not keep_going:
                break
        if time.monotonic() - begin > 10:
            faults.setdefault("slow", (case, f"case {case} took {time.monotonic() - begin:.1f} s"))
    return tried, good, faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0, help="the number of the first case")
    parser.add_argument("--case", type=int, help="only this one, with its traceback")
    parser.add_argument("--compare", action="store_true", help="with onnxruntime's numbers")
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)  # what the processes are started with
    given = parser.parse_args()
    if given.case is not None:
        print("runs" if attempt(corpus(), given.case, given.compare) else "is refused")
        return 0
    if given.batch is not None:
        print(json.dumps(run(corpus(), given.batch, BATCH, keep_going=True, compared=given.compare)))
        return 0
    end = time.monotonic() + given.seconds
    first, tried, good, faults = given.seed, 0, 0, {}
    while time.monotonic() < end:
        command = [sys.executable, __file__, "--batch", str(first)] + ["--compare"] * given.compare
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
            reason = f"exit status {done.returncode}\n{done.stderr[-2000:]}"
            result = json.loads(done.stdout) if done.returncode == 0 else None
        except subprocess.TimeoutExpired:
            result, reason = None, f"no end after {LONGEST} s"
        if result is None:
            result = [BATCH, 0, {f"process {first}": [first, f"cases {first} to {first + BATCH - 1}: {reason}"]}]
        tried, good = tried + result[0], good + result[1]
        for key, (case, text) in result[2].items():
            if key not in faults:
                faults[key] = text
                print(f"--case {case}: {key}\n{text}", flush=True)
        first += BATCH
    print(f"{tried} damaged files: {good} ran, {tried - good} were refused or failed, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
