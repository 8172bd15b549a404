"""The command line: ``librnn convert IN OUT`` and ``librnn inspect FILE``."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import re
import shlex
import struct
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from . import _abi, audio, keras, modules, torch
from ._describe import describe
from ._foreign import Archive, first_bytes, kind_of
from ._network import Model
from ._safetensors import read_header
from ._torch_file import describe_tensors
from .activations import Activation
from .errors import RNNError, argument_error, format_error, io_error, unsupported
from .files import load, save

DESCRIPTION = """\
Models of other frameworks become librnn model files, which C reads with rnn_network_load and Python with librnn.load.

Files are recognised by their content:
  PyTorch   .pt .pth (not executed), .safetensors     librnn.torch.load
  Keras     .keras .h5 of Keras 2 and 3               librnn.keras.load    (needs h5py)
  ONNX      .onnx                                     librnn.onnx.load     (needs onnx)
  audio     RTNeural, AIDA-X, GuitarML, NAM           librnn.audio.load
  librnn    .safetensors                              librnn.load

Nothing is guessed. What a file does not say is asked for, and what librnn does not compute is refused by name."""

CONVERT = """\
examples:
  librnn convert model.keras model.safetensors
  librnn convert amp.nam amp.safetensors
  librnn convert lstm.pt lstm.safetensors --batch-first
  librnn convert gru.pt gru.safetensors --variant reset_after --time-first
  librnn convert tagger.pt tagger.safetensors --batch-first --key model_state_dict \\
      --module embedding=Embedding --module rnn=GRU:variant=reset_after \\
      --module =Activation:name=relu --module fc=Linear
  librnn convert model.safetensors model.onnx
  librnn convert model.safetensors torch.safetensors --to torch

