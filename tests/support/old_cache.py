"""A cache directory as version 0.1.0's first schema left it: its tables, its JSON, a file per entry."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
from tests.support.cache_sounds import write_flac

from audio_pool.prompts.normalize import CANONICAL_VERSION, canonical_key, text_key

TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, identity BLOB NOT NULL, family BLOB NOT NULL, text_key BLOB NOT NULL,
    canonical_key BLOB NOT NULL, prompt TEXT NOT NULL, namespace TEXT NOT NULL, engine TEXT NOT NULL,
    loop INTEGER NOT NULL, voice TEXT NOT NULL, negative TEXT NOT NULL, duration_s REAL NOT NULL,
    sample_rate INTEGER NOT NULL, commercial INTEGER NOT NULL, spoken INTEGER NOT NULL, clap_similarity REAL,
    quality REAL, created_at REAL NOT NULL, file TEXT NOT NULL, origin TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL
);
CREATE INDEX entries_text ON entries (text_key);
CREATE INDEX entries_canonical ON entries (canonical_key);
CREATE INDEX entries_family ON entries (family);
CREATE TABLE provenance (
    entry_id INTEGER PRIMARY KEY REFERENCES entries (id) ON DELETE CASCADE, recipe BLOB NOT NULL, metadata BLOB NOT NULL
);
CREATE TABLE vectors (
    entry_id INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE, encoder TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (entry_id, encoder)
);
CREATE TABLE spaces (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE renditions (
    entry_id INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE, spec TEXT NOT NULL, file TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, PRIMARY KEY (entry_id, spec)
) WITHOUT ROWID;
CREATE TABLE changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, entry_id INTEGER NOT NULL, removed INTEGER NOT NULL);
CREATE TABLE doomed (file TEXT PRIMARY KEY) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


class OldCache:
    """Builds the directory; every entry has a vector in the space ``minilm``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("audio", "renditions", "renders", "incoming", "index"):
            (directory / name).mkdir(parents=True)
        with self._database() as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(TABLES)
            facts = [("store_id", "ab" * 16), ("canonical_version", str(CANONICAL_VERSION))]
            db.executemany("INSERT INTO facts VALUES (?, ?)", facts)
            db.execute("INSERT INTO spaces VALUES ('minilm')")

    @contextlib.contextmanager
    def _database(self) -> Any:
        with contextlib.closing(sqlite3.connect(self.directory / "cache.sqlite3", isolation_level=None)) as db:
            yield db

    def put(
        self, prompt: str, vector: np.ndarray, metadata: dict[str, Any] | None = None, **changes: Any
    ) -> int:
        """Keep one sound with the old recipe and metadata; its id."""
        recipe = {
            "prompt": prompt, "negative_prompt": "", "engine": "procedural", "model": "procedural", "frames": 88_200,
            "sample_rate": 44_100, "loop": False, "seed": 7, "steps": None, "guidance_scale": None, "candidates": 1,
            "voice": None, "init_audio_sha256": None, "init_strength": None, "namespace": "default", **changes,
        }  # fmt: skip
        told = {**_metadata(recipe), **(metadata or {})}
        family = {**recipe, "seed": None}
        with self._database() as db:
            number = db.execute("SELECT count(*) FROM entries").fetchone()[0]
            file = f"audio/ab/{number:032x}.flac"
            path = self.directory / file
            path.parent.mkdir(exist_ok=True)
            content = write_flac(path, number).read_bytes()
            entry = {
                "identity": _identity(recipe), "family": _identity(family),
                "text_key": _digest(f"{recipe['namespace']}\0{text_key(prompt)}"),
                "canonical_key": _digest(f"{recipe['namespace']}\0{CANONICAL_VERSION}\0{canonical_key(prompt)}"),
                "prompt": prompt, "namespace": recipe["namespace"], "engine": recipe["engine"],
                "loop": recipe["loop"], "voice": "", "negative": text_key(recipe["negative_prompt"]),
                "duration_s": recipe["frames"] / recipe["sample_rate"], "sample_rate": recipe["sample_rate"],
                "commercial": told["commercial_use"], "spoken": False, "clap_similarity": told["clap_similarity"],
                "quality": told["quality"]["score"], "created_at": 1_700_000_000.0 + number, "file": file,
                "origin": "", "size_bytes": len(content), "sha256": hashlib.sha256(content).digest(),
            }  # fmt: skip
            marks = ", ".join(f":{name}" for name in entry)
            entry_id = db.execute(f"INSERT INTO entries ({', '.join(entry)}) VALUES ({marks})", entry).lastrowid
            stored = (entry_id, json.dumps(recipe).encode(), json.dumps(told).encode())
            db.execute("INSERT INTO provenance VALUES (?, ?, ?)", stored)
            db.execute("INSERT INTO vectors VALUES (?, 'minilm', ?)", (entry_id, vector.astype(np.float32).tobytes()))
            db.execute("INSERT INTO changes (entry_id, removed) VALUES (?, 0)", (entry_id,))
        return int(entry_id)


def _metadata(recipe: dict[str, Any]) -> dict[str, Any]:
    """What was stored with a sound: flat, as a worker and the pool had filled it."""
    quality = {"score": 93.0, "issues": []}
    return {
        "request_id": "r1", "prompt": recipe["prompt"], "negative_prompt": recipe["negative_prompt"],
        "seed": recipe["seed"], "base_seed": recipe["seed"], "steps": recipe["steps"],
        "guidance_scale": recipe["guidance_scale"], "voice": None, "namespace": recipe["namespace"],
        "requested_duration_s": 2.0, "tau_accept_new": None, "clap_similarity": None, "target_lufs": -23.0,
        "generation_timestamp": 1_700_000_000.0, "warnings": [], "engine": recipe["engine"],
        "model": recipe["model"], "model_revision": "", "licence": "Apache-2.0", "commercial_use": True,
        "speech": False, "engine_details": {"layers": ["rain"]}, "worker": {"id": "w0", "device": "cpu"},
        "duration_s": 2.0, "sample_rate": recipe["sample_rate"], "channels": 2, "is_loop": recipe["loop"],
        "format": "flac", "bit_depth": 24, "loop": None, "accepted": True, "quality": quality,
        "loudness_lufs": -23.0, "true_peak_dbfs": -6.1, "rounds": 1, "batch_size": 1,
        "candidates": [
            {"seed": recipe["seed"], "score": 93.0, "quality": quality, "clap_similarity": None, "verdict": "chosen"}
        ],
        "timings_ms": {"generate": 5.0, "master": 20.0, "store": 1.0},
    }  # fmt: skip


def _identity(recipe: dict[str, Any]) -> bytes:
    plain = json.dumps(recipe, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(b"recipe-1\0" + plain.encode()).digest()


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
