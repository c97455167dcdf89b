"""The rights that a durable job is done with: those of who asked, whichever server does it."""

from __future__ import annotations

import msgspec

from audio_pool.pool.caller import HOST, Caller
from audio_pool.roots import ANYWHERE, NOWHERE, Roots
from audio_pool.transport import packing

KEYED = Caller(
    client="placed",
    owner="key-abc",
    connection="connection-7",
    operator=True,
    output_roots=Roots(("/srv/sounds",)),
    input_roots=NOWHERE,
    namespace="game",
)


def kept(caller: Caller) -> Caller:
    """As the next server reads it."""
    return msgspec.msgpack.decode(packing.pack(caller.for_job()), type=Caller)


def test_a_jobs_rights_are_its_owners_on_any_server() -> None:
    found = kept(KEYED)
    assert (found.output_roots, found.input_roots, found.namespace) == (Roots(("/srv/sounds",)), NOWHERE, "game")
    assert (found.client, found.owner) == ("placed", "key-abc")
    assert kept(HOST).output_roots == ANYWHERE


def test_nothing_of_the_connection_outlives_it() -> None:
    by_user = msgspec.structs.replace(KEYED, client="connection-7", owner="user-1000")
    stranger = msgspec.structs.replace(KEYED, client="connection-7", owner="connection-7")
    assert kept(by_user).client == "jobs of user-1000"
    assert (kept(stranger).client, kept(stranger).owner) == ("jobs of anonymous", "anonymous")
    for found in (kept(KEYED), kept(by_user), kept(stranger)):
        assert found.connection == "" and not found.operator
