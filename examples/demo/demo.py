#!/usr/bin/env python3
"""Trains a character-level language model and shows what it learnt, in one to two minutes on two cores.

The text is the manual that every Python has inside, pydoc_data.topics, or a file of yours. The model reads a character at
a time and predicts the next one:

    embedding -> GRU -> GRU -> linear -> one number for each character of the vocabulary

It is trained by truncated backpropagation through time. The text is cut into as many rows as a batch has; a step reads the
next 64 characters of every row; the hidden state of one step is the initial state of the next one, but gradients stop at
that border. The last tenth of the text is never trained on. It gives the validation perplexity: the model is as uncertain
about the next character as if it had to choose among that many equally likely ones.

Written to demo-output:

    model.safetensors     the model; its vocabulary is in the metadata (examples/demo/continue.c reads both)
    training-curve.png    loss and gradient norm of each step
    gradient-flow.png     how far back the gradient of one prediction reaches
    report.json           every number printed here
    sample.txt            the generated text
"""

import argparse
import dataclasses
import hashlib
import json
import math
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np

try:
    import librnn
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Table
    from rich.text import Text
except ImportError as error:
    sys.exit(f"{error}\nmake demo installs what the demo needs; or: pip install -r examples/demo/requirements.txt")

from baselines import ngram_perplexities

#: Stands for every character that is not in the vocabulary. Token 0.
UNKNOWN = "\N{REPLACEMENT CHARACTER}"

RECIPES = {
    # A deep GRU, trained as one would today.
    "gru": dict(cell="gru", layers=2, hidden=256, embedding=64, init="pytorch", optimizer="adam", lr=4e-3, schedule=True,
                clip=1.0, steps=64, batch=32, epochs=3),
    # What textbooks begin with: an Elman network on one-hot characters, plain gradient descent.
    "textbook": dict(cell="rnn", layers=1, hidden=256, embedding=0, init="normal", optimizer="sgd", lr=1.0, schedule=False,
                     clip=1.0, steps=35, batch=32, epochs=10),
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- the text


def read_text(path):
    if path is not None:
        return Path(path).read_text(encoding="utf-8-sig", errors="replace")
    from pydoc_data.topics import topics

    return "".join(topics[name] for name in sorted(topics))


def make_vocabulary(text):
    """The characters of the training text in the order of their numbers, as one string; UNKNOWN is the first.

    A character that occurs once only counts as unknown, so that the model learns what an unknown character is like.
    """
    characters, counts = np.unique(np.array(list(text)), return_counts=True)
    known = [str(c) for c, count in zip(characters, counts) if count > 1 and c not in (UNKNOWN, "\0", "")]
    return UNKNOWN + "".join(known)


def encode(text, vocabulary):
    number = {character: index for index, character in enumerate(vocabulary)}
    return np.array([number.get(character, 0) for character in text], np.int64)


def rows_of(tokens, rows, steps, offset=0):
    """The tokens as `rows` long rows, cut into pieces: pairs x, targets of shape (steps, rows), in order."""
    length = (len(tokens) - 1 - offset) // rows
    x = tokens[offset : offset + rows * length].reshape(rows, length).T
    y = tokens[offset + 1 : offset + 1 + rows * length].reshape(rows, length).T
    return [(x[t : t + steps], y[t : t + steps]) for t in range(0, length - steps + 1, steps)]


# --------------------------------------------------------------------------------------------------------- the model


def make_model(options, size):
    seed, hidden = options.seed, options.hidden
    first = librnn.Embedding(size, options.embedding, seed=seed) if options.embedding else librnn.OneHot(size)
    cell = {"rnn": librnn.RNN, "gru": librnn.GRU, "lstm": librnn.LSTM}[options.cell]
    layers = cell(options.embedding or size, hidden, options.layers, init=options.init, seed=seed + 1)
    return librnn.Sequential([first, layers, librnn.Linear(hidden, size, init=options.init, seed=seed + 2)], seed=seed)


def learning_rate(options, step, steps):
    """Up over the first twentieth, then down to a fiftieth along half a cosine."""
    if not options.schedule:
        return options.lr
    warm = max(steps // 20, 1)
    if step < warm:
        return options.lr * (step + 1) / warm
    way = (step - warm) / max(steps - warm, 1)
    return options.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * way)))


def training(trainer, tokens, options):
    """Yields (step, number of steps, report) for each update. The work is given in epochs, so that it is the same everywhere."""
    generator = np.random.default_rng(options.seed)
    # Each epoch cuts the text at other places.
    epochs = [rows_of(tokens, options.batch, options.steps, int(generator.integers(options.steps))) for _ in range(options.epochs)]
    total = sum(len(pieces) for pieces in epochs)
    step = 0
    for pieces in epochs:
        state = None
        for x, y in pieces:
            trainer.lr = learning_rate(options, step, total)
            report = trainer.step(x, y, state=state)
            state = report.state
            step += 1
            yield step, total, dataclasses.replace(report, state=None)


