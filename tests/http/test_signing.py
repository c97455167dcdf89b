"""Signed at every door: a real pool with a certificate of its own, its files read by c2pa-python's Reader."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from msgspec import structs
from tests.support.gateways import Gateway, running
from tests.support.served import Served
from tests.support.signed import by_the_reader, own_chain, signing
from tests.support.waiting import PATIENCE_S

from audio_pool import AudioClient, AudioPool, AudioResult, AudioSemanticCache
from audio_pool.audio import codec
from audio_pool.cli import main
from audio_pool.cli.cache import group
from audio_pool.config import CacheConfig, Config, ServerConfig, WorkerConfig
from audio_pool.craft import Convert, Loop, Master, Mix
from audio_pool.errors import InvalidConfig, InvalidRequest, SigningFailed
from audio_pool.packs.pack_build import Built, build
from audio_pool.packs.pack_check import check
from audio_pool.packs.pack_lock import read_lock, write_lock
from audio_pool.packs.pack_manifest import read_manifest as read_pack
from audio_pool.packs.pack_plan import differences, plan_of
from audio_pool.signing.manifest_report import ManifestReport, read_manifest
from audio_pool.signing.own_chain import OwnChain

pytest.importorskip("c2pa", reason="files are not signed here: pip install 'audio-pool[c2pa]'")

RAIN: dict[str, Any] = {"duration_s": 0.5, "loop": True}
FORMATS = ("flac", "wav", "mp3")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("signed")


@pytest.fixture(scope="module")
def chain(place: Path) -> OwnChain:
    return own_chain(place / "keys")


@pytest.fixture(scope="module")
def config(place: Path, chain: OwnChain) -> Config:
    return Config(
        cache=CacheConfig(dir=str(place / "cache"), encoder="off"),
        server=ServerConfig(bind=f"ipc://{place}/s.sock"),
        provenance=signing(chain),
        workers=[
            WorkerConfig(name="maker", engines=["procedural"], roles=["generate"]),
            WorkerConfig(name="master", roles=["master"], count=2),
        ],
    )


@pytest.fixture(scope="module")
def pool(config: Config) -> Iterator[AudioPool]:
    with AudioPool(config, serve=True) as pool:
        yield pool


@pytest.fixture(scope="module")
def client(pool: AudioPool) -> Iterator[AudioClient]:
    with AudioClient(pool.endpoint, timeout_s=PATIENCE_S) as client:
        yield client


def manifest(path: str | Path | None) -> ManifestReport:
    """A file's manifest, which holds."""
    assert path is not None
    found = read_manifest(Path(path))
    assert found is not None and (found.state, found.failures) == ("untrusted", ()), path
    assert found.issuer == "A studio"
    return found


def holds(result: AudioResult) -> ManifestReport:
    """What a result's file says, and that its metadata say the same."""
    told = result.metadata.provenance
    found = manifest(result.path)
    assert told and told.signed and told.why == ""
    assert (told.manifest, told.issuer) == (found.label, "A studio")
    assert found.recipe is not None and found.recipe["seed"] == result.metadata.seed
    return found


def samples(path: str | Path) -> np.ndarray:
    return codec.read(Path(path))[0]


@pytest.mark.parametrize("format", FORMATS)
def test_a_new_sound_and_a_hit_are_signed(client: AudioClient, chain: OwnChain, format: str) -> None:
    words = {"flac": "heavy rain", "wav": "light rain", "mp3": "rain"}[format]
    first = client.generate(words, format=format, **RAIN)
    assert first.metadata.cache_type == "new_generation"
    (made,) = holds(first).actions
    assert made.action == "c2pa.created" and made.source_type.endswith("/algorithmicMedia")
    done = sum(worker.tasks_done for worker in client.status().workers.values())
    again = client.generate(words, format=format, **RAIN)
    assert again.metadata.cache_type == "exact" and again.path == first.path, "signed once, and kept"
    assert sum(worker.tasks_done for worker in client.status().workers.values()) == done, "no worker is asked"
    holds(again)
    assert by_the_reader(Path(first.path), chain.authority.read_text())["validation_state"] == "Trusted"
    others = [client.generate(words, format=other, **RAIN) for other in FORMATS if other != format]
    for other in others:  # rendered of the kept master
        holds(other)
        assert other.metadata.cache_type == "exact"
    if format != "mp3":
        (lossless,) = (one for one in others if one.metadata.format != "mp3")
        assert np.allclose(samples(first.path), samples(lossless.path), atol=1e-4), "16 bits here, 24 there"
        for one in (first, lossless):
            loop = codec.inspect(Path(one.path))["loop"]
            assert loop == {"start": 0, "end": round(0.5 * one.metadata.sample_rate) - 1}


