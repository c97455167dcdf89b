"""Two workers whose interpreters hold different versions of one library: neither sees the other's, nor ours."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from tests.support.bench_pool import settings
from tests.support.waiting import PATIENCE_S

from audio_pool import AudioPool

WORKER_NEEDS = ("numpy", "numpy.libs", "msgpack", "msgspec", "zmq", "pyzmq.libs", "safetensors")

ENGINE = '''
import importlib.metadata
import importlib.util
import sys

import numpy as np

import clashing
from audio_pool.engines.base import EngineInfo, Notes

INFO = EngineInfo(
    name="{name}", role="generator", model="{name}", licence="MIT", commercial_use=True,
    sample_rate=44_100, channels=1, gated=False, requires=("clashing",),
)


class Teller:
    info = INFO

    def notes(self, item):
        seen = [one for one in ("torch", "scipy", "click") if importlib.util.find_spec(one)]
        return Notes(details={{"version": clashing.{call}(), "prefix": sys.prefix, "ours": seen,
                              "installed": importlib.metadata.version("clashing")}})

    def generate(self, items, on_step=None):
        return [np.full((1, round(item.duration_s * 44_100)), 0.1, np.float32) for item in items]

    def close(self): ...


def load():
    return Teller()
'''


def environment(home: Path, name: str, version: str, call: str) -> Path:
    """An environment with a worker's own needs, one version of the library, and the engine that wants it.

    The needs are linked from here: what is tested is what the worker sees, not an index.
    """
    place = home / name
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True, timeout=120)
    packages = place / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    ours = Path(sysconfig.get_path("platlib"))
    for need in WORKER_NEEDS:
        if (ours / need).exists():
            (packages / need).symlink_to(ours / need)
    (packages / "clashing.py").write_text(f"def {call}():\n    return {version!r}\n")
    (packages / "teller.py").write_text(ENGINE.format(name=name, call=call))
    named = f"[audio_pool.engines]\n{name} = teller\n"
    for dist, release, points in (("clashing", version, ""), ("teller", "1", named)):
        info = packages / f"{dist}-{release}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {release}\n")
        (info / "entry_points.txt").write_text(points)
    return place


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("environments")
    return {
        "old": environment(home, "old", "1.0", "version_of_old"),
        "new": environment(home, "new", "2.0", "version_of_new"),
    }


def test_two_versions_of_one_library_work_in_one_pool(places, tmp_path):
    workers = [
        {"name": f"{name}-worker", "engines": [name], "roles": ["generate"], "python": str(place / "bin" / "python")}
        for name, place in places.items()
    ]
    workers.append({"name": "master", "engines": [], "roles": ["master"]})
    with AudioPool.from_config(settings(tmp_path, workers)) as pool:
        for name, version in (("old", "1.0"), ("new", "2.0"), ("old", "1.0")):
            made = pool.generate("a tone", engine=name, duration_s=0.5, force=True, timeout_s=PATIENCE_S)
            told = made.metadata["engine_details"]
            assert told == {"version": version, "installed": version, "prefix": str(places[name]), "ours": []}
            assert made.metadata["worker"]["id"] == f"{name}-worker"
