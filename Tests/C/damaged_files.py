"""Loads one good model file with every kind of damage: python damaged_files.py SEED.

test_damaged_files.py runs this in a process of its own. Each damaged file lies at the end of a page behind which nothing may
be read. What loads in spite of its damage (a flipped bit of a weight) must run.
"""

from __future__ import annotations

import json
import random
import sys

from bad_arguments import ERRORS, OK, I, Memory, N, O, T, library, model_file

EXPECTED = {ERRORS[name] for name in ("RNN_ERROR_FORMAT", "RNN_ERROR_UNSUPPORTED", "RNN_ERROR_INVALID_ARGUMENT",
                                      "RNN_ERROR_OUT_OF_MEMORY")}
INTERESTING = [b"0", b"-1", b"1e308", b"18446744073709551615", b"9223372036854775807", b"99999999999999999999999", b"null",
               b"true", b'""', b"[]", b"{}", b'"\\ud800"', b"[" * 2000, b"4.5", b"\xff", b"\0", b"NaN", b'"f32"']


def damaged(good: bytes, random: random.Random) -> bytes:
    """The good file with one to three mutations, mostly in the JSON header, which stays of the length the file says."""
    data = bytearray(good)
    header = int.from_bytes(good[:8], "little")
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        kind = random.randrange(7)
        place = min(random.randrange(8, 8 + header), len(data) - 1)
        if kind == 0:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        elif kind == 1:
            data[place] = random.choice(b'{}[]",:\\0129-eE.ntf \x00\xff')
        elif kind == 2:
            data[random.randrange(min(8, len(data)))] = random.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 3:  # a number or word becomes another
            end = place
            while end < len(data) and chr(data[end]) in "0123456789abcdefghijklmnopqrstuvwxyz_.":
                end += 1
            data[place:end] = random.choice(INTERESTING)
        elif kind == 4:
            del data[place:place + random.randrange(1, 30)]
        elif kind == 5:  # a piece twice
            piece = data[place:place + random.randrange(1, 60)]
            data[place:place] = piece
        else:
            data = data[:random.randrange(len(data) + 1)]
        if not data:
            break
    if kind in (3, 4, 5) and len(data) > 8:  # a header of the right length: the damage is inside
        new_header = max(0, len(data) - (len(good) - header))
        data[:8] = new_header.to_bytes(8, "little")
    return bytes(data)


def load(data: bytes) -> None:
    memory, out = Memory(len(data), data), Memory(8)
    status = library.rnn_network_load_memory(memory if data else None, len(data), None, out)
    network = int.from_bytes(out.read(), "little")
    if status != OK:
        assert status in EXPECTED, f"status {status}"
        assert network == 0, "failed, but gave a handle"
        assert library.rnn_last_error_message(), "left no message"
        return
    assert network, "succeeded without a network"
    del memory
    x, tokens, y = Memory(4 * T * N * I, bytes(4 * T * N * I)), Memory(8 * T * N, bytes(8 * T * N)), Memory(4 * T * N * O)
    status = library.rnn_network_run(network, T, N, x, T * N * I, tokens, T * N, None, 0, None, y, T * N * O, None)
    assert status == OK or status < 0
    library.rnn_network_destroy(network)


def main() -> int:
    seed = int(sys.argv[1])
    good = model_file()
    if seed == 0:
        load(good)
        for length in range(len(good)):
            print("length", length, flush=True)
            load(good[:length])
        load(good + b"\0")
        header = int.from_bytes(good[:8], "little")
        parsed = json.loads(good[8:8 + header])
        for key in list(parsed):  # each entry missing
            print("without", key, flush=True)
            text = json.dumps({other: value for other, value in parsed.items() if other != key}).encode()
            load(len(text).to_bytes(8, "little") + text + good[8 + header:])
        print("passed")
        return 0
    source = random.Random(seed)
    for _ in range(2000):
        data = damaged(good, source)
        print(data.hex(), flush=True)
        load(data)
    print("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
