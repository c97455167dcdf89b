"""A worker's engines at work, without sockets or threads: generate, hand over, master, embed, render, calls."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.support.engine_packages import engine_package
from tests.support.recipes import RENDITION, recipe

from audio_pool.audio import filter
from audio_pool.errors import (
    Cancelled,
    EngineUnavailable,
    InvalidAudio,
    InvalidConfig,
    NotFound,
    OutOfMemory,
    UnknownEngine,
)
from audio_pool.results import SoundMetadata
from audio_pool.tasks import (
    Called,
    ClapTask,
    EchoTask,
    Embedded,
    EmbedTask,
    GeneratePart,
    GenerateTask,
    MasteredSound,
    MasteringSpec,
    MasterTask,
    RawSounds,
    Rejected,
    Rendered,
    RenderTask,
)
from audio_pool.transport.arena import Arena
from audio_pool.transport.worker_messages import EngineSetup, Load
from audio_pool.types import Edit, Rendition, Shape
from audio_pool.worker.runner import Outcome, TaskRunner

RATE = 44_100
MASTER = Rendition(format="flac", sample_rate=RATE, bit_depth=24, target_lufs=-23.0, true_peak_dbfs=-2.0)
Loader = Callable[..., TaskRunner]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    """Return a function that loads engines, those of tests/support included, into a runner."""
    monkeypatch.syspath_prepend(str(engine_package(tmp_path / "package", "gated", "reader", "listener")))

    def loaded(
        *engines: str, roles: str = "generate master embed score", arena: str = "", **settings: Any
    ) -> TaskRunner:
        runner = TaskRunner("w")
        load = Load(
            engines={name: EngineSetup(implementation=name, settings=settings.get(name, {})) for name in engines},
            roles=roles.split(),
            heartbeat_s=1.0,
            arena=arena,
        )
        runner.engines.load_encoders(load, runner.load(load))
        return runner

    return loaded


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    arena = Arena.create(tmp_path / "arenas", 64 << 20)
    yield arena
    arena.close()


def part(
    directory: Path,
    engine: str = "gated",
    *,
    job: int = 1,
    seeds: list[int] | None = None,
    loop: bool = False,
    rendition: Rendition = MASTER,
    tau_accept_new: float | None = None,
    init_audio: Path | None = None,
    strict: bool = False,
    natural_length: bool = False,
    **fields: Any,
) -> GeneratePart:
    seeds = seeds or [5]
    asked = recipe(engine, **{"candidates": len(seeds), "loop": loop, "seed": seeds[0], "steps": None, **fields})
    shape = Shape(
        sample_rate=RATE, frames=asked.frames, loop=loop, tail_s=0.5, highpass_hz=None, highpass_order=4,
        natural_length=natural_length,
    )  # fmt: skip
    spec = MasteringSpec(
        shape=shape,
        rendition=rendition,
        directory=str(directory),
        name=f"sound-{job}",
        tau_accept_new=tau_accept_new,
        metadata=SoundMetadata(prompt=asked.prompt, warnings=("of: the request",)),
    )
    start = None if init_audio is None else str(init_audio)
    return GeneratePart(job=job, recipe=asked, seeds=seeds, mastering=spec, init_audio=start, strict=strict)


def task(*parts: GeneratePart, master_here: bool = True) -> GenerateTask:
    return GenerateTask(engine=parts[0].recipe.engine, parts=list(parts), master_here=master_here)


def unheard(done: int, total: int) -> None: ...


def made(runner: TaskRunner, *parts: GeneratePart) -> dict[int, MasteredSound | Rejected]:
    outcome = runner.master_generated(runner.generate(task(*parts), unheard))
    assert all(isinstance(result, MasteredSound | Rejected) for result in outcome.results.values())
    return outcome.results  # type: ignore[return-value]


def sound(runner: TaskRunner, *parts: GeneratePart) -> MasteredSound:
    (result,) = made(runner, *parts).values()
    assert isinstance(result, MasteredSound), result
    return result


# -- loading ---------------------------------------------------------------------------------------


def test_what_is_loaded_says_what_it_is(load: Loader) -> None:
    runner = TaskRunner("w")
    named = EngineSetup(implementation="mock", kinds=("music",))
    runner.load(Load(engines={"mine": named}, roles=["generate"], heartbeat_s=1.0))
    info = runner.engines.infos["mine"]
    assert (info.name, info.implementation, info.kinds, info.role) == ("mine", "mock", ("music",), "generator")
    assert set(load("gated", "reader").engines.infos) == {"gated", "reader"}
    assert runner.engines.device == "cpu"


def test_an_engine_that_cannot_be_loaded(load: Loader) -> None:
    with pytest.raises(UnknownEngine, match="did you mean 'gated'"):
        load("gatet")
    with pytest.raises(InvalidConfig, match="rooom"):
        load("gated", gated={"rooom": 3})


def test_an_engine_that_cannot_be_loaded_takes_no_others_along(load: Loader) -> None:
    engines = load("gatet", "gated", "listener", listener={"rooom": 3}).engines
    assert set(engines.infos) == {"gated"} and set(engines.later) == {"gatet", "listener"}
    assert "did you mean 'gated'" in engines.failed["gatet"].message
    assert "rooom" in engines.failed["listener"].message
    with pytest.raises(UnknownEngine):
        engines.load_one("gatet")


def test_an_engine_that_is_not_what_it_says_is_refused(load: Loader, tmp_path: Path) -> None:
    module = tmp_path / "package" / "liar_engine.py"
    module.write_text((tmp_path / "package" / "reader_engine.py").read_text().replace('"embedder"', '"scorer"'))
    points = tmp_path / "package" / "engines_of_tests-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text() + "liar = liar_engine\n")
    with pytest.raises(EngineUnavailable, match="says that it is a scorer and lacks what one has") as caught:
        load("liar")
    assert "docs/adding-an-engine.md" in caught.value.hint


# -- generate and master ---------------------------------------------------------------------------


def test_a_sound_is_generated_and_mastered(load: Loader, tmp_path: Path) -> None:
    runner = load("gated")
    result = sound(runner, part(tmp_path, seeds=[5, 6, 7]))
    metadata = result.sound.metadata
    assert result.sound.path == str(tmp_path / "sound-1.flac") and result.sound.accepted
    assert soundfile.info(result.sound.path).frames == metadata.duration_s * RATE == RATE
    assert (metadata.engine, metadata.implementation, metadata.model) == ("gated", "gated", "gated")
    assert (metadata.model_revision, metadata.licence, metadata.commercial_use) == ("7", "MIT", True)
    assert metadata.worker.id == "w" and metadata.batch_size == 3 and metadata.timings_ms.generate > 0
    assert metadata.engine_details == {"batches": 0} and metadata.warnings == ("of: the request",)
    assert [one.seed for one in result.tried] == [5, 6, 7]
    assert result.score == metadata.quality.score and set(result.vectors) == {"sound:descriptors"}
    assert len(result.vectors["sound:descriptors"]) == 70 * 4
    assert result.sound.recipe == part(tmp_path, seeds=[5, 6, 7]).recipe


def test_a_rendition_is_written_beside_the_master(load: Loader, tmp_path: Path) -> None:
    result = sound(load("gated"), part(tmp_path, rendition=RENDITION))
    assert result.sound.delivered_path == str(tmp_path / "sound-1.wav")
    assert result.sound.delivered is not None and result.sound.delivered.bit_depth == 16
    assert {path.name for path in tmp_path.glob("sound-1*")} == {"sound-1.flac", "sound-1.wav"}


def test_a_batch_of_parts_is_one_run_and_each_has_its_own_fate(load: Loader, tmp_path: Path) -> None:
    runner = load("gated")
    parts = [
        part(tmp_path, job=1, seeds=[1, 2]),
        part(tmp_path, job=2, prompt="odd"),
        part(tmp_path, job=3, prompt="mute it"),
        part(tmp_path, job=4, seeds=[3], frames=RATE // 2),
    ]
    results = made(runner, *parts)
    first, odd, mute, last = (results[job] for job in (1, 2, 3, 4))
    assert isinstance(first, MasteredSound) and isinstance(last, MasteredSound)
    assert first.sound.metadata.batch_size == last.sound.metadata.batch_size == 4
    assert last.sound.metadata.duration_s == 0.5
    assert isinstance(odd, Rejected) and odd.failure.code == "not_supported" and odd.tried == ()
    assert isinstance(mute, Rejected) and mute.failure.code == "quality"
    assert [(one.seed, one.quality.issues) for one in mute.tried] == [(5, ("silence",))]
    assert not (tmp_path / "sound-3.flac").exists(), "what is rejected leaves no file"


def test_progress_is_the_engines_and_an_exception_stops_it(load: Loader, tmp_path: Path) -> None:
    runner = load("gated")
    steps: list[tuple[int, int]] = []
    runner.generate(task(part(tmp_path)), lambda done, total: steps.append((done, total)))
    assert steps == [(2, 4), (4, 4)]

    def stop(done: int, total: int) -> None:
        raise Cancelled("by its caller")

    with pytest.raises(Cancelled):
        runner.generate(task(part(tmp_path)), stop)


def test_a_batch_that_does_not_fit_is_halved(load: Loader, tmp_path: Path) -> None:
    runner = load("gated", gated={"room": 2})
    steps: list[tuple[int, int]] = []
    generated = runner.generate(
        task(part(tmp_path, seeds=[1, 2, 3, 4])), lambda done, total: steps.append((done, total))
    )
    assert len(generated[0].candidates) == 4 and steps[-1] == (16, 16)
    assert generated[0].made is not None and generated[0].made.warnings[-1].startswith("batch_halved: 4 sounds")
    with pytest.raises(OutOfMemory):
        load("gated", gated={"room": 0}).generate(task(part(tmp_path)), unheard)


def test_a_loop_is_made_with_a_tail_or_natively(load: Loader, tmp_path: Path) -> None:
    runner = load("gated")
    (crossfaded,) = runner.generate(task(part(tmp_path, loop=True)), unheard)
    (native,) = runner.generate(task(part(tmp_path, loop=True, prompt="ring")), unheard)
    (longest,) = runner.generate(task(part(tmp_path, loop=True, frames=4 * RATE)), unheard)
    lengths = [one.candidates[0].audio.shape[1] / 22_050 for one in (crossfaded, native, longest)]
    assert lengths == [1.5, 1.0, 4.0], "at the engine's limit there is no tail"
    assert [one.candidates[0].looped for one in (crossfaded, native, longest)] == [False, True, False]
    result = sound(runner, part(tmp_path, loop=True))
    assert result.sound.metadata.loop is not None and result.sound.metadata.is_loop


def test_init_audio_is_read_at_the_engines_rate(load: Loader, tmp_path: Path) -> None:
    runner = load("gated")
    start = tmp_path / "start.wav"
    soundfile.write(start, np.full((RATE, 2), 0.25), RATE)
    details = sound(runner, part(tmp_path, init_audio=start, init_strength=0.4)).sound.metadata.engine_details
    assert details["start"] == [2, 22_050, 0.4]
    runner._max_input_s = 0.001
    refused = made(runner, part(tmp_path, init_audio=start, init_strength=0.4))[1]
    assert isinstance(refused, Rejected) and refused.failure.code == InvalidAudio.code
    missing = made(runner, part(tmp_path, init_audio=tmp_path / "missing.wav"))[1]
    assert isinstance(missing, Rejected) and missing.failure.code == NotFound.code


def raw(runner: TaskRunner, directory: Path, start: Path, **fields: Any) -> np.ndarray:
    """The one candidate of the built-in engine, float32 [C, T], or its rejection's message."""
    asked = {"prompt": "heavy rain", "init_audio": start, "natural_length": True, **fields}
    (one,) = runner.generate(task(part(directory, "procedural", **asked)), unheard)
    return one.candidates[0].audio if one.failure is None else one.failure.message


