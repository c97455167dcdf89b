"""Where a model's files are: a local directory, or a snapshot in the hub's local cache.

Owns: turning what a setting names into a directory that exists, and the message when there is none.
Must not know: what is in the directory, torch, the pool.
"""

from __future__ import annotations

from pathlib import Path

from audio_pool.errors import EngineUnavailable

__all__ = ["locate", "missing_model", "parts_of"]

# What a diffusers or transformers model consists of; keeps fetches from bringing other frameworks' weights.
PATTERNS = ("*.json", "*.safetensors", "*.model", "*.txt")


def locate(engine: str, model: str, revision: str = "", *, offline: bool = True) -> Path:
    """The directory that holds ``model``.

    Args:
        engine: its name, for the message.
        model: a directory, or a hub id ("owner/name").
        revision: branch, tag or commit; hub ids only.
        offline: look in the hub's local cache only; False downloads what is missing.

    Raises:
        EngineUnavailable: naming what was tried and the command that fetches it.
    """
    directory = Path(model).expanduser()
    if directory.is_dir():
        return directory
    looks_local = model.startswith(("/", "~", ".")) or model.count("/") != 1
    if looks_local:
        raise missing_model(engine, f"no directory {str(directory)!r}")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as exc:
        raise missing_model(engine, f"{model!r} is no directory, and huggingface_hub is not installed") from exc
    try:
        return Path(
            snapshot_download(
                model, revision=revision or None, local_files_only=offline, allow_patterns=list(PATTERNS)
            )
        )
    except HFValidationError as exc:
        raise missing_model(engine, f"{model!r} is neither a directory nor a hub id") from exc
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as exc:
        at = f" at revision {revision!r}" if revision else ""
        where = "the hub's local cache" if offline else "the hub"
        raise missing_model(engine, f"{model!r}{at} is neither a directory nor in {where}") from exc


def missing_model(engine: str, tried: str) -> EngineUnavailable:
    """The one message for a model that is not there, or not whole."""
    return EngineUnavailable(
        f"{engine}: {tried}; run 'audio-pool models fetch {engine}', or set model to a directory that has it"
    )


def parts_of(directory: Path) -> dict[str, list[Path]]:
    """Weight files by part: one list a sub-folder ("" for the directory itself), safetensors preferred.

    Variants ("fp16") beside full weights are not counted twice.
    """
    parts: dict[str, list[Path]] = {}
    for folder in [directory, *sorted(path for path in directory.iterdir() if path.is_dir())]:
        files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
        plain = [path for path in files if ".fp16" not in path.name]
        if plain or files:
            parts["" if folder == directory else folder.name] = plain or files
    return parts
