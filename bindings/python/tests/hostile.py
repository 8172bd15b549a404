"""Files that lie, given to a reader in a process of its own: what it says of each, and what that took."""

import copy
import json

from helpers import python

#: What a refusal may cost, beyond the process with the package loaded; a process that the reader starts counts as a whole. Seconds
#: are of the processor, so that a busy machine changes nothing.
MOST_SECONDS, MOST_MEGABYTES = 1.0, 200

CODE = """
import json, os, resource, sys
import librnn
{setup}

def seconds():
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system

reports = {{}}
for name, path in json.loads({paths!r}).items():
    before = set(os.listdir(os.path.dirname(path)))
    memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, seconds()
    try:
        model = {call}
        outcome = "read: " + repr(model)
    except librnn.RNNError as error:
        outcome = error.status
        text = str(error)
    except BaseException as error:
        outcome = "other: " + repr(error)
    reports[name] = {{
        "outcome": outcome[:300],
        "text": "" if outcome.startswith(("read", "other")) else text,
        "seconds": seconds() - start,
        "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024,
        "child": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "written": sorted(set(os.listdir(os.path.dirname(path))) - before),
    }}
print(json.dumps(reports))
"""


def assert_refused(folder, contents, call, suffix="", setup=""):
    """`call`, an expression of `path`, refuses each of the contents (bytes, or functions that write a file) with an error."""
    paths = {}
    for index, (name, content) in enumerate(contents.items()):
        path = folder / f"lie{index}{suffix}"
        if callable(content):
            content(path)
        else:
            path.write_bytes(content)
        paths[name] = str(path)
    reports = json.loads(python(CODE.format(setup=setup, paths=json.dumps(paths), call=call)).splitlines()[-1])
    assert set(reports) == set(contents)
    for name, report in reports.items():
        assert report["outcome"].startswith("RNN_ERROR_"), (name, report)
        assert 10 < len(report["text"]) < 3000, (name, report)
        assert report["seconds"] < MOST_SECONDS and report["megabytes"] < MOST_MEGABYTES, (name, report)
        assert report["child"] < MOST_MEGABYTES, (name, report)
        assert not report["written"], (name, report)


#: What a key of JSON may hold instead of what it should.
ODD = (
    None, True, False, 0, -1, 2, 3.5, 1e308, 2**31, 2**40, -(2**70), "", "x", "tanh", "linear", [], {}, [1], [[1]], [None], {"a": 1},
    ["x", 0, 0], {"class_name": "LSTM", "config": {}}, {"class_name": "__keras_tensor__", "config": {}}, "LSTM", "Bidirectional",
)  # fmt: skip


def _places(value, place=()):
    """Where there is anything in a JSON value: keys and indices from the outside."""
    if place:
        yield place
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(inner, (*place, key))


def _at(value, place):
    for key in place:
        value = value[key]
    return value


def mutated(value, generator):
    """A JSON value, up to three times changed: something left out, repeated, exchanged or replaced. `generator` is random.Random."""
    value = copy.deepcopy(value)
    for _ in range(generator.choice([1, 1, 1, 2, 3])):
        places = list(_places(value))
        if not places:
            break
        *outer, key = generator.choice(places)
        owner, how = _at(value, outer), generator.random()
        if how < 0.2:
            del owner[key]
        elif how < 0.35 and isinstance(owner, list):
            owner.append(copy.deepcopy(owner[key]))
        elif how < 0.5:
            owner[key] = copy.deepcopy(_at(value, generator.choice(places)))
        else:
            owner[key] = copy.deepcopy(generator.choice(ODD))
    return value


def cut_and_flipped(content, seed=0, flips=60, cuts=20):
    """A good file, cut short and with flipped bits."""
    import numpy as np

    generator = np.random.default_rng(seed)
    for index in range(cuts):
        yield f"cut {index}", content[: int(len(content) * index / cuts)]
    for index in range(flips):
        damaged = bytearray(content)
        for _ in range(int(generator.integers(1, 6))):
            damaged[int(generator.integers(len(content)))] ^= 1 << int(generator.integers(8))
        yield f"flip {index}", bytes(damaged)
