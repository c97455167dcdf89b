"""What a token model remembers of the tokens it has read: keys and values of its attention.

Owns: the caches that transformers' decoders write into, in a form that neither copies them at every step nor
reads what is not there yet; positions that a compiler can see through.
Must not know: any single model, the pool.
"""

from __future__ import annotations

from typing import Any

__all__ = ["fixed_cache", "fixed_positions", "roomy_cache"]


def roomy_cache(room: int) -> Any:
    """Return a cache of self- and cross-attention for a pass that is not compiled.

    transformers' own growing cache copies all that it holds at every step, its static one attends to all the
    room that it has. This one writes into room taken once, and attends to what is written.

    Args:
        room: most positions that self-attention will hold.
    """
    import torch
    from transformers import DynamicCache, EncoderDecoderCache
    from transformers.cache_utils import DynamicLayer

    class RoomyLayer(DynamicLayer):  # type: ignore[misc]
        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **more: object
        ) -> tuple[torch.Tensor, torch.Tensor]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
                rows, heads, _, width = key_states.shape
                self.room = key_states.new_empty(2, rows, heads, room, width)
                self.held = 0
            more_held = self.held + key_states.shape[-2]
            self.room[0, :, :, self.held : more_held] = key_states
            self.room[1, :, :, self.held : more_held] = value_states
            self.held = more_held
            self.keys, self.values = self.room[0, :, :, :more_held], self.room[1, :, :, :more_held]
            return self.keys, self.values

    own = DynamicCache()
    own.layer_class_to_replicate = RoomyLayer
    return EncoderDecoderCache(own, DynamicCache())


def fixed_cache(config: Any, room: int, text_room: int) -> Any:
    """Return a cache of one shape throughout, for a compiled pass.

    Args:
        config: the decoder's, of transformers.
        room: positions of self-attention, all of which are attended to (masked).
        text_room: positions of cross-attention, exactly as many as its states have.
    """
    from transformers import EncoderDecoderCache, StaticCache

    return EncoderDecoderCache(
        StaticCache(config=config, max_cache_len=room), StaticCache(config=config, max_cache_len=text_room)
    )


def fixed_positions(positions: Any, room: int, axis: int) -> Any:
    """Return a module in place of the library's sinusoidal positions, of ``room`` positions for good.

    The library's grows when it is asked for more, which it looks up on the way: a compiled pass breaks in two
    there, and waits for the GPU.

    Args:
        positions: the library's module.
        room: most positions.
        axis: that of time in what the decoder hands it.
    """
    import torch

    positions.make_weights(max(room, len(positions.weights)), positions.embedding_dim)

    class Positions(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weights", positions.weights.detach().clone(), persistent=False)

        def forward(self, tokens: torch.Tensor, past: torch.Tensor | int = 0) -> torch.Tensor:
            at = torch.arange(tokens.shape[axis], device=tokens.device) + past
            return self.weights.index_select(0, at)

    return Positions()
