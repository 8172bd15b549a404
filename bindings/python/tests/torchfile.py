"""Checkpoints as torch.save writes them, without PyTorch."""

import io
import pickle
import zipfile
from collections import OrderedDict

import numpy as np

STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage"}


class _Global:
    """A name of PyTorch in a pickle."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class _Call:
    """The call of a function of PyTorch in a pickle."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        raise AssertionError("written by _Pickler.save")


class _Pickler(pickle._Pickler):
    """Writes names that cannot be imported here, and storages as references."""

    def __init__(self, file, storages):
        super().__init__(file, protocol=2)
        self.storages = storages

    def save(self, value, save_persistent_id=True):
        if isinstance(value, _Global):
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, _Call):
            self.save(value.function)
            self.save(value.arguments)
            self.write(pickle.REDUCE)
        elif isinstance(value, np.ndarray):
            self.save(self.tensor(value))
        else:
            super().save(value, save_persistent_id)

    def persistent_id(self, value):
        return value if isinstance(value, tuple) and value[:1] == ("storage",) else None

    def save_pers(self, reference):
        # The reference itself is an ordinary tuple.
        super().save(reference, save_persistent_id=False)
        self.write(pickle.BINPERSID)

    def tensor(self, array):
        key = str(len(self.storages))
        # Not ascontiguousarray, which makes a row of a single number.
        array = np.array(array, order="C")
        self.storages.append(array.tobytes())
        storage = ("storage", _Global("torch", STORAGES[array.dtype.name]), key, "cpu", array.size)
        strides = tuple(stride // array.itemsize for stride in array.strides)
        return _Call(_Global("torch._utils", "_rebuild_tensor_v2"), storage, 0, array.shape, strides, False, OrderedDict())


def checkpoint_file(path, content):
    """A file of nested dictionaries, with arrays where PyTorch has tensors."""
    buffer, storages = io.BytesIO(), []
    _Pickler(buffer, storages).dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        for index, data in enumerate(storages):
            archive.writestr(f"archive/data/{index}", data)
    return path
