"""Another Swift package can depend on this one by URL and version, and train and run a network with it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONSUMER = Path(__file__).resolve().parent / "consumer"
VERSION = "0.1.0"


def git(folder, *arguments):
    """Git without the user's settings: a name, no signatures, no hooks."""
    options = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]
    done = subprocess.run(["git", *options, "-C", folder, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def tagged_repository(folder):
    """A repository with the files of this one as they are now, committed or not, tagged with the version."""
    try:
        names = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "Package.swift", "Sources", "include", "Tests")
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.fail(f"the package must be in a Git repository: {error}")
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=Files of this test", "--no-verify")
    git(folder, "tag", VERSION)


def swift(package, command, *arguments, timeout=600):
    # Caches of their own: what another run left of a package with this name and version must not count.
    caches = package.parent / "caches"
    options = ["--package-path", package, "--cache-path", caches / "cache", "--config-path", caches / "config",
               "--security-path", caches / "security"]
    done = subprocess.run(["swift", command, *options, *arguments], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_version_is_that_of_the_header():
    assert f'#define RNN_VERSION_STRING "{VERSION}"' in (ROOT / "include" / "rnn.h").read_text()


def test_a_package_depends_on_a_version(tmp_path):
    library = tmp_path / "librnn"
    library.mkdir()
    tagged_repository(library)

    consumer = tmp_path / "consumer"
    shutil.copytree(CONSUMER, consumer)
    manifest = consumer / "Package.swift"
    text = manifest.read_text().replace("@URL@", library.as_uri()).replace("@VERSION@", VERSION)
    assert "@" not in text
    manifest.write_text(text)

    swift(consumer, "build")
    output, _ = swift(consumer, "run", "--skip-build")
    values = dict(line.split(": ", 1) for line in output.strip().splitlines())
    assert values["output"] == "8 numbers"
    assert values["second half again"] == "the same"
    before, after = float(values["loss before"]), float(values["loss after"])
    assert 0 < after < before
    # It is the tagged version that was built, not a local package.
    (pin,) = json.loads((consumer / "Package.resolved").read_text())["pins"]
    assert pin["location"].endswith(str(library))
    assert pin["state"] == {"revision": git(library, "rev-parse", VERSION).strip(), "version": VERSION}
