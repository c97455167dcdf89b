"""Passes of a language model over tokens: eager with any shape, or compiled with one of those that were warmed up.

Owns: which pass a batch takes, its caches, and the padding to a compiled shape.
Must not know: what conditions the model, which token is drawn, any single model, the pool.

A compiled pass is one of a number of rows: tokens come one at a time, caches have all their room from the start.
No request waits for the compiler: rows that are fewer than those of a warmed pass are padded to it, more of them, or
longer texts, go through the model as it is.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audio_pool.engines._token_cache import fixed_cache, roomy_cache
from audio_pool.engines._token_drawing import Predictor

if TYPE_CHECKING:
    import torch

__all__ = ["TEXT_ROOM", "TokenPasses"]

TEXT_ROOM = 64
"""Tokens of text in a compiled pass, hidden where a prompt has fewer."""


class TokenPasses:
    """Makes predictors of a language model."""

    def __init__(self, language_model: Any, room: int) -> None:
        """
        Args:
            language_model: of transformers, which predicts all codebooks of a row at once.
            room: most positions, those before the tokens among them.
        """
        self._lm = language_model
        self._count: int = language_model.config.num_codebooks
        self._room = room
        self._warmed: set[int] = set()
        """Numbers of rows for which there is a compiled pass."""
        self._idle: dict[int, list[Any]] = {}
        """Their caches that nobody uses. Used again: a compiled pass is bound to their memory."""
        self._missed = False

    def warm(self, rows: int) -> None:
        """Take the compiled pass for so many rows from now on; its first use compiles it."""
        self._warmed.add(rows)

    def told(self) -> tuple[str, ...]:
        """Return named warnings of what was drawn since the last question."""
        missed, self._missed = self._missed, False
        if not missed:
            return ()
        return (
            "not_compiled: more sounds at once, or a longer prompt, than a pass that was compiled at load takes: the "
            "plain model drew them, which is slower; compile_shapes says which passes there are",
        )

    def predictor(
        self, first: Mapping[str, torch.Tensor], later: Mapping[str, torch.Tensor], rows: int, room: int
    ) -> Predictor:
        """Return the language model with nothing read yet.

        Args:
            first: its arguments at the first pass, beside tokens and cache; rows first.
            later: those at every other pass.
            rows: those of guidance among them.
            room: positions that will be taken.
        """
        size = self._size(later, rows)
        if size is None:
            self._missed = self._missed or bool(self._warmed)
            return _Pass(self._lm, self._lm.forward, self._count, rows, roomy_cache(room), first, later)
        idle = self._idle.setdefault(size, [])
        cache = idle.pop() if idle else fixed_cache(self._lm.config, self._room, TEXT_ROOM)
        first, later = ({name: _padded(one, size) for name, one in given.items()} for given in (first, later))
        made = _Pass(self._lm, self._lm, self._count, rows, cache, first, later, size)
        weakref.finalize(made, _give_back, idle, cache).atexit = False
        return made

    def _size(self, later: Mapping[str, torch.Tensor], rows: int) -> int | None:
        """Return the rows of the compiled pass that these fit into; None: they take none."""
        states = later.get("encoder_hidden_states")
        if states is not None and states.shape[1] != TEXT_ROOM:
            return None
        return min((size for size in self._warmed if size >= rows), default=None)


class _Pass:
    """A Predictor."""

    def __init__(
        self,
        language_model: Any,
        step: Any,
        count: int,
        rows: int,
        cache: Any,
        first: Mapping[str, torch.Tensor],
        later: Mapping[str, torch.Tensor],
        size: int | None = None,
    ) -> None:
        self._lm, self._step, self._count = language_model, step, count
        self._rows, self._size = rows, size or rows
        self._cache, self._first, self._later = cache, first, later
        self._begun = False

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        rows = _padded(tokens.repeat(self._rows // len(tokens), 1, 1), self._size).flatten(0, 1)
        # the first pass has a length of its own each time: it is never compiled
        run, given = (self._step, self._later) if self._begun else (self._lm.forward, self._first)
        self._begun = True
        logits: torch.Tensor = run(input_ids=rows, past_key_values=self._cache, use_cache=True, **given).logits
        return logits[:, -1].view(self._size, self._count, -1)[: self._rows]


def _padded(rows: torch.Tensor, size: int) -> torch.Tensor:
    """Return ``size`` rows: the last one over and over where there are fewer."""
    import torch

    missing = size - len(rows)
    return rows if missing <= 0 else torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])])


def _give_back(idle: list[Any], cache: Any) -> None:
    cache.reset()
    idle.append(cache)
