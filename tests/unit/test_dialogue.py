"""The clients' shared dialogue on a clock of the test's own: whatever happens, one final each."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_pool.client.session import Dialogue, generate_fields
from audio_pool.errors import Disconnected, InvalidRequest, Timeout
from audio_pool.results import AudioResult
from audio_pool.types import AudioRequest


def reply(request_id: str, kind: str = "result", **fields: Any) -> list[bytes]:
    whole = {"path": "/x.wav", "metadata": {}} if kind == "result" else {}
    return [msgpack.packb({"v": 1, "type": kind, "request_id": request_id, **whole, **fields})]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "result", "error", "progress", "strange", "expire", "lose", "cancel"]),
        st.integers(0, 5),
    ),
    max_size=40,
)


@given(STEPS)
def test_every_request_has_exactly_one_final(steps: list[tuple[str, int]]) -> None:
    dialogue, finals, asked, now = Dialogue("test"), Counter[str](), set[str](), 0.0
    for what, number in steps:
        name, now = f"r{number}", now + 0.5
        in_flight = asked - set(finals)
        if what == "ask" and name not in asked:
            asked.add(name)
            dialogue.ask(
                "generate", {"request": {"prompt": "rain"}}, now=now, timeout_s=1.0 + number, request_id=name,
                on_final=lambda final, key=name: finals.update([key]),
            )  # fmt: skip
        elif what in ("result", "error", "progress", "strange"):
            dialogue.heard(reply(name, what))
        elif what == "expire":
            dialogue.expire(now)
            due = dialogue.next_deadline()
            assert due is None or due > now
        elif what == "lose":
            dialogue.lose(Disconnected("gone"))
        elif what == "cancel":
            assert (dialogue.cancel(name) is not None) == (name in in_flight)
        assert len(dialogue) == len(asked - set(finals))
    dialogue.close()
    assert finals == Counter(asked)


def test_deadlines_are_each_requests_own() -> None:
    dialogue, ended = Dialogue("ipc://x"), {}
    dialogue.connected = True
    for name, timeout_s in [("slow", 9.0), ("fast", 2.0)]:
        dialogue.ask(
            "health", {}, now=1.0, timeout_s=timeout_s, request_id=name,
            on_final=lambda final, key=name: ended.update({key: final}),
        )  # fmt: skip
    assert dialogue.next_deadline() == 3.0
    assert dialogue.expire(2.999) == []
    (cancel,) = dialogue.expire(3.0)
    assert msgpack.unpackb(cancel[0])["target"] == "fast"
    assert isinstance(ended["fast"], Timeout)
    assert dialogue.next_deadline() == 10.0
    dialogue.connected = False
    assert dialogue.expire(10.0) == [], "there is nobody to send a cancel to"
    assert isinstance(ended["slow"], Disconnected)
    assert dialogue.next_deadline() is None


def test_an_id_in_flight_is_refused_and_free_again_afterwards() -> None:
    dialogue, finals = Dialogue("test"), []

    def ask() -> None:
        dialogue.ask("health", {}, now=0.0, timeout_s=1.0, request_id="r", on_final=finals.append)

    ask()
    with pytest.raises(InvalidRequest, match="in flight already"):
        ask()
    dialogue.heard(reply("r", body={"state": "ready"}))
    ask()
    assert finals == [{"state": "ready"}]


def test_a_delimiter_and_a_binary_frame_are_understood() -> None:
    dialogue, finals = Dialogue("test"), []
    dialogue.ask(
        "generate", {"request": {"prompt": "x"}}, now=0.0, timeout_s=1.0, request_id="r", on_final=finals.append
    )
    dialogue.heard([b"", *reply("r"), b"RIFF"])
    assert finals == [AudioResult(request_id="r", path="/x.wav", metadata={}, data=b"RIFF")]


def test_a_requests_fields_are_checked_even_when_it_is_a_struct() -> None:
    with pytest.raises(InvalidRequest, match="duration_s"):
        generate_fields(AudioRequest(prompt="rain", duration_s=-1.0), {})
    fields = generate_fields(AudioRequest(prompt="rain", loop=True), {"seed": 3, "output_path": "here.wav"})
    assert fields["output_path"].startswith("/")
    assert (fields["prompt"], fields["loop"], fields["seed"]) == ("rain", True, 3)
