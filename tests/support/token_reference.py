"""MusicGen by transformers' own ``generate``, with this project's way to draw a token written a second time.

The library's loop, delay pattern, growing caches and decoder; no code of the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


class DrawsTokens:
    """A LogitsProcessor after which the library's greedy choice is one seed's draw."""

    def __init__(self, seed: int, guidance: float, options: Mapping[str, Any], streams: list[torch.Generator]) -> None:
        if not streams:  # windows of one sound go on in one stream
            streams.append(torch.Generator().manual_seed(seed))
        self.generator, self.guidance, self.options = streams[0], guidance, options

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        chosen = scores.float()
        if self.guidance > 1:
            towards, without = chosen.chunk(2)  # here the conditional rows come first
            chosen = without + self.guidance * (towards - without)
        temperature = self.options.get("temperature", 1.0)
        chosen = chosen / (temperature or 1.0)
        uniform = torch.rand(chosen.shape, generator=self.generator).clamp(min=2.0**-25)
        for row in chosen:
            top_k = self.options.get("top_k", 250)
            if 0 < top_k < len(row):
                row[row < row.sort(descending=True).values[top_k - 1]] = -1e9
            chances, order = row.softmax(0).sort(descending=True)
            total = 0.0
            for chance, token in zip(chances.tolist(), order.tolist(), strict=True):
                if total > self.options.get("top_p", 1.0):
                    row[token] = -1e9
                total += chance
        if temperature > 0:
            chosen = chosen - torch.log(-torch.log(uniform))
        return torch.cat([chosen, chosen]) if self.guidance > 1 else chosen


class Reference:
    """A checkpoint, asked one sound at a time."""

    def __init__(self, directory: Path, cls: str = "MusicgenForConditionalGeneration") -> None:
        import transformers

        self.tokenizer = transformers.AutoTokenizer.from_pretrained(str(directory))
        self.model = getattr(transformers, cls).from_pretrained(str(directory)).eval()
        self.samples = int(np.prod(self.model.config.audio_encoder.upsampling_ratios))
        self.rate: int = self.model.config.audio_encoder.sampling_rate

    def frames(self, seconds: float) -> int:
        return -(-round(seconds * self.rate) // self.samples)

    @torch.no_grad()
    def codes(
        self,
        prompt: str,
        seed: int,
        frames: int,
        guidance: float = 3.0,
        options: Mapping[str, Any] | None = None,
        given: torch.Tensor | None = None,
        streams: list[torch.Generator] | None = None,
        features: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """All codes of one window, int64 [K, frames], the given ones first."""
        tokens = self.tokenizer(prompt, return_tensors="pt")
        caught = []
        codec = self.model.audio_encoder
        decode = codec.decode

        def catches(codes: torch.Tensor, **more: Any) -> Any:
            caught.append(codes[0, 0])
            return decode(codes, **more)

        codec.decode = catches
        draws = DrawsTokens(seed, guidance, options or {}, [] if streams is None else streams)
        begun = 0 if given is None else given.shape[-1]
        more = {} if given is None else {"decoder_input_ids": given}
        more |= {} if features is None else {"input_features": features}
        late = self.model.decoder.num_codebooks // self.model.decoder.config.audio_channels - 1
        try:
            self.model.generate(
                input_ids=tokens.input_ids,
                attention_mask=tokens.attention_mask,
                do_sample=False,
                guidance_scale=guidance,
                max_new_tokens=frames - begun + late,
                logits_processor=[draws],
                **more,
            )
        finally:
            codec.decode = decode
        if len(caught) == 1:
            return caught[0]
        return torch.stack(caught, dim=1).flatten(0, 1)  # left and right alternate

    @torch.no_grad()
    def wave(self, codes: torch.Tensor, seconds: float) -> np.ndarray:
        """Decoded whole, float32 [C, T]."""
        channels = self.model.decoder.config.audio_channels
        sides = [codes[side::channels] for side in range(channels)]
        waves = [self.model.audio_encoder.decode(side[None, None], [None]).audio_values[0] for side in sides]
        return torch.cat(waves)[:, : round(seconds * self.rate)].numpy()