def test_a_signed_flac_has_the_very_samples_of_the_master(client: AudioClient, place: Path) -> None:
    result = client.generate("a bell, once", duration_s=0.5, format="flac")
    masters = list((place / "cache" / "audio").rglob("*.flac"))
    facts = codec.inspect(Path(result.path))
    (own,) = (one for one in masters if codec.inspect(one)["recipe"]["recipe_id"] == facts["recipe"]["recipe_id"])
    assert read_manifest(own) is None, "the master is nobody's"
    assert np.array_equal(samples(own), samples(result.path))


def test_bytes_and_copies_are_signed(client: AudioClient, tmp_path: Path) -> None:
    inline = client.generate("rain inline", format="wav", delivery="inline", **RAIN)
    assert inline.data is not None
    (tmp_path / "inline.wav").write_bytes(inline.data)
    assert manifest(tmp_path / "inline.wav").label == inline.metadata.provenance["manifest"]
    copied = client.generate("rain inline", format="wav", output_path=str(tmp_path / "copy.wav"), **RAIN)
    assert copied.path == str(tmp_path / "copy.wav")
    holds(copied)
    unkept = client.generate("rain once", format="mp3", store=False, **RAIN)
    holds(unkept)


def test_what_cannot_be_signed_is_an_error_that_names_what_can(client: AudioClient, place: Path) -> None:
    for given in ({"format": "ogg"}, {"format": "opus"}, {"format": "pcm"}):
        with pytest.raises(InvalidRequest, match=f"format: given '{given['format']}', which cannot be signed; allowed"):
            client.generate("rain", **given)
    with pytest.raises(InvalidRequest, match="samples that are sent while a sound is made cannot be signed"):
        client.generate("rain", stream=True)
    with pytest.raises(InvalidRequest, match="samples without a file cannot be signed"):
        client.generate("rain", delivery="raw")
    tone = place / "tone.ogg"
    soundfile.write(tone, 0.1 * np.random.default_rng(0).standard_normal(22_050), 22_050)
    with pytest.raises(InvalidRequest, match="format: given 'ogg', which cannot be signed"):
        client.craft(Convert(), [tone], delivery="inline")
    with pytest.raises(InvalidRequest, match="format: given 'opus', which cannot be signed"):
        client.craft(Convert(), [tone], delivery="inline", format="opus")


def test_a_given_sound_and_its_manifest_are_named_in_what_is_made_of_it(client: AudioClient, tmp_path: Path) -> None:
    given = client.generate("wind to go on", duration_s=0.5, format="wav")
    label = manifest(given.path).label
    start = tmp_path / "start.wav"
    shutil.copy(given.path, start)
    longer = client.generate("wind", init_audio=str(start), extend_s=0.4, format="flac")
    opened, edited = holds(longer).actions
    assert (opened.action, edited.action) == ("c2pa.opened", "c2pa.edited")
    assert edited.source_type.endswith("/compositeSynthetic")
    later = client.generate("wind", init_audio=str(start), extend_s=0.4, format="mp3")
    assert later.metadata.cached
    for one in (longer, later):  # what is rendered later of the master, too
        (ingredient,) = holds(one).ingredients
        assert (ingredient.relationship, ingredient.manifest) == ("parentOf", label)
        assert label in by_the_reader(Path(one.path))["manifests"]
    plain = tmp_path / "plain.wav"
    soundfile.write(plain, samples(start).T, 48_000)
    (named,) = holds(client.generate("wind", init_audio=str(plain), extend_s=0.4, format="wav")).ingredients
    assert named.manifest == "" and len(named.sha256) == 64


