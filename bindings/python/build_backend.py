"""The build backend of bindings/python/pyproject.toml: hatchling, at the top of the repository."""

import os
from pathlib import Path

os.chdir(Path(__file__).resolve().parents[2])

from hatchling.build import *  # noqa: E402, F401, F403  the functions a frontend calls; they read pyproject.toml here
