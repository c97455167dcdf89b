"""``pack.toml``: which sounds a pack is to have.

Owns: the manifest's fields, and the files that it comes to: the name, the request and the form of each.
Must not know: how sounds are made, what was built before (pack_lock.py).

What an item does not say its class says, then the defaults. Seeds follow from the pack's own, from the family's or
the item's name and the variant's number, so that a pack is made the same way everywhere, and variants of one number
within a family are drawn from the same seed.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from audio_pool.errors import InvalidRequest, NotFound, nearest_name
from audio_pool.packs.names import slug
from audio_pool.presets import normal_id
from audio_pool.types import (
    HEADERLESS,
    MAX_PRESETS_NAMED,
    MAX_SEED,
    MAX_VARIANTS,
    BitDepth,
    BitRate,
    Candidates,
    Crossfade,
    Duration,
    EngineName,
    Format,
    Guidance,
    Highpass,
    Label,
    LoopMethod,
    Lufs,
    Name,
    OptionalText,
    PeakDb,
    PresetId,
    Prompt,
    Quality,
    SampleRate,
    Seed,
    Steps,
    Tag,
)
from audio_pool.validation import parse

__all__ = [
    "MANIFEST",
    "MOST_ITEMS",
    "PRESETS_SAID",
    "Fields",
    "Item",
    "Manifest",
    "PackSection",
    "Sound",
    "Wanted",
    "read_manifest",
    "wanted_files",
]

MANIFEST = "pack.toml"
PRESETS_SAID = "presets_said"
"""Where a lock has the revisions of a file's presets, among what was asked."""
MOST_ITEMS = 10_000
ItemName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\A[a-z0-9][a-z0-9_]*\Z")]
_PLACES = ("class", "name", "n", "nn")
_FILE = re.compile(r"[a-z0-9][a-z0-9_.\-]*(/[a-z0-9][a-z0-9_.\-]*)*")
_FORM = ("format", "sample_rate", "bit_depth", "bit_rate", "mono", "target_lufs", "true_peak_dbfs", "limiter")
"""Fields that say how a file is written, not what it sounds like."""
Fields = dict[str, Any]
"""Fields of a request or a form, checked. Opaque: of every kind that those have."""


