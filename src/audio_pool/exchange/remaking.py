"""A sound made again from the recipe in its file, and compared with it.

Owns: what must be as it was, the order of the steps, the comparison, the file that comes of it.
Must not know: which pool makes it, how files hold recipes.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct, structs

from audio_pool import __version__
from audio_pool.api import Asked, Engines
from audio_pool.craft import Check, Craft, CraftForm, CraftReport
from audio_pool.errors import Conflict, InvalidAudio, InvalidRequest, NotFound
from audio_pool.exchange.recipe_in_file import FileRecipe, recipe_of_facts
from audio_pool.inscription import is_private
from audio_pool.pending import Pending
from audio_pool.plain_mapping import PlainMapping
from audio_pool.results import AudioResult
from audio_pool.validation import parse

__all__ = ["Remade", "remade"]

Facts = dict[str, Any]  # opaque: a file may say anything; checked field by field
_DEEPEST = 8
_MOST_SOUNDS = 64


class _Pool(Protocol):
    """An AudioPool or an AudioClient."""

    def submit(self, prompt: Asked, *, timeout_s: float | None = None, **fields: Any) -> Pending: ...

    def engines(self) -> Engines: ...

    def craft(
        self,
        craft: Craft,
        paths: Sequence[str | Path] = (),
        *,
        sounds: Sequence[bytes | Path] = (),
        delivery: Any = "path",
        timeout_s: float | None = None,
        **form: Any,
    ) -> CraftReport: ...


class Remade(PlainMapping, Struct, frozen=True, kw_only=True):
    """What came of it."""

    file: str
    equal: bool
    """The samples are the very same."""
    same_bytes: bool = False
    """And so is the file, byte for byte."""
    differs: tuple[str, ...] = ()
    """What is other than when it was made."""
    comparable: bool = True
    max_difference: float = 0.0
    """Of samples, full scale is 1."""
    difference_db: float | None = None
    """Level of the difference against the file's sound."""
    spectral_distance_db: float = 0.0
    output: str | None = None


def remade(
    pool: _Pool,
    path: Path,
    told: FileRecipe | None,
    facts: Facts,
    folder: Path,
    *,
    output: Path | None = None,
    init_audio: Path | None = None,
    anyway: bool = False,
    store: bool = False,
    timeout_s: float = 600.0,
) -> Remade:
    """Make a file's sound again and compare.

    Args:
        told, facts: what the file says (``file_recipe``).
        folder: for what lies between; emptied by nobody.
        output: where the new file goes; None: nowhere.
        init_audio: the sound that it was made of, which must be the very file.
        anyway: also where something is other than when it was made, or is not said.
        store: keep the sound in the cache.

    Raises:
        Conflict: something is other than it was. NotFound: what it needs is not there.
        InvalidRequest: the recipe is none that can be asked for. AudioPoolError: it could not be made.
    """
    from audio_pool.audio import codec
    from audio_pool.audio.likeness import likeness
    from audio_pool.audio.tags import with_comment

    making = _Making(pool, folder, init_audio, anyway, store, timeout_s)
    made = making.file_of(told, facts)
    theirs, rate = codec.read(path)
    ours, our_rate = codec.read(made)
    found = likeness(theirs, ours) if rate == our_rate else likeness(theirs, ours[:0])
    data = made.read_bytes()
    original = codec.inspect(path)
    if found.equal and original["format"] == codec.inspect(made)["format"]:
        again = folder / f"again{made.suffix}"
        with contextlib.suppress(InvalidAudio):  # a signed FLAC is left as it is: its signature holds no longer else
            with_comment(made, again, original, ours.shape[1], our_rate)
            data = again.read_bytes()
    if output is not None:
        beside = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
        try:
            beside.write_bytes(data)
            beside.replace(output)
        finally:
            beside.unlink(missing_ok=True)
    return Remade(
        file=str(path),
        equal=found.equal,
        same_bytes=data == path.read_bytes(),
        differs=tuple(dict.fromkeys(making.differs)),
        comparable=found.comparable,
        max_difference=found.max_difference,
        difference_db=found.difference_db,
        spectral_distance_db=round(found.spectral_distance_db, 4),
        output=None if output is None else str(output),
    )


class _Step(Struct, frozen=True, kw_only=True):
    """One piece of work, as a file has it."""

    craft: Craft
    form: CraftForm = CraftForm()