def evaluate(trainer, tokens, rows=16, steps=128):
    """Perplexity of every token but the first. The last pieces are padded: targets of -100 count for nothing."""
    length = -(-(len(tokens) - 1) // rows)
    x = np.zeros(rows * length, np.int64)
    y = np.full(rows * length, -100, np.int64)
    x[: len(tokens) - 1], y[: len(tokens) - 1] = tokens[:-1], tokens[1:]
    x, y = x.reshape(rows, length).T, y.reshape(rows, length).T
    total, terms, state = 0.0, 0, None
    for t in range(0, length, steps):
        report = trainer.evaluate(x[t : t + steps], y[t : t + steps], state=state)
        state = report.state
        if report.terms:
            total, terms = total + report.loss * report.terms, terms + report.terms
    assert terms == len(tokens) - 1
    return math.exp(total / terms)


def generate(model, vocabulary, prompt, length, temperature, seed):
    """`length` characters that follow the prompt. continue.c does the same, with the same result."""
    stream = model.stream()
    logits = np.zeros(len(vocabulary), np.float32)
    for token in encode(prompt, vocabulary):
        logits = stream.step(token)
    text = ""
    for position in range(length):
        logits[0] = -np.inf  # never UNKNOWN
        token = librnn.sample(logits, temperature=temperature, seed=seed, position=position)
        text += vocabulary[token]
        logits = stream.step(token)
    return text


def gradient_flow(model, tokens, steps):
    """The flow of the gradient of one prediction, after `steps` characters."""
    rows = rows_of(tokens, 16, steps)[0]
    logits, _, tape = model.forward_train(rows[0])
    gradient = np.zeros_like(logits)
    gradient[-1] = librnn.losses.cross_entropy(logits[-1], rows[1][-1])[1]
    return model.backward(tape, gradient, gradient_flow=True).flow


# ------------------------------------------------------------------------------------------------------- the program


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""examples:
  make demo                                     Python's manual, the recipe "gru"
  make demo TEXT=book.txt                       a text of yours; a few hundred kilobytes are enough
  demo.py --recipe textbook                     the Elman network that textbooks begin with, for comparison
  demo.py --epochs 10 --hidden 512              more of everything; an option wins over the recipe

The same options and seed give the same model.safetensors to the bit, on any number of threads. Ctrl-C ends the training
and keeps what was learnt so far.""")  # fmt: skip
    parser.add_argument("--text", metavar="FILE", help="UTF-8 text to learn; without it, the manual inside Python")
    parser.add_argument("--output", metavar="FOLDER", default="demo-output", type=Path, help="(default: demo-output)")
    parser.add_argument("--picture", metavar="FILE", help="also save what is printed here, as an SVG file")
    parser.add_argument("--recipe", choices=RECIPES, default="gru",
                        help='"gru": 2 layers, Adam. "textbook": one vanilla layer on one-hot characters, weights N(0, 0.01²), '
                        "SGD with rate 1, gradients clipped to norm 1, 35 steps, 32 rows")  # fmt: skip
    parser.add_argument("--seed", type=natural, default=1, help="of the weights, the order and the sample (default: 1)")
    change = parser.add_argument_group("what a recipe says, unless you say otherwise")
    change.add_argument("--cell", choices=("rnn", "gru", "lstm"), help="the recurrent cell")
    change.add_argument("--layers", type=positive, metavar="L", help="recurrent layers on top of each other")
    change.add_argument("--hidden", type=positive, metavar="H", help="units of each layer: size of the hidden state")
    change.add_argument("--embedding", type=natural, metavar="E", help="numbers that stand for a character; 0: one-hot")
    change.add_argument("--optimizer", choices=("adam", "sgd"))
    change.add_argument("--lr", type=float, metavar="RATE", help="learning rate (its maximum, where there is a schedule)")
    change.add_argument("--clip", type=float, metavar="NORM", help="gradients longer than this are shortened to it")
    change.add_argument("--steps", type=positive, metavar="T", help="characters that an update looks back")
    change.add_argument("--batch", type=positive, metavar="N", help="rows that are trained side by side")
    change.add_argument("--epochs", type=positive, metavar="K", help="times that the text is read")
    sample = parser.add_argument_group("the generated text")
    sample.add_argument("--prompt", default="The ", help="what it begins with (default: %(default)r)")
    sample.add_argument("--length", type=natural, default=500, help="characters to generate (default: 500)")
    sample.add_argument("--temperature", type=float, default=0.7,
                        help="below 1: more of what is likely; above 1: more variety (default: 0.7)")  # fmt: skip
    options = parser.parse_args(arguments)
    for name, value in RECIPES[options.recipe].items():
        if getattr(options, name, None) is None:
            setattr(options, name, value)
    return options


def natural(text, least=0):
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text} is not an integer of at least {least}")
    return value


def positive(text):
    return natural(text, 1)


def main():
    options = parse()
    console = Console(highlight=False, soft_wrap=True, record=options.picture is not None)
    started = time.perf_counter()
    try:
        text = read_text(options.text)
    except OSError as error:
        sys.exit(f"cannot read the text: {error}")
    cut = len(text) - len(text) // 10
    if (cut - options.steps) // options.batch < options.steps + 1 or len(text) - cut < 32:
        sys.exit(f"the text has {len(text)} characters: too few for {options.batch} rows of {options.steps}")
    vocabulary = make_vocabulary(text[:cut])
    train, validation = encode(text[:cut], vocabulary), encode(text[cut:], vocabulary)
    size = len(vocabulary)
    baseline = ngram_perplexities(train, validation, size)

    model = make_model(options, size)
    model.metadata["vocabulary"] = vocabulary
    optimizer = {"adam": librnn.optim.Adam, "sgd": librnn.optim.SGD}[options.optimizer](model, lr=options.lr)
    trainer = librnn.Trainer(model, "cross_entropy", optimizer, clip_norm=options.clip)
    weights = sum(value.size for value in model.parameters.values())
    # Ctrl-C only asks: the loop ends between two steps. As an exception it could arrive in a finalizer, and be lost there.
    history, asked = [], []
    usual = signal.signal(signal.SIGINT, lambda *_: asked.append(True))
    console.print(
        f"{options.text or 'pydoc_data.topics'}: {len(train):,} characters to learn, {len(validation):,} to validate, "
        f"{size} different, {(validation == 0).sum()} unknown\n"
        f"{options.recipe}: {options.layers} x {options.cell.upper()}, {options.hidden} units, {weights:,} weights; "
        f"{options.batch} rows of {options.steps} steps; {options.epochs} epochs\n"
        f"librnn {librnn.__version__}, kernels {librnn.kernels()}, {librnn.get_num_threads()} threads"
    )

    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "model.safetensors"
    columns = [BarColumn(24), TextColumn("{task.completed}/{task.total}"), TextColumn("{task.description}"), TimeRemainingColumn()]
    begun = time.perf_counter()
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=None)
            smooth = None
            for step, total, report in training(trainer, train, options):
                history.append(report)
                if asked:
                    break
                smooth = report.loss if smooth is None else 0.95 * smooth + 0.05 * report.loss
                rate = step * options.batch * options.steps / (time.perf_counter() - begun)
                line = (f"loss {smooth:.3f}  perplexity {math.exp(min(smooth, 99)):.2f}  {rate:,.0f} characters/s  "
                        f"gradient norm {report.gradient_norm:.2f}")  # fmt: skip
                bar.update(task, completed=step, total=total, description=line)
                # A log file has no bar.
                if not console.is_terminal and (step == total or step % -(-total // 10) == 0):
                    console.print(f"step {step}/{total}  {line}")
    finally:
        signal.signal(signal.SIGINT, usual)
    seconds = time.perf_counter() - begun
    librnn.save(model, path)
    if asked:
        console.print(f"\ninterrupted after {len(history)} steps; the model so far is in {path}")
        sys.exit(130)

    perplexity = evaluate(trainer, validation)
    table = Table("", "validation perplexity", "of bigram")
    for name, value in [("unigram", baseline[1]), ("bigram", baseline[2]), ("trigram", baseline[3]), ("librnn", perplexity)]:
        table.add_row(name, f"{value:.2f}", f"{value / baseline[2]:.2f}", style="bold" if name == "librnn" else None)
    console.print(table)

    text = generate(model, vocabulary, options.prompt, options.length, options.temperature, options.seed)
    (options.output / "sample.txt").write_text(options.prompt + text + "\n", encoding="utf-8")
    console.print(Text.assemble((options.prompt, "bold"), text))

    try:
        librnn.plot.training_curve(history, options.output / "training-curve.png")
        librnn.plot.gradient_flow(gradient_flow(model, validation, min(options.steps, (len(validation) - 1) // 16)),
                                  options.output / "gradient-flow.png")  # fmt: skip
    except ImportError as error:
        console.print(f"no figures: {error}")
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.tobytes())
    report = {
        "text": str(options.text or "pydoc_data.topics"),
        "python": sys.version.split()[0],
        "librnn": librnn.__version__,
        "kernels": librnn.kernels(),
        "threads": librnn.get_num_threads(),
        "options": {name: getattr(options, name) for name in (*RECIPES["gru"], "recipe", "seed", "temperature", "prompt", "length")},
        "characters": {"train": len(train), "validation": len(validation), "vocabulary": size},
        "weights": weights,
        "steps": len(history),
        "skipped_updates": sum(step.skipped for step in history),
        "perplexity": {"unigram": baseline[1], "bigram": baseline[2], "trigram": baseline[3], "validation": perplexity},
        "training_seconds": round(seconds, 1),
        "characters_per_second": round(len(history) * options.batch * options.steps / seconds),
        "weights_sha256": digest.hexdigest(),
    }
    (options.output / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    console.print(
        f"\n{len(history)} steps in {seconds:.0f} s, {time.perf_counter() - started:.0f} s in all; "
        f"everything is in {options.output}/\nSHA-256 of the weights: {digest.hexdigest()}"
    )
    if options.picture is not None:
        picture = console.export_svg(title="make demo")
        picture = re.sub(r"@font-face {.*?}", "", picture, flags=re.S)  # fonts from the network: any monospace one will do
        Path(options.picture).write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except librnn.RNNError as error:
        sys.exit(f"demo.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
