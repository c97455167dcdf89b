"""A written file signed, with what it was made of: the last that a worker does to it.

Owns: which given sounds a file's manifest names, and how theirs travel in the master that the cache keeps.
Must not know: how files are written, what is configured.

A given sound's file may be gone when another rendition of the master is asked for: what its manifest says is kept in
the master itself, in a block of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from audio_pool import __version__
from audio_pool.craft import Check, Convert, CraftReport, Loop, Master, Mix
from audio_pool.errors import InvalidRequest
from audio_pool.reports import SignatureReport
from audio_pool.signing.carried import GIVEN, GIVEN_TITLE, carried_in, carry
from audio_pool.signing.embedded import SIGNABLE
from audio_pool.signing.ingredient import Ingredient, Relationship, ingredient_of
from audio_pool.signing.statement import Deed, label_of, new_label, statement
from audio_pool.tasks import CraftTask, Seal
from audio_pool.types import Rendition

__all__ = ["UNSEALED", "Sealing", "check_signable", "sealed_work"]

Facts = dict[str, Any]  # opaque: a comment's JSON


@dataclass(frozen=True, kw_only=True)
class Sealing:
    """How the files of one sound are signed."""

    seal: Seal | None = None
    """None: they are not."""
    archive: bytes = b""
    """The manifest of the sound that it was made from, as ``ingredient_of`` gives it."""

    @classmethod
    def begun(cls, seal: Seal | None, given: str, sha256: str | None) -> Sealing:
        """Return how a new sound's files are signed.

        Args:
            given: path of the sound that it starts from; "": there is none, or none of its files will be signed.
            sha256: of that file, in hex.
        """
        if not given or not sha256:
            return cls(seal=seal)
        return cls(seal=seal, archive=ingredient_of(Path(given), label=GIVEN, title=GIVEN_TITLE, sha256=sha256).archive)

    @classmethod
    def of_master(cls, seal: Seal | None, master: Path) -> Sealing:
        """Return how a rendition of a kept master is signed."""
        return UNSEALED if seal is None else cls(seal=seal, archive=carried_in(master))

    def keep(self, master: Path) -> None:
        """Keep what a given sound's manifest says in a master that has just been written. Raises StorageError."""
        carry(self.archive, master)

    def sign(self, path: Path, rendition: Rendition, comment: str) -> None:
        """Sign a complete file, where it is to be; an error leaves no file.

        Args:
            comment: its own.

        Raises:
            SigningFailed, StorageError.
        """
        if self.seal is None or not rendition.signed:
            return
        from audio_pool.signing.signer import sign  # for those who sign

        facts = _facts(comment)
        given = _given_of(facts, self.archive)
        seed, made_at = facts.get("seed"), facts.get("generation_timestamp")
        label = label_of(
            str(facts.get("prompt", "")),
            str(facts.get("engine", "")),
            seed if isinstance(seed, int) else None,
            float(made_at) if isinstance(made_at, int | float) else 0.0,
            rendition,
        )
        stated = statement(facts, version=__version__, label=label, given=[one.label for one in given])
        sign(path, rendition.format, stated, self.seal, given)


UNSEALED = Sealing()


def _given_of(facts: Facts, archive: bytes) -> tuple[Ingredient, ...]:
    """Return the sound that one was made from, as its comment names it; none where there was none."""
    recipe = facts.get("recipe")
    told = recipe if isinstance(recipe, dict) else {}
    sha256 = told.get("init_audio_sha256")
    if not sha256 and facts.get("engine") != "imported" and not archive:
        return ()
    digest = sha256 if isinstance(sha256, str) else ""
    return (Ingredient(label=GIVEN, title=GIVEN_TITLE, sha256=digest, archive=archive),)


# ------------------------------------------------------------------------------------ work on given sounds


def check_signable(task: CraftTask, format: str) -> None:
    """Raise InvalidRequest where all files are to be signed, and one of this format cannot be."""
    if task.must_be_signed and format not in SIGNABLE:
        raise InvalidRequest(
            f"format: given {format!r}, which cannot be signed; allowed are {', '.join(SIGNABLE)}",
            hint="this pool signs all files (provenance.sign is 'on')",
        )


def sealed_work(task: CraftTask, report: CraftReport, comment: str, paths: Sequence[str]) -> CraftReport:
    """Sign what was made of given sounds, where it can be; return the report with what is to be told of it.

    Args:
        report: of the file that was written.
        comment: its own.
        paths: of the given sounds, in the report's order.

    Raises:
        SigningFailed, StorageError: and the file is gone.
    """
    if report.path is None or (task.seal is None and not task.not_signed):
        return report
    if task.seal is None or report.format not in SIGNABLE:
        why = task.not_signed or f"format: {report.format} cannot be signed; allowed are {', '.join(SIGNABLE)}"
        return structs.replace(report, provenance=SignatureReport(why=why))
    from audio_pool.signing.signer import sign  # for those who sign

    deed = _deed(task)
    relationship: Relationship = "componentOf" if deed in ("mixed", "sequenced") else "parentOf"
    given = [
        ingredient_of(
            Path(path), label=f"{GIVEN}-{number}", title=GIVEN_TITLE, sha256=one.sha256, relationship=relationship
        )
        for number, (path, one) in enumerate(zip(paths, report.given, strict=True), 1)
    ]
    label, path = new_label(), Path(report.path)
    with path.open("rb") as file:
        unsigned = hashlib.file_digest(file, "sha256").hexdigest()
    # a given file's own comment is anybody's word: nothing that it says of a recipe is signed for
    facts = _facts(comment)
    told, title = {"digital_source_type": facts.get("digital_source_type")}, str(facts.get("prompt", ""))
    names = [one.label for one in given]
    stated = statement(told, version=__version__, label=label, deed=deed, given=names, title=title)
    sign(path, report.format, stated, task.seal, given)
    signature = SignatureReport(
        signed=True, manifest=label, issuer=task.seal.issuer, certificate=task.seal.fingerprint
    )
    return structs.replace(report, provenance=signature, unsigned_sha256=unsigned)


def _deed(task: CraftTask) -> Deed:
    match task.craft:
        case Loop():
            return "looped"
        case Master():
            return "mastered"
        case Mix():
            return "mixed"
        case Convert() | Check():
            return "converted"
    return "sequenced"


def _facts(comment: str) -> Facts:
    """Return what a comment of ours says; nothing of one that is somebody else's."""
    try:
        found = json.loads(comment)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("made_by") == "audio_pool" else {}
