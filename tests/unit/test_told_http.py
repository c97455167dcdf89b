"""What leaves over HTTP names no file of the server's."""

from __future__ import annotations

import pytest

from audio_pool.errors import InvalidRequest, StorageError
from audio_pool.gateway.told import public, public_error, without_paths
from audio_pool.results import SoundMetadata


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cannot open /srv/models/tango/model.bin: no such file", "cannot open model.bin: no such file"),
        ("'/srv/cache/cache.db' is locked", "'cache.db' is locked"),
        ("no server reached at ipc:///run/user/1000/audio_pool/serve.sock within 3 s",
         "no server reached at serve.sock within 3 s"),
        ("file:///home/a/b.wav", "b.wav"),
        ("look into ~/models/x, /opt/y/ (and /var/log/z)", "look into x, y (and z)"),
        ("declare-lab/TangoFlux", "declare-lab/TangoFlux"),
        ("44.1 kHz and/or 48 kHz, 3 m/s, 1/2", "44.1 kHz and/or 48 kHz, 3 m/s, 1/2"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("tcp://127.0.0.1:5577", "tcp://127.0.0.1:5577"),
        ("", ""),
    ],
)  # fmt: skip
def test_only_the_last_part_of_a_path_is_told(text: str, told: str) -> None:
    assert without_paths(text) == told


def test_metadata_tell_no_place_and_all_that_the_caller_wrote() -> None:
    given = SoundMetadata(
        prompt="noise like /dev/urandom/x",
        model="/srv/models/tangoflux",
        warnings=("slow: /srv/models/tangoflux is on a network",),
        engine_details={"graph": {"file": "/srv/graphs/g.onnx", "size": 3}, "parts": ["/a/b/c"]},
        labels={"my": "/own/path"},
    )
    told = public(given)
    assert told.model == "tangoflux" and told.warnings == ("slow: tangoflux is on a network",)
    assert told.engine_details == {"graph": {"file": "g.onnx", "size": 3}, "parts": ["c"]}
    assert told.prompt == given.prompt and told.labels == given.labels


def test_a_caller_s_own_fault_is_told_as_it_is() -> None:
    own = public_error(InvalidRequest("namespace: given '/a/b/c'"))
    assert own.message == "namespace: given '/a/b/c'"
    theirs = public_error(StorageError("/srv/cache/db cannot be written", hint="is /srv/cache/db full?"))
    assert (theirs.message, theirs.hint) == ("db cannot be written", "is db full?")