A checkpoint of PyTorch has weights and their names, not what the model does with them: give its modules in the order in which data
goes through them, PREFIX=KIND, with options as KIND:NAME=VALUE,... What has no weights has no prefix. `librnn inspect` shows
what there is."""

INSPECT = """\
examples:
  librnn inspect model.safetensors     architecture, sizes, conventions and equations
  librnn inspect checkpoint.pt         the modules in it, and what must be spelled out to convert them
  librnn inspect model.keras           what it becomes in librnn"""

#: What each reader understands, so that an option that would do nothing is an error.
_OPTIONS = {
    "torch": ("modules", "prefix", "key", "ignore", "variant", "nonlinearity", "batch_first", "dtype"),
    "keras": ("config", "keras_version", "dtype"),
    "onnx": ("conventions",),
    "audio": (),
    "librnn": (),
}
_FLAGS = {
    "modules": "--module PREFIX=KIND (repeat)", "batch_first": "--batch-first or --time-first", "key": "--key", "prefix": "--prefix",
    "ignore": "--ignore", "variant": "--variant", "nonlinearity": "--nonlinearity", "dtype": "--dtype", "config": "--config",
    "keras_version": "--keras-version", "eps": ":eps=", "conventions": "--conventions",
}  # fmt: skip
#: Modules without weights, for `--module =KIND:…`.
_WEIGHTLESS: Dict[str, Callable[..., Any]] = {
    "Activation": Activation, "Dropout": modules.Dropout, "LastStep": modules.LastStep, "FirstStep": modules.FirstStep,
    "Softmax": modules.Softmax, "Reverse": modules.Reverse, "Slice": modules.Slice, "OneHot": modules.OneHot,
}  # fmt: skip


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command line; the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        given.run(given)
        sys.stdout.flush()
    except RNNError as error:
        print(f"librnn: {error.message}", file=sys.stderr)
        for line in _hints(given, error.message):
            print(f"librnn: {line}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of a pipe, such as head, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _hints(given: argparse.Namespace, message: str) -> List[str]:
    """What helps after an error: its words of Python as options, and where the command to copy is."""
    flags = [f"{name}= is {flag}" for name, flag in _FLAGS.items() if re.search(rf"\b{name}=", message)]
    hints = ["on the command line " + ", ".join(flags)] if flags else []
    if given.command == "convert" and re.search(r"\b(modules|prefix|batch_first|variant|nonlinearity)=", message):
        hints.append(f"`librnn inspect {shlex.quote(given.input)}` shows the modules and the command that converts them")
    return hints


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="librnn", description=DESCRIPTION, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"librnn {_abi.RNN_VERSION_STRING}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    convert = commands.add_parser(
        "convert", help="read a model of any kind and write a librnn model file", formatter_class=raw, epilog=CONVERT,
        description="Reads a model and writes it as a librnn model file; as ONNX if OUT ends in .onnx.",
    )  # fmt: skip
    convert.set_defaults(run=_convert)
    convert.add_argument("input", metavar="IN", help="the file to read")
    convert.add_argument("output", metavar="OUT", help="the file to write; replaced if it is there")
    _add_reading(convert)
    writing = convert.add_argument_group("writing")
    writing.add_argument("--to", choices=("librnn", "onnx", "torch"), help="the kind of OUT; torch: safetensors with PyTorch's names")
    writing.add_argument(
        "--metadata", action="append", metavar="KEY=VALUE", default=[], help="an entry to store with the model; may be repeated"
    )

    show = commands.add_parser(
        "inspect", help="show what a model file is", formatter_class=raw, epilog=INSPECT,
        description="Shows architecture, conventions, sizes and equations of a model.",
    )  # fmt: skip
    show.set_defaults(run=_inspect)
    show.add_argument("input", metavar="FILE", help="a model file of any kind")
    _add_reading(show)
    return parser


def _add_reading(parser: argparse.ArgumentParser) -> None:
    """The options of the readers."""
    parser.add_argument("--from", dest="kind", choices=tuple(_OPTIONS), help="the kind of IN, if its content does not tell")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="PyTorch, Keras: of the model (default: that of the file)")
    group = parser.add_argument_group("PyTorch: what the file does not say")
    layout = group.add_mutually_exclusive_group()
    layout.add_argument("--batch-first", dest="batch_first", action="store_true", default=None, help="Python's x is [N, T, ..]")
    layout.add_argument("--time-first", dest="batch_first", action="store_false", help="Python's x is [T, N, ..]")
    group.add_argument("--variant", choices=("reset_after", "reset_before"), help="of GRUs; torch.nn.GRU is reset_after")
    group.add_argument("--nonlinearity", choices=("tanh", "relu"), help="of RNNs")
    group.add_argument(
        "--module", dest="modules", action="append", metavar="PREFIX=KIND[:NAME=VALUE,...]", help="a module; repeat, in order"
    )
    group.add_argument("--prefix", help="only tensors whose names begin so")
    group.add_argument("--key", help="which dictionary of a checkpoint, such as model_state_dict")
    group.add_argument("--ignore", action="append", metavar="PREFIX", help="tensors to leave out; may be repeated")
    group = parser.add_argument_group("Keras")
    group.add_argument("--config", metavar="FILE", help="model.to_json(), for a file that has weights only")
    group.add_argument("--keras-version", help="the Keras that wrote the file, if it does not tell")
    group = parser.add_argument_group("ONNX")
    group.add_argument(
        "--conventions", choices=("onnxruntime", "specification"), help="whom to follow where they differ (default: onnxruntime)"
    )


# --------------------------------------------------------------------------------------------------- reading


def kind_of_file(path: str) -> str:
    """Which reader a file is for, by its content; by its name where the content does not tell."""
    if os.path.isdir(path):
        saved = os.path.exists(os.path.join(path, "saved_model.pb"))
        if saved:
            raise unsupported(f"{path} is a SavedModel of TensorFlow: save the model as a file, model.save('model.keras')")
        raise unsupported(f"{path} is a folder, expected a file")
    start = first_bytes(path, 64)
    if start[4:8] == b"TFL3":
        raise unsupported(f"{path} is a model of TensorFlow Lite: convert the model of Keras that it was made of, or export ONNX")
    if start[:4] == b"PK\3\4":
        with Archive(path) as archive:
            names = archive.names
        if "config.json" in names or "model.weights.h5" in names:
            return "keras"
        if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
            return "torch"
        if any(name.endswith("archive_format") for name in names):
            raise unsupported(
                f"{path} is a program of torch.export, not read here: save the weights, torch.save(model.state_dict(), …), or the "
                "graph, torch.onnx.export(…)"
            )
        raise unsupported(f"{path} is a zip archive, neither of Keras nor of PyTorch")
    if start[:8] == b"\x89HDF\r\n\x1a\n":
        return "keras"
    if start[:1] == b"\x80":
        return "torch"
    # Text may have a brace there too; as a length its first bytes are larger than any file.
    if start[8:9] == b"{" and struct.unpack_from("<Q", start)[0] < 1 << 40:
        _, metadata, _ = read_header(path)
        return "librnn" if "librnn.architecture" in metadata else "torch"
    if path.endswith(".onnx"):
        return "onnx"
    if start.lstrip()[:1] == b"{":
        return "audio"
    raise unsupported(f"{path} is no model file that librnn knows; say what it is with --from")


def _read(given: argparse.Namespace) -> Tuple[str, Any]:
    """The kind of the input and the model in it."""
    kind = given.kind or kind_of_file(given.input)
    options = {name: getattr(given, name) for names in _OPTIONS.values() for name in names}
    chosen = {name: options[name] for name in _OPTIONS[kind] if options[name] is not None}
    idle = sorted(name for name, value in options.items() if value is not None and name not in _OPTIONS[kind])
    if idle:
        flags = ", ".join(_FLAGS[name].split(" ")[0] for name in idle)
        raise argument_error(f"{flags} has no meaning for {given.input}, which is read as {kind}")
    if "modules" in chosen:
        chosen["modules"] = [_module(text) for text in chosen["modules"]]
    readers: Dict[str, Callable[..., Any]] = {"torch": torch.load, "keras": keras.load, "audio": audio.load, "librnn": load}
    if kind == "onnx":
        return kind, _onnx().load(given.input, **chosen).network
    return kind, readers[kind](given.input, **chosen)


def _onnx() -> Any:
    try:
        return importlib.import_module("librnn.onnx")
    except ImportError as error:
        raise unsupported(f"ONNX needs librnn.onnx and the package onnx: pip install 'librnn[onnx]' ({error})") from None


def _module(text: str) -> Any:
    """PREFIX=KIND:NAME=VALUE,… as `librnn.torch.load` takes it."""
    prefix, equals, rest = text.partition("=")
    kind, _, listed = rest.partition(":")
    if not equals or not kind:
        raise argument_error(f"--module {text!r}: expected PREFIX=KIND, such as rnn=GRU:variant=reset_after, or =LastStep")
    options: Dict[str, Any] = {}
    for part in listed.split(",") if listed else ():
        name, equals, value = part.partition("=")
        if not equals:
            raise argument_error(f"--module {text!r}: {part!r} is not NAME=VALUE")
        options[name] = _value(value)
    if prefix or kind in torch.KINDS:
        return (prefix, kind, options)
    make = _WEIGHTLESS.get(kind)
    if make is None:
        raise argument_error(f"--module {text!r}: without a prefix, expected one of {', '.join(_WEIGHTLESS)}")
    known = list(inspect.signature(make).parameters)
    wrong = [name for name in options if name not in known]
    if wrong:
        raise argument_error(f"--module {text!r}: {kind} has no {', '.join(wrong)}; it has {', '.join(known) or 'no options'}")
    try:
        return make(**options)
    except TypeError as error:
        raise argument_error(f"--module {text!r}: {error}") from None


def _value(text: str) -> Any:
    """A number, a truth value, or the text itself."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text.lower(), text)


