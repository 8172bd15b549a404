"""Files that lie, given to a reader in a process of its own: what it says of each, and what that took."""

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
