"""``[cache.objects]``: how an object store is reached that holds the sounds, and what of them is kept here.

Owns: this section's keys, their defaults and bounds.
Must not know: what is stored there, which library speaks to it.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

__all__ = ["ObjectsConfig"]

_Seconds = Annotated[float, Meta(ge=0.05, le=3600.0)]


class ObjectsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Beside ``cache.blobs``, which names the store; without that nothing of this is read."""

    endpoint: Annotated[str, Meta(pattern=r"\A(https?://[^\s@]+)?\Z", max_length=1000)] = ""
    """Of an S3-compatible server, or a stand-in of GCS or Azure; empty: the cloud's own."""
    region: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9-]*\Z", max_length=100)] = ""
    """Of S3; empty: as the environment says, else us-east-1."""
    virtual_hosted: bool = False
    """S3: the bucket is a part of the host's name, as Amazon likes it, and not of the path."""
    allow_http: bool = False
    """The endpoint may be reached without TLS."""
    credentials_file: str = ""
    """Lines ``name = value``, as the environment would name them; its owner alone may read it. Empty: environment."""
    local_bytes: Annotated[int, Meta(ge=0, le=1 << 50)] = 20 << 30
    """Of copies in the cache directory; what was not used for longest goes. 0: no bound."""
    connect_timeout_s: _Seconds = 2.0
    read_timeout_s: _Seconds = 10.0
    """The store may be silent for so long."""
    retries: Annotated[int, Meta(ge=0, le=20)] = 2
    """Of one request, where the store answered with an error or not at all."""
    retry_s: _Seconds = 5.0
    """All of them end after so long."""
    fetch_s: _Seconds = 10.0
    """A request whose sound is not here waits so long for it; then it is made anew."""
    threads: Annotated[int, Meta(ge=1, le=64)] = 8
    """Sounds on their way there, and as many on their way here, at a time."""
    orphan_grace_s: Annotated[float, Meta(ge=120.0, le=31_536_000.0)] = 86_400.0
    """An object that no entry names is put aside when it is so old, and deleted when it has lain aside for so long."""
    collect_every_s: Annotated[float, Meta(ge=1.0, le=31_536_000.0)] = 21_600.0
    """Between two looks for such objects, by whichever of the servers; a look lists every object."""
    snapshots_every_s: Annotated[float, Meta(ge=0.0, le=31_536_000.0)] = 600.0
    """Between two copies there of a head's rows and indexes, so that a new head is warm in seconds; 0: none."""
