"""Where a file comes from: what proves it, what does not, and what was changed since."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.support.registered import RATE, bursts, keep, report_of, write

from audio_pool.audio import Audio, filter
from audio_pool.audio.overlay import Likeness
from audio_pool.cache.entry import Entry
from audio_pool.cache.recognition import Recognition, Suspect
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.errors import InvalidAudio
from audio_pool.heard import Compared, Heard
from audio_pool.origin import Declared
from audio_pool.roots import ANYWHERE
from audio_pool.worker.recognizing import heard

DOOR, STEPS, FIRE, CLICK = bursts(1), bursts(2, 1.5, channels=2), bursts(3, 1.2), bursts(4, 0.06)


class Kept:
    """A cache with some sounds in it."""

    def __init__(self, directory: Path) -> None:
        self.cache = SoundCache(directory / "cache", now=lambda: 1_000_000.0)
        self.door = keep(self.cache, DOOR, "a door")
        self.steps = keep(self.cache, STEPS, "steps", seed=2)
        self.fire = keep(self.cache, FIRE, "fire", seed=3, loop=True)
        self.click = keep(self.cache, CLICK, "a click", seed=4)
        self.recognition = Recognition(self.cache.store)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    made = Kept(tmp_path_factory.mktemp("kept"))
    yield made
    made.cache.close()


def test_the_very_file_is_certain_and_unchanged(kept: Kept) -> None:
    report = report_of(kept.recognition, Path(kept.door.path))
    assert (report.verdict, report.by, report.certain, report.changes.told()) == ("made_here", "file", True, [])
    assert report.origin is not None
    assert (report.origin.entry, report.origin.prompt) == (kept.door.id, "a door")
    assert (report.origin.seed, report.origin.licence, report.origin.engine) == (1, "MIT", "procedural")


def test_the_same_samples_in_another_file_are_certain_and_without_tags_it_says_so(kept: Kept, tmp_path: Path) -> None:
    samples, rate = soundfile.read(kept.steps.path, dtype="int32", always_2d=True)
    soundfile.write(tmp_path / "other.wav", samples, rate, subtype="PCM_24")
    report = report_of(kept.recognition, tmp_path / "other.wav")
    assert (report.by, report.certain, report.changes.told()) == ("samples", True, ["tags stripped"])
    assert report.origin is not None and report.origin.entry == kept.steps.id


@pytest.mark.parametrize(
    ("audio", "rate", "told"),
    [
        (DOOR * np.float32(0.5), RATE, ["loudness (-6.0 dB)"]),
        (DOOR[:, RATE // 2 : -RATE // 4], RATE, ["trimmed (0.50..1.75 s are left)"]),
        (filter.resample(DOOR, RATE, 16_000), 16_000, ["resampled (16,000 Hz)"]),
        (np.repeat(DOOR, 2, axis=0), RATE, ["2 channels"]),
        (np.pad(DOOR, ((0, 0), (RATE, RATE))), RATE, ["part of something longer (from 1.00 s)"]),
        (-DOOR[:, 4_410:] * np.float32(0.25), RATE, ["loudness (-12.0 dB)", "trimmed (0.10..2.00 s are left)"]),
    ],
    ids=["level", "ends", "rate", "stereo", "longer", "several"],
)
def test_what_was_changed_is_measured(kept: Kept, tmp_path: Path, audio: Audio, rate: int, told: list[str]) -> None:
    report = report_of(kept.recognition, write(tmp_path / "edited.wav", audio, rate))
    assert (report.verdict, report.by, report.certain) == ("made_here", "fingerprint", False)
    assert report.origin is not None and report.origin.entry == kept.door.id
    assert report.changes.compared_with == "samples"
    assert report.changes.told() == [*told, "tags stripped"]
    assert report.false_match == 0


def test_a_mix_and_a_filter_are_told(kept: Kept, tmp_path: Path) -> None:
    hiss = np.random.default_rng(5).normal(0, 0.02, DOOR.shape).astype(np.float32)
    mixed = report_of(kept.recognition, write(tmp_path / "mixed.wav", DOOR + hiss))
    assert isinstance(mixed.changes.residual_db, float) and mixed.changes.residual_db > -25
    thin = filter.highpass(DOOR, RATE, 1_000.0, 2)
    filtered = report_of(kept.recognition, write(tmp_path / "thin.wav", thin))
    assert filtered.verdict == "made_here"
    assert isinstance(filtered.changes.tone_db, float) and filtered.changes.tone_db > 6


def test_turns_of_a_loop_and_where_they_begin_are_told(kept: Kept, tmp_path: Path) -> None:
    turned = np.roll(np.tile(FIRE, 2), -RATE // 3, axis=1)
    report = report_of(kept.recognition, write(tmp_path / "loop.wav", turned))
    assert report.origin is not None and report.origin.entry == kept.fire.id
    assert report.changes.turns == pytest.approx(2.0, abs=0.001)
    assert report.changes.rotated_s == pytest.approx(1 / 3, abs=0.001)


def test_chromaprint_is_a_second_opinion_beside_samples_that_explain_less(kept: Kept) -> None:
    door = kept.recognition.suspects(heard(kept.door.path, ANYWHERE, "door"))[0].known
    found = Suspect(door, "fingerprint", Likeness(agree=300, differ=20, marks=500, offset=0))
    asked = Heard(name="x", sha256="00" * 32, format="wav", sample_rate=RATE, channels=1, duration_s=2.0)
    for explained, second, verdict in ((0.25, 0.1, "made_here"), (0.25, 0.3, "unknown"), (0.25, None, "unknown"),
                                       (0.1, 0.1, "unknown"), (0.45, None, "made_here")):  # fmt: skip
        beside = Compared(
            number=door.number, explained=explained, overlap_s=2.0, offset_s=0.0, gain_db=0.0, tone_db=0.0,
            residual_db=-1.0, chromaprint=second, kept_s=2.0,
        )  # fmt: skip
        report = kept.recognition.report(asked, [found], [beside])
        told = verdict == "made_here" and second is not None
        assert (report.verdict, report.chromaprint == second) == (verdict, told)


def test_folded_to_mono_it_is_the_same(kept: Kept, tmp_path: Path) -> None:
    report = report_of(kept.recognition, write(tmp_path / "mono.wav", STEPS.mean(axis=0, keepdims=True)))
    assert report.origin is not None and report.origin.entry == kept.steps.id
    assert report.changes.told() == ["mixed to mono", "tags stripped"]


def test_what_was_made_elsewhere_is_not_known(kept: Kept, tmp_path: Path) -> None:
    for seed in range(20, 26):
        report = report_of(kept.recognition, write(tmp_path / f"{seed}.wav", bursts(seed)))
        assert (report.verdict, report.by, report.origin) == ("unknown", "nothing", None)


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros((1, RATE), np.float32),
        np.full((1, RATE), 0.25, np.float32),
        np.sin(2 * np.pi * 440 * np.arange(RATE, dtype=np.float64) / RATE).astype(np.float32)[None] * 0.5,
        np.eye(1, RATE // 20, 100, dtype=np.float32),
    ],
    ids=["silence", "constant", "tone", "click"],
)
def test_what_cannot_be_told_apart_is_matched_with_nothing(kept: Kept, tmp_path: Path, audio: Audio) -> None:
    report = report_of(kept.recognition, write(tmp_path / "plain.wav", audio))
    assert report.verdict == "unknown"


def _claiming(entry: Entry) -> str:
    return json.dumps({"made_by": "audio_pool", "recipe_id": entry.recipe.identity(), "engine": "procedural"})


def test_tags_that_claim_to_be_ours_are_its_own_words_and_prove_nothing(kept: Kept, tmp_path: Path) -> None:
    forged = report_of(kept.recognition, write(tmp_path / "f.flac", bursts(30), comment=_claiming(kept.door)))
    assert (forged.verdict, forged.by, forged.origin) == ("says_so", "tags", None)
    assert "which anybody may write" in forged.notes[-1] and "this is not its sound" in forged.notes[-1]
    foreign = json.dumps({"made_by": "audio_pool", "recipe_id": "0" * 64})
    unheard = report_of(kept.recognition, write(tmp_path / "g.flac", bursts(31), comment=foreign))
    assert (unheard.verdict, unheard.notes[-1].endswith("no such recipe is known here")) == ("says_so", True)


def test_a_sound_too_short_for_its_marks_is_known_by_its_samples_where_its_tags_say_which(
    kept: Kept, tmp_path: Path
) -> None:
    quiet = CLICK * np.float32(0.3)
    told = report_of(kept.recognition, write(tmp_path / "c.flac", quiet, comment=_claiming(kept.click)))
    assert (told.verdict, told.changes.told()) == ("made_here", ["loudness (-10.5 dB)"])
    other = report_of(kept.recognition, write(tmp_path / "d.flac", bursts(40, 0.06), comment=_claiming(kept.click)))
    assert other.verdict == "says_so"


def test_an_evicted_sound_is_known_by_its_marks_and_a_removed_one_is_not(tmp_path: Path) -> None:
    own = Kept(tmp_path)
    edited = write(tmp_path / "edited.wav", DOOR * np.float32(0.5))
    assert report_of(own.recognition, edited).changes.compared_with == "samples"
    assert own.door.id is not None
    own.cache.store.entries.remove([own.door.id], remembered=True)
    report = report_of(own.recognition, edited)
    assert (report.verdict, report.changes.compared_with) == ("made_here", "figures")
    assert report.origin is not None and isinstance(report.origin.made_at, float)
    assert "a door" not in repr(report)
    assert isinstance(report.false_match, float) and 0 < report.false_match < 1e-6
    assert isinstance(report.changes.loudness_db, float)
    own.cache.store.registry.forget_gone()
    assert report_of(own.recognition, edited).verdict == "unknown"
    own.cache.close()


def test_who_may_not_know_a_namespace_learns_that_it_was_made_here_and_no_more(kept: Kept, tmp_path: Path) -> None:
    edited = write(tmp_path / "edited.wav", DOOR * np.float32(0.5))
    told = report_of(kept.recognition, edited, namespace="somebody else")
    assert (told.verdict, told.origin is not None) == ("made_here", True)
    assert told.origin is not None
    assert (told.origin.recipe_id, told.origin.seed) == ("", None)
    assert "a door" not in repr(told)
    assert report_of(kept.recognition, edited, namespace="default").origin.prompt == "a door"  # type: ignore[union-attr]


def test_a_recipe_that_is_guessed_is_confirmed_to_nobody_who_may_not_know_it(kept: Kept, tmp_path: Path) -> None:
    """Its identity follows from the words: who writes guesses into files would read others' prompts off the notes."""
    forged = write(tmp_path / "f.flac", bursts(30), comment=_claiming(kept.door))
    told = report_of(kept.recognition, forged, namespace="somebody else")
    assert (told.verdict, told.notes[-1].endswith("no such recipe is known here")) == ("says_so", True)
    asked = heard(str(forged), ANYWHERE, "f")
    assert kept.recognition.suspects(asked, namespace="somebody else") == []  # nor by the time that it takes
    assert "this is not its sound" in report_of(kept.recognition, forged, namespace="default").notes[-1]


