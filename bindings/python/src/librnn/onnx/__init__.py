"""ONNX models: read, run and write. Needs the package `onnx` (``pip install librnn[onnx]``).

>>> import librnn
>>> model = librnn.onnx.load("model.onnx")                         # doctest: +SKIP
>>> model.run({"x": x})                                            # doctest: +SKIP
>>> librnn.save(model.network, "model.safetensors")                # doctest: +SKIP
"""

from __future__ import annotations

from ._model import OnnxModel, TensorInfo, load
from ._write import save, to_model

__all__ = ["OnnxModel", "TensorInfo", "load", "save", "to_model"]
