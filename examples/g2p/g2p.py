#!/usr/bin/env python3
"""English words to phonemes, with the model files of convert.py.

    python g2p.py recurrent kubernetes
    python g2p.py < words.txt
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import librnn

#: The package stops here, whether the word has ended or not.
MOST_PHONEMES = 20


class G2P:
    """g2p_en's prediction for words that are in no dictionary: a GRU reads the letters, another one writes phonemes.

    Parameters
    ----------
    encoder, decoder : Network
        As convert.py makes them.
    """

    def __init__(self, encoder, decoder):
        self.encoder, self.decoder = encoder, decoder
        self.letters = {letter: i for i, letter in enumerate(self.encoder.metadata["letters"].split(" "))}
        self.phonemes = self.decoder.metadata["phonemes"].split(" ")
        self.begin, self.end = self.phonemes.index("<s>"), self.phonemes.index("</s>")
        self.stream = self.decoder.stream()

    def spell(self, word):
        """The numbers of the letters, and that of the end."""
        unknown = self.letters["<unk>"]
        return [*(self.letters.get(letter, unknown) for letter in word), self.letters["</s>"]]

    def __call__(self, word):
        """The phonemes of one word, step by step."""
        _, self.stream.state = self.encoder(tokens=self.spell(word))
        token, found = self.begin, []
        while len(found) < MOST_PHONEMES:
            self.stream.input[0] = token
            token = int(self.stream.step()[0].argmax())
            if token == self.end:
                break
            found.append(self.phonemes[token])
        return found

    def batch(self, words):
        """The phonemes of many words, all at once. The same as one by one, since a row in a batch has the bits of the row alone."""
        if not words:
            return []
        spelled = [self.spell(word) for word in words]
        lengths = np.array([len(word) for word in spelled])
        tokens = np.zeros((lengths.max(), len(words)), np.int64)  # [T, N]
        for n, word in enumerate(spelled):
            tokens[: len(word), n] = word
        found = [[] for _ in words]
        rows = np.arange(len(words))  # of words that go on
        _, state = self.encoder(tokens=tokens, lengths=lengths)
        token = np.full(len(words), self.begin)
        for _ in range(MOST_PHONEMES):
            logits, state = self.decoder(tokens=token[None], state=state)
            token = logits[0].argmax(-1)
            going = token != self.end
            rows, token, state = rows[going], token[going], {"gru.h": state["gru.h"][:, going]}
            if not rows.size:
                break
            for n, phoneme in zip(rows, token):
                found[n].append(self.phonemes[phoneme])
        return found


def main():
    parser = argparse.ArgumentParser(description="English words to phonemes")
    parser.add_argument("words", nargs="*", help="without them, words come from stdin, one a line")
    parser.add_argument("--models", type=Path, default=Path("."), help="where encoder.safetensors and decoder.safetensors are (.)")
    options = parser.parse_args()
    try:
        g2p = G2P(*(librnn.load(options.models / f"{part}.safetensors") for part in ("encoder", "decoder")))
    except librnn.RNNError as error:
        sys.exit(f"{error}\nconvert.py makes the model files")
    words = [word for word in options.words or map(str.strip, sys.stdin) if word]
    for word, phonemes in zip(words, g2p.batch([word.lower() for word in words])):
        print(word, " ".join(phonemes), sep="\t")


if __name__ == "__main__":
    main()
