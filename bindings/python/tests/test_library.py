"""The package finds its library, or says where it looked."""

import shutil
import subprocess
import sys

import pytest

import librnn
from helpers import python
from librnn import _abi, _library


def test_the_version_is_that_of_the_library_and_the_header():
    assert librnn.__version__ == _abi.RNN_VERSION_STRING
    assert _abi.rnn_version().decode() == librnn.__version__
    assert _abi.rnn_version_number() == _abi.RNN_VERSION_NUMBER


def test_the_environment_names_the_library():
    path = _abi.library._name
    assert python("import librnn, librnn._abi as a; print(a.library._name)", LIBRNN_LIBRARY=path).strip() == path


def test_a_library_that_is_not_there_is_an_import_error_that_says_what_was_tried(tmp_path):
    missing = str(tmp_path / "nowhere.so")
    code = "try:\n import librnn\nexcept ImportError as error:\n print(error)"
    assert missing in python(code, LIBRNN_LIBRARY=missing)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize(
    "source, problem",
    [
        ("int nothing;", "not librnn"),
        ("unsigned rnn_version_number(void) { return 90; }", "0.0.90"),
        ("unsigned rnn_version_number(void) { return 10000; }", "1.0.0"),
        ("unsigned rnn_version_number(void) { return 100; }", "older than this package"),
    ],
)
def test_another_library_is_an_import_error_that_says_why(tmp_path, source, problem):
    (tmp_path / "other.c").write_text(source)
    other = str(tmp_path / "other.so")
    subprocess.run(["cc", "-shared", "-fPIC", str(tmp_path / "other.c"), "-o", other], check=True)
    code = "try:\n import librnn\nexcept ImportError as error:\n print(error)"
    assert problem in python(code, LIBRNN_LIBRARY=other)


def test_a_wheel_comes_before_a_checkout_and_a_checkout_before_the_system(monkeypatch):
    monkeypatch.delenv("LIBRNN_LIBRARY", raising=False)
    paths = [path for _, path in _library.candidates()]
    assert paths[0].endswith("librnn/librnn.so")
    assert paths[1].endswith("build/librnn.so")
    assert paths[2] == "librnn.so.0"


def test_importing_takes_numpy_and_nothing_else():
    code = (
        "import sys, numpy; before = set(sys.modules); import librnn\n"
        "new = {m.split('.')[0] for m in set(sys.modules) - before}\n"
        "print(sorted(n for n in new if n not in sys.stdlib_module_names and n != 'librnn'))"
    )
    if sys.version_info < (3, 10):
        pytest.skip("sys.stdlib_module_names is younger")
    assert python(code).strip() == "[]"


def test_kernels_has_one_of_the_known_names():
    assert librnn.kernels() in ("x86-64-v4", "x86-64-v3", "baseline")


def test_forced_kernels_that_do_not_exist_are_ignored():
    code = "import librnn; print(librnn.kernels())"
    assert python(code, RNN_FORCE_KERNELS="abacus") == python(code, RNN_FORCE_KERNELS="")