def test_a_part_of_a_given_sound_is_made_anew_or_more_of_it(load: Loader, tmp_path: Path) -> None:
    runner, start = load("procedural"), tmp_path / "start.wav"
    given = 0.1 * np.random.default_rng(0).standard_normal((2, 3 * RATE)).astype(np.float32)
    soundfile.write(start, given.T, RATE, subtype="FLOAT")
    fade = round(0.03 * RATE)
    part_of = raw(runner, tmp_path, start, edit=Edit(mask_start_s=1.0, mask_end_s=1.5))
    assert part_of.shape == given.shape, "the length is the given sound's"
    np.testing.assert_array_equal(part_of[:, : RATE - fade], given[:, : RATE - fade])
    np.testing.assert_array_equal(part_of[:, 3 * RATE // 2 + fade :], given[:, 3 * RATE // 2 + fade :])
    assert np.abs(part_of - given).max() > 0.05
    cut = {"edit": Edit(mask_start_s=1.0, mask_end_s=1.5), "natural_length": False, "frames": 2 * RATE}
    shorter = raw(runner, tmp_path, start, **cut)
    assert shorter.shape == (2, 2 * RATE)
    np.testing.assert_array_equal(shorter[:, 3 * RATE // 2 + fade :], given[:, 3 * RATE // 2 + fade : 2 * RATE])
    more = raw(runner, tmp_path, start, edit=Edit(extend_s=0.5))
    assert more.shape == (2, 7 * RATE // 2)
    np.testing.assert_array_equal(more[:, : 3 * RATE - fade], given[:, : 3 * RATE - fade])
    # at another rate than the file's: what stays is the sound resampled
    soundfile.write(start, given.T, RATE // 2, subtype="FLOAT")
    slower = raw(runner, tmp_path, start, edit=Edit(mask_start_s=1.0, mask_end_s=1.5))
    np.testing.assert_array_equal(slower[:, 2 * RATE :], filter.resample(given, RATE // 2, RATE)[:, 2 * RATE :])


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (Edit(mask_start_s=1.0, mask_end_s=3.5), r"mask_end_s: given 3\.5, allowed are at most the 3 s of init_audio"),
        (Edit(mask_start_s=4.0, mask_end_s=5.0), r"mask_start_s: given 4, allowed are at most the 3 s"),
        (Edit(extend_s=598.0), r"extend_s: given 598, allowed is 0 to 597: init_audio has 3 s, a sound at most 600 s"),
    ],
    ids=str,
)
def test_what_the_given_sound_has_no_room_for_is_rejected_by_its_length(
    load: Loader, tmp_path: Path, edit: Edit, why: str
) -> None:
    runner, start = load("procedural"), tmp_path / "start.wav"
    soundfile.write(start, np.full((3 * RATE, 2), 0.25), RATE)
    assert re.match(why, raw(runner, tmp_path, start, edit=edit))
    whole = {"edit": Edit(mask_start_s=1.0, mask_end_s=2.0), "natural_length": False, "frames": 4 * RATE}
    assert re.match(r"duration_s: given 4, allowed are at most the 3 s", raw(runner, tmp_path, start, **whole))


def test_strictly_a_sound_that_is_only_like_it_is_rejected(load: Loader, tmp_path: Path) -> None:
    runner = load("gated", "procedural")
    result = sound(runner, part(tmp_path, prompt="vague thing"))
    assert "nearest_recipe: something like it" in result.sound.metadata.warnings
    results = made(
        runner, part(tmp_path, prompt="vague thing", strict=True), part(tmp_path, job=2, prompt="rain", strict=True)
    )
    rejected = results[1]
    assert isinstance(rejected, Rejected) and rejected.failure.code == "not_supported"
    assert rejected.failure.message == "strict: nearest_recipe: something like it"
    assert isinstance(results[2], MasteredSound), "another part of the batch is not concerned"
    unknown = made(runner, part(tmp_path, "procedural", prompt="xyzzy qwrt", strict=True))[1]
    assert isinstance(unknown, Rejected) and "strict: " in unknown.failure.message


def test_a_scorer_chooses_among_candidates_and_decides_what_is_accepted(load: Loader, tmp_path: Path) -> None:
    runner = load("gated", "listener")
    loud = part(tmp_path, prompt="loud rain", seeds=[3, 4, 5], rendition=_level(None))
    result = sound(runner, loud)
    assert result.sound.metadata.seed == 5, "the loudest of the three"
    assert result.score == result.sound.metadata.clap_similarity and result.sound.accepted
    assert set(result.vectors) == {"sound:descriptors", "sound:listener"}
    asked_more = part(tmp_path, prompt="loud rain", seeds=[3, 4, 5], rendition=_level(None), tau_accept_new=0.9)
    assert not sound(runner, asked_more).sound.accepted


def _level(target: float | None) -> Rendition:
    return Rendition(format="flac", sample_rate=RATE, bit_depth=24, target_lufs=target, true_peak_dbfs=0.0)


def test_a_worker_says_what_it_does_not_host_or_do(load: Loader, tmp_path: Path) -> None:
    runner = load("gated", roles="generate")
    with pytest.raises(EngineUnavailable, match="worker 'w' does not host 'absent'; it hosts: gated"):
        runner.generate(task(part(tmp_path, "absent")), unheard)
    with pytest.raises(EngineUnavailable, match="does not host 'reader'"):
        runner.embed(EmbedTask(job=1, engine="reader", text="rain"))
    rejected = made(runner, part(tmp_path))[1]
    assert isinstance(rejected, Rejected) and "does not have the role 'master'" in rejected.failure.message


# -- hand-over -------------------------------------------------------------------------------------


def handed(outcome: Outcome, job: int = 1) -> RawSounds:
    result = outcome.results[job]
    assert isinstance(result, RawSounds)
    return result


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def master_elsewhere(runner: TaskRunner, one: GeneratePart, raw: RawSounds, frames: list[bytes]) -> MasteredSound:
    task = MasterTask(job=one.job, recipe=one.recipe, mastering=one.mastering, candidates=raw.candidates, made=raw.made)
    result = runner.master(task, frames).results[one.job]
    assert isinstance(result, MasteredSound)
    return result


def test_candidates_travel_inline_where_there_is_no_arena(load: Loader, tmp_path: Path) -> None:
    (here := tmp_path / "here").mkdir()
    (there := tmp_path / "there").mkdir()
    maker, master = load("gated", roles="generate"), load(roles="master")
    outcome = maker.hand_over(maker.generate(task(part(there, seeds=[5, 6]), master_here=False), unheard), [], "r")
    raw = handed(outcome)
    assert [(one.tensor, one.frame, one.seed) for one in raw.candidates] == [(None, 0, 5), (None, 2, 6)]
    assert len(outcome.frames) == 4 and outcome.unwritable == ()
    result = master_elsewhere(master, part(there, seeds=[5, 6]), raw, [bytes(frame) for frame in outcome.frames])
    same = sound(load("gated"), part(here, seeds=[5, 6]))
    assert digest(result.sound.path) == digest(same.sound.path), "one sound, whoever masters it"
    assert result.sound.metadata.worker.id == "w" and result.sound.metadata.engine_details == {"batches": 0}


def test_candidates_travel_in_granted_slots(load: Loader, tmp_path: Path, arena: Arena) -> None:
    maker, master = (load(*engines, roles=roles, arena=str(arena.directory))
                     for engines, roles in ((("gated",), "generate"), ((), "master")))  # fmt: skip
    asked = part(tmp_path, seeds=[5, 6, 7])
    grants = [arena.lease(1 << 20, "maker"), arena.lease(1000, "maker")]
    assert grants[0] is not None and grants[1] is not None
    maker.prepare(grants)  # type: ignore[arg-type]
    outcome = maker.hand_over(maker.generate(task(asked), unheard), grants, "r")  # type: ignore[arg-type]
    raw = handed(outcome)
    assert [one.tensor is not None for one in raw.candidates] == [True, False, False], "what does not fit goes inline"
    assert raw.candidates[0].tensor is not None and raw.candidates[0].tensor.generation == grants[0].generation
    assert [one.frame for one in raw.candidates] == [-1, 0, 2]
    result = master_elsewhere(master, asked, raw, [bytes(frame) for frame in outcome.frames])
    assert [one.seed for one in result.tried] == [5, 6, 7]


def test_a_slot_that_cannot_be_written_is_said_and_its_sound_goes_inline(
    load: Loader, tmp_path: Path, arena: Arena
) -> None:
    maker = load("gated", roles="generate", arena=str(arena.directory))
    grant = arena.lease(1 << 20, "maker")
    assert grant is not None
    Path(grant.path).mkdir()  # as if the disk had no room for it
    maker.prepare([grant])
    outcome = maker.hand_over(maker.generate(task(part(tmp_path)), unheard), [grant], "r")
    assert outcome.unwritable == (grant.generation,) and handed(outcome).candidates[0].frame == 0


def test_parts_that_were_not_made_are_handed_over_as_what_they_are(load: Loader, tmp_path: Path) -> None:
    maker = load("gated", roles="generate")
    parts = task(part(tmp_path, prompt="odd"), part(tmp_path, job=2), master_here=False)
    outcome = maker.hand_over(maker.generate(parts, unheard), [], "r")
    assert isinstance(outcome.results[1], Rejected) and isinstance(outcome.results[2], RawSounds)


# -- small tasks -----------------------------------------------------------------------------------


def floats(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.float32)


def test_texts_become_vectors_of_the_encoder_asked_for(load: Loader) -> None:
    runner = load("reader", "listener")
    embedded = [
        runner.embed(EmbedTask(job=3, engine=engine, text="loud")).results[3] for engine in ("reader", "listener")
    ]
    assert [set(one.vectors) for one in embedded if isinstance(one, Embedded)] == [{"reader"}, {"listener"}]
    reader, listener = (floats(next(iter(one.vectors.values()))) for one in embedded if isinstance(one, Embedded))
    assert reader.shape == (26,) and listener.tolist() == [1.0, 0.0, 0.0]
    assert float(np.linalg.norm(reader)) == pytest.approx(1.0)


def test_texts_that_came_together_are_encoded_in_one_call(load: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = load("reader", "listener")
    calls: list[list[str]] = []
    encode = runner.engines._embedders["reader"]._engine.embed

    def counted(texts: list[str]) -> np.ndarray:
        calls.append(list(texts))
        if "unspeakable" in texts:
            raise InvalidAudio("no such word")
        return encode(texts)

    monkeypatch.setattr(runner.engines._embedders["reader"]._engine, "embed", counted)
    tasks = [EmbedTask(job=job, engine="reader", text=text) for job, text in enumerate(["rain", "wind", "rain"])]
    runner.embed_ahead([*tasks, EmbedTask(job=9, engine="listener", text="rain")])
    together = [runner.embed(task).results[task.job] for task in tasks]
    assert calls == [["rain", "wind"]]
    assert together[0] == together[2] != together[1]
    alone = load("reader").embed(tasks[1]).results[1]
    assert together[1] == alone
    bad, good = (EmbedTask(job=1, engine="reader", text=text) for text in ("unspeakable", "a"))
    runner.embed_ahead([bad, good])
    runner.embed(good)
    with pytest.raises(InvalidAudio):
        runner.embed(bad)
    runner.embed_ahead([EmbedTask(job=job, engine="nobody", text=str(job)) for job in range(2)])  # said one by one


def test_an_echo_is_what_was_sent(load: Loader) -> None:
    assert load("mock").echo(EchoTask(job=4, payload=b"\0\xff")).results == {4: Called(body={"payload": b"\0\xff"})}


def test_a_rendition_of_a_kept_master(load: Loader, tmp_path: Path) -> None:
    runner = load("gated")
    master = sound(runner, part(tmp_path)).sound.path
    out = tmp_path / "out.wav"
    asked = RenderTask(job=5, master=master, out=str(out), rendition=RENDITION, loop=False, comment="")
    result = runner.render(asked).results[5]
    assert isinstance(result, Rendered) and result.path == str(out)
    assert (result.report.format, result.report.bit_depth) == ("wav", 16) and soundfile.info(out).frames == RATE
    with pytest.raises(NotFound):
        runner.render(RenderTask(job=5, master="/no/such", out=str(out), rendition=RENDITION, loop=False, comment=""))


def clap(runner: TaskRunner, operation: Any, texts: list[str], paths: list[str]) -> dict[str, Any]:
    task = ClapTask(job=6, engine="listener", operation=operation, texts=texts, paths=paths)
    result = runner.clap(task).results[6]
    assert isinstance(result, Called)
    return result.body


def test_clap_gives_vectors_similarities_and_scores(load: Loader, tmp_path: Path) -> None:
    runner = load("listener")
    path = str(tmp_path / "half.wav")
    soundfile.write(path, np.full((RATE, 1), 0.5), RATE)
    vectors = clap(runner, "embed", ["loud"], [path])
    assert vectors["model"] == "listener" and vectors["logit_scale"] == 10.0
    assert vectors["texts"] == [[1.0, 0.0, 0.0]] and vectors["paths"][0][0] == pytest.approx(0.5, abs=1e-3)
    similar = clap(runner, "similarity", ["loud", "calm"], [path])
    assert similar["of"] == ["loud", "calm", path]
    assert similar["similarity"][0] == pytest.approx([1.0, 0.0, 0.5], abs=1e-3)
    scores = clap(runner, "zero-shot", ["loud", "calm"], [path])
    assert scores["labels"] == ["loud", "calm"] and scores["scores"][0] == pytest.approx([0.5, 0.0], abs=1e-3)
    assert clap(runner, "embed", [], [path])["texts"] == []
    runner._max_input_s = 0.5
    with pytest.raises(InvalidAudio, match=r"allowed are 0.5 s"):
        clap(runner, "embed", [], [path])
    runner._max_input_s = 600.0
    with pytest.raises(InvalidAudio, match="zero-shot: needs at least one text"):
        clap(runner, "zero-shot", [], [path])
    with pytest.raises(EngineUnavailable, match="does not host 'listener'"):
        clap(load("reader"), "embed", ["a"], [])


def test_a_generator_that_reads_meaning_gets_the_encoder_that_is_here_anyway(load: Loader, tmp_path: Path) -> None:
    runner = load("procedural", "reader")
    generated = runner.generate(task(part(tmp_path, "procedural", prompt="downpour")), unheard)
    assert generated[0].made is not None