class _Making:
    """The way from a recipe to a file, through the sounds that it was made of."""

    def __init__(
        self, pool: _Pool, folder: Path, init_audio: Path | None, anyway: bool, store: bool, timeout_s: float
    ) -> None:
        self._pool, self._folder, self._init_audio = pool, folder, init_audio
        self._anyway, self._store, self._timeout_s = anyway, store, timeout_s
        self._engines: Engines | None = None
        self._made = 0
        self.differs: list[str] = []

    def file_of(self, told: FileRecipe | None, facts: Facts, depth: int = 0) -> Path:
        """Return the file that a comment stands for."""
        steps = facts.get("work")
        if not isinstance(steps, list) or not steps:
            if told is None:
                raise NotFound("the recipe is not in the file", hint="only what its sound was made of is named in it")
            return self._sound(told)
        if depth >= _DEEPEST or self._made >= _MOST_SOUNDS:
            raise InvalidRequest(f"the recipe is made of more than {_MOST_SOUNDS} sounds, or worked on too often")
        step = steps[-1] if isinstance(steps[-1], dict) else {}
        read = {name: step[name] for name in ("craft", "form") if name in step}
        done = parse(_Step, read, error=InvalidRequest, what="the work in the file")
        if isinstance(done.craft, Check):
            raise InvalidRequest("the work in the file: a check makes no sound")
        origins = step.get("of")
        if not isinstance(origins, list):
            origins = [{**facts, "work": steps[:-1]}]
        files = []
        for one in origins[:_MOST_SOUNDS]:
            origin = one if isinstance(one, dict) else {}
            if origin.get("made_by") != "audio_pool":
                raise NotFound(
                    f"a sound that it was made of came from elsewhere (SHA-256 {origin.get('sha256', 'not told')})",
                    hint="only sounds that were made here are made again",
                )
            files.append(self.file_of(recipe_of_facts(origin), origin, depth + 1))
        fields = msgspec.to_builtins(structs.replace(done.form, comment=""))
        report = self._pool.craft(done.craft, sounds=files, delivery="inline", timeout_s=self._timeout_s, **fields)
        return self._written(report.data if isinstance(report.data, bytes) else b"", report.format)

    def _sound(self, told: FileRecipe) -> Path:
        """Make one sound as its file was made: with its master, or from it."""
        self._check(told)
        fields = told.request() if told.master is None else told.master_request()
        if told.recipe.init_audio_sha256 is not None:
            fields["init_audio"] = str(self._given(told.recipe.init_audio_sha256))
        result = self._result(fields)
        seed = told.metadata.seed
        if told.recipe.candidates > 1 and seed is not None and seed != result.metadata.seed:
            # the file is of one that was not chosen, which its recipe does not say
            result = self._result({**fields, "seed": seed, "candidates": 1})
        device = result.metadata.worker.device.partition(":")[0]
        if told.device and device != told.device:
            self._differs(f"device: made on {told.device}, now on {device}")
        assert result.data is not None, "it was asked for inline"
        path = self._written(result.data, result.metadata.format)
        if told.master is None or told.rendition is None:
            return path
        from audio_pool.worker.mastering import Mastering

        out = self._folder / f"{self._made}.rendition.{told.rendition.format}"
        Mastering().render(path, told.rendition, out, loop=told.recipe.loop, comment="")
        return out

    def _result(self, fields: Facts) -> AudioResult:
        pending = self._pool.submit(
            {**fields, "force": True, "store": self._store, "on_quality_failure": "best", "min_quality": 0.0},
            timeout_s=self._timeout_s,
            delivery="inline",
        )
        return pending.result(self._timeout_s + 10.0)

    def _written(self, data: bytes, format_: str) -> Path:
        self._made += 1
        path = self._folder / f"{self._made}.{format_}"
        path.write_bytes(data)
        return path

    def _given(self, sha256: str) -> Path:
        if self._init_audio is None:
            raise NotFound(
                f"it was made of another sound, which is not in the file (SHA-256 {sha256})",
                hint="--init-audio names it",
            )
        with self._init_audio.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise Conflict(f"{self._init_audio}: given a file with SHA-256 {found}, it was made of {sha256}")
        return self._init_audio.absolute()

    def _check(self, told: FileRecipe) -> None:
        """Note what is other than when it was made; raise where that is not wanted."""
        if self._engines is None:
            self._engines = self._pool.engines()
        recipe, metadata = told.recipe, told.metadata
        now = f"audio_pool {__version__}"
        if not told.software:
            self._differs("version: the file does not say which made it")
        elif told.software != now:
            self._differs(f"version: made by {told.software}, this is {now}")
        info = next((one for one in self._engines.engines if one.name == recipe.engine), None)
        if info is None:
            names = ", ".join(sorted(one.name for one in self._engines.engines))
            raise NotFound(f"engine: made by {recipe.engine!r}, which is not hosted", hint=f"hosted: {names or 'none'}")
        implementation = recipe.implementation or recipe.engine
        for name, was, is_now in (
            ("implementation", implementation, info.implementation or info.name),
            ("model", _shown(recipe.model), _shown(info.model)),
            ("model_revision", recipe.model_revision, info.model_revision),
            ("dtype", metadata.dtype, info.dtype),
            ("quantization", metadata.quantization, info.quantization),
        ):
            if was != is_now:
                self._differs(f"{name}: made with {was or 'none'}, now {is_now or 'none'}")
        for lack in told.lacking:
            if not (recipe.init_audio_sha256 is not None and lack.startswith("it was made of") and self._init_audio):
                self._differs(f"not in the file: {lack}")

    def _differs(self, what: str) -> None:
        self.differs.append(what)
        if not self._anyway:
            raise Conflict(what, hint="--anyway makes it all the same; it may sound otherwise")


def _shown(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2] if is_private(model) else model
