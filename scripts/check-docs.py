#!/usr/bin/env python3
"""Checks that what the documentation mentions exists. Needs Python only.

    python3 scripts/check-docs.py [ROOT]        prints each fault as FILE:LINE: text; exit status 1 if there is one

In every Markdown file of the project:

  links     a relative link leads to a file, and its #anchor to a heading of that file
  symbols   a link whose text is code, [`GRUCell.forward`](../Sources/RNN/Cells/GRUCell.swift), leads to a file that
            declares each part of the name
  paths     `Sources/...`, `include/rnn.h` and the like in code spans are files or folders
  C names   rnn_* and RNN_* in code spans and code blocks are in include/rnn.h, or else somewhere in Sources
  Python    librnn.NAME in a Python block is a name of the package
  quotes    a code block after <!-- from FILE --> consists of lines of that file, in that order; a line with only
            an ellipsis (… or # … or // …) skips
and the figures in docs/figures are what make_figures.py draws.
"""

import re
import subprocess
import sys
from pathlib import Path

SKIPPED_FOLDERS = {".git", ".build", "build", "dist", "node_modules", ".pytest_cache", "__pycache__"}
TOP_FOLDERS = ("Sources/", "Tests/", "include/", "docs/", "bindings/", "benchmarks/", "examples/", "scripts/", ".github/")
DECLARATION = (r"\b(?:func|var|let|case|struct|class|enum|protocol|extension|typealias|associatedtype|def|actor|macro)\s+"
               r"(?:\w+\s*,\s*|\w+\.)*{name}\b|\b{name}\s*\(|^\s*#\s*define\s+{name}\b|\b{name}\s*=|^\s*case .*\b{name}\b")


def markdown_files(root):
    for path in sorted(root.rglob("*.md")):
        parts = path.relative_to(root).parts
        if not any(part in SKIPPED_FOLDERS or part.startswith((".build", "build-", ".venv")) for part in parts[:-1]):
            yield path


def anchors(text):
    """The anchors that GitHub makes of headings."""
    found, fenced = set(), False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        heading = None if fenced else re.match(r"#{1,6}\s+(.*)", line)
        if heading:
            title = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading.group(1)).strip().lower()
            anchor = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
            number, unique = 0, anchor
            while unique in found:
                number += 1
                unique = f"{anchor}-{number}"
            found.add(unique)
    return found


class Checker:
    def __init__(self, root):
        self.root = root
        self.faults = []
        self.header = self.read(root / "include" / "rnn.h")
        self.sources = "\n".join(
            self.read(path) for folder in ("Sources", "bindings") for path in sorted((root / folder).rglob("*"))
            if path.suffix in (".swift", ".h", ".c", ".py") and path.is_file())
        self.python = "\n".join(self.read(path) for path in sorted((root / "bindings/python/src").rglob("*.py")))

    @staticmethod
    def read(path):
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def fault(self, path, number, text):
        self.faults.append(f"{path.relative_to(self.root)}:{number}: {text}")

    def file(self, path):
        text = self.read(path)
        fence, block, quoted, quote = None, [], None, 0
        for number, line in enumerate(text.splitlines(), 1):
            if line.startswith("```"):
                if fence is None:
                    fence, block = line[3:].strip(), []
                else:
                    self.block(path, number - len(block), fence, block)
                    if quoted is not None:
                        self.quote(path, number - len(block), quoted, block)
                    fence, quoted = None, None
                continue
            if fence is not None:
                block.append(line)
                continue
            comment = re.match(r"<!-- from (\S+) -->", line)
            if comment:
                quoted, quote = comment.group(1), number
                continue
            if quoted is not None and line.strip() and number > quote + 2:
                quoted = None
            self.prose(path, number, line)
        if fence is not None:
            self.fault(path, len(text.splitlines()), "a code block is not closed")

    def prose(self, path, number, line):
        for label, target in re.findall(r"!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)", line):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            if not file.exists():
                self.fault(path, number, f"no file {target}")
                continue
            if anchor and file.suffix == ".md" and anchor not in anchors(self.read(file)):
                self.fault(path, number, f"no heading #{anchor} in {file.name}")
            symbol = re.fullmatch(r"`([A-Za-z_][\w.]*)(?:\([^`]*\))?`", label)
            if symbol and file.is_file() and file.suffix in (".swift", ".c", ".h", ".py") and "/" not in label:
                code = self.read(file)
                for part in symbol.group(1).split("."):
                    if part and not label.strip("`").endswith(file.name) and not re.search(DECLARATION.format(name=re.escape(part)), code, re.M):
                        self.fault(path, number, f"{file.name} does not declare {part}")
        for code in re.findall(r"`([^`]+)`", line):
            if code.startswith(TOP_FOLDERS) and re.fullmatch(r"[\w./+-]+", code) and not (self.root / code).exists():
                self.fault(path, number, f"no file or folder {code}")
            self.c_names(path, number, code)

    def c_names(self, path, number, code):
        for name in re.findall(r"(?<![\w./-])(?:rnn_[a-z0-9_]+|RNN_[A-Z0-9_]+)\b(?!\*)", code):
            if re.search(rf"\b{name}\b", self.header) or re.search(rf"\b{name}\b", self.sources):
                continue
            # A family, such as RNN_ERROR_ or rnn_network_.
            if name.endswith("_") and name in self.header:
                continue
            self.fault(path, number, f"{name} is neither in rnn.h nor in Sources")

    def block(self, path, first, language, lines):
        for offset, line in enumerate(lines):
            if language in ("c", "cpp", "swift", "python"):
                self.c_names(path, first + offset, line)
            if language == "python" and self.python:
                for name in re.findall(r"\blibrnn\.([A-Za-z_]\w*)", line):
                    if not re.search(rf"\b{name}\b", self.python):
                        self.fault(path, first + offset, f"the Python package has no {name}")

    def quote(self, path, first, source, lines):
        file = self.root / source
        if not file.is_file():
            return self.fault(path, first, f"no file {source} to quote")
        rest = [line.strip() for line in self.read(file).splitlines()]
        position = 0
        for offset, line in enumerate(lines):
            wanted = line.strip()
            if not wanted or wanted in ("…", "// …", "# …"):
                continue
            if wanted not in rest[position:]:
                return self.fault(path, first + offset, f"not in {source} (or not in this order): {wanted}")
            position = rest.index(wanted, position) + 1

    def figures(self):
        script = self.root / "docs" / "figures" / "make_figures.py"
        if script.is_file():
            run = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True)
            if run.returncode != 0:
                self.fault(script, 1, run.stderr.strip())


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    checker = Checker(root)
    count = 0
    for path in markdown_files(root):
        checker.file(path)
        count += 1
    checker.figures()
    for fault in checker.faults:
        print(fault)
    if checker.faults:
        sys.exit(f"{len(checker.faults)} faults in the documentation")
    if count == 0:
        sys.exit(f"no documentation in {root}")
    print(f"{count} documents: every file, symbol and quote exists")


if __name__ == "__main__":
    main()
