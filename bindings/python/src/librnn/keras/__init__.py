"""Models of Keras 2 and 3: .keras and .h5 files become librnn models.

    model = librnn.keras.load("model.keras")
    y, state = model(x)                          # x [N, T, F] or tokens [N, T], as in Keras
    librnn.save(model, "model.safetensors")      # for C

Reading needs the package h5py (``pip install 'librnn[keras]'``), not Keras. docs/import.md lists what is exact and what is refused.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional

from ..errors import unsupported
from ._files import open_keras
from ._graph import Graph, Value, run_model

__all__ = ["load"]


def load(path: Any, *, config: Any = None, keras_version: Optional[str] = None, dtype: Any = None) -> Any:
    """Read a model that Keras saved.

    Sequential models and chains of functional ones, also with sums, products and concatenations.

    Parameters
    ----------
    path : str or path-like
        A .keras file, an .h5 file, or a file of weights only together with `config`. What it is is told by its content.
    config : dict, str or path, optional
        The architecture, as ``model.to_json()`` gives it, for a file that has weights only.
    keras_version : str, optional
        The version that wrote the file, where the file does not tell: "2" and "3" mean different functions by hard_sigmoid.
    dtype : {"float32", "float64"}, optional
        By default float64 if all layers compute in it, else float32. Keras' mixed precisions become float32.

    Returns
    -------
    RNN, GRU, LSTM, Sequential or Network
        With ``batch_first=True``, as Keras has it; ``model(x)`` gives the output and the final states of all recurrent layers. A
        model with Masking or ``mask_zero`` makes its mask from x, unless it is given one. ``metadata["keras.layers"]`` maps
        nodes to the names of Keras' layers; ``metadata["keras.outputs"]``, for a model with several outputs, their columns in y.

    Raises
    ------
    RNNError
        A layer, an attribute or a value that librnn does not compute, by name; arrays that do not fit the configuration; a damaged
        file; h5py is missing.
    """
    file = open_keras(path, config, keras_version)
    graph = Graph(file.path, file.version, str(dtype) if dtype is not None else _dtype(file.config.value))
    outputs = run_model(graph, file.config, file.weights, None)
    return _finish(graph, outputs, file.version)


def _finish(graph: Graph, outputs: List[Value], version: Optional[str]) -> Any:
    """The model whose outputs are those values."""
    sequences = [value for value in outputs if value.kind == "features"]
    states = [value for value in outputs if value.kind == "state"]
    if not sequences:
        # An encoder, which gives its state only: h is the output at its last step.
        sequences = [graph.features(_OUTPUT, value) for value in states if value.which == "h"][:1]
    if not sequences or len(sequences) + len(states) < len(outputs):
        raise unsupported(f"{graph.path}: an output of the model is one of its inputs, or a mask")
    metadata: Dict[str, str] = {"keras.version": version} if version else {}
    output = sequences[0]
    if len(sequences) > 1:
        if len({(value.steps, value.turned) for value in sequences}) > 1:
            raise unsupported(f"{graph.path}: outputs with and without an axis of time, or of both orders of time")
        sizes = [graph.size(value) for value in sequences]
        columns, begin = [], 0
        for value, size in zip(sequences, sizes):
            columns.append({"layer": graph.names.get(value.node, value.node), "begin": begin, "end": begin + size})
            begin += size
        node = graph.plan.add("concat", "outputs", [value.node for value in sequences], {}, begin)
        output = output._replace(node=node)
        metadata["keras.outputs"] = json.dumps(columns)
    rule = graph.rule(output)
    final = graph.straight(output)
    names = graph.plan.final_names(final.node)
    metadata["keras.layers"] = json.dumps({names[node]: name for node, name in graph.names.items() if node in names})
    return graph.plan.build(final.node, batch_first=not graph.time_major, metadata=metadata, mask=rule)


class _Output:
    """Stands for a layer in the message of an error."""

    place = "the output"


_OUTPUT: Any = _Output()


def _dtype(config: Any) -> str:
    """float64 if every layer with a dtype has it."""
    found = set()
    todo = [config]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            policy = value.get("dtype")
            if isinstance(policy, dict) and isinstance(policy.get("config"), dict):
                policy = policy["config"].get("name")
            if isinstance(policy, str) and policy.startswith(("float", "mixed", "bfloat")) and "units" in value:
                found.add(policy)
            todo += list(value.values())
        elif isinstance(value, list):
            todo += value
    return "float64" if found == {"float64"} else "float32"
