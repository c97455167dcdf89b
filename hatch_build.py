"""Compile kernels.c into the package when it is built or installed, where there is a C compiler.

Owns: the compiler's command, and what a wheel is called that has the library in it.

Nothing fails without a compiler: numpy and scipy do the same, more slowly.

    python hatch_build.py        compiles into the source tree, as `pip install -e .` does
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "src" / "audio_pool" / "audio"
SOURCE = FOLDER / "kernels.c"
LIBRARY = FOLDER / "_kernels.so"
FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared"]
LONGEST_S = 120


def compile_kernels(out: Path = LIBRARY) -> str:
    """Compile into a file that takes the place of an older one at once; return why not, "" where it was done."""
    command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(command[0]) is None:
        return f"there is no compiler {command[0]!r}"
    fresh = out.with_name(f"{out.name}.{os.getpid()}")
    of = f'-DKERNELS_OF="{hashlib.sha256(SOURCE.read_bytes()).hexdigest()}"'
    try:
        done = subprocess.run(
            [*command, *FLAGS, of, "-o", str(fresh), str(SOURCE)],
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
        if done.returncode:
            return f"{command[0]} failed: {done.stderr.strip()[-500:]}"
        fresh.replace(out)
    except (OSError, subprocess.SubprocessError) as exc:
        return f"{command[0]} failed: {exc}"
    finally:
        fresh.unlink(missing_ok=True)
    return ""


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand
    pass
else:

    class KernelsBuildHook(BuildHookInterface):  # type: ignore[type-arg]
        """Compiles before a wheel is put together, an editable one as well."""

        PLUGIN_NAME = "custom"

        def initialize(self, version: str, build_data: dict[str, object]) -> None:
            """Add the library to the wheel, which is then one for this kind of machine."""
            del version
            if self.target_name != "wheel":
                return
            why_not = compile_kernels()
            if why_not:
                self.app.display_warning(f"sounds will be finished more slowly, by numpy alone: {why_not}")
                return
            build_data["artifacts"] = ["/src/audio_pool/audio/_kernels.so"]
            build_data["pure_python"] = False
            build_data["tag"] = "py3-none-" + _platform()


def _platform() -> str:
    import sysconfig

    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


if __name__ == "__main__":
    reason = compile_kernels()
    print(reason or f"{LIBRARY} is made")
    sys.exit(bool(reason))
