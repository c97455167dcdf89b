"""What goes when there is too much: what is worth least, never what is pinned, last what was delivered just now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.cache_sounds import harm, ids_in, sound

from audio_pool.cache import eviction as module
from audio_pool.cache.eviction import Victim, held_in, victims
from audio_pool.cache.eviction_plan import coming_eviction
from audio_pool.cache.limits import Bounds, Limits
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.uses import SqliteUses
from audio_pool.cache.uses import Candidate
from audio_pool.cache.verify import verify
from audio_pool.cache.worth import HALF_LIFE_S
from audio_pool.config import load_config
from audio_pool.errors import StorageError
from audio_pool.pool.cache_limits import limits_of
from audio_pool.types import Rendition

DAY = 86_400.0
OGG = Rendition(format="ogg", sample_rate=44_100, bit_depth=16, target_lufs=-23.0, true_peak_dbfs=-2.0)


class Clock:
    def __init__(self) -> None:
        self.now = 2_000_000_000.0

    def __call__(self) -> float:
        return self.now


Open = Callable[..., SoundCache]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the cache with limits; a new sound's time is the clock's."""
    monkeypatch.setattr("audio_pool.cache.sqlite.rows.time.time", clock)
    monkeypatch.setattr(module, "_SPELL_S", 60.0)  # however busy the machine is
    made: list[SoundCache] = []

    def open_cache(grace_s: float = 0.0, instead_of: SoundCache | None = None, **limits: object) -> SoundCache:
        if instead_of is not None:
            made.remove(instead_of)
            instead_of.close()
        cache = SoundCache(
            tmp_path / "cache", now=clock, grace_s=grace_s, max_per_prompt=100, limits=Limits(**limits)
        )  # type: ignore[arg-type]
        made.append(cache)
        return cache

    yield open_cache
    for cache in made:
        cache.usage.write_down()
        assert verify(cache.store).problems == []
        cache.close()


def keep(
    cache: SoundCache, prompt: str = "", seed: int = 1, *, cost_s: float = 2.0, score: float = 90.0, **changes: object
) -> int:
    told = {"timings_ms": {"generate": cost_s * 1000}, "quality": {"score": score, "issues": []}}
    entry = cache.put(sound(cache.incoming, prompt or f"rain {seed}", seed=seed, metadata=told, **changes), {})
    assert entry.id is not None
    return entry.id


def hit(cache: SoundCache, entry_id: int, times: int = 1) -> None:
    for _ in range(times):
        cache.usage.answered("exact", 1.0, entry_id)
    cache.usage.write_down()


def gone_first(cache: SoundCache, most: int, clock: Clock) -> list[int]:
    """The entries that would go for so many to be left, in order."""
    cache.usage.write_down()
    limits = Limits(whole=Bounds(max_items=most) if most else Bounds(max_bytes=1), low_water=1.0)
    return [one.sound.entry_id for one in victims(cache.store, limits, clock.now, is_recent=cache.usage.is_recent)]


@pytest.mark.sqlite
def test_the_cheap_the_unused_the_poor_and_the_many_go_first(opened: Open, clock: Clock) -> None:
    cache = opened()
    usual = keep(cache, seed=1)
    cheap = keep(cache, seed=2, cost_s=0.5)
    poor = keep(cache, seed=3, score=55.0)
    used = keep(cache, seed=4)
    dear = keep(cache, seed=5, cost_s=60.0)
    hit(cache, used, 3)
    order = gone_first(cache, 0, clock)
    assert order == [cheap, poor, usual, used, dear]


def test_of_variants_of_one_prompt_the_last_stays_longest(opened: Open, clock: Clock) -> None:
    cache = opened()
    variants = [keep(cache, "footsteps", seed, cost_s=2.0 + seed / 10) for seed in range(4)]
    single = keep(cache, "thunder", cost_s=2.0)
    order = gone_first(cache, 0, clock)
    assert order == [*variants[:3], single, variants[3]]
    place = {one.sound.entry_id: (one.sound.place, one.sound.variants) for one in planned(cache, 0, clock)}
    assert place[variants[3]] == (1, 4) and place[variants[0]] == (4, 4) and place[single] == (1, 1)


def planned(cache: SoundCache, most: int, clock: Clock) -> list[Victim]:
    limits = Limits(whole=Bounds(max_items=most) if most else Bounds(max_bytes=1), low_water=1.0)
    return list(victims(cache.store, limits, clock.now, is_recent=cache.usage.is_recent))


def test_a_hit_of_long_ago_counts_for_less_than_one_of_today(opened: Open, clock: Clock) -> None:
    cache = opened()
    once, lately = keep(cache, seed=1), keep(cache, seed=2)
    hit(cache, once, 3)
    clock.now += 4 * HALF_LIFE_S
    hit(cache, lately, 1)
    assert gone_first(cache, 0, clock) == [once, lately]


