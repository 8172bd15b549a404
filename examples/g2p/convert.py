#!/usr/bin/env python3
"""The GRU encoder and decoder of the package g2p_en, as two librnn model files.

    pip download --no-deps g2p_en==2.1.0
    python convert.py g2p_en-2.1.0-py3-none-any.whl

The package is a wheel with the weights in one .npz; it need not be installed. Its equations are those of torch.nn.GRU: gates r, z, n,
two biases, reset after the recurrent product.

    encoder.safetensors    letters  -> embedding -> gru -> last step
    decoder.safetensors    phonemes -> embedding -> gru -> linear: a logit for each phoneme that may come next

Both have a node "gru" of the same size, so that the encoder's final state can be the decoder's first. The names of letters and
phonemes are in the metadata, separated by spaces, in the order of their numbers.
"""

import argparse
import sys
import zipfile
from pathlib import Path

import numpy as np

import librnn

#: As in g2p_en/g2p.py: the weights do not tell.
LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
PHONEMES = """<pad> <unk> <s> </s> AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0 EH1 EH2
    ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH UH0 UH1 UH2 UW
    UW0 UW1 UW2 V W Y Z ZH""".split()
CHECKPOINT = "g2p_en/checkpoint20.npz"
GRU = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}


def read_weights(path):
    """The arrays of a wheel of g2p_en, or of the .npz in it."""
    with zipfile.ZipFile(path) as wheel:
        inside = CHECKPOINT in wheel.namelist()
        source = wheel.open(CHECKPOINT) if inside else path
        with np.load(source) as arrays:
            return {name: arrays[name] for name in arrays.files}


def part(weights, prefix, names, folded):
    """A builder with tokens, embedding and GRU, and their parameters."""
    vocabulary, size = weights[f"{prefix}_emb"].shape
    if vocabulary != len(names):
        raise ValueError(f"{prefix}_emb has {vocabulary} rows, expected {len(names)}")
    parameters = {f"gru.{name}_l0": weights[f"{prefix}_{short}"] for name, short in GRU.items()}
    builder = librnn.NetworkBuilder()
    tokens = builder.tokens("tokens")
    if folded:
        x = builder.one_hot("one_hot", tokens, vocabulary)
        product = weights[f"{prefix}_w_ih"].astype(np.float64) @ weights[f"{prefix}_emb"].T
        parameters["gru.weight_ih_l0"] = product.astype(np.float32)
    else:
        x = builder.embedding("embedding", tokens, vocabulary, size)
        parameters["embedding.weight"] = weights[f"{prefix}_emb"]
    hidden = weights[f"{prefix}_w_hh"].shape[1]
    builder.recurrent("gru", x, ("gru", {"hidden_size": hidden, "variant": "reset_after", "bias": True}))
    return builder, parameters


def convert(weights, folded=False):
    """The networks: encoder, decoder.

    With `folded`, embedding and input weights are multiplied now, W_ih E, instead of at every step: half of the work, and other
    roundings. A one-hot vector then chooses the column.
    """
    builder, parameters = part(weights, "enc", LETTERS, folded)
    builder.last_step("last", "gru")
    encoder = builder.build(parameters, metadata={"letters": " ".join(LETTERS)})

    builder, parameters = part(weights, "dec", PHONEMES, folded)
    builder.linear("logits", "gru", len(PHONEMES))
    parameters.update({"logits.weight": weights["fc_w"], "logits.bias": weights["fc_b"]})
    decoder = builder.build(parameters, metadata={"phonemes": " ".join(PHONEMES)})
    return encoder, decoder


def main():
    parser = argparse.ArgumentParser(description="g2p_en's weights as librnn model files")
    parser.add_argument("source", type=Path, help="the wheel of g2p_en 2.1.0, or checkpoint20.npz of an installed one")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("."), help="where the model files go (.)")
    parser.add_argument("--fold", action="store_true", help="multiply embedding and input weights now: half of the work in each step")
    options = parser.parse_args()
    try:
        encoder, decoder = convert(read_weights(options.source), options.fold)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, librnn.RNNError) as error:
        sys.exit(f"{options.source}: {error}")
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, network in (("encoder", encoder), ("decoder", decoder)):
        path = options.folder / f"{name}.safetensors"
        librnn.save(network, path)
        print(f"{path}: {network}")


if __name__ == "__main__":
    main()