def test_work_on_given_files_is_signed_and_names_them(client: AudioClient, tmp_path: Path) -> None:
    given = client.generate("a creek", format="wav", **RAIN)
    label = manifest(given.path).label
    plain = tmp_path / "plain.flac"
    soundfile.write(plain, samples(given.path).T, 48_000)
    for craft, does in ((Convert(), "c2pa.transcoded"), (Master(), "c2pa.edited"), (Loop(), "c2pa.edited")):
        report = client.craft(craft, [given.path], output_path=tmp_path / "out.mp3", format="mp3")
        found = manifest(report.path)
        assert report.provenance and report.provenance.manifest == found.label
        assert [one.action for one in found.actions] == ["c2pa.opened", does]
        assert [one.manifest for one in found.ingredients] == [label]
        assert found.recipe is None, "what a given file says of itself is not signed for"
    mixed = client.craft(Mix(), [given.path, plain], delivery="inline", format="wav")
    assert isinstance(mixed.data, bytes)
    (tmp_path / "mixed.wav").write_bytes(mixed.data)
    found = manifest(tmp_path / "mixed.wav")
    assert [one.action for one in found.actions] == ["c2pa.created", "c2pa.placed", "c2pa.placed"]
    tags = codec.inspect(tmp_path / "mixed.wav")["tags"]
    assert found.actions[0].source_type == tags["DIGITALSOURCETYPE"], "manifest and tags say the same"
    assert sorted(bool(one.manifest) for one in found.ingredients) == [False, True]
    assert client.craft(Master(), [plain], delivery="inline", format="flac").unsigned_sha256


def test_candidates_and_kept_files_are_signed(client: AudioClient, tmp_path: Path) -> None:
    words = {"duration_s": 0.4, "candidates": 3, "keep_candidates": True, "format": "wav"}
    result = client.generate("steps on gravel", **words)
    holds(result)
    kept = result.metadata.candidates_kept
    assert kept
    for one in kept:
        manifest(one.path)
        told = client.candidates.file(result.request_id, one.number, delivery="inline", format="mp3")
        assert isinstance(told.data, bytes)
        (tmp_path / "c.mp3").write_bytes(told.data)
        assert manifest(tmp_path / "c.mp3").label == told.metadata.provenance["manifest"]
    entry = result.metadata.entry_id
    assert entry is not None
    for format in FORMATS:
        file = client.library.file(entry, format=format)
        assert manifest(file.path).label == file.metadata.provenance["manifest"]


def test_over_http_too(pool: AudioPool, place: Path, tmp_path: Path) -> None:
    door = Gateway(place, pool.endpoint, name="signed-door")
    with running(door), httpx.Client(base_url=door.url, timeout=PATIENCE_S, trust_env=False) as http:
        answer = http.post("/v1/sounds", json={"prompt": "rain over http", "format": "mp3", **RAIN})
        assert answer.is_success, answer.text
        for format in FORMATS:
            sent = http.post("/v1/sounds", json={"prompt": "rain", **RAIN}, headers={"accept": f"audio/{format}"})
            assert sent.is_success, sent.text
            path = tmp_path / f"sent.{format}"
            path.write_bytes(sent.content)
            manifest(path)
        refused = http.post("/v1/sounds", json={"prompt": "rain over http", "format": "ogg", **RAIN})
        assert refused.status_code == 422 and "cannot be signed" in refused.text


def test_a_file_that_is_imported_keeps_its_manifest_and_one_of_ours_comes_home(
    client: AudioClient, place: Path, tmp_path: Path
) -> None:
    foreign = client.generate("a foreign gong", duration_s=0.5, format="wav")
    label = manifest(foreign.path).label
    work = client.craft(Convert(), [foreign.path], output_path=tmp_path / "gong struck.mp3", format="mp3", comment="")
    (tmp_path / "gong struck.mp3.json").write_text(json.dumps({"text": "gong struck"}))
    home = client.generate("a door that comes home", duration_s=0.5, format="flac")
    shutil.copy(home.path, tmp_path / "a door that comes home.flac")
    client.library.remove(home.metadata.entry_id)  # type: ignore[arg-type]
    arguments = ["import", str(tmp_path), "--cache-dir", str(place / "cache"), "--json", "--jobs", "1"]
    done = CliRunner().invoke(group, [*arguments, "--encoder", "off", "--min-quality", "0"])
    assert done.exit_code == 0 and json.loads(done.stdout)["made"] == 2, done.output
    (kept,) = [one for one in client.library.search().sounds if one.prompt == "gong struck"]
    for format in ("wav", "flac"):
        found = manifest(client.library.file(kept.id, format=format).path)
        assert [one.action for one in found.actions] == ["c2pa.opened", "c2pa.transcoded"]
        (given,) = found.ingredients
        assert work.provenance and given.manifest == work.provenance.manifest
    again = client.generate("a door that comes home", duration_s=0.5, format="flac")
    assert again.metadata.cached and label
    assert [one.action for one in holds(again).actions] == ["c2pa.created"]