def test_eviction_goes_down_to_the_low_water_mark_and_says_so_beforehand(opened: Open, clock: Clock) -> None:
    cache = opened(whole=Bounds(max_items=10), low_water=0.5)
    ids = [keep(cache, seed=seed, cost_s=1.0 + seed) for seed in range(11)]
    cache.usage.write_down()
    plan = victims(cache.store, Limits(Bounds(max_items=10), low_water=0.5), clock.now, is_recent=lambda _: False)
    told = [(one.sound.entry_id, one.why, one.scope) for one in plan]
    assert told == [(entry_id, "max_items", "") for entry_id in ids[:6]]
    assert ids_in(cache.store) == set(ids), "a plan takes nothing away"
    cache.tend()
    assert ids_in(cache.store) == set(ids[6:])


def test_bytes_are_bounded_with_the_renditions(opened: Open, tmp_path: Path) -> None:
    cache = opened()
    one = keep(cache, seed=1, cost_s=1.0)
    other = keep(cache, seed=2, cost_s=9.0)
    ogg = cache.incoming / "x.ogg"
    ogg.write_bytes(b"OggS" + bytes(50_000))
    cache.put_rendition(one, OGG, ogg)
    total = held_in(cache.store)[""]
    assert total.items == 2 and total.size_bytes > 50_000
    cache = opened(instead_of=cache, whole=Bounds(max_bytes=total.size_bytes - 1), low_water=0.9)
    cache.tend()
    assert ids_in(cache.store) == {other}
    assert held_in(cache.store)[""].size_bytes < 50_000
    assert verify(cache.store).problems == []


def test_a_namespace_has_bounds_of_its_own(opened: Open) -> None:
    cache = opened(namespaces={"game": Bounds(max_items=2)}, low_water=1.0)
    others = {keep(cache, seed=seed, cost_s=0.1) for seed in range(5)}
    games = [keep(cache, seed=seed, namespace="game", cost_s=1.0 + seed) for seed in range(4)]
    cache.tend()
    assert ids_in(cache.store) == others | set(games[2:])


def test_the_whole_and_a_namespace_count_one_sound_once(opened: Open) -> None:
    cache = opened(whole=Bounds(max_items=4), namespaces={"game": Bounds(max_items=2)}, low_water=1.0)
    others = {keep(cache, seed=seed, cost_s=5.0) for seed in range(3)}
    games = [keep(cache, seed=seed, namespace="game", cost_s=1.0 + seed) for seed in range(4)]
    cache.tend()
    assert ids_in(cache.store) == others | {games[3]}, "two went for their namespace, and one more for the whole"


@pytest.mark.sqlite
def test_age_ends_a_sound_and_each_namespace_may_have_its_own(opened: Open, clock: Clock) -> None:
    cache = opened(ttl_s=10 * DAY, ttls_s={"short": DAY, "forever": 0.0})
    usual, short, forever = (keep(cache, seed=1, namespace=name) for name in ("default", "short", "forever"))
    clock.now += 2 * DAY
    hit(cache, usual)
    cache.tend()
    assert ids_in(cache.store) == {usual, forever} != {usual, short, forever}
    clock.now += 9 * DAY
    cache.eviction._ages_at = 0.0
    cache.tend()
    assert ids_in(cache.store) == {forever}


def test_pinned_sounds_stay_whatever_the_bounds(opened: Open, clock: Clock) -> None:
    cache = opened(whole=Bounds(max_items=2), ttl_s=DAY)
    ids = [keep(cache, seed=seed, cost_s=1.0 + seed) for seed in range(6)]
    cache.store.pins.pin(ids[:3])
    cache.tend()
    assert ids_in(cache.store) == set(ids[:3])
    clock.now += 5 * DAY
    cache.eviction._ages_at = 0.0
    cache.tend()
    assert ids_in(cache.store) == set(ids[:3])


