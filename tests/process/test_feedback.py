"""Two servers on one cache directory: what one of their clients judges, the other heeds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S

from audio_pool import AudioClient
from audio_pool.results import SoundMetadata

PROMPT, SAME_KEY = "a red light", "the sound of a red light"


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[AudioClient]]:
    place = tmp_path_factory.mktemp("servers")
    both = [Served(place / name, "--cache-dir", str(place / "cache")) for name in ("a", "b")]
    opened = [AudioClient(server.ready().endpoint) for server in both]
    yield opened
    for client in opened:
        client.close()
    for server in both:
        server.close()


def asked(client: AudioClient, prompt: str, **fields) -> SoundMetadata:
    return client.generate(prompt, timeout_s=PATIENCE_S, **fields).metadata


def test_wrong_denies_at_both_and_right_takes_it_back(clients: list[AudioClient]) -> None:
    one, two = clients
    new = asked(one, PROMPT)
    assert new.cache_type == "new_generation" and new.entry_id is not None
    hit = asked(two, SAME_KEY)
    assert (hit.cache_type, hit.entry_id, hit.hit.rule) == ("canonical", new.entry_id, "canonical")
    noted = two.feedback(hit.request_id, "wrong")
    assert (noted.target, noted.effect) == (hit.request_id, "denied")
    again = asked(one, SAME_KEY)
    assert again.cache_type == "new_generation"
    # a sound kept for these very words: that one alone is denied
    assert one.feedback(again.request_id, "wrong").effect == "denied"
    third = asked(two, SAME_KEY)
    assert third.cache_type == "new_generation" and third.entry_id != again.entry_id
    assert two.feedback(hit.request_id, "right").effect == "confirmed"
    assert one.feedback(again.request_id, "good").effect == "noted"
    assert asked(two, PROMPT).entry_id == new.entry_id


def test_a_hit_says_how_it_was_found_and_what_would_be_made_now(clients: list[AudioClient]) -> None:
    one, _ = clients
    asked(one, "a green light", duration_s=0.3)
    hit = asked(one, "a green light", duration_s=0.32, candidates=3, tau_use=0.5)
    assert (hit.hit.stage, hit.hit.rule, hit.hit.entry_id) == ("exact", "text", hit.entry_id)
    assert hit.candidates_requested == 1, "how that sound was made"
    present = hit.present_settings
    assert (present.candidates, present.duration_s, present.tau_use) == (3, pytest.approx(0.32), 0.5)
    assert hit.to_dict()["present_settings"]["engine"] == "stage"


def test_a_forced_sound_is_preferred_at_both_and_replace_leaves_it_alone(clients: list[AudioClient]) -> None:
    one, two = clients
    first = asked(one, "a blue light")
    forced = asked(two, "a blue light", force=True)
    assert forced.entry_id != first.entry_id
    assert {asked(client, "a blue light", temperature=1.0).entry_id for client in (one, two)} == {forced.entry_id}
    assert asked(one, "a blue light", force=True, priority="background").entry_id is not None
    assert asked(two, "a blue light").entry_id == forced.entry_id
    alone = asked(one, "a blue light", force=True, replace=True)
    seen = {asked(two, "a blue light", variant_seed=seed, temperature=9.0).entry_id for seed in range(8)}
    assert seen == {alone.entry_id}
