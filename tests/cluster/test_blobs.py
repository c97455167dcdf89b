"""Kept sounds in an object store: a real server (moto's) behind a proxy that makes faults."""

from __future__ import annotations

import http.server
import os
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore", reason="obstore is not installed: make test-cluster")
pytest.importorskip("moto", reason="moto is not installed: make test-cluster")

from tests.support.cache_sounds import sound
from tests.support.object_server import KEYS, ObjectServer, served
from tests.support.waiting import eventually

from audio_pool.cache.files import LocalFiles
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.objects.bucket import Bucket, Missing, Unreachable
from audio_pool.cache.objects.collector import Collector
from audio_pool.cache.objects.files import ObjectFiles
from audio_pool.cache.objects.names import content_of, trash_of
from audio_pool.cache.objects.opening import open_files
from audio_pool.cache.objects.place import ObjectPlace, read_place
from audio_pool.cache.sqlite.backup import backup, restore
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.errors import InvalidConfig, NotFound, StorageError
from audio_pool.object_settings import ObjectsConfig
from audio_pool.types import Rendition


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        with served() as server:
            yield server


@pytest.fixture(autouse=True)
def _well(server: ObjectServer) -> Iterator[None]:
    yield
    server.proxy.lost.clear()
    server.proxy.set("pass")


def opened(directory: Path, place: ObjectPlace | None = None, **options: Any) -> SqliteStore:
    files = open_files(directory, place=place) if place is not None else None
    return SqliteStore(directory, blobs=files, grace_s=0.0, **options)


def files_of(store: SqliteStore) -> ObjectFiles:
    assert isinstance(store.blobs, ObjectFiles)
    return store.blobs


def kept_file(store: SqliteStore, entry_id: int | None) -> tuple[str, int]:
    assert entry_id is not None
    kept = store.checks.master(entry_id)
    assert kept is not None
    return kept.file, kept.size_bytes


def test_a_sound_is_stored_by_its_content_before_its_row_and_comes_back_when_its_copy_is_gone(
    server: ObjectServer, tmp_path: Path
) -> None:
    place = server.place()
    store = opened(tmp_path / "cache", place)
    entry = store.entries.put(sound(store.blobs.incoming), {})
    file, size = kept_file(store, entry.id)
    content = content_of(file)
    assert content is not None and content.key in server.keys(place)
    kept = Path(entry.path).read_bytes()
    assert server.bucket_of(place).Object(f"cache/{content.key}").get()["Body"].read() == kept
    Path(entry.path).unlink()
    assert store.blobs.state_of(file, size) is None and store.blobs.elsewhere(file)
    store.blobs.bring(file, size)
    assert Path(entry.path).read_bytes() == kept and os.stat(entry.path).st_mode & 0o777 == 0o444
    asked = server.proxy.requests
    store.blobs.bring(file, size)  # it is here
    assert server.proxy.requests == asked
    store.close()


def test_the_directory_itself_says_where_its_sounds_are_and_no_secret(server: ObjectServer, tmp_path: Path) -> None:
    place = server.place()
    store = opened(tmp_path / "cache", place)
    entry = store.entries.put(sound(store.blobs.incoming), {})
    store.close()
    Path(entry.path).unlink()
    assert read_place(tmp_path / "cache") == place
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in (tmp_path / "cache" / "objects.json").read_text()
    again = opened(tmp_path / "cache")  # as the manager opens it, without a configuration
    again.blobs.bring(*kept_file(again, entry.id))
    assert Path(entry.path).is_file()
    again.close()