def test_what_is_pinned_after_it_was_chosen_stays(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = opened(whole=Bounds(max_items=1), low_water=1.0)
    ids = [keep(cache, seed=seed, cost_s=1.0 + seed) for seed in range(3)]
    remove = cache.store.entries.remove

    def pin_first(chosen: list[int], **more: bool) -> object:
        cache.store.pins.pin([ids[0]])
        return remove(chosen, **more)

    monkeypatch.setattr(cache.store.entries, "remove", pin_first)
    cache.tend()
    assert ids[0] in ids_in(cache.store)


def test_what_was_delivered_just_now_goes_last(opened: Open, clock: Clock) -> None:
    cache = opened(grace_s=600.0)
    ids = [keep(cache, seed=seed, cost_s=1.0 + seed) for seed in range(6)]
    clock.now += 3600
    cache.usage._recent.clear()  # an hour later
    hit(cache, ids[0])
    order = gone_first(cache, 0, clock)
    assert order == [*ids[1:], ids[0]]
    plan = planned(cache, 0, clock)
    assert [one.delivered_just_now for one in plan] == [False] * 5 + [True]
    assert gone_first(cache, 1, clock) == ids[1:], "it stays while anything else can go"


def test_a_cache_of_new_sounds_alone_keeps_its_bound_and_their_files(opened: Open) -> None:
    cache = opened(grace_s=600.0, whole=Bounds(max_items=4))
    paths = []
    for seed in range(12):
        entry_id = keep(cache, seed=seed, cost_s=1.0 + seed)
        paths.append(cache.store.entries.entry(entry_id).path)  # type: ignore[union-attr]
        cache.usage.write_down()
        cache.eviction.relieve()
        assert len(ids_in(cache.store)) <= 4
    assert all(Path(path).exists() for path in paths), "each was delivered a moment ago"


def test_a_clock_that_is_set_back_holds_nothing_up(opened: Open, clock: Clock) -> None:
    cache = opened(grace_s=600.0, whole=Bounds(max_items=3), low_water=1.0)
    old = [keep(cache, seed=seed) for seed in range(3)]
    clock.now -= 400 * DAY
    cache.usage._recent.clear()
    new = [keep(cache, seed=10 + seed) for seed in range(2)]
    cache.tend()
    left = ids_in(cache.store)
    assert len(left) == 3 and set(new) < left and left - set(new) < set(old)


def test_a_kept_sound_costs_no_look_until_the_room_is_used_up(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = opened(whole=Bounds(max_items=5), low_water=0.4)
    cache.tend()
    looks = []
    monkeypatch.setattr(module, "held_in", lambda store: looks.append(1) or held_in(store))
    for seed in range(5):
        keep(cache, seed=seed)
        cache.eviction.relieve()
    assert looks == []
    keep(cache, seed=5)
    cache.eviction.relieve()
    assert looks and len(ids_in(cache.store)) == 2


def test_a_few_go_at_a_time_and_new_sounds_come_in_between(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 3)
    cache = opened(whole=Bounds(max_items=10), low_water=0.1)
    cache.tend()
    for seed in range(11):
        keep(cache, seed=seed, cost_s=1.0 + seed)
    sizes = []
    for seed in range(3):
        cache.eviction.relieve()
        sizes.append(len(ids_in(cache.store)))
        keep(cache, seed=100 + seed, cost_s=99.0)
    assert sizes == [8, 6, 4]
    cache.tend()
    assert len(ids_in(cache.store)) <= 4


@pytest.mark.sqlite
def test_windows_are_read_one_after_another(opened: Open, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WINDOW", 3)
    asked = []
    least = SqliteUses.least

    def counted(self: SqliteUses, namespace: str, after: object, limit: int) -> list[Candidate]:
        found = least(self, namespace, after, limit)  # type: ignore[arg-type]
        asked.append(len(found))
        return found

    monkeypatch.setattr(SqliteUses, "least", counted)
    cache = opened()
    ids = [keep(cache, seed=seed, cost_s=1.0 + seed) for seed in range(10)]
    cache.store.pins.pin([ids[2]])
    assert gone_first(cache, 2, clock) == [*ids[:2], *ids[3:9]]
    assert max(asked) <= 3


def test_a_database_that_is_locked_ends_the_spell_and_not_the_pool(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    cache = opened(whole=Bounds(max_items=1))
    for seed in range(3):
        keep(cache, seed=seed)

    def busy(*_: object, **__: object) -> None:
        raise StorageError("another process keeps it locked")

    remove, cache.store.entries.remove = cache.store.entries.remove, busy  # type: ignore[method-assign, assignment]
    cache.tend()
    assert "stay for now" in caplog.text and len(ids_in(cache.store)) == 3
    cache.store.entries.remove = remove  # type: ignore[method-assign]
    cache.tend()
    assert len(ids_in(cache.store)) == 1


@pytest.mark.sqlite
def test_nothing_goes_before_every_sound_has_its_figures(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audio_pool.cache.sqlite.uses._AT_ONCE", 2)
    cache = opened()
    ids = [keep(cache, seed=seed, cost_s=1.0 + seed) for seed in range(3)]
    cache = opened(instead_of=cache, whole=Bounds(max_items=1))
    harm(tmp_path / "cache", "DELETE FROM uses", "DELETE FROM facts WHERE name = 'uses_known'")
    cache.eviction.work()
    assert ids_in(cache.store) == set(ids)
    cache.eviction.work()
    assert ids_in(cache.store) == {ids[2]}


def test_two_caches_on_one_directory_evict_at_once(opened: Open) -> None:
    one = opened(whole=Bounds(max_items=20), low_water=0.5)
    for seed in range(60):
        keep(one, seed=seed, cost_s=1.0 + seed)
    other = opened(whole=Bounds(max_items=20), low_water=0.5)

    def tend(cache: SoundCache) -> None:
        for _ in range(10):  # a spell is short, and the machine may be busy
            cache.tend()

    threads = [threading.Thread(target=tend, args=(cache,)) for cache in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 5 <= len(ids_in(one.store)) <= 20


def test_limits_change_while_the_cache_is_open(opened: Open) -> None:
    cache = opened()
    for number in range(10):
        keep(cache, f"rain {number}")
    cache.tend()
    assert len(ids_in(cache.store)) == 10
    for bound, left in ((6, 6), (4, 4), (0, 4)):
        assert cache.eviction.limit(Limits(whole=Bounds(max_items=bound), low_water=1.0))
        cache.tend()
        assert len(ids_in(cache.store)) == left
    assert not cache.eviction.limit(Limits(low_water=1.0))


def test_the_configuration_says_it_by_namespace() -> None:
    tree = {
        "cache": {
            "max_size_gb": 1.5,
            "ttl_days": 30,
            "namespaces": {"game": {"max_items": 100, "ttl_days": 0}, "demo": {"max_size_gb": 0.5}},
        }
    }
    limits = limits_of(load_config(tree, environment={}).cache)
    assert limits.whole == Bounds(3 << 29, 0)
    assert limits.namespaces == {"game": Bounds(0, 100), "demo": Bounds(1 << 29, 0)}
    assert [limits.ttl_of(name) for name in ("game", "demo", "default")] == [0.0, 30 * DAY, 30 * DAY]
    assert bool(limits) and not limits_of(load_config({}, environment={}).cache)


def test_the_manager_shows_what_would_go_and_why(opened: Open, tmp_path: Path, clock: Clock) -> None:
    cache = opened()
    ids = [keep(cache, seed=seed, cost_s=1.0 + seed) for seed in range(4)]
    hit(cache, ids[0], 2)
    cache.store.pins.pin([ids[1]])
    with AudioSemanticCache(tmp_path / "cache", now=clock) as managed:
        plan = managed.plan_eviction(Limits(Bounds(max_items=2), low_water=0.5), limit=1)
        assert managed.plan_eviction(Limits())["bounded"] is False
    assert (plan["held_items"], plan["items"], plan["delivered_just_now"]) == (4, 3, 0)
    (first,) = plan["victims"]
    assert first["id"] == ids[0] or first["id"] == ids[2]
    assert first["why"] == "max_items" and first["scope"] == "" and first["worth"] > 0
    assert set(first) >= {"cost_s", "hits", "last_used", "quality", "place", "variants", "size_kb", "prompt"}
    assert ids_in(cache.store) == set(ids)


def test_what_is_told_to_go_next_is_what_goes_then(opened: Open, tmp_path: Path, clock: Clock) -> None:
    cache = opened(whole=Bounds(max_items=6), low_water=0.5)
    ids = [keep(cache, seed=seed, cost_s=10.0 - seed) for seed in range(6)]
    cache.store.pins.pin([ids[5]])
    clock.now += DAY

    def told(limit: int = 50) -> list[tuple[int, str]]:
        plan = coming_eviction(
            cache.store, cache.eviction.limits, clock.now, limit, is_recent=cache.usage.is_recent
        )
        assert (plan.held_items, plan.max_items) == (len(ids_in(cache.store)), cache.eviction.limits.whole.max_items)
        assert plan.pinned == 1
        assert (plan.due_items == 0) == all(not one.why for one in plan.next)
        return [(one.sound.id, one.why) for one in plan.next]

    coming = told()
    assert coming == [(ids[n], "") for n in (4, 3, 2, 1, 0)], "nothing is too much; the pinned one is never listed"
    assert told(limit=2) == coming[:2]
    cache.eviction.limit(Limits(Bounds(max_items=4), low_water=0.5))
    due = [one for one in told() if one[1]]
    assert [entry for entry, _ in due] == [entry for entry, _ in coming[:4]] and due[0][1] == "max_items"
    before = ids_in(cache.store)
    cache.eviction.work()
    assert before - ids_in(cache.store) == {entry for entry, _ in due}


@pytest.mark.sqlite
def test_where_only_ages_are_bounded_the_oldest_are_told_to_go_next(opened: Open, clock: Clock) -> None:
    cache = opened(ttl_s=10 * DAY)
    old, fresh = keep(cache, seed=1), 0
    clock.now += 9 * DAY
    fresh = keep(cache, seed=2)
    clock.now += 2 * DAY
    plan = coming_eviction(cache.store, cache.eviction.limits, clock.now, 5, is_recent=cache.usage.is_recent)
    assert [(one.sound.id, one.why) for one in plan.next] == [(old, "ttl_days"), (fresh, "")]
    assert (plan.due_items, plan.ttl_s) == (1, 10 * DAY)