class Sound(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What can be said of a sound: by the defaults, a class or an item."""

    engine: EngineName | UnsetType = UNSET
    negative_prompt: OptionalText | UnsetType = UNSET
    duration_s: Duration | UnsetType = UNSET
    loop: bool | UnsetType = UNSET
    loop_method: LoopMethod | UnsetType = UNSET
    crossfade_s: Crossfade | UnsetType = UNSET
    steps: Steps | UnsetType = UNSET
    guidance_scale: Guidance | UnsetType = UNSET
    candidates: Candidates | UnsetType = UNSET
    voice: Name | UnsetType = UNSET
    options: Annotated[dict[Name, Label], Meta(max_length=32)] | UnsetType = UNSET
    presets: Annotated[list[PresetId], Meta(max_length=MAX_PRESETS_NAMED)] | UnsetType = UNSET
    highpass_hz: Highpass | UnsetType = UNSET
    min_quality: Quality | UnsetType = UNSET
    tags: Annotated[list[Tag], Meta(max_length=32)] | UnsetType = UNSET
    words: Annotated[str, Meta(max_length=500)] | UnsetType = UNSET
    """Added to every prompt: what the sounds have in common."""
    max_noise_floor_dbfs: Annotated[float, Meta(ge=-120.0, le=0.0)] | UnsetType = UNSET
    """A sound whose quietest tenth is louder is made anew with other seeds, a few times."""
    format: Format | UnsetType = UNSET
    sample_rate: SampleRate | UnsetType = UNSET
    bit_depth: BitDepth | UnsetType = UNSET
    bit_rate: BitRate | UnsetType = UNSET
    mono: bool | UnsetType = UNSET
    target_lufs: Lufs | UnsetType = UNSET
    true_peak_dbfs: PeakDb | UnsetType = UNSET
    limiter: bool | UnsetType = UNSET
    """Hold down peaks that would keep it under its loudness; on where there is one."""


class Item(Sound, frozen=True, kw_only=True):
    """One sound of a pack, or several variants of it."""

    name: ItemName
    prompt: Prompt
    class_: ItemName = msgspec.field(name="class", default="sound")
    variants: Annotated[int, Meta(ge=1, le=MAX_VARIANTS)] = 1
    names: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    """Of its files; None: as the pack says."""
    family: ItemName | None = None
    """Items of one family draw their variants from the same seeds."""
    seed: Seed | None = None
    """Of the first variant; None: it follows from the pack's."""


class PackSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pack itself."""

    name: ItemName
    version: Annotated[str, Meta(min_length=1, max_length=40)] = "1.0.0"
    seed: Seed = 0
    out: Annotated[str, Meta(min_length=1, max_length=100, pattern=r"\A[a-zA-Z0-9_\-]+\Z")] = "sounds"
    """The folder of its files, beside the manifest."""
    names: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    """Of files; may hold {class}, {name}, {n}, {nn}; None: {class}/{name}, and _{nn} where there are variants."""
    commercial: bool = False
    """An engine whose licence forbids commercial use is refused."""


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of a ``pack.toml``."""

    pack: PackSection
    defaults: Sound = Sound()
    classes: dict[ItemName, Sound] = {}
    items: Annotated[list[Item], Meta(min_length=1, max_length=MOST_ITEMS)]


class Wanted(Struct, frozen=True, kw_only=True):
    """One file that a pack is to have."""

    file: str
    """Within the pack's folder of sounds."""
    item: str
    class_: str
    variant: int
    seed: int
    request: Fields
    """Of an AudioRequest, without the seed."""
    form: Fields
    """Of a CraftForm."""
    max_noise_floor_dbfs: float | None
    said: dict[str, str] = {}
    """Revisions of its presets, by id: what they say now."""

    @property
    def presets(self) -> list[str]:
        """Ids of its presets, each once."""
        return list(dict.fromkeys(normal_id(name) for name in self.request.get("presets", ())))

    @property
    def asked(self) -> Fields:
        """Everything that decides what is in the file; equal where it need not be made anew."""
        floor = {} if self.max_noise_floor_dbfs is None else {"max_noise_floor_dbfs": self.max_noise_floor_dbfs}
        said = {PRESETS_SAID: self.said} if self.said else {}
        return {"seed": self.seed, **self.request, **self.form, **floor, **said}


def read_manifest(folder: Path) -> Manifest:
    """Read a pack's manifest. Raises NotFound, InvalidRequest: naming the field, what was given and what is allowed."""
    path = folder / MANIFEST
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"{path}: there is no such file", hint="'audio-pool pack init DIR' writes one") from None
    except OSError as exc:
        raise InvalidRequest(f"{path}: cannot be read: {exc.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidRequest(f"{path}: {exc}") from None
    manifest = parse(Manifest, tree, error=InvalidRequest, what=str(path))
    wanted_files(manifest)
    return manifest


def wanted_files(manifest: Manifest) -> list[Wanted]:
    """Return every file that a pack is to have, in the manifest's order.

    Raises:
        InvalidRequest: a class that there is not, a name twice, a pattern that is none.
    """
    found = [wanted for item in manifest.items for wanted in _of_item(manifest, item)]
    names: dict[str, str] = {}
    items: set[str] = set()
    for item in manifest.items:
        if item.name in items:
            raise InvalidRequest(f"items: two are named {item.name!r}; names are given once")
        items.add(item.name)
    for wanted in found:
        other = names.setdefault(wanted.file, wanted.item)
        if other != wanted.item:
            raise InvalidRequest(f"items: {other!r} and {wanted.item!r} would both be {wanted.file}")
    return found


def _of_item(manifest: Manifest, item: Item) -> Iterator[Wanted]:
    if item.class_ not in manifest.classes and manifest.classes and item.class_ != "sound":
        near = nearest_name(item.class_, manifest.classes)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(manifest.classes))}"
        raise InvalidRequest(f"items: {item.name!r} is of a class {item.class_!r} that there is not; {hint}")
    layers = (manifest.defaults, manifest.classes.get(item.class_, Sound()), item)
    said: Fields = {}
    words = []
    for layer in layers:
        told = msgspec.to_builtins(layer)
        said |= {name: told[name] for name in Sound.__struct_fields__ if name in told}
        words.append(said.pop("words", ""))
    floor = said.pop("max_noise_floor_dbfs", None)
    form = {name: said.pop(name) for name in _FORM if name in said}
    prompt = ", ".join(text for text in (item.prompt, *dict.fromkeys(words)) if text)
    rate = {"sample_rate": form["sample_rate"]} if "sample_rate" in form else {}
    extension = form.setdefault("format", "ogg")
    if extension in HEADERLESS:
        raise InvalidRequest(
            f"format: given {extension!r} for {item.name!r}, allowed are formats with a header",
            hint="its rate, channels and loop points could be read by nobody; 'wav' has them all",
        )
    if "target_lufs" in form:  # one loudness for all of a class, also where one has higher peaks
        form.setdefault("limiter", True)
    for variant in range(1, item.variants + 1):
        yield Wanted(
            file=f"{_name_of(manifest.pack, item, variant)}.{extension}",
            item=item.name,
            class_=item.class_,
            variant=variant,
            seed=_seed_of(manifest.pack, item, variant),
            request={"prompt": prompt, **rate, **said},
            form=form,
            max_noise_floor_dbfs=floor,
        )


def _seed_of(pack: PackSection, item: Item, variant: int) -> int:
    if item.seed is not None:
        return (item.seed + variant - 1) % (MAX_SEED + 1)
    line = f"{pack.seed}/{item.family or item.name}/{variant}"
    return int.from_bytes(hashlib.sha256(line.encode()).digest()[:8], "big") & MAX_SEED


def _name_of(pack: PackSection, item: Item, variant: int) -> str:
    pattern = item.names or pack.names or ("{class}/{name}_{nn}" if item.variants > 1 else "{class}/{name}")
    unknown = next((name for name in re.findall(r"\{(.*?)\}", pattern) if name not in _PLACES), None)
    if unknown is not None:
        allowed = ", ".join(f"{{{name}}}" for name in _PLACES)
        raise InvalidRequest(f"names: given {pattern!r} with {{{unknown}}}, allowed are {allowed}")
    if item.variants > 1 and not re.search(r"\{nn?\}", pattern):
        raise InvalidRequest(f"names: given {pattern!r} for {item.variants} variants of {item.name!r}: add {{nn}}")
    values = {"class": item.class_, "name": item.name, "nn": f"{variant:02d}", "n": str(variant)}
    name = re.sub(r"\{(.*?)\}", lambda found: values[found.group(1)], pattern)
    if not _FILE.fullmatch(name):
        raise InvalidRequest(
            f"names: {item.name!r} would be {name!r}, allowed are small letters, digits, '_', '-', '.' and '/'",
            hint=f"for example {slug(name)!r}",
        )
    return name