def test_of_the_same_sound_in_two_namespaces_each_is_told_his_own(tmp_path: Path) -> None:
    cache = SoundCache(tmp_path / "cache", now=lambda: 1_000_000.0)
    entries = {name: keep(cache, DOOR, f"a door of {name}", namespace=name) for name in ("a", "b")}
    recognition = Recognition(cache.store)
    write(tmp_path / "same.wav", DOOR)
    write(tmp_path / "edited.wav", DOOR * np.float32(0.5))
    for name, entry in entries.items():
        for file in ("same.wav", "edited.wav"):
            origin = report_of(recognition, tmp_path / file, namespace=name).origin
            assert origin is not None and origin.entry == entry.id, (name, file)
    cache.close()


def test_a_valid_signature_of_ours_is_certain_and_anybody_elses_is_not(kept: Kept) -> None:
    said = Declared(made_by="audio_pool", recipe_id=kept.door.recipe.identity(), engine="procedural", manifest="valid")
    found = Heard(
        name="x", sha256="00" * 32, format="wav", sample_rate=RATE, channels=1, duration_s=1.0, declares=said, ours=True
    )
    report = kept.recognition.report(found, kept.recognition.suspects(found), [])
    assert (report.by, report.certain, report.origin.entry) == ("manifest", True, kept.door.id)  # type: ignore[union-attr]
    unknown = Heard(
        name="x", sha256="00" * 32, format="wav", sample_rate=RATE, channels=1, duration_s=1.0,
        declares=Declared(made_by="audio_pool", recipe_id="1" * 64, engine="tangoflux"), ours=True,
    )  # fmt: skip
    report = kept.recognition.report(unknown, kept.recognition.suspects(unknown), [])
    assert (report.by, report.origin.engine, report.origin.made_at) == ("manifest", "tangoflux", 0.0)  # type: ignore[union-attr]


def test_a_master_that_is_damaged_leaves_the_marks(tmp_path: Path) -> None:
    own = Kept(tmp_path)
    edited = write(tmp_path / "edited.wav", DOOR * np.float32(0.5))
    Path(own.door.path).chmod(0o600)
    Path(own.door.path).write_bytes(b"fLaC nothing more")
    report = report_of(own.recognition, edited)
    assert (report.verdict, report.changes.compared_with) == ("made_here", "figures")
    own.cache.close()


def test_what_is_no_sound_is_refused_with_its_name(tmp_path: Path) -> None:
    for name, audio in (("nan.wav", np.full((1, RATE), np.nan)), ("short.wav", np.zeros((1, 20)))):
        path = write(tmp_path / name, audio.astype(np.float32), subtype="FLOAT")
        with pytest.raises(InvalidAudio, match=name):
            heard(str(path), ANYWHERE, name)
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(InvalidAudio, match=r"text\.wav"):
        heard(str(tmp_path / "text.wav"), ANYWHERE, "text.wav")
