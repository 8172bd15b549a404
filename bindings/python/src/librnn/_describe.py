"""What a model is, in words and equations, for people: the text of ``librnn inspect``."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ._mask import MASK_KEY
from ._network import LAYOUT_KEY, Model
from ._options import SLOTS, from_file, sides, usual_activation
from .activations import Activation, activation_of_file
from .layers import CELLS

#: Greek and other letters where a function has one.
_SYMBOLS = {"sigmoid": "σ"}
_DEFINITIONS = {
    "sigmoid": "1 / (1 + e^-x)",
    "hard_sigmoid": "max(0, min(1, {alpha} x + {beta}))",
    "relu": "max(0, x)",
    "leaky_relu": "x for x >= 0, else {alpha} x",
    "thresholded_relu": "x for x > {alpha}, else 0",
    "scaled_tanh": "{alpha} tanh({beta} x)",
    "elu": "x for x >= 0, else {alpha} (e^x - 1)",
    "softsign": "x / (1 + |x|)",
    "softplus": "ln(1 + e^x)",
    "affine": "{alpha} x + {beta}",
}
_TITLES = {"rnn": "vanilla RNN", "gru": "GRU", "lstm": "LSTM"}


def describe(model: Model, path: str = "") -> str:
    """Architecture, conventions, sizes and equations of a model."""
    architecture = json.loads(model._architecture())
    nodes = architecture["nodes"]
    parts = [
        _head(model, path),
        _table(model, nodes),
        _states(model),
        "\n".join(["Conventions", *(f"  {line}" for line in _conventions(model, nodes))]),
        "\n".join(["Equations", *(f"  {line}".rstrip() for line in _equations(nodes))]),
    ]
    entries = [(key, value) for key, value in model.metadata.items() if key not in (LAYOUT_KEY, MASK_KEY)]
    if entries:
        shown = [f"  {key}: {value if len(value) <= 100 else value[:97] + '...'}" for key, value in entries]
        parts.append("\n".join(["Metadata", *shown]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(model: Model, path: str) -> str:
    size = model._parameter_elements * model.dtype.itemsize
    kind = type(model).__name__
    return (f"{path}: " if path else "") + f"{kind}, {model._parameter_elements:,} weights of {model.dtype}, {_bytes(size)}"


def _bytes(size: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024  # type: ignore[assignment]
    return f"{size:.1f} GiB"


def _table(model: Model, nodes: List[Mapping[str, Any]]) -> str:
    """A line for each node: name, operator, what it reads, its output, its weights."""
    counts: Dict[str, int] = {}
    for info in model._parameters:
        node = _node_of(info.name, nodes)
        counts[node] = counts.get(node, 0) + info.elements
    widths = _widths(nodes)
    rows = [("node", "operator", "reads", "output", "weights")]
    single: Dict[str, bool] = {}
    for node in nodes:
        name = node["name"]
        single[name] = node["op"] in ("last_step", "first_step") or any(single[source] for source in node.get("inputs", []))
        shape = "tokens [T, N]" if node["op"] == "token_input" else f"[{'' if single[name] else 'T, '}N, {widths[name]}]"
        count = counts.get(node["name"], 0)
        reads = ", ".join(node.get("inputs", []))
        rows.append((node["name"], _operator(node), reads, shape, f"{count:,}" if count else ""))
    columns = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = ["  ".join(cell.ljust(columns[i]) if i < 4 else cell.rjust(columns[i]) for i, cell in enumerate(row)) for row in rows]
    return "\n".join("  " + line.rstrip() for line in lines)


def _node_of(parameter: str, nodes: List[Mapping[str, Any]]) -> str:
    """The node whose parameter it is; names of nodes may have dots."""
    names = [node["name"] for node in nodes if parameter.startswith(node["name"] + ".")]
    return max(names, key=len) if names else ""


def _widths(nodes: List[Mapping[str, Any]]) -> Dict[str, int]:
    """Features of each node."""
    widths: Dict[str, int] = {}
    for node in nodes:
        kind, sources = node["op"], [widths[name] for name in node.get("inputs", [])]
        if kind in CELLS:
            forward = node.get("proj_size") or node["hidden_size"]
            width = forward
            if node["bidirectional"] and node.get("merge", "concat") == "concat":
                width += node.get("proj_size") or node.get("hidden_size_reverse") or node["hidden_size"]
        elif kind == "concat":
            width = sum(sources)
        elif kind == "slice":
            width = node["end"] - node["begin"]
        else:
            width = node.get("output_size", node.get("embedding_size", node.get("size", sources[0] if sources else 0)))
        widths[node["name"]] = int(width)
    return widths


def _operator(node: Mapping[str, Any]) -> str:
    """An operator and what is special about it."""
    kind = node["op"]
    if kind not in CELLS:
        if kind == "activation":
            return repr(activation_of_file(node))
        shown = [
            f"{key}={_number(value)}" for key, value in node.items()
            if key in ("probability", "epsilon", "begin", "end", "vocabulary_size", "log") and value is not False
        ]  # fmt: skip
        return f"{kind}({', '.join(shown)})" if shown else kind
    words = [_TITLES[kind], f"H={node['hidden_size']}"]
    if kind == "gru":
        words.append(node["variant"])
    if kind == "rnn" and "h" not in _gate_functions(node)[0]:
        words.append(node["nonlinearity"])
    if node["num_layers"] > 1:
        words.append(f"{node['num_layers']} layers")
    if node["bidirectional"]:
        words.append("both directions" + ("" if node.get("merge", "concat") == "concat" else f", {node['merge']}"))
    return ", ".join(words)


def _states(model: Model) -> str:
    if not model._states:
        return ""
    shown = [f"  {info.name} [{info.shape[0]}, N, {info.shape[2]}]" for info in model._states]
    return "\n".join(["States (layers x directions, rows, units)", *shown])


# ------------------------------------------------------------------------------------------------ conventions


def _conventions(model: Model, nodes: List[Mapping[str, Any]]) -> List[str]:
    """How to call it, and what its arrays mean."""
    lines = ["from C: x [T, N, features], or batch_first in rnn_run_options"]
    lines.append(f"from Python: x {'[N, T, ..] (batch_first)' if model.batch_first else '[T, N, ..]'}")
    waiting = _waiting(nodes)
    lines.append(f"streams: {'yes, one step at a time' if not waiting else 'no, ' + waiting + ' needs the whole sequence'}")
    kinds = {node["op"] for node in nodes}
    if "lstm" in kinds:
        lines.append("LSTM gates are stacked i, f, g, o, as in PyTorch")
    if "gru" in kinds:
        lines.append("GRU gates are stacked r, z, n, as in PyTorch")
    for node in nodes:
        if node["op"] in CELLS:
            lines.append(f"{node['name']}: {_biases(node)}")
    rule = model._mask_rule
    if rule is not None:
        what = f"token {int(rule.value)}" if rule.kind == "token" else f"a step of which all features are {_number(rule.value)}"
        lines.append(f"mask: {what} is left out; Python does so by itself, C passes the mask in rnn_run_options")
        if not model._single_step:
            padded = "the output of the step before" if rule.padding == "repeat" else "the same at each"
            lines.append(f"outputs at left-out steps: {padded}")
    return lines


def _waiting(nodes: List[Mapping[str, Any]]) -> str:
    for node in nodes:
        if node["op"] in ("reverse", "first_step") or node.get("bidirectional") or node.get("direction") == "reverse":
            return str(node["name"])
    return ""


def _biases(node: Mapping[str, Any]) -> str:
    texts = {
        "none": "no biases",
        "single": "one bias for each gate (bias_l0)",
        "double": "two biases for each gate (bias_ih_l0, bias_hh_l0)",
    }
    return texts[node["bias"]]


# -------------------------------------------------------------------------------------------------- equations


def _equations(nodes: List[Mapping[str, Any]]) -> List[str]:
    lines: List[str] = []
    functions: Dict[str, Activation] = {}
    for node in nodes:
        text = recurrent_equations(node, functions) if node["op"] in CELLS else _simple(node, functions)
        if text:
            lines += [f"{node['name']}:", *(f"  {line}" for line in text)]
    for symbol, function in functions.items():
        if function.name in _DEFINITIONS:
            numbers = {"alpha": _number(function.alpha), "beta": _number(function.beta)}
            lines.append(f"{symbol}(x) = {_DEFINITIONS[function.name].format(**numbers)}")
    return lines


def _simple(node: Mapping[str, Any], functions: Dict[str, Activation]) -> List[str]:
    """The equation of a node without a state; X, or A, B, …, is what it reads."""
    kind, letters = node["op"], "ABCDEFGHIJKLMNOPQRSTUVW"
    if kind == "activation":
        function = activation_of_file(node)
        return [f"Y = {_symbol(function, functions)}(X)"]
    names = [letters[i] if i < len(letters) else f"X{i}" for i in range(len(node.get("inputs", [])))]
    return {
        "embedding": ["Y = weight[token]"],
        "one_hot": ["Y = 1 at the token, 0 elsewhere"],
        "linear": ["Y = X weightᵀ" + (" + bias" if node.get("bias") else "")],
        "layer_norm": [f"Y = (X - mean) / √(variance + {_number(node.get('epsilon', 0))}) ⊙ weight + bias"],
        "scale_shift": ["Y = X ⊙ weight" + (" + bias" if node.get("bias") else "")],
        "softmax": ["Y_i = e^(X_i) / Σ_j e^(X_j)" if not node.get("log") else "Y_i = X_i - ln Σ_j e^(X_j)"],
        "sum": [f"Y = {' + '.join(names)}"],
        "product": [f"Y = {' ⊙ '.join(names)}"],
        "concat": [f"Y = ({', '.join(names)})"],
        "slice": [f"Y = X[.., {node.get('begin')}:{node.get('end')}]"],
        "reverse": ["Y_t = X_(L-1-t), L the length of the row"],
        "last_step": ["Y = X at the last step of each row"],
        "first_step": ["Y = X at the first step of each row"],
        "dropout": ["Y = X; in training each element is 0 with the probability, and divided by 1 - probability otherwise"],
    }.get(kind, [])


def recurrent_equations(node: Mapping[str, Any], functions: Optional[Dict[str, Activation]] = None) -> List[str]:
    """One step of a recurrent node: X is its input, H and C its state before, H' and C' after. `functions` collects its symbols."""
    functions = {} if functions is None else functions
    cell, options = node["op"], from_file(node["op"], node)
    pairs = _gate_functions(node)
    lines = _cell_equations(cell, node, options, pairs[0], functions)
    if node["bidirectional"] and pairs[0] != pairs[1]:
        lines += ["backward direction:", *(f"  {line}" for line in _cell_equations(cell, node, options, pairs[1], functions))]
    if options["gate_clip"]:
        lines.append(f"[x] is x kept in [-{_number(options['gate_clip'])}, {_number(options['gate_clip'])}]")
    if node["num_layers"] > 1:
        read = ("Y" if node["bidirectional"] else "H'") + (" + X" if options["residual"] else "")
        lines.append(f"the next layer reads {read} of this one as its X")
    if node["bidirectional"]:
        merge = {"concat": "(H→, H←)", "sum": "H→ + H←", "mean": "(H→ + H←) / 2", "product": "H→ ⊙ H←"}[options["merge"]]
        lines.append(f"H← has weights of its own and reads each row from its last step: Y = {merge}")
    elif options["direction"] == "reverse":
        lines.append("each row is read from its last step")
    if options["learn_initial_state"]:
        lines.append("the state before the first step is h_0" + (", c_0" if cell == "lstm" else "") + ", parameters")
    return lines


def _gate_functions(node: Mapping[str, Any]) -> Tuple[Dict[str, Activation], Dict[str, Activation]]:
    """The functions that are not the usual ones, of each direction."""
    return sides(from_file(node["op"], node)["activations"])


def _cell_equations(
    cell: str,
    node: Mapping[str, Any],
    options: Mapping[str, Any],
    special: Mapping[str, Activation],
    functions: Dict[str, Activation],
) -> List[str]:
    own = {letter: special.get(letter) or usual_activation(cell, letter, node.get("nonlinearity")) for letter in SLOTS[cell]}
    symbols = {
        letter: _symbol(function, functions) for letter, function in own.items()
        if not (letter == "f" and options.get("coupled_gates"))
    }  # fmt: skip
    bias = {"none": "", "single": " + b_{0}", "double": " + b_x{0} + b_h{0}"}[node["bias"]]

    def gate(letter: str, name: str, more: str = "") -> str:
        inner = f"X W_x{name} + H W_h{name}{bias.format(name)}{more}"
        return f"{symbols[letter]}([{inner}])" if options["gate_clip"] else f"{symbols[letter]}({inner})"

    if cell == "rnn":
        return [f"H' = {gate('h', 'h')}"]
    if cell == "gru":
        if node["variant"] == "reset_before":
            inner = f"X W_xh + (R ⊙ H) W_hh{bias.format('h')}"
        else:
            inside = {"none": "H W_hh", "single": "H W_hh", "double": "(H W_hh + b_hh)"}[node["bias"]]
            outside = {"none": "", "single": " + b_h", "double": " + b_xh"}[node["bias"]]
            inner = f"X W_xh{outside} + R ⊙ {inside if inside.startswith('(') else f'({inside})'}"
        inner = f"[{inner}]" if options["gate_clip"] else inner
        return [
            f"R  = {gate('r', 'r')}",
            f"Z  = {gate('z', 'z')}",
            f"H̃  = {symbols['n']}({inner})",
            "H' = Z ⊙ H + (1 - Z) ⊙ H̃",
        ]
    before = {letter: f" + p_{letter} ⊙ C" if options["peepholes"] else "" for letter in "if"}
    after = " + p_o ⊙ C'" if options["peepholes"] else ""
    added = f" + {_number(options['runtime_forget_bias'])}" if options["runtime_forget_bias"] else ""
    update = "F ⊙ C + I ⊙ C̃"
    if options["cell_clip"]:
        update += f", kept in [-{_number(options['cell_clip'])}, {_number(options['cell_clip'])}]"
    inner = "[C']" if options["gate_clip"] and options["gate_clip_output"] else "C'"
    output = f"O ⊙ {symbols['h']}({inner})"
    return [
        f"I  = {gate('i', 'i', before['i'])}",
        "F  = 1 - I" if options["coupled_gates"] else f"F  = {gate('f', 'f', before['f'] + added)}",
        f"C̃  = {gate('g', 'c')}",
        f"C' = {update}",
        f"O  = {gate('o', 'o', after)}",
        f"H' = ({output}) W_hrᵀ" if options["proj_size"] else f"H' = {output}",
    ]


def _symbol(function: Activation, functions: Dict[str, Activation]) -> str:
    """What stands for a function: its name, numbered where two differ in their numbers only."""
    name = base = _SYMBOLS.get(function.name, function.name)
    number = 1
    while functions.get(name, function) != function:
        number += 1
        name = f"{base}_{number}"
    functions[name] = function
    return name


def _number(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)
