"""A worker that generates needs numpy, msgpack, msgspec, pyzmq, safetensors and what its engine needs: no more."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from tests.support.bench_pool import settings
from tests.support.waiting import PATIENCE_S
from tests.support.worker_processes import worker_processes

from audio_pool import AudioPool
from audio_pool.errors import EngineUnavailable

NEEDED = ("numpy", "msgpack", "msgspec", "pyzmq", "safetensors")
NOT_THERE = ("torch", "faiss", "soundfile", "scipy", "soxr", "pyloudnorm", "librosa", "click")


def thin_environment(directory: Path) -> Path:
    """The interpreter of an environment of its own: links to the files of the five distributions, and no more."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True, timeout=PATIENCE_S)
    python = directory / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    told = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    target = Path(told.stdout.strip())
    for name in NEEDED:
        for file in importlib.metadata.files(name) or ():
            top = file.parts[0]
            source = Path(str(importlib.metadata.distribution(name).locate_file(top)))
            link = target / top
            if top != ".." and not link.exists():
                link.symlink_to(source.resolve())
    return python


@pytest.fixture(scope="module")
def thin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return thin_environment(tmp_path_factory.mktemp("thin") / "venv")


def test_the_environment_is_thin(thin: Path) -> None:
    script = "import sys, importlib.util as u; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    modules = ["numpy", "msgpack", "msgspec", "zmq", "safetensors"]
    ask = [thin, "-c", script, *modules, *NOT_THERE, "audio_pool"]
    told = subprocess.run(ask, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    assert told.stdout.strip() == str(modules)


def test_a_thin_worker_makes_and_a_full_one_masters(thin: Path, tmp_path: Path) -> None:
    workers = [
        {"name": "thin", "engines": ["mock"], "roles": ["generate"], "python": str(thin)},
        {"name": "full", "roles": ["master"]},
    ]
    with AudioPool.from_config(settings(tmp_path, workers)) as pool:
        assert str(thin) in worker_processes()["thin"].cmdline()[0]
        result = pool.generate("tone", duration_s=1.0, loop=True, timeout_s=PATIENCE_S)
        assert soundfile.info(result.path).frames == 44_100
        assert result.metadata.worker.id == "thin"
        assert pool.status().arena["leases"] > 0, "through shared memory, as between any two workers"


def test_a_thin_worker_that_is_to_master_says_what_it_lacks(thin: Path, tmp_path: Path) -> None:
    worker = {"name": "thin", "engines": ["mock"], "python": str(thin)}
    with pytest.raises(EngineUnavailable, match=r"mastering needs scipy, soundfile, soxr: not installed"):
        AudioPool.from_config(settings(tmp_path, [worker])).start()