def test_equal_bytes_are_one_object_and_each_row_has_its_own_file(server: ObjectServer, tmp_path: Path) -> None:
    place = server.place()
    store = opened(tmp_path / "cache", place)
    first = sound(store.blobs.incoming, seed=7)
    twin = sound(store.blobs.incoming, "another wording", seed=7)
    shutil.copyfile(first.path, twin.path)
    entries = [store.entries.put(one, {}) for one in (first, twin)]
    assert entries[0].path != entries[1].path
    assert len(server.keys(place, "sounds")) == 1
    assert entries[0].id is not None
    store.entries.remove([entries[0].id])
    assert not Path(entries[0].path).exists()
    Path(entries[1].path).unlink()
    store.blobs.bring(*kept_file(store, entries[1].id))  # the other row's removal took nothing of it
    store.close()


def test_large_sounds_go_up_in_parts_and_are_compared_with_their_hash(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = server.place()
    files = ObjectFiles(tmp_path / "cache", place)
    source = files.incoming / "long.flac"
    source.write_bytes(b"fLaC" + random.Random(1).randbytes(17 << 20))
    import hashlib

    digest = hashlib.sha256(source.read_bytes()).digest()
    file = files.name_for("audio", digest, ".flac")
    size = source.stat().st_size
    files.settle(files.place(source, file))
    content = content_of(file)
    assert content is not None
    assert server.bucket_of(place).Object(f"cache/{content.key}").e_tag.endswith('-4"')  # four parts
    Path(files.path_of(file)).unlink()
    files.bring(file, size)
    assert hashlib.sha256(Path(files.path_of(file)).read_bytes()).digest() == digest
    # what arrives is not what was sent: nothing is kept, and the object does not stay under this name
    other = files.incoming / "other.flac"
    other.write_bytes(b"fLaC" + random.Random(2).randbytes(17 << 20))
    wrong = files.name_for("audio", hashlib.sha256(b"something else").digest(), ".flac")
    with pytest.raises(StorageError, match="as it was sent"):
        files.place(other, wrong)
    assert len(server.keys(place, "sounds")) == 1 and other.is_file()
    files.release()


def test_renditions_are_stored_too_and_found_though_they_are_not_here(server: ObjectServer, tmp_path: Path) -> None:
    place = server.place()
    store = opened(tmp_path / "cache", place)
    entry = store.entries.put(sound(store.blobs.incoming), {})
    assert entry.id is not None
    made = store.blobs.incoming / "made.ogg"
    made.write_bytes(b"OggS" + bytes(400))
    ogg = Rendition(format="ogg", sample_rate=44_100, bit_depth=16, target_lufs=None, true_peak_dbfs=-2.0)
    path = Path(store.renditions.put(entry.id, ogg, made))
    path.unlink()
    kept = store.renditions.find(entry.id, ogg)
    assert kept is not None
    store.blobs.bring(kept.file, kept.size_bytes)
    assert path.read_bytes() == b"OggS" + bytes(400)
    assert {key[-4:] for key in server.keys(place, "sounds")} == {"flac", ".ogg"}
    store.close()


def test_while_the_store_is_away_nothing_is_kept_nobody_waits_and_it_heals_by_itself(
    server: ObjectServer, tmp_path: Path
) -> None:
    place = server.place()
    store = opened(tmp_path / "cache", place)
    entry = store.entries.put(sound(store.blobs.incoming), {})
    file, size = kept_file(store, entry.id)
    for mode in ("error", "gone", "hang"):
        server.proxy.set(mode)  # type: ignore[arg-type]
        made = sound(store.blobs.incoming, f"while it is {mode}")
        with pytest.raises(StorageError, match="is not there"):
            store.entries.put(made, {})
        assert Path(made.path).is_file() and len(store.checks.masters()) == 1  # no row without its object
        asked = server.proxy.requests
        with pytest.raises(StorageError):  # at once: the store is asked by one thread alone, once a second
            store.blobs.probe(1000)
        assert server.proxy.requests == asked
        assert store.blobs.state_of(file, size) is not None  # what is here is here
        server.proxy.set("pass")
        eventually(lambda: not files_of(store).bucket.trouble, "the store is taken up again")
        store.blobs.probe(1000)
        store.entries.put(made, {})
        store.entries.remove([one.entry_id for one in store.checks.masters() if one.entry_id != entry.id])
    store.close()


def test_a_slow_store_is_waited_for(server: ObjectServer, tmp_path: Path) -> None:
    store = opened(tmp_path / "cache", server.place())
    entry = store.entries.put(sound(store.blobs.incoming), {})
    Path(entry.path).unlink()
    server.proxy.set("slow", delay_s=0.2)
    store.blobs.bring(*kept_file(store, entry.id))
    assert Path(entry.path).is_file()
    store.close()


def test_half_a_body_is_never_a_sound(server: ObjectServer, tmp_path: Path) -> None:
    store = opened(tmp_path / "cache", server.place())
    entry = store.entries.put(sound(store.blobs.incoming), {})
    Path(entry.path).unlink()
    server.proxy.set("truncate")
    with pytest.raises(StorageError):
        store.blobs.bring(*kept_file(store, entry.id))
    assert not Path(entry.path).exists() and not list(store.blobs.incoming.glob("fetch-*"))
    server.proxy.set("pass")
    eventually(lambda: not files_of(store).bucket.trouble, "the store is taken up again")
    store.blobs.bring(*kept_file(store, entry.id))
    store.close()


def test_a_lost_object_is_not_offered_and_one_that_is_not_what_was_stored_neither(
    server: ObjectServer, tmp_path: Path
) -> None:
    place = server.place()
    store = opened(tmp_path / "cache", place)
    entries = [store.entries.put(sound(store.blobs.incoming, f"sound {n}", seed=n), {}) for n in range(3)]
    files = [kept_file(store, entry.id) for entry in entries]
    contents = [content_of(file) for file, _ in files]
    for entry in entries:
        Path(entry.path).unlink()
    lost, damaged, _ = contents
    assert lost is not None and damaged is not None
    server.bucket_of(place).Object(f"cache/{lost.key}").delete()
    server.bucket_of(place).Object(f"cache/{damaged.key}").put(Body=b"x" * files[1][1])
    for number, word in ((0, "is gone"), (1, "is not what was stored")):
        with pytest.raises(NotFound, match=word):
            store.blobs.bring(*files[number])
        assert not store.blobs.elsewhere(files[number][0])
        assert not Path(entries[number].path).exists()
    assert set(files_of(store).lost) == {lost.key, damaged.key}
    store.blobs.bring(*files[2])
    # the same sound kept anew makes the lost object again
    again = store.entries.put(sound(store.blobs.incoming, "sound 0", seed=0), {}, replace=True)
    assert store.blobs.elsewhere(kept_file(store, again.id)[0]) and lost.key in server.keys(place)
    store.close()


def test_an_empty_or_wrong_bucket_takes_no_sound_out(server: ObjectServer, tmp_path: Path) -> None:
    place = server.place()
    store = opened(tmp_path / "cache", place)
    entry = store.entries.put(sound(store.blobs.incoming), {})
    Path(entry.path).unlink()
    for one in server.bucket_of(place).objects.all():
        one.delete()
    with pytest.raises(Unreachable, match="is it the right one"):
        store.blobs.bring(*kept_file(store, entry.id))
    assert store.blobs.elsewhere(kept_file(store, entry.id)[0])
    store.close()


def test_a_prefix_belongs_to_one_cache(server: ObjectServer, tmp_path: Path) -> None:
    place = server.place()
    first = opened(tmp_path / "a", place)
    first.entries.put(sound(first.blobs.incoming), {})
    other = opened(tmp_path / "b", place)
    with pytest.raises(StorageError, match="belongs to another cache"):
        other.entries.put(sound(other.blobs.incoming), {})
    first.close()
    other.close()


def test_many_ask_for_one_sound_at_a_time_and_it_is_fetched_once(server: ObjectServer, tmp_path: Path) -> None:
    store = opened(tmp_path / "cache", server.place())
    entry = store.entries.put(sound(store.blobs.incoming), {})
    file, size = kept_file(store, entry.id)
    Path(entry.path).unlink()
    server.proxy.set("slow", delay_s=0.2)
    asked, done = server.proxy.requests, threading.Semaphore(0)
    found: list[object] = []
    for _ in range(20):
        store.blobs.bring_soon(file, size, lambda exc: (found.append(exc), done.release()))
    for _ in range(20):
        assert done.acquire(timeout=60)
    assert found == [None] * 20 and Path(entry.path).is_file()
    assert server.proxy.requests == asked + 1
    store.close()


def test_stored_ahead_of_its_row_a_sound_is_placed_without_asking_again(server: ObjectServer, tmp_path: Path) -> None:
    store = opened(tmp_path / "cache", server.place())
    store.entries.put(sound(store.blobs.incoming), {})
    made, sent = sound(store.blobs.incoming, "another", seed=2), threading.Event()
    store.blobs.send_ahead([made.path], sent.set)
    assert sent.wait(60)
    asked = server.proxy.requests
    store.entries.put(made, {})
    assert server.proxy.requests == asked
    server.proxy.set("gone")  # what cannot be sent goes on all the same, and is refused where it is placed
    late, sent = sound(store.blobs.incoming, "a third", seed=3), threading.Event()
    store.blobs.send_ahead([late.path], sent.set)
    assert sent.wait(60)
    with pytest.raises(StorageError):
        store.entries.put(late, {})
    store.close()


def test_backups_bring_what_is_not_here(server: ObjectServer, tmp_path: Path) -> None:
    place = server.place()
    store = opened(tmp_path / "cache", place)
    kept = [store.entries.put(sound(store.blobs.incoming, f"sound {n}", seed=n), {}) for n in range(3)]
    contents = sorted(Path(entry.path).read_bytes() for entry in kept)
    for entry in kept:
        Path(entry.path).unlink()
    store.close()
    copied = backup(tmp_path / "cache", tmp_path / "all.tar")
    assert (copied.entries, copied.skipped) == (3, [])
    restore(tmp_path / "all.tar", tmp_path / "local")
    with AudioSemanticCache(tmp_path / "local") as local:
        assert local.verify()["ok"]
        there = sorted(Path(item["path"]).read_bytes() for item in local.list_cache_items())
    assert there == contents
    with AudioSemanticCache(tmp_path / "cache") as cache:
        assert cache.get_cache_stats().missing_files == 0
        for item in cache.list_cache_items():
            assert item["file_exists"]


def test_what_is_put_aside_comes_back_when_it_is_asked_for(server: ObjectServer, tmp_path: Path) -> None:
    """As if a collector had been killed after it had deleted an object that was named meanwhile."""
    place = server.place()
    store = opened(tmp_path / "cache", place)
    entries = [store.entries.put(sound(store.blobs.incoming, f"sound {n}", seed=n), {}) for n in range(2)]
    file, size = kept_file(store, entries[0].id)
    content = content_of(file)
    assert content is not None
    bucket = files_of(store).bucket
    bucket.copy(content.key, f"{trash_of(content.key)}/killed")
    bucket.delete([content.key])
    Path(entries[0].path).unlink()
    store.blobs.bring(file, size)
    assert Path(entries[0].path).is_file() and content.key in server.keys(place)
    collector = Collector(store, bucket, 0.0)
    other = content_of(kept_file(store, entries[1].id)[0])
    assert other is not None and entries[1].id is not None
    store.entries.remove([entries[1].id])
    assert collector.collect().put_aside == 1
    collector.collect()
    assert {key for key in server.keys(place) if key.endswith(".flac")} == {content.key}
    store.close()


def test_a_folder_is_an_object_store_like_any_other(tmp_path: Path) -> None:
    place = ObjectPlace(url=f"file://{tmp_path}/objects", grace_s=0.0)
    store = opened(tmp_path / "cache", place)
    entry = store.entries.put(sound(store.blobs.incoming), {})
    Path(entry.path).unlink()
    store.blobs.bring(*kept_file(store, entry.id))
    assert Path(entry.path).is_file()
    store.close()


def test_credentials_come_from_a_file_that_others_cannot_read_and_are_told_nowhere(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = server.place()
    for name in KEYS:
        monkeypatch.delenv(name)
    secret = tmp_path / "credentials"
    secret.write_text("[default]\n" + "".join(f"{name} = {value}\n" for name, value in KEYS.items()))
    secret.chmod(0o644)
    settings = server.settings(credentials_file=str(secret))
    with pytest.raises(InvalidConfig, match="read by others") as refused:
        Bucket(ObjectPlace(url=place.url, settings=settings))
    secret.chmod(0o600)
    bucket = Bucket(ObjectPlace(url=place.url, settings=settings))
    bucket.write("a", b"b")
    assert bucket.read("a") == b"b"
    with pytest.raises(Missing):
        bucket.read("c")
    server.proxy.set("error")
    with pytest.raises(Unreachable) as failed:
        bucket.read("a")
    bucket.close()
    told = caplog.text + str(refused.value) + str(failed.value) + repr(bucket.trouble)
    assert "is not there" in told and KEYS["AWS_SECRET_ACCESS_KEY"] not in told


def test_a_bucket_that_is_not_there_is_said_to_be_missing(server: ObjectServer, tmp_path: Path) -> None:
    place = ObjectPlace(url="s3://no-such-bucket-anywhere/x", settings=server.settings())
    store = opened(tmp_path / "cache", place)
    with pytest.raises(StorageError, match="no bucket"):
        store.entries.put(sound(store.blobs.incoming), {})
    store.close()


def test_without_an_object_store_the_directory_holds_its_files_itself(tmp_path: Path) -> None:
    files = open_files(tmp_path / "cache")
    assert type(files) is LocalFiles and not files.remote


def test_the_environment_may_name_the_server_too(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = server.place()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.proxy.url)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    bucket = Bucket(ObjectPlace(url=place.url))
    bucket.write("a", b"b")
    assert bucket.read("a") == b"b"
    monkeypatch.setenv("AWS_ALLOW_HTTP", "false")
    plain = Bucket(ObjectPlace(url=place.url, settings=server.settings(allow_http=False)))
    with pytest.raises(StorageError):  # without TLS only where that is allowed
        plain.read("a")
    plain.close()


@pytest.mark.parametrize(
    ("url", "credentials", "asked"),
    [
        ("s3://sounds/of/mine", "aws_access_key_id = a\naws_secret_access_key = b\n", "/sounds/of/mine/a"),
        ("gs://sounds/of/mine", "google_skip_signature = true\n", "/sounds/of%2Fmine%2Fa"),
        (
            "az://sounds/of/mine",
            "azure_storage_account_name = acct\nazure_storage_account_key = a2V5\n",
            "/sounds/of/mine/a",
        ),
    ],
)
def test_each_cloud_is_spoken_to_in_its_own_tongue(tmp_path: Path, url: str, credentials: str, asked: str) -> None:
    """As far as that goes without one: which object is asked for, where, and by whose credentials."""
    heard: list[str] = []

    class Cloud(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            heard.append(self.path)
            self.send_response(404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    secret = tmp_path / "credentials"
    secret.write_text(credentials)
    secret.chmod(0o600)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cloud) as cloud:
        thread = threading.Thread(target=cloud.serve_forever)
        thread.start()
        try:
            endpoint = f"http://127.0.0.1:{cloud.server_port}"
            settings = ObjectsConfig(endpoint=endpoint, allow_http=True, credentials_file=str(secret), retries=0)
            assert Bucket(ObjectPlace(url=url, settings=settings)).look("a") is None
        finally:
            cloud.shutdown()
            thread.join()
    assert [path.split("?")[0] for path in heard] == [asked]
