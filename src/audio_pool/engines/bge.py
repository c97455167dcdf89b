"""BGE (BAAI general embedding): small, base and large, by hub id or local directory.

Owns: finding the model.
Must not know: what its vectors are used for.

No instruction is put before a text: BGE's is for a short query against long passages; here both sides are
prompts.
"""

from __future__ import annotations

import msgspec

from audio_pool.engine_info import EngineInfo
from audio_pool.engines._sentence import SentenceEmbedder, load_directory, revision_of
from audio_pool.models.weights import locate

__all__ = ["INFO", "load"]

INFO = EngineInfo(
    name="bge",
    role="embedder",
    model="BAAI/bge-small-en-v1.5",
    licence="MIT",
    commercial_use=True,
    dimensions=384,
    requires=("torch", "sentence_transformers"),
    extra="semantic",
    summary="BGE: finds cached sounds by the meaning of a prompt; also bge-base-en-v1.5 and bge-large-en-v1.5",
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
    """A BGE, ready to embed; never reaches the network.

    Args:
        model: directory or hub id; "" is INFO.model.
        revision: of a hub id; "" is its main branch.
        device: torch's name, e.g. ``cpu`` or ``cuda:0``.
        dtype: float32, float16 or bfloat16.
        models_dir: directory of models, looked in before the hub's cache.
        backend: ``torch`` or ``onnx``.
        onnx_file: another file of the directory than ``onnx/model.onnx``, e.g. a quantised one.

    Raises:
        EngineUnavailable: not on this machine, with the command to run.
        InvalidConfig: a setting that is not allowed.
    """
    found = locate(model or INFO.model, engine=INFO.name, models_dir=models_dir or None, revision=revision)
    known = found.revision or revision or revision_of(found.path)
    info = msgspec.structs.replace(INFO, model=model or INFO.model, model_revision=known)
    return load_directory(info, found.path, device=device, dtype=dtype, backend=backend, onnx_file=onnx_file)
