"""Puts librnn.so into the wheel and names the wheel after this platform.

The library is build/librnn.so, or the file that LIBRNN_LIBRARY names. If there is none, it is built. The extension module that
lies beside it, where there is one, comes too; it is for the limited API, so one wheel fits every version of Python.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class LibraryHook(BuildHookInterface):
    def initialize(self, version, build_data):
        library = self._library()
        if version == "editable":
            return  # the package is used where it is, and finds build/librnn.so from there
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["force_include"][str(library)] = "librnn/librnn.so"
        extension = library.with_name("_native.abi3.so")
        if extension.exists():
            build_data["force_include"][str(extension)] = f"librnn/{extension.name}"

    def _library(self):
        chosen = os.environ.get("LIBRNN_LIBRARY")
        library = Path(chosen) if chosen else Path(self.root, "build", "librnn.so")
        if not library.exists() and not chosen:
            self.app.display_info("build/librnn.so is not there: building it with `make build`")
            try:
                subprocess.run(["make", "build", f"PYTHON3={sys.executable}"], cwd=self.root, check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise RuntimeError(
                    f"building librnn.so failed ({error}). `make build` needs Swift 6.2 or later, CMake and a C compiler; "
                    "or build it elsewhere and name it in LIBRNN_LIBRARY"
                ) from error
        if not library.exists():
            raise RuntimeError(f"LIBRNN_LIBRARY names {library}, which does not exist")
        return library.resolve()
