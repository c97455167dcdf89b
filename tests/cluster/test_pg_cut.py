"""A head that is cut from the database and not from its clients: hits go on, what is new is delivered, and it heals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.cluster.counted import Counted, are, kept_by, pool_on
from tests.cluster.heads import Heads
from tests.support.fault_proxy import FaultProxy
from tests.support.postgres import PostgresServer
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioPool, AudioResult

_TIMEOUT_S = 1.0


class Cut:
    """Two heads of one cache; the first one's way to the database leads through a proxy."""

    def __init__(self, cut: AudioPool, other: AudioPool, proxy: FaultProxy) -> None:
        self.cut, self.other, self.proxy = cut, other, proxy


@pytest.fixture
def bed(postgres: PostgresServer, database: str, tmp_path: Path) -> Iterator[Cut]:
    proxy = FaultProxy(str(postgres.place), postgres.port)
    name = urlsplit(database).path
    host, port = proxy.address
    with Heads(database, tmp_path) as heads:
        heads.callback(proxy.close)
        through = f"postgresql://ap@{host}:{port}{name}"
        yield Cut(
            pool_on(heads, "cut", through, store_timeout_s=_TIMEOUT_S),
            pool_on(heads, "other", database, store_timeout_s=_TIMEOUT_S),
            proxy,
        )


def _make(pool: AudioPool, prompt: str) -> AudioResult:
    return pool.generate(prompt, timeout_s=PATIENCE_S)


def _hit(pool: AudioPool, prompt: str) -> int | None:
    made = _make(pool, prompt)
    return made.metadata.entry_id if made.metadata.cached else None


@pytest.mark.parametrize("mode", ["cut", "gone"])
def test_a_head_that_is_cut_from_the_database_serves_its_clients_and_heals(bed: Cut, mode: str) -> None:
    kept, goes = kept_by(bed.cut, "kept before"), kept_by(bed.cut, "removed meanwhile")
    eventually(lambda: _hit(bed.other, "removed meanwhile"), "the other head knows them")
    bed.proxy.set(mode)  # type: ignore[arg-type]
    asked = [bed.cut.submit(f"new sound {number}") for number in range(12)]
    assert _hit(bed.cut, "kept before") == kept, "hits wait for nothing"
    for one in asked:
        made = one.result(PATIENCE_S)
        assert made.path is not None and Path(made.path).is_file() and made.metadata.entry_id is None
        assert any(line.startswith("not_kept") for line in made.metadata.warnings)
    are("degraded", bed.cut)
    are("ready", bed.other)  # nobody else is concerned
    bed.other.library.remove(goes)
    meanwhile = kept_by(bed.other, "made elsewhere meanwhile")
    bed.proxy.set("pass")
    are("ready", bed.cut)
    eventually(lambda: _hit(bed.cut, "made elsewhere meanwhile") == meanwhile, "it follows again")
    assert _make(bed.cut, "removed meanwhile").metadata.entry_id != goes
    kept_by(bed.cut, "kept after")




def test_a_client_that_keeps_book_of_a_head_that_is_cut_again_and_again(bed: Cut) -> None:
    with Counted(bed.cut) as one, Counted(bed.other) as two:
        for _ in range(3):
            one.more(2)
            two.more(2)
            bed.proxy.set("cut")
            are("degraded", bed.cut)
            bed.proxy.set("pass")
            are("ready", bed.cut)
        one.more(2)
    for client in (one, two):
        for pool in (bed.cut, bed.other):
            for prompt, entry in list(client.kept.items())[-3:]:
                eventually(lambda pool=pool, prompt=prompt, entry=entry: _hit(pool, prompt) == entry, prompt)
            for prompt, entry in list(client.removed.items())[-2:]:
                assert _hit(pool, prompt) != entry
    given = [*one.kept.values(), *one.removed.values(), *two.kept.values(), *two.removed.values()]
    assert len(given) == len(set(given))