def test_the_pools_process_never_loads_what_signs_and_nobody_sees_the_key(
    chain: OwnChain, tmp_path: Path
) -> None:
    own = {"cache": {"dir": str(tmp_path / "cache"), "encoder": "off"}, "provenance": signing(chain)}
    (tmp_path / "pool.json").write_bytes(msgspec.json.encode(own))
    told = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path / "pool.json")],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "AUDIO_POOL_LOG_LEVEL": "DEBUG"},
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines()[-1] == "[True, True, False]", told.stdout
    secret = chain.private_key.read_text().splitlines()[1]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files)
    for text in (told.stdout, told.stderr, *(path.read_bytes().decode("latin-1") for path in files)):
        assert secret not in text and "PRIVATE KEY" not in text


ALONE = """
import sys
from pathlib import Path
import msgspec
from audio_pool import AudioPool
with AudioPool.from_config(msgspec.json.decode(Path(sys.argv[1]).read_bytes())) as pool:
    made = pool.submit("rain", duration_s=0.3, format="wav").result(120)
    hit = pool.submit("rain", duration_s=0.3, format="wav").result(120)
    print(pool.status())
    print([made.metadata.provenance.signed, hit.metadata.cached, "c2pa" in sys.modules])
"""


def test_workers_without_the_pools_disk_sign_with_the_key_that_lies_where_they_are(
    chain: OwnChain, tmp_path: Path
) -> None:
    """The key is never sent; a given sound is, to the one that makes and to the one that masters."""
    workers = [
        {"name": "far", "engines": ["procedural"], "roles": ["generate"]},
        {"name": "master", "engines": [], "roles": ["master"]},
    ]
    section = msgspec.to_builtins(signing(chain))
    more = {"cluster": {"launcher": "tcp"}, "provenance": section, "defaults": {"engine": "procedural"}}
    with (
        Served(tmp_path, workers=workers, env={"TMPDIR": str(tmp_path)}, **more).ready() as served,
        AudioClient(served.endpoint, timeout_s=PATIENCE_S) as client,
    ):
        start = client.generate("wind", duration_s=0.4, format="wav")
        label = holds(start).label
        longer = client.generate("wind", init_audio=start.path, extend_s=0.4, format="mp3")
        assert [one.manifest for one in holds(longer).ingredients] == [label]
        holds(client.generate("wind", init_audio=start.path, extend_s=0.4, format="flac"))


# -------------------------------------------------------------------------------------------- certificates


def test_another_certificate_another_file_and_none_the_master_again(
    pool: AudioPool, client: AudioClient, config: Config, chain: OwnChain, place: Path, tmp_path: Path
) -> None:
    """Reloaded, a pool signs by what is there now; a hit never delivers what was signed by another."""
    first = client.generate("a reload", format="flac", **RAIN)
    other = own_chain(tmp_path / "other", "Others")
    try:
        plan = pool.reload(structs.replace(config, provenance=signing(other)))
        assert set(plan.applied) == {"provenance.certificate", "provenance.private_key"} and not plan.restart
        second = client.generate("a reload", format="flac", **RAIN)
        assert second.metadata.cached and second.path != first.path
        found = read_manifest(Path(second.path), trust_anchors=other.authority.read_text())
        assert found is not None and (found.state, found.issuer) == ("valid", "Others")
        pool.reload(structs.replace(config, provenance=signing(other, "off")))
        third = client.generate("a reload", format="flac", **RAIN)
        assert read_manifest(Path(third.path)) is None and "provenance" not in dict(third.metadata)
        pool.reload(structs.replace(config, provenance=signing(other, "auto")))
        ogg = client.generate("a reload", format="ogg", **RAIN)
        assert ogg.metadata.provenance and not ogg.metadata.provenance.signed
        assert "cannot be signed; allowed are wav, flac, mp3" in ogg.metadata.provenance.why
        assert client.generate("a reload", format="flac", **RAIN).path == second.path
        streamed = client.generate("a reload in pieces", duration_s=0.3, stream=True).metadata.provenance
        assert streamed and not streamed.signed and "sent while a sound is made cannot be signed" in streamed.why
        broken = structs.replace(signing(other), private_key=str(chain.private_key))
        with pytest.raises(InvalidConfig, match="is not the key of the first certificate"):
            pool.reload(structs.replace(config, provenance=broken))
    finally:
        pool.reload(config)
    assert client.generate("a reload", format="flac", **RAIN).path == first.path
    with AudioSemanticCache(str(place / "cache")) as cache:
        assert cache.verify()["problems"] == []


