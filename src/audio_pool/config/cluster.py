"""``[cluster]``: workers on other machines than the one whose pool they work for.

Owns: its keys, their defaults and bounds.
Must not know: how a worker is started there, what it sends.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["ClusterConfig"]

_Text = Annotated[str, Meta(max_length=300)]
_Address = Annotated[str, Meta(max_length=300, pattern=r"\A(auto|(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5})\Z")]
_Seconds = Annotated[float, Meta(gt=0.0, le=86_400.0)]


class ClusterConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who starts workers, and how those that are elsewhere reach this machine."""

    launcher: Literal["local", "tcp", "ray"] = "local"
    """local: processes of this machine. ray: actors of a Ray cluster. tcp: processes of this machine that are treated
    as if they were on another, to see what that costs."""
    address: _Address = "auto"
    """Of the Ray cluster that this machine is a node of: HOST:PORT, or auto, where it is a node of one alone."""
    bind: _Text = ""
    """Where workers elsewhere connect, tcp://ADDRESS:PORT; empty: every address of this machine with ray, loopback
    with tcp, and a port that the system chooses."""
    advertise: _Text = ""
    """This machine's name or address as its workers reach it; empty: as Ray knows it."""
    placement_timeout_s: _Seconds = 600.0
    """A worker that Ray has found no place for in so long counts as one that could not be started."""
    ship_models: bool = True
    """Models that lie on this machine are brought to nodes that lack them, into the place where they would have been
    fetched; false: each node has its own."""
    link_mbit: Annotated[float, Meta(ge=1.0, le=1e6)] = 1000.0
    """Speed of the network between the machines: sounds are compressed where that is quicker than sending them as they
    are."""
