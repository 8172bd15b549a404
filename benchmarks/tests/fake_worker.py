"""A worker without a peer: answers as harness.worker does. Its name says what goes wrong."""

import json
import sys

import numpy as np

from harness import reference
from harness.configurations import Configuration


def answer(message):
    print(json.dumps(message), flush=True)


def main(name):
    if name == "absent":
        answer({"ok": False, "error": "ModuleNotFoundError: No module named 'absent'"})
        return
    answer({"ok": True, "version": "1"})
    results, seconds = {}, {"librnn": 1e-3, "slow": 3e-3}.get(name, 2e-3)
    for line in sys.stdin:
        message = json.loads(line)
        command = message["command"]
        if command == "quit":
            return
        if command == "build":
            if name == "refuses":
                answer({"ok": False, "error": "RuntimeError: no"})
                continue
            if name == "dies":
                sys.exit(3)
            if name == "hangs":
                continue
            c = Configuration(*message["configuration"])
            with np.load(message["data"]) as file:
                exact = reference.results(c, dict(file), reference.Exact())
            wrong = 1e-2 if name == "wrong" else 0.0
            results = {key: (value + wrong).astype(np.float32) for key, value in exact.items()}
            answer({"ok": True, "estimate": seconds})
        elif command == "block":
            answer({"ok": True, "times": [seconds, 2 * seconds]})
        elif command == "result":
            np.savez(message["file"], **results)
            answer({"ok": True})
        else:
            answer({"ok": True})


main(sys.argv[1])