def test_a_key_that_is_taken_away_signs_nothing_more_and_hits_go_on(
    pool: AudioPool, client: AudioClient, config: Config, tmp_path: Path
) -> None:
    own = own_chain(tmp_path / "own", "A studio")
    pool.reload(structs.replace(config, provenance=signing(own)))
    try:
        kept = client.generate("a key", format="wav", **RAIN)
        os.rename(own.private_key, tmp_path / "away")
        for given in ({"format": "mp3"}, {"format": "wav", "force": True}):
            with pytest.raises(SigningFailed, match=r"private_key: .* cannot be read"):
                client.generate("a key", **RAIN, **given)
        assert client.generate("a key", format="wav", **RAIN).path == kept.path
        os.rename(tmp_path / "away", own.private_key)
        holds(client.generate("a key", format="mp3", **RAIN))
    finally:
        pool.reload(config)


def test_a_pool_that_must_sign_and_cannot_does_not_start(config: Config, chain: OwnChain, tmp_path: Path) -> None:
    loose = tmp_path / "loose.pem"
    shutil.copy(chain.private_key, loose)
    loose.chmod(0o644)
    must = structs.replace(signing(chain), private_key=str(loose))
    with pytest.raises(InvalidConfig, match=r"provenance.sign: given 'on', and private_key: .*mode 0644"):
        AudioPool(structs.replace(config, provenance=must)).start()


def test_a_certificate_of_ones_own_is_made_and_looked_at_by_commands(tmp_path: Path) -> None:
    made = CliRunner().invoke(main, ["provenance", "init", str(tmp_path / "keys"), "--organisation", "Our studio"])
    assert made.exit_code == 0, made.output
    (tmp_path / "pool.toml").write_text(made.stdout + f'[cache]\ndir = "{tmp_path}/cache"\nencoder = "off"\n')

    def found() -> dict[str, str]:
        told = CliRunner().invoke(main, ["doctor", "--config", str(tmp_path / "pool.toml"), "--json"])
        (one,) = (one for one in json.loads(told.stdout)["findings"] if one["what"] == "provenance.sign")
        return dict(one)

    assert found()["state"] == "ok" and "as 'Our studio', until 20" in found()["told"]
    key = tmp_path / "keys" / "private_key.pem"
    key.chmod(0o640)
    assert found()["state"] == "note" and found()["mend"] == f"chmod 600 {key}"
    again = CliRunner().invoke(main, ["provenance", "init", str(tmp_path / "keys")])
    assert again.exit_code != 0 and "is there already" in again.stderr


# --------------------------------------------------------------------------------------------------- packs

PACK = """
[pack]
name = "small"
seed = 2
[defaults]
duration_s = 0.4
format = "wav"
[[items]]
name = "click"
prompt = "short click"
variants = 2
[[items]]
name = "hum"
prompt = "deep engine hum"
loop = true
format = "flac"
"""


def built(pool: AudioPool, folder: Path, **options: Any) -> Built:
    made, lock = read_pack(folder), read_lock(folder)
    return build(pool, folder, made, lock, plan_of(made, lock, folder), **options)


def test_a_signed_pack_is_proved_and_made_again(pool: AudioPool, tmp_path: Path) -> None:
    (tmp_path / "pack.toml").write_text(PACK)
    assert built(pool, tmp_path).failed == []
    pack, lock = read_pack(tmp_path), read_lock(tmp_path)
    assert lock is not None and len(lock.files) == 3
    sounds = tmp_path / pack.pack.out
    for one in lock.files:
        manifest(sounds / one.file)
        assert one.unsigned and one.unsigned != one.sha256
    assert list(check(tmp_path, pack, lock)) == []
    assert {step.kind for step in plan_of(pack, lock, tmp_path)} == {"keep"}
    (sounds / lock.files[0].file).unlink()
    again = built(pool, tmp_path, frozen=True)
    assert again.failed == [] and again.made == [lock.files[0].file], "its samples are the same, its signature another"
    after = read_lock(tmp_path)
    assert after is not None and after != lock
    assert list(differences(lock, after)) == [], "that is no difference"
    assert list(check(tmp_path, pack, after)) == []
    write_lock(tmp_path, structs.replace(after, files=after.files[1:]))  # killed between the file and the lock
    assert built(pool, tmp_path).failed == []
    (sounds / lock.files[1].file).write_bytes(b"somebody's")
    told = list(check(tmp_path, pack, after))
    assert told and "is another file than was built" in told[0]
