"""``[provenance]``: what sound files tell of where they come from.

Owns: the section's keys, their defaults and bounds, and which of them go together.
Must not know: how tags are written, files signed or sounds recognised.
"""

from __future__ import annotations

import functools
from typing import Annotated, Literal

from msgspec import Meta, Struct

from audio_pool.types import INSCRIPTION_VERSION, Inscription

__all__ = ["ProvenanceConfig"]

ProviderName = Annotated[str, Meta(max_length=256, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
FilePath = Annotated[str, Meta(max_length=4096, pattern=r"\A[^\x00]*\Z")]


class ProvenanceConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What sound files tell of where they come from, beside the plain tags that all of them have."""

    aigc: bool = False
    """Write the key ``AIGC`` of China's GB 45438-2025 into every file; ``content_producer`` is needed."""
    content_producer: ProviderName = ""
    """Whoever runs the pool, as ``AIGC`` is to name him: a name, or the code that he is registered by."""
    content_propagator: ProviderName = ""
    """Whoever hands the files on, likewise; empty: not said."""
    sign: Literal["off", "auto", "on"] = "off"
    """Sign files by C2PA: never, where it can be done, or always (a file that cannot be signed is an error)."""
    certificate: FilePath = ""
    """The certificate's chain, a PEM file."""
    private_key: FilePath = ""
    """The certificate's private key, a PEM file."""
    fingerprint: bool = True
    """Keep a fingerprint of each sound, by which ``audio-pool verify`` recognises it after it was changed."""
    remembered: Annotated[int, Meta(ge=0, le=100_000_000)] = 100_000
    """Sounds that are known to be made here after they were evicted; what somebody removes is forgotten at once."""

    def refusal(self) -> str:
        """Return what is wrong with the section as a whole, naming the key; "" where nothing is."""
        if bool(self.certificate) != bool(self.private_key):
            return "provenance.certificate and provenance.private_key are set together or not at all"
        if self.sign == "on" and not self.certificate:
            return "provenance.sign: given 'on', and no certificate: 'audio-pool provenance init' makes one"
        if self.aigc and not self.content_producer.strip():
            return "provenance.content_producer: given none, and aigc is true: it must name who runs the pool"
        if not self.aigc and (self.content_producer or self.content_propagator):
            return "provenance.content_producer, content_propagator: given, and nothing names them while aigc is false"
        return ""

    @property
    def inscription(self) -> Inscription:
        """What files tell beside their recipe."""
        return _inscription(self.content_producer, self.content_propagator)


@functools.lru_cache(16)
def _inscription(producer: str, propagator: str) -> Inscription:
    return Inscription(version=INSCRIPTION_VERSION, content_producer=producer, content_propagator=propagator)
