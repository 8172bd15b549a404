"""The documentation mentions only what exists; and the check that says so sees a fault of each kind."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "check-docs.py"


def check(root):
    return subprocess.run([sys.executable, str(SCRIPT), str(root)], capture_output=True, text=True)


def test_documentation_mentions_only_what_exists():
    run = check(ROOT)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture
def project(tmp_path):
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "rnn.h").write_text("#define RNN_OK 0\nint rnn_network_load(void);\n")
    (tmp_path / "Sources").mkdir()
    (tmp_path / "Sources" / "Cell.swift").write_text("struct Cell {\n  func forward() {\n    let a = 1\n    let b = 2\n  }\n}\n")
    (tmp_path / "bindings/python/src/librnn").mkdir(parents=True)
    (tmp_path / "bindings/python/src/librnn/__init__.py").write_text("def load(path): ...\n")
    return tmp_path


GOOD = """# Title
See [the cell](Sources/Cell.swift), [`Cell.forward`](Sources/Cell.swift), [below](#a-part) and `rnn_network_load`.

## A part
<!-- from Sources/Cell.swift -->
```swift
let a = 1
…
let b = 2
```
```python
librnn.load("x")
```
"""


def test_accepts_what_exists(project):
    (project / "README.md").write_text(GOOD)
    run = check(project)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("right, wrong, message", [
    ("(Sources/Cell.swift), [`", "(Sources/Gone.swift), [`", "no file Sources/Gone.swift"),
    ("Cell.forward", "Cell.backward", "does not declare backward"),
    ("#a-part", "#another-part", "no heading #another-part"),
    ("`rnn_network_load`", "`rnn_network_lod`", "rnn_network_lod is neither"),
    ("`rnn_network_load`", "`Sources/Other.swift`", "no file or folder Sources/Other.swift"),
    ("let a = 1", "let a = 3", "not in Sources/Cell.swift"),
    ("from Sources/Cell.swift", "from Sources/Gone.swift", "no file Sources/Gone.swift to quote"),
    ("librnn.load", "librnn.store", "no store"),
])
def test_finds(project, right, wrong, message):
    text = GOOD.replace(right, wrong)
    assert text != GOOD
    (project / "README.md").write_text(text)
    run = check(project)
    assert run.returncode == 1 and message in run.stdout, run.stdout + run.stderr


def test_finds_lines_quoted_in_the_wrong_order(project):
    (project / "README.md").write_text(GOOD.replace("let a = 1\n…\nlet b = 2", "let b = 2\nlet a = 1"))
    assert "not in this order" in check(project).stdout