# -------------------------------------------------------------------------------------------------- commands


def _convert(given: argparse.Namespace) -> None:
    if os.path.exists(given.output) and os.path.samefile(given.input, given.output):
        raise argument_error(f"IN and OUT are the same file, {given.input}")
    kind, model = _read(given)
    for entry in given.metadata:
        key, equals, value = entry.partition("=")
        if not equals:
            raise argument_error(f"--metadata {entry!r}: expected KEY=VALUE")
        model.metadata[key] = value
    to = given.to or ("onnx" if given.output.endswith(".onnx") else "librnn")
    if to == "onnx":
        _onnx().save(model, given.output)
    elif to == "torch":
        _write_safetensors(given.output, torch.state_dict(model))
    else:
        save(model, given.output)
    print(f"{given.output}: {model!r}")


def _write_safetensors(path: str, tensors: Dict[str, np.ndarray]) -> None:
    """Plain safetensors, under another name until it is complete."""
    header: Dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, value in tensors.items():
        kind = {"float32": "F32", "float64": "F64"}[value.dtype.name]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [offset, offset + value.nbytes]}
        offset += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for value in tensors.values():
                file.write(np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes())
        os.replace(temporary, path)
    except OSError as error:
        raise io_error(f"{path} cannot be written: {error}") from None
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _inspect(given: argparse.Namespace) -> None:
    kind = given.kind or kind_of_file(given.input)
    if kind == "torch" and not given.modules and given.batch_first is None:
        print(describe_tensors(given.input, given.key, given.prefix), end="")
        return
    _, model = _read(given)
    assert isinstance(model, Model)
    print(describe(model, given.input), end="")
