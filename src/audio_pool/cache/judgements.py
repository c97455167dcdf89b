"""The interface to what people judged: which kept prompt, or which kept sound, does or does not do for which words.

Owns: Judgement, Verdict and the protocol Judgements.
Must not know: any database (``sqlite/judgements.py`` is the implementation); what a judgement does to a look-up
(teaching.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

from audio_pool.prompts.normalize import text_key

__all__ = ["Given", "Judged", "Judgement", "Judgements", "Source"]

Judged = Literal["wrong", "right", "none"]
"""``none``: an earlier judgement is taken back."""
Source = Literal["feedback", "manager", "calibration"]
"""How it came in."""


class Given(NamedTuple):
    """A judgement as it is given."""

    namespace: str
    query: str
    """The words asked for."""
    prompt: str
    """Those of the kept sounds."""
    verdict: Judged
    source: Source
    entry_id: int | None = None
    """The one sound that is judged; None: the pair of prompts, in either direction, whatever sounds there are."""

    @property
    def is_one_text(self) -> bool:
        """True where both prompts are the same text."""
        return text_key(self.query) == text_key(self.prompt)


class Judgement(NamedTuple):
    """A judgement as it is kept."""

    seq: int
    given: Given
    judged_at: float
    """Seconds since 1970."""


class Judgements(Protocol):
    """What was judged, numbered in order, for every process on the directory. A later one replaces its like."""

    def give(self, given: Iterable[Given]) -> None:
        """Write judgements down, all or none; when this returns, every look-up that begins heeds them.

        Raises:
            NotFound: one is about an entry that does not exist.
            StorageError: nothing was written.
        """

    def since(self, seq: int, limit: int = -1) -> list[Judgement]:
        """Return the judgements after ``seq``, oldest first; ``limit`` -1: all."""

    def about(self, namespace: str, prompt: str, entry_id: int) -> list[Judgement]:
        """Return what was judged of this entry, and of its prompt on either side, the newest first."""

    def newest(self, limit: int) -> list[Judgement]:
        """Return the latest, the newest first."""
