"""An explanation of a running pool: the prompt embedded by a worker, compared aside, told within one's rights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from tests.support.cache_sounds import recipe, sound
from tests.support.requests import engine
from tests.support.routed import Caller, Routed

from audio_pool.api import Explanation
from audio_pool.errors import Busy, EngineUnavailable, InvalidRequest, NotFound, Refused
from audio_pool.pool import explaining
from audio_pool.pool.caller import HOST
from audio_pool.results import Failure
from audio_pool.tasks import Embedded, EmbedTask, Rejected

Build = Callable[..., Routed]
X = np.eye(4, dtype=np.float32)[0]
TENANT = structs.replace(HOST, operator=False, owner="key", client="key", connection="c", namespace="game")


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    made: list[Routed] = []

    def build(**sections: Any) -> Routed:
        made.append(Routed(tmp_path, **sections))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture
def pool(build: Build) -> Routed:
    return build(encoders=("minilm",)).start(engine("minilm", role="embedder"))


def keep(pool: Routed, prompt: str, namespace: str = "default") -> int:
    assert pool.cache is not None
    made = recipe(prompt, seed=1, engine="tone", implementation="tone", model="models/tone", namespace=namespace)
    kept = sound(pool.cache.incoming, prompt)
    return pool.cache.put(structs.replace(kept, recipe=made), {"minilm@int8": X}).id or 0


def explained(pool: Routed, prompt: str, result: Any = None, caller: Any = HOST, **fields: Any) -> Explanation:
    asking = Caller()
    asked = {"prompt": prompt, "duration_s": 2.0, **fields}
    pool.service.explaining.ask(asked, asking.sink, caller=caller)
    if result is not None:
        task = pool.run().task
        assert isinstance(task, EmbedTask) and (task.engine, task.text) == ("minilm", prompt)
        pool.done({task.job: result})
    pool.write()
    body = asking.reply.body
    assert isinstance(body, Explanation), asking.reply
    return body


VECTOR = Embedded(vectors={"minilm": X.tobytes()})


def test_the_prompt_is_embedded_and_the_nearest_are_judged(pool: Routed) -> None:
    near, far = keep(pool, "rain on a tin roof"), keep(pool, "hail on a car")
    told = explained(pool, "a tin roof in the rain", VECTOR)
    assert (told.hit, told.encoder, told.entries[0].id, told.entries[0].rule) == (True, "minilm@int8", near, "words")
    refused = next(one for one in told.entries if one.id == far)
    assert not refused.accepted and "guard" in refused.reason and refused.cosine == pytest.approx(1.0)
    assert told.made is not None and told.present_settings is not None
    assert pool.cache is not None and not pool.requests and pool.executor.cache_types == {}


def test_without_a_vector_words_alone_are_compared_and_it_is_said(pool: Routed) -> None:
    keep(pool, "rain on a tin roof")
    failed = Rejected(failure=Failure.of(EngineUnavailable("it is not there")))
    told = explained(pool, "a tin roof in the rain", failed)
    assert (told.hit, told.encoder) == (False, "")
    assert told.warnings == ("not compared by 'minilm': it is not there",)
    sent = len(pool.messages.sent)
    assert not explained(pool, "a tin roof in the rain", match="strict").hit
    assert len(pool.messages.sent) == sent, "nothing is embedded for strict matching"


def test_other_namespaces_are_named_to_operators_alone(pool: Routed) -> None:
    keep(pool, "rain on a tin roof", "secret")
    assert [one.stage for one in explained(pool, "rain on a tin roof", VECTOR).entries] == ["settings"]
    anybody = structs.replace(TENANT, namespace=None)
    assert explained(pool, "rain on a tin roof", VECTOR, anybody).entries == ()
    mine = keep(pool, "rain on a tin roof", "game")
    assert [one.id for one in explained(pool, "rain on a tin roof", VECTOR, TENANT).entries] == [mine]
    with pytest.raises(Refused):
        pool.service.explaining.ask({"prompt": "rain", "namespace": "secret"}, Caller().sink, caller=TENANT)


def test_what_cannot_be_explained_is_refused_and_holds_no_place(
    pool: Routed, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = pool.service.explaining.ask
    with pytest.raises(InvalidRequest, match="init_audio"):
        ask({"prompt": "rain", "init_audio": "/x.wav"}, Caller().sink)
    monkeypatch.setattr(explaining, "_MOST", 1)
    waiting = Caller()
    ask({"prompt": "rain"}, waiting.sink)
    with pytest.raises(Busy):
        ask({"prompt": "rain"}, Caller().sink)
    pool.done({pool.run().task.job: VECTOR})  # type: ignore[union-attr]
    pool.write()
    assert isinstance(waiting.reply.body, Explanation)
    explained(pool, "rain", VECTOR)
    assert not pool.requests


def test_a_pool_without_a_cache_explains_nothing(build: Build) -> None:
    pool = build(cache={"enabled": False}).start()
    with pytest.raises(NotFound, match="the cache is off"):
        pool.service.explaining.ask({"prompt": "rain"}, Caller().sink)
