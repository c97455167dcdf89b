"""The section of the HTTP door: where it listens, who may use it, how much one request may ask.

Owns: ``[http]`` and the tables beneath it.
Must not know: where values come from, what the settings make anybody do.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from audio_pool.types import MAX_DURATION_S, EngineName, Name

__all__ = ["HttpConfig", "ModelConfig", "ServiceConfig", "VoiceConfig"]

Address = Annotated[str, Meta(max_length=300, pattern=r"\A(|(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5})\Z")]
"""HOST:PORT; port 0 lets the system choose."""
ForeignName = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"\A[\x21-\x7e]+\Z")]
"""Of a model or a voice, as a client of another API writes it."""
Seconds = Annotated[float, Meta(gt=0.0, le=86_400.0)]


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True): ...


class ServiceConfig(_Section, frozen=True, kw_only=True):
    """``[http.services.NAME]``: a further address, whose ``/predict`` is that of one of the first services."""

    bind: Annotated[str, Meta(max_length=300, pattern=r"\A(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}\Z")]
    api: Literal["audioldm2", "stable_audio"] = "audioldm2"
    """Whose defaults and bounds count."""
    engine: EngineName | None = None
    """What makes the sounds; None: the pool's default engine."""


class ModelConfig(_Section, frozen=True, kw_only=True):
    """``[http.models.NAME]``: what a model of another API means here."""

    engine: EngineName | None = None
    """None: the pool's default engine."""


class VoiceConfig(_Section, frozen=True, kw_only=True):
    """``[http.voices.NAME]``: what a voice of another API means here."""

    engine: EngineName | None = None
    """None: the pool's default engine."""
    voice: Name | None = None
    """One of the engine's; None: its own choice."""


class HttpConfig(_Section, frozen=True, kw_only=True):
    """The HTTP door: a gateway process of its own, a client of the pool."""

    bind: Address = ""
    """HOST:PORT; with ``serve`` a gateway is kept running there. Empty: none."""
    keys_file: str = ""
    """As made by ``audio-pool keys http create``; empty: no keys, and only this machine is let in."""
    hosts: list[str] = []
    """Without keys: further names (NAME or NAME:PORT) under which requests may come, such as a proxy's."""
    cors_origins: list[str] = []
    """Web pages' origins that may use it from a browser, e.g. ``https://tool.example``; ``*``: any, with keys only."""
    tls_certificate: str = ""
    """PEM file of the certificate and its chain; with ``tls_key``. Empty: plain HTTP."""
    tls_key: str = ""
    max_body_bytes: Annotated[int, Meta(ge=1 << 10, le=1 << 40)] = 64 << 20
    """Of one request, its files included; what is JSON alone may have 1 MiB."""
    max_duration_s: Annotated[float, Meta(gt=0.0, le=MAX_DURATION_S)] = MAX_DURATION_S
    """Longest sound that may be asked for."""
    max_count: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    """Most sounds that one request may ask for."""
    timeout_s: Seconds = 300.0
    """Longest that one request waits for its sound."""
    receive_timeout_s: Seconds = 30.0
    """A request's head must be there within this, and its body once more."""
    keep_alive_s: Annotated[int, Meta(ge=1, le=3600)] = 75
    """A connection without a request is closed after this."""
    events_keep_alive_s: Seconds = 15.0
    """A stream of events says something at least this often: proxies close one that is silent."""
    max_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 4096
    memory_bytes: Annotated[int, Meta(ge=0, le=1 << 40)] = 64 << 20
    """Files kept in memory so that the pool need not send them again; 0: none."""
    webhook_hosts: list[Annotated[str, Meta(min_length=1, max_length=300)]] = []
    """Hosts that clients may have called: a name, ``*.`` before one, ``*``; with ``:PORT`` that port only."""
    webhook_secret_file: str = ""
    """The secret that calls are signed with; made where it is missing. Needed with ``webhook_hosts``."""
    webhook_private: bool = False
    """Call addresses of this machine and of private networks, too."""
    webhook_queue: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    """Calls that wait to be made, or made again; beyond it they are dropped."""
    webhook_attempts: Annotated[int, Meta(ge=1, le=100)] = 8
    """Then a call is given up; the pauses grow from 2 s to half an hour."""
    models: dict[ForeignName, ModelConfig] = {}
    """Names of models that other APIs' clients ask for; ``*``: every name that is none of these and no other."""
    voices: dict[ForeignName, VoiceConfig] = {}
    """Names of voices that other APIs' clients ask for."""
    services: dict[Name, ServiceConfig] = {}
    """Further addresses, each for one service."""
