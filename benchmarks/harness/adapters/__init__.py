"""The peers, and librnn as they see it. Importing this imports none of them."""

from typing import Dict, Type

from .base import Adapter
from .jax import JAX
from .librnn import LibRNN, LibRNNBound
from .ncnn import NCNN
from .onednn import OneDNN
from .onnx import ONNXRuntime, OpenVINO, Tract
from .tensorflow import BlockLSTM, Keras, KerasXLA, LiteRT
from .torch import Torch, TorchATen, TorchCell

#: Name: adapter. The part before a colon is the peer; what follows is one of several ways to use it.
ADAPTERS: Dict[str, Type[Adapter]] = {
    "librnn": LibRNN,
    "librnn:bound": LibRNNBound,
    "torch": Torch,
    "torch:cell": TorchCell,
    "torch:aten": TorchATen,
    "onnxruntime": ONNXRuntime,
    "openvino": OpenVINO,
    "onednn": OneDNN,
    "jax": JAX,
    "ncnn": NCNN,
    "tract": Tract,
    "keras": Keras,
    "keras:xla": KerasXLA,
    "tensorflow:block": BlockLSTM,
    "litert": LiteRT,
}
