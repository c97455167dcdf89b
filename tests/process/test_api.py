"""One API: whatever a caller does with a pool in its process, it can do with either client of a served one."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import eventually

from audio_pool import AsyncAudioClient, AudioClient, AudioPool, AudioRequest
from audio_pool.api import CacheStats, Cancellation, Engines, FeedbackNoted, Health, PoolApi, PoolStatus
from audio_pool.errors import AudioPoolError, Cancelled, EngineUnavailable, InvalidRequest, Timeout, UnknownEngine
from audio_pool.pending import Pending
from audio_pool.results import Accepted, AudioResult, Event, Progress
from audio_pool.sound_stream import SoundStream

PATIENCE_S = 60.0
LONG_S = 600.0
"""Of a sound that is not made before it is cancelled."""
VERBS = (
    "generate", "variants", "submit", "cancel", "engines", "health", "status", "cache_stats", "feedback", "explain",
    "clap", "craft", "verify", "spectrogram", "stream",
)  # fmt: skip


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioPool]:
    path = tmp_path_factory.mktemp("pool")
    settings = {
        "cache": {"dir": str(path / "cache"), "encoder": "off"},
        "server": {"bind": f"ipc://{path}/s"},
        "workers": [{"name": "all", "engines": ["procedural", "mock"]}],
    }
    with AudioPool.from_config(settings, serve=True) as pool:
        yield pool


class Awaited:
    """An AsyncAudioClient in an event loop of its own thread, with its answers waited for."""

    def __init__(self, endpoint: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._client = AsyncAudioClient(endpoint)

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        async def called(*args: Any, **options: Any) -> Any:
            answer = getattr(self._client, verb)(*args, **options)
            return answer if isinstance(answer, Pending | SoundStream) else await answer

        return lambda *args, **options: asyncio.run_coroutine_threadsafe(called(*args, **options), self._loop).result(
            PATIENCE_S
        )

    def stop(self) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()


@pytest.fixture(scope="module", params=["embedded", "blocking", "awaiting"])
def api(request: pytest.FixtureRequest, pool: AudioPool) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        if request.param == "embedded":
            yield pool
        elif request.param == "blocking":
            yield stack.enter_context(AudioClient(pool.endpoint))
        else:
            client = Awaited(str(pool.endpoint))
            stack.callback(client.stop)
            yield client


@pytest.fixture
def prompt(request: pytest.FixtureRequest) -> str:
    """Words that no other test has."""
    return "rain for " + re.sub(r"[^a-z]+", " ", request.node.name).strip()


@pytest.mark.parametrize("cls", [AudioPool, AudioClient, AsyncAudioClient])
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_what_the_api_says(cls: type, verb: str) -> None:
    promised = inspect.signature(getattr(PoolApi, verb)).parameters
    offered = inspect.signature(getattr(cls, verb)).parameters
    for name, parameter in promised.items():
        assert (offered[name].kind, offered[name].default) == (parameter.kind, parameter.default), f"{verb}({name})"
    for name in set(offered) - set(promised):
        assert offered[name].kind is inspect.Parameter.KEYWORD_ONLY, f"{verb}({name}) is in the way"


def test_the_api_is_these_verbs() -> None:
    assert {name for name in vars(PoolApi) if not name.startswith("_")} == set(VERBS)


def test_a_sound_is_made_and_told_of(api: Any, prompt: str) -> None:
    for asked in (prompt, AudioRequest(prompt=prompt), {"prompt": prompt}):
        result = api.generate(asked, duration_s=0.5, loop=True, timeout_s=PATIENCE_S)
        assert isinstance(result, AudioResult)
        assert Path(result.path).stat().st_size > 0
        assert (result.metadata.prompt, result.metadata.is_loop, result.metadata["engine"]) == (
            prompt, True, "procedural",
        )  # fmt: skip
    assert result.metadata.cached and result.metadata.cache_type == "exact"


def test_bytes_come_along_where_they_are_asked_for(api: Any, prompt: str) -> None:
    result = api.generate(prompt, duration_s=0.5, delivery="inline", timeout_s=PATIENCE_S)
    assert result.data == Path(result.path).read_bytes()


def test_events_come_where_they_are_asked_for_and_end_with_the_request(api: Any, prompt: str) -> None:
    pending = api.submit(prompt, duration_s=0.5, events=True)
    first, *rest = pending.events(PATIENCE_S)
    assert isinstance(first.body, Accepted) and first.request_id == pending.request_id
    assert rest and all(isinstance(event.body, Progress) for event in rest)
    assert pending.done()
    silent = api.submit(prompt, duration_s=0.5, force=True)
    assert list(silent.events(PATIENCE_S)) == []
    assert silent.result(PATIENCE_S).metadata.cached is False


def test_a_listener_hears_events_while_generate_waits(api: Any, prompt: str) -> None:
    seen: list[Event] = []
    result = api.generate(prompt, duration_s=0.5, on_event=seen.append, timeout_s=PATIENCE_S)
    assert result.metadata.prompt == prompt
    assert isinstance(seen[0].body, Accepted) and isinstance(seen[-1].body, Progress)


def test_a_sound_comes_in_chunks_that_are_its_file(api: Any, prompt: str) -> None:
    stream = api.stream(prompt, duration_s=1.5, format="pcm", timeout_s=PATIENCE_S)
    chunks = list(stream)
    result = stream.result()
    assert [chunk.number for chunk in chunks] == [1, 2]
    assert b"".join(chunk.data for chunk in chunks) == Path(result.path).read_bytes()
    assert {chunk.channels for chunk in chunks} == {result.metadata.channels} == {1}
    assert result.metadata.stream.pieces == "whole"  # the built-in engine's layers are levelled as wholes
    with pytest.raises(InvalidRequest, match="loop"):
        list(api.stream(prompt, loop=True))


def test_what_is_pending_may_be_awaited(api: Any, prompt: str) -> None:
    async def scenario() -> tuple[list[Event], AudioResult]:
        pending = api.submit(prompt, duration_s=0.5, events=True)
        return [event async for event in pending.events(PATIENCE_S)], await pending

    events, result = asyncio.run(scenario())
    assert events and result.metadata.prompt == prompt


def test_cancelling_the_task_that_awaits_cancels_the_request(api: Any, prompt: str) -> None:
    complaints: list[Any] = []

    async def scenario() -> Pending:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        pending = api.submit(prompt, duration_s=LONG_S, events=True)
        await anext(pending.events(PATIENCE_S))

        async def caller() -> AudioResult:
            return await pending

        task = asyncio.create_task(caller())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pending

    with pytest.raises(Cancelled):
        asyncio.run(scenario()).result(PATIENCE_S)
    assert complaints == []


@pytest.mark.parametrize("how", ["by id", "by hand"])
def test_a_request_can_be_cancelled(api: Any, prompt: str, how: str) -> None:
    pending = api.submit(prompt, duration_s=LONG_S, events=True)
    next(pending.events(PATIENCE_S))
    if how == "by id":
        assert api.cancel(pending.request_id) == Cancellation(target=pending.request_id, cancelled=True)
    else:
        assert pending.cancel()
    with pytest.raises(Cancelled):
        pending.result(PATIENCE_S)
    assert not pending.cancel()
    assert api.cancel(pending.request_id) == Cancellation(target=pending.request_id, cancelled=False)


def test_a_request_of_one_caller_may_be_cancelled_by_another(api: Any, pool: AudioPool, prompt: str) -> None:
    with AudioClient(pool.endpoint) as other:
        pending = other.submit(prompt, duration_s=LONG_S, events=True)
        next(pending.events(PATIENCE_S))
        assert api.cancel(pending.request_id).cancelled
        with pytest.raises(Cancelled):
            pending.result(PATIENCE_S)


@pytest.mark.parametrize("where", ["generate", "submit"])
def test_a_timeout_ends_the_request(api: Any, pool: AudioPool, prompt: str, where: str) -> None:
    def ask() -> AudioResult:
        if where == "generate":
            return api.generate(prompt, duration_s=LONG_S, timeout_s=0.2)
        return api.submit(prompt, duration_s=LONG_S, timeout_s=0.2).result(PATIENCE_S)

    with pytest.raises(Timeout):
        ask()
    # nobody works for it any more: the next one need not wait for it
    assert api.generate(f"{prompt} again", duration_s=0.5, timeout_s=PATIENCE_S).path


def test_a_listener_that_fails_ends_the_request(api: Any, prompt: str) -> None:
    def interrupted(event: Event) -> None:
        raise KeyError("listener")

    with pytest.raises(KeyError, match="listener"):
        api.generate(prompt, duration_s=LONG_S, on_event=interrupted, timeout_s=PATIENCE_S)
    assert api.generate(f"{prompt} again", duration_s=0.5, timeout_s=PATIENCE_S).path


@pytest.mark.parametrize(
    ("fields", "error", "named"),
    [
        ({"duration_s": -1}, InvalidRequest, "duration_s"),
        ({"durations": 1}, InvalidRequest, "did you mean 'duration_s'"),
        ({"engine": "procedual"}, UnknownEngine, "procedural"),
        ({"prompt": "rain \udcff"}, InvalidRequest, "'prompt'.*UTF-8"),
        ({"metadata": {"place": "\udcff"}}, InvalidRequest, r"'metadata\.place'.*UTF-8"),
        ({"tags": ["\udcff"]}, InvalidRequest, r"'tags\[0\]'.*UTF-8"),
        ({"timeout_s": 0}, InvalidRequest, "timeout_s: given 0"),
        ({"timeout_s": float("nan")}, InvalidRequest, "timeout_s: given nan"),
        ({"timeout_s": "3"}, InvalidRequest, "timeout_s: given '3'"),
    ],
)
def test_bad_input_is_the_same_error_for_everybody(
    api: Any, fields: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        api.generate(**{"prompt": "rain", "timeout_s": PATIENCE_S, **fields})
    assert api.health().state == "ready"


def test_an_id_that_is_none_is_refused(api: Any) -> None:
    with pytest.raises(InvalidRequest, match="target"):
        api.cancel("")


def test_a_limit_may_be_infinite(api: Any, prompt: str) -> None:
    assert api.generate(prompt, duration_s=0.5, timeout_s=float("inf")).path
    assert api.health().state == "ready"


def test_the_pool_tells_of_itself(api: Any, pool: AudioPool, prompt: str) -> None:
    api.generate(prompt, duration_s=0.5, timeout_s=PATIENCE_S)
    health, status, engines, stats = api.health(), api.status(), api.engines(), api.cache_stats()
    assert isinstance(health, Health) and health.state == health["state"] == "ready"
    assert isinstance(status, PoolStatus) and status.workers["all"].state == "ready"
    assert status.workers["all"].tasks_done == status["workers"]["all"]["jobs_done"] > 0
    assert isinstance(engines, Engines) and [one.name for one in engines.engines] == ["mock", "procedural"]
    assert {one.state for one in engines.engines} == {"ready"} and engines.engines[1].role == "generator"
    assert isinstance(stats, CacheStats) and stats.total_items > 0
    assert stats.cache_dir == status.cache == str(pool.config.cache_dir)


def test_the_answers_are_the_same_by_every_way(api: Any, pool: AudioPool) -> None:
    assert api.health() == pool.health()
    assert api.engines() == pool.engines()
    # answers are written down every few seconds, also between these two questions
    eventually(lambda: api.cache_stats() == pool.cache_stats(), "both tell the same")


def test_feedback_is_noted_and_counted(api: Any, prompt: str) -> None:
    before = api.status().clients.get("feedback_wrong", 0)
    assert api.feedback("some-request", "wrong", "a dog") == FeedbackNoted(target="some-request", noted=True)
    assert api.status().clients["feedback_wrong"] == before + 1
    with pytest.raises(InvalidRequest, match=r"verdict.*good"):
        api.feedback("some-request", "meh")
    with pytest.raises(InvalidRequest, match="comment"):
        api.feedback("some-request", "good", "x" * 1001)


def test_clap_says_what_it_needs(api: Any) -> None:
    with pytest.raises(EngineUnavailable, match="no CLAP") as refused:
        api.clap("embed", texts=["rain"])
    assert "cache.scorer" in refused.value.hint
    with pytest.raises(InvalidRequest, match=r"operation.*embed"):
        api.clap("sing", ["rain"])


def test_a_done_callback_may_ask_and_is_refused_a_wait_for_itself(pool: AudioPool, prompt: str) -> None:
    asked: list[Any] = []
    refused: list[str] = []
    done = threading.Event()

    def callback(_: object) -> None:
        asked.append(pool.submit(f"{prompt} again", duration_s=0.5))
        asked.append(pool.health().state)
        for wait in (asked[0].result, pool.cache_stats):
            try:
                wait()
            except AudioPoolError as exc:
                refused.append(exc.message)
        done.set()

    pool.submit(prompt, duration_s=0.5).add_done_callback(callback)
    assert done.wait(PATIENCE_S) and asked[1] == "ready"
    assert len(refused) == 2 and all("would wait for itself" in message for message in refused)
    assert asked[0].result(PATIENCE_S).path


def test_awaitables_are_of_the_awaiting_client_alone(pool: AudioPool) -> None:
    async def scenario() -> None:
        async with AsyncAudioClient(pool.endpoint) as client:
            answer = client.health()
            assert isinstance(answer, Awaitable)
            assert await answer == pool.health()

    asyncio.run(scenario())


def test_why_a_request_would_hit_or_miss_is_explained_and_nothing_is_made(api: Any, prompt: str) -> None:
    told = api.explain(prompt, duration_s=0.5, candidates=2)
    assert not told.hit and told.made is None
    assert (told.present_settings.engine, told.present_settings.candidates) == ("procedural", 2)
    made = api.generate(prompt, duration_s=0.5, timeout_s=PATIENCE_S).metadata
    told = api.explain(f"the sound of {prompt}", duration_s=0.5, candidates=2)
    first = told.entries[0]
    assert (told.hit, first.id, first.stage, first.rule) == (True, made.entry_id, "canonical", "canonical")
    assert (told.made.candidates, told.present_settings.candidates) == (1, 2)
    longer = api.explain(prompt, duration_s=5)
    assert not longer.hit and longer.entries[0].stage == "settings" and "length is 0.500 s" in longer.entries[0].reason
    assert api.feedback(made.request_id, "wrong").effect == "denied"
    assert api.explain(prompt, duration_s=0.5).entries[0].stage == "judged"
    for wrong in ({"engine": "nobody"}, {"init_audio": "/x.wav"}):
        with pytest.raises((UnknownEngine, InvalidRequest)):
            api.explain(prompt, **wrong)
