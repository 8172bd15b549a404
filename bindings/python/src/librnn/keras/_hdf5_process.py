"""Reads an HDF5 file with h5py and writes what is in it to standard output. Run as a process of its own by `_hdf5`.

The HDF5 library is not made for files that lie: a damaged one can make it loop for ever or fail in C. Here that ends this process
and not the caller's. It imports h5py and NumPy, nothing of librnn.

    python _hdf5_process.py     < a line of JSON, and then the file, if the line has no path

The answer: 8 bytes, the length of the index, little-endian; the index, JSON; the numbers of all arrays, end to end.
"""

import io
import json
import math
import resource
import signal
import struct
import sys

#: What a model may be made of.
MOST_OBJECTS, DEEPEST, LARGEST_ATTRIBUTE = 50_000, 24, 12 << 20
#: Weights hardly shrink when they are compressed. What grows more than this, beyond a few megabytes, is no model.
LARGEST_RATIO, FREE_GROWTH = 20, 16 << 20
#: Seconds of the processor for a file of no size, and bytes that may take a second more.
BASE_SECONDS, BYTES_PER_SECOND = 0.4, 5_000_000
#: Not part of a model.
IGNORED = ("optimizer_weights", "optimizer", "_optimizer", "optimizer_state")


class Refused(Exception):
    """A reason, for the index."""


def main():
    order = json.loads(sys.stdin.buffer.readline())
    sys.path[:] = order["path"]
    data = sys.stdin.buffer.read() if order["file"] is None else None
    size = order["size"]
    limit(size)
    import h5py

    signal.setitimer(signal.ITIMER_PROF, BASE_SECONDS + size / BYTES_PER_SECOND)
    budget = [max(4 * FREE_GROWTH, 4 * size), MOST_OBJECTS]
    chunks = []
    try:
        with h5py.File(io.BytesIO(data) if data is not None else order["file"], "r") as file:
            index = {"root": walk(h5py, file, 0, budget, chunks)}
    except Exception as error:
        # HDF5 reports damage as OSError, RuntimeError, KeyError, ValueError and others.
        index, chunks = {"error": str(error) or type(error).__name__}, []
    text = json.dumps(index).encode()
    out = sys.stdout.buffer
    out.write(struct.pack("<Q", len(text)))
    out.write(text)
    for chunk in chunks:
        out.write(chunk)
    out.flush()


def limit(size):
    """No more memory than such a file can need, and no core file of it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = (3 << 30) + 16 * size
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))


def walk(h5py, group, depth, budget, chunks):
    """A group: its attributes, groups and arrays; instead of what cannot be read, the reason."""
    if depth > DEEPEST:
        raise Refused("groups are nested too deeply")
    found = {"attributes": attributes(group), "groups": {}, "arrays": {}, "errors": {}, "order": []}
    for name in group:
        if depth == 0 and name in IGNORED:
            continue
        budget[1] -= 1
        if budget[1] < 0:
            raise Refused(f"more than {MOST_OBJECTS} groups and arrays")
        written = len(chunks)
        try:
            link = group.get(name, getlink=True)
            # Soft and external links lead elsewhere, perhaps out of the file.
            if not isinstance(link, h5py.HardLink):
                raise Refused("it is a link to another place, which is not followed")
            member = group[name]
            if isinstance(member, h5py.Group):
                found["groups"][name] = walk(h5py, member, depth + 1, budget, chunks)
                found["order"].append(name)
            elif isinstance(member, h5py.Dataset):
                found["arrays"][name] = array(member, budget, chunks)
                found["order"].append(name)
            else:
                raise Refused("it is neither a group nor an array")
        except Exception as error:
            if budget[1] < 0:
                raise
            # A group that fails half way leaves no arrays behind.
            del chunks[written:]
            found["errors"][name] = str(error) or type(error).__name__
    return found


def array(dataset, budget, chunks):
    """The place of a dataset's numbers in the answer."""
    if dataset.dtype.kind not in "fiu":
        raise Refused(f"it has dtype {dataset.dtype}, expected numbers")
    if dataset.external or dataset.is_virtual:
        raise Refused("it keeps its numbers in another file, which is not opened")
    shape = tuple(int(extent) for extent in dataset.shape or ())
    size, stored = math.prod(shape) * dataset.dtype.itemsize, int(dataset.id.get_storage_size())
    if size > stored and (dataset.chunks is None or size > max(FREE_GROWTH, LARGEST_RATIO * stored)):
        raise Refused(f"it has shape {shape}, but {stored} bytes in the file")
    if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > max(FREE_GROWTH, 4 * size):
        raise Refused(f"it has shape {shape} in chunks of {dataset.chunks}")
    budget[0] -= size
    if budget[0] < 0:
        raise Refused("all arrays together are larger than the file can account for")
    values = dataset[()]
    kind = values.dtype.newbyteorder("<")
    chunks.append(values.astype(kind, copy=False).tobytes())
    return {"dtype": kind.str, "shape": shape}


def attributes(group):
    """The attributes that are text, or lists of text."""
    found = {}
    for name in group.attrs:
        if not name.startswith(("model_config", "keras_version", "layer_names", "weight_names", "name")):
            continue
        identifier = group.attrs.get_id(name)
        if math.prod(identifier.shape or ()) * max(identifier.dtype.itemsize, 1) > LARGEST_ATTRIBUTE:
            raise Refused(f"the attribute {name!r} is too large")
        value = group.attrs[name]
        value = value.tolist() if hasattr(value, "tolist") else value
        found[name] = [text(each) for each in value] if isinstance(value, list) else text(value)
    return found


def text(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    main()
