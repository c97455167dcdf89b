"""Presets through a served pool: kept, seen by every process at once, merged into sounds and told of them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from tests.support.command_line import command

from audio_pool import AsyncAudioClient, AudioClient, AudioPool
from audio_pool.cache.presets import Expected
from audio_pool.cache.sqlite.rebuild import rebuild
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cli.pack import group as pack_group
from audio_pool.cli.presets import group
from audio_pool.errors import Conflict, InvalidRequest, NotFound
from audio_pool.exchange.exporting import export
from audio_pool.exchange.preset_file import take_presets
from audio_pool.packs.pack_build import Built, build
from audio_pool.packs.pack_check import check
from audio_pool.packs.pack_lock import read_lock
from audio_pool.packs.pack_manifest import read_manifest
from audio_pool.packs.pack_plan import plan_of
from audio_pool.presets import MAX_PRESETS, Preset, checked_preset

PATIENCE_S = 60.0
OLD = {"before": "old", "after": "in a cellar", "negative": "music"}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioPool]:
    path = tmp_path_factory.mktemp("pool")
    settings = {
        "cache": {"dir": str(path / "cache"), "encoder": "off"},
        "server": {"bind": f"ipc://{path}/s"},
        "presets": {"house": {"type": "generation_parameters", "content": {"duration_s": 0.4}}},
    }
    with AudioPool.from_config(settings, serve=True) as pool:
        yield pool


@pytest.fixture
def client(pool: AudioPool) -> Iterator[AudioClient]:
    with AudioClient(pool.endpoint, timeout_s=PATIENCE_S) as client:
        yield client


def made(asked: AudioPool | AudioClient, prompt: str, *presets: str, **fields: Any) -> Any:
    return asked.generate(prompt, presets=list(presets), timeout_s=PATIENCE_S, **fields).metadata


def test_a_sound_is_made_with_presets_told_of_it_and_hit_by_its_words(pool: AudioPool, client: AudioClient) -> None:
    pool.presets.set("old door", "prompt", OLD, priority=70)
    first = made(client, "a door creaks", "old door", "house", target_lufs=-30.0)
    assert not first.cached and first.prompt == "old a door creaks, in a cellar" and first.duration_s == 0.4
    assert first.negative_prompt == "music"
    told = [(use["id"], use["contributed"], use["left_out"]) for use in first["presets"]]
    assert told == [("old door", OLD, {}), ("house", {"duration_s": 0.4}, {})]
    assert first["presets"][0]["revision"] == pool.presets.get("old door").revision
    again = made(pool, "a door creaks", "old door", "house", target_lufs=-30.0)
    assert again.cache_type == "exact" and again["presets"] == first["presets"]
    plain = made(pool, "old a door creaks, in a cellar", negative_prompt="music", duration_s=0.4, target_lufs=-30.0)
    assert plain.cache_type == "exact" and plain.entry_id == again.entry_id
    assert "presets" not in dict(plain), "it named none, though the sound was once made with some"


def test_a_change_counts_from_the_next_request_on_whoever_makes_it(pool: AudioPool, client: AudioClient) -> None:
    client.presets.set("place", "prompt", {"after": "in a hall"})
    assert made(client, "a knock", "place", duration_s=0.3).prompt == "a knock, in a hall"
    other = SqliteStore(pool.config.cache_dir, create=False)  # as a command beside the server opens it
    try:
        other.presets.set([checked_preset({"id": "place", "type": "prompt", "content": {"after": "outdoors"}})])
        assert made(client, "a knock", "place", duration_s=0.3).prompt == "a knock, outdoors"
        assert other.presets.remove("place")
    finally:
        other.close()
    with pytest.raises(NotFound, match=r"no preset 'plaice'"):
        made(client, "a knock", "plaice")
    client.presets.set("place", "prompt", {"after": "in a hall"})
    with pytest.raises(NotFound, match=r"no preset 'plaice'; did you mean 'place'"):
        made(client, "a knock", "plaice")
    with pytest.raises(NotFound, match=r"did you mean 'horror'"):
        client.explain("a knock", presets=["horor"])
    told = client.explain("a knock", presets=["place"], duration_s=0.3)
    assert told.present_settings.duration_s == 0.3


def test_presets_are_listed_by_type_and_engine_page_by_page_and_cover_each_other(client: AudioClient) -> None:
    client.presets.set("a music", "prompt", {"after": "slow"}, engines=["kind:music"])
    client.presets.set("a tone", "prompt", {"after": "pure"}, engines=["nobody"])
    client.presets.set("horror", "prompt", {"after": "whispering"})
    found = client.presets.list().presets
    ids = [one.id for one in found]
    assert ids == sorted(ids) and {"a music", "a tone", "horror", "house", "cave"} <= set(ids)
    sources = {one.id: one.metadata.source for one in found}
    assert (sources["horror"], sources["house"], sources["cave"]) == ("user", "config", "built-in")
    suiting = {one.id for one in client.presets.list(engine="procedural").presets}
    assert "a music" in suiting and "a tone" not in suiting and "cave" in suiting
    assert {one.type for one in client.presets.list(type="generation_parameters").presets} == {"generation_parameters"}
    paged: list[str] = []
    after: str | None = None
    while True:
        page = client.presets.list(limit=3, after=after)
        paged += [one.id for one in page.presets]
        after = page.following
        if after is None:
            break
    assert paged == ids
    assert client.presets.remove("horror").uncovered == "built-in"
    assert client.presets.get("horror").metadata.source == "built-in"
    with pytest.raises(InvalidRequest, match="comes with the program"):
        client.presets.remove("horror")
    with pytest.raises(InvalidRequest, match="comes with the configuration"):
        client.presets.remove("house")
    with pytest.raises(NotFound, match="no preset 'nowhere'"):
        client.presets.remove("nowhere")


def test_two_who_change_the_same_preset_do_not_undo_each_other(pool: AudioPool, client: AudioClient) -> None:
    first = client.presets.set("shared", "prompt", {"after": "x"}, if_revision="")
    with pytest.raises(Conflict, match="says something else"):
        pool.presets.set("shared", "prompt", {"after": "y"}, if_revision="")
    second = pool.presets.set("shared", "prompt", {"after": "y"}, if_revision=first.revision)
    with pytest.raises(Conflict):
        client.presets.set("shared", "prompt", {"after": "z"}, if_revision=first.revision)
    with pytest.raises(Conflict):
        client.presets.remove("shared", if_revision=first.revision)
    assert client.presets.get("shared").content == {"after": "y"}
    client.presets.remove("shared", if_revision=second.revision)
    with pytest.raises(Conflict, match="there is one, of source 'built-in'"):
        client.presets.set("cave", "prompt", {"after": "z"}, if_revision="")
    covered = client.presets.get("cave")
    assert client.presets.set("cave", "prompt", {"after": "z"}, if_revision=covered.revision).content == {"after": "z"}
    client.presets.remove("cave")


def test_the_asynchronous_client_has_the_same_verbs(pool: AudioPool) -> None:
    async def ask() -> tuple[Preset, list[str], Any]:
        async with AsyncAudioClient(pool.endpoint) as client:
            kept = await client.presets.set("later", "prompt", {"after": "far away"})
            assert await client.presets.get("later") == kept
            ids = [one.id for one in (await client.presets.list()).presets]
            return kept, ids, await client.presets.remove("later")

    kept, ids, removed = asyncio.run(ask())
    assert kept.metadata.timestamp > 0 and "later" in ids and removed.uncovered is None


def test_odd_ids_are_ids_and_nothing_else(client: AudioClient, pool: AudioPool) -> None:
    odd = ["'; DROP TABLE presets; --", "ünï🎵", "a/b?c=d&e#f", "%_", '["x"]', "..", "e\u0301"]
    for name in odd:
        client.presets.set(name, "prompt", {"after": "x"})
    ids = {one.id for one in client.presets.list().presets}
    assert {*odd[:-1], "\u00e9"} <= ids
    assert made(pool, "a knock", *odd, duration_s=0.3).prompt == "a knock, x"
    for name in odd:
        client.presets.remove(name)


def test_what_is_no_preset_is_refused_and_nothing_is_kept(client: AudioClient, pool: AudioPool) -> None:
    for content in ({"namespace": "mine"}, {"output_path": "/etc/x"}, {"presets": ["cave"]}, {}):
        with pytest.raises(InvalidRequest):
            client.presets.set("bad", "generation_parameters", content)
        with pytest.raises(InvalidRequest):
            pool.presets.set("bad", "prompt", content)
    with pytest.raises(NotFound):
        client.presets.get("bad")


def test_ten_thousand_are_kept_and_one_more_is_not(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "cache")
    one = checked_preset({"id": "p", "type": "prompt", "content": {"after": "x"}})
    try:
        many = [Preset(id=f"p{n:05}", type="prompt", content={"after": "x"}) for n in range(MAX_PRESETS)]
        store.presets.set(many)
        with pytest.raises(InvalidRequest, match="10,000; nothing was set"):
            store.presets.set([one])
        assert store.presets.of(["p"]) == {} and set(store.presets.of(["p00007", "p09999"])) == {"p00007", "p09999"}
        assert len(store.presets.like("p0000")) <= 300
        assert [preset.id for preset in store.presets.page(type=None, suiting=(), after="p09997", limit=9)] == [
            "p09998", "p09999",
        ]  # fmt: skip
        with pytest.raises(Conflict):
            store.presets.remove("p00001", Expected("other"))
        assert store.presets.remove("p00001") and not store.presets.remove("p00001")
    finally:
        store.close()


def test_presets_outlive_a_damaged_database(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "cache")
    kept = store.presets.set(
        [checked_preset({"id": name, "type": "prompt", "content": {"after": name}}) for name in ("a", "b c")]
    )
    store.close()
    database = tmp_path / "cache" / "cache.sqlite3"
    with sqlite3.connect(database) as db:
        db.execute("INSERT INTO presets VALUES ('bad', 'prompt', 50, 0, '[]', '{\"namespace\": 1}')")
        page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entries'").fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    db.close()
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    assert rebuild(tmp_path / "cache").way == "from_damaged"
    store = SqliteStore(tmp_path / "cache")
    assert list(store.presets.of(["a", "b c", "bad"]).values()) == list(kept)
    store.close()


def told(*arguments: str, fails: bool = False) -> str:
    """What a command says; it is run in this process, as starting one takes longer than all that it does."""
    done = CliRunner().invoke(group, arguments)
    assert (done.exit_code != 0) == fails, done.output
    return str(done.exception) if fails else done.stdout


def test_commands_beside_a_running_server_and_by_it(
    pool: AudioPool, client: AudioClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIO_POOL_CACHE_DIR", str(pool.config.cache_dir))
    said = told("set", "by hand", "--after", "in a hall", "--scene", "mood=calm", "--for", "kind:effects",
                "--priority", "70", "--json")  # fmt: skip
    kept = client.presets.get("by hand")
    assert json.loads(said) == {**json.loads(msgspec.json.encode(kept)), "revision": kept.revision}
    assert (kept.engines, kept.metadata.priority, kept.content["scene"]) == (("kind:effects",), 70, {"mood": "calm"})
    assert made(client, "a gong", "by hand", duration_s=0.3).prompt == "a gong, in a hall, calm, soft"
    hit = command("generate", "a gong", "--preset", "by hand", "--duration", "0.3", "--connect", "never", "--json")
    metadata = json.loads(hit.stdout)
    assert "starting a pool" not in hit.stderr and metadata["cache_type"] == "exact"
    assert metadata["prompt"] == "a gong, in a hall, calm, soft", "not the bare words"
    assert metadata["presets"][0]["contributed"]["after"] == "in a hall"
    endpoint = pool.endpoint
    assert endpoint is not None
    told("set", "short", "--field", "duration_s=0.3", "--field", "options.space=hall", "--connect", endpoint)
    assert client.presets.get("short").content == {"duration_s": 0.3, "options": {"space": "hall"}}
    assert "short" in told("list", "--type", "generation_parameters", "--engine", "procedural")
    file = tmp_path / "all.json"
    assert "wrote" in told("export", "-o", str(file))
    assert "source user" in told("show", "by hand", "--connect", endpoint)
    assert "removed preset 'by hand'" in told("remove", "by hand")
    assert "there is no preset 'by hnd'" in told("show", "by hnd", fails=True)
    monkeypatch.setenv("AUDIO_POOL_CACHE_DIR", str(tmp_path / "other"))
    assert "cave" in told("list"), "those of the program are there though nothing is kept"
    assert not (tmp_path / "other").exists()
    assert "kept" in told("import", str(file))
    assert "in a hall" in told("show", "by hand")
    file.write_text('{"presets": [{"id": "x", "type": "prompt", "content": {"namespace": "y"}}]}')
    assert "presets[0]: preset 'x': content" in told("import", str(file), fails=True)


def test_a_pack_notices_that_a_preset_says_something_else(
    pool: AudioPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIO_POOL_CACHE_DIR", str(pool.config.cache_dir))
    told("set", "level one", "--after", "in a hall")
    told("set", "faint", "--field", "duration_s=0.3")
    (tmp_path / "pack.toml").write_text(
        '[pack]\nname = "p"\n[defaults]\npresets = ["level one", "faint"]\nformat = "wav"\n'
        '[[items]]\nname = "knock"\nprompt = "a knock"\n'
        '[[items]]\nname = "bell"\nprompt = "a bell"\npresets = ["faint"]\n'
    )

    def planned() -> dict[str, tuple[str, list[str]]]:
        done = CliRunner().invoke(pack_group, ["plan", str(tmp_path), "--json"])
        assert done.exit_code == 0, done.output
        return {one["file"]: (one["step"], one["why"]) for one in json.loads(done.stdout)}

    def built() -> Built:
        manifest, lock = read_manifest(tmp_path), read_lock(tmp_path)
        said = {name: pool.presets.get(name).revision for name in ("level one", "faint")}
        return build(pool, tmp_path, manifest, lock, plan_of(manifest, lock, tmp_path, said))

    assert {step for step, _ in planned().values()} == {"make"}
    assert sorted(built().made) == ["sound/bell.wav", "sound/knock.wav"]
    assert {step for step, _ in planned().values()} == {"keep"}
    lock = read_lock(tmp_path)
    assert lock is not None and lock.by_file()["sound/knock.wav"].frames == round(0.3 * 44_100)
    told("set", "level one", "--after", "outdoors")
    assert planned() == {
        "sound/knock.wav": ("remake", ["presets: 'level one' says something else now"]),
        "sound/bell.wav": ("keep", []),
    }
    assert list(check(tmp_path, read_manifest(tmp_path), lock)) == [], "the files are those of the lock"
    manifest = read_manifest(tmp_path)
    stale = plan_of(manifest, lock, tmp_path, {"level one": "of before", "faint": pool.presets.get("faint").revision})
    failed = build(pool, tmp_path, manifest, lock, stale).failed
    assert [(one.file, one.code) for one in failed] == [("sound/knock.wav", "conflict")], "it was changed meanwhile"
    assert built().made == ["sound/knock.wav"]
    (tmp_path / "pack.toml").write_text(
        '[pack]\nname = "p"\n[[items]]\nname = "x"\nprompt = "y"\npresets = ["level on"]\n'
    )
    wrong = CliRunner().invoke(pack_group, ["plan", str(tmp_path)])
    assert "did you mean 'level one'" in str(wrong.exception)


def test_an_export_carries_presets_and_an_import_replaces_none(tmp_path: Path) -> None:
    first, second = SqliteStore(tmp_path / "first"), SqliteStore(tmp_path / "second")
    try:
        sets = [checked_preset({"id": f"p{n}", "type": "prompt", "content": {"after": "x"}}) for n in range(3)]
        kept = first.presets.set(sets)
        own = second.presets.set([checked_preset({"id": "p1", "type": "prompt", "content": {"after": "mine"}})])
        export(first, tmp_path / "out")
        take_presets(tmp_path / "out", second.presets)
        assert second.presets.of(["p0", "p1", "p2"]) == {"p0": kept[0], "p1": own[0], "p2": kept[2]}
        for one in kept:
            first.presets.remove(one.id)
        export(first, tmp_path / "out")
        assert not (tmp_path / "out" / "presets.json").exists()
    finally:
        first.close()
        second.close()
