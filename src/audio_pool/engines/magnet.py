"""MAGNeT: music and sounds from a masked token model, codebook by codebook, on transformers' parts.

Owns: how a window of tokens is drawn: which conditions, how much guidance, heat and chance at each step.
Must not know: how audiocraft's files are read (_audiocraft.py), the pool. Heavy imports happen inside load().

Paper: Ziv et al., "Masked Audio Generation using a Single Non-Autoregressive Transformer", 2024.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import structs

from audio_pool.engine_info import CompanionInfo, EngineInfo, Notes, OptionInfo
from audio_pool.engines import _audiocraft_parts as parts_of
from audio_pool.engines import _torch
from audio_pool.engines._audiocraft import Configuration
from audio_pool.engines._generation import Condition, Job, StagedEngine, Ticker, truncations
from audio_pool.engines._masked_spans import Spans, masked_shares
from audio_pool.engines._opening import Opened
from audio_pool.engines.base import Item
from audio_pool.errors import InvalidRequest

if TYPE_CHECKING:
    import torch

__all__ = ["INFO", "Magnet", "Settings", "load"]

_TEMPERATURE = OptionInfo(
    name="temperature",
    type="float",
    low=0.0,
    high=10.0,
    summary="How far the first tokens of a codebook stray from the likeliest; falls to nothing step by step. "
    "The model's own: 3, of the sound models 3.5",
)
_TOP_P = OptionInfo(
    name="top_p",
    type="float",
    low=0.0,
    high=1.0,
    summary="Only the likeliest tokens that have this share of all chances together; 0: as top_k says. "
    "The model's own: 0.9, of the sound models 0.8",
)
_TOP_K = OptionInfo(
    name="top_k", type="int", low=0, high=65_536, summary="With top_p 0: only so many likeliest tokens; 0: all"
)
_GUIDANCE_END = OptionInfo(
    name="guidance_end",
    type="float",
    low=0.0,
    high=100.0,
    summary="Guidance at a codebook's last step; guidance_scale is that at its first. The model's own: 1",
)
_LATER_STEPS = OptionInfo(
    name="later_steps",
    type="int",
    default=10,
    low=1,
    high=200,
    summary="Steps for each codebook after the first, which has 'steps' of them",
)
_SPANS = OptionInfo(
    name="span_arrangement",
    type="str",
    default="nonoverlap",
    choices=("nonoverlap", "stride1"),
    summary="Tokens are drawn anew in spans that lie side by side, or begin at every token (stride1)",
)

INFO = EngineInfo(
    name="magnet",
    role="generator",
    kinds=("music",),
    languages=("en",),
    model="facebook/magnet-small-10secs",
    licence="CC-BY-NC-4.0",
    commercial_use=False,
    sample_rate=32_000,
    channels=1,
    shortest_s=0.05,
    longest_s=10.0,
    steps=20,
    guidance_scale=10.0,
    negative_prompt=True,
    options=(_TEMPERATURE, _TOP_P, _TOP_K, _GUIDANCE_END, _LATER_STEPS, _SPANS),
    files=parts_of.FILES,
    companions=(CompanionInfo(model="google-t5/t5-base", files=parts_of.T5_FILES, licence="Apache-2.0"),),
    requires=("torch", "transformers", "yaml", "sentencepiece"),
    extra="musicgen",
    tips=(
        "Music: name the genre, the instruments, the mood and the tempo: 'funky groove with electric piano playing "
        "blue chords, 100 BPM'.",
        "The audio-magnet models make sounds, the magnet models music: give each a named model of its own.",
        "No sung or spoken words: it was trained on instrumental music.",
    ),
    summary="Music up to 10 or 30 s, or sounds, drawn in 50 steps whatever the length; 32 or 16 kHz mono.",
)

_WORKING_BYTES = 2**30
_COLDEST = 1e-2
_REACH = 5
"""Tokens to either side that codebooks after the first look at, where the model does not say."""


class Settings(parts_of.AudiocraftSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of TorchSettings, and text_encoder."""


def load(info: EngineInfo, settings: Settings) -> Magnet:
    """Load the model.

    Raises:
        EngineUnavailable, OutOfMemory; InvalidConfig: settings that do not go together.
    """
    opened, parts = parts_of.load(info, settings, "transformer_lm_magnet", _WORKING_BYTES)
    engine = Magnet(info, settings, opened, parts)
    engine._warm()
    return engine


class Magnet(StagedEngine):
    """Latents are int64 codes [K, frames]."""

    never_quantized = frozenset({"projection"})

    def __init__(self, info: EngineInfo, settings: Settings, opened: Opened, parts: parts_of.Parts) -> None:
        """
        Args:
            info, settings, opened: as of every engine.
            parts: the model's modules and what it was trained with.
        """
        given = parts.config
        self._tokenizer, self._text_encoder, self._projection = parts.tokenizer, parts.text_encoder, parts.projection
        self._model, self._codec = parts.language_model, parts.codec
        self._hop = parts.hop
        self._own = _own_choices(given)
        self._span = given.whole("masking.span_len", 3)
        self._reach = given.whole("transformer_lm.subcodes_context", _REACH)
        codec = self._codec.config
        seconds = given.number("dataset.segment_duration", 10.0)
        self._window = int(seconds * codec.sampling_rate / self._hop)
        self._books, self._codes = self._model.config.num_codebooks, self._model.config.vocab_size
        info = structs.replace(
            info,
            sample_rate=codec.sampling_rate,
            channels=codec.audio_channels,
            longest_s=seconds,
            guidance_scale=given.number("generate.lm.max_cfg_coef", info.guidance_scale),
        )
        stages = {
            "encoder": {"text_encoder": self._text_encoder, "projection": self._projection},
            "sampler": {"language_model": self._model},
            "decoder": {"codec": self._codec.decoder},
        }
        # looked up in, not called: a layer that waits in main memory comes for a call alone. They are small
        self._codec.quantizer.to(opened.device)
        super().__init__(info, settings, opened, stages)
        if settings.compile:
            _torch.compile_module(self._model.model.decoder, settings, self._device)

    # -- what it says of an item -------------------------------------------------------------------

    def notes(self, item: Item) -> Notes:
        noted = super().notes(item)
        job = self._job(0, item)
        warnings = list(noted.warnings)
        made_s = self._spans(job, 0).frames * self._hop / self.info.sample_rate
        if item.duration_s > made_s + 0.5 / self.info.sample_rate:
            warnings.append(
                f"silent_end: the model makes {made_s:.3f} s; the last {item.duration_s - made_s:.3f} s are silent"
            )
        if self._choice(job, _TOP_K) and self._choice(job, _TOP_P):
            warnings.append(f"top_k_unused: top_p is {self._choice(job, _TOP_P):g}; top_k counts where it is 0")
        return Notes(warnings=tuple(warnings))

    def _text_warnings(self, job: Job) -> list[str]:
        return truncations(job, self._tokenizer)

    def _job(self, index: int, item: Item) -> Job:
        job = super()._job(index, item)
        end = self._choice(job, _GUIDANCE_END)
        if job.number(_GUIDANCE_END.name) is not None and end > job.guidance:
            raise InvalidRequest(
                f"options: {_GUIDANCE_END.name}: given {end:g}, allowed is at most guidance_scale ({job.guidance:g})"
            )
        return job

    def _choice(self, job: Job, option: OptionInfo) -> float:
        """Return an option as asked for, else as the model was trained to be sampled."""
        asked = job.number(option.name)
        return self._own[option.name] if asked is None else asked

    def _step_count(self, job: Job) -> int:
        return sum(self._stages(job))

    def _stages(self, job: Job) -> list[int]:
        later = job.options[_LATER_STEPS.name]
        assert isinstance(later, int), "as its OptionInfo says"
        return [job.steps] + [later] * (self._books - 1)

    # -- conditions --------------------------------------------------------------------------------

    def _encode(self, prompt: str, negative: str, guided: bool) -> Condition:
        found = {"states": self._states(prompt)}
        if guided:
            found["without"] = self._states(negative)
        return found

    def _states(self, text: str) -> torch.Tensor:
        """Return [L, D]; no text is one state of zeros, as in training."""
        return parts_of.text_states(self._tokenizer, self._text_encoder, self._projection, text, self._device)

    def _condition(self, jobs: Sequence[Job], texts: Sequence[Condition]) -> Condition:
        states = [text["states"] for text in texts]
        if jobs[0].guided:
            states = [text["without"] for text in texts] + states
        return parts_of.padded_states(states, whole_buckets=self.settings.compile)

    # -- the run -----------------------------------------------------------------------------------

    def _spans(self, job: Job, given: int) -> Spans:
        overlapping = job.options[_SPANS.name] == "stride1"
        return Spans(self._window, given, self._span, overlapping)

    def _sample(self, jobs: Sequence[Job], texts: Sequence[Condition], tick: Ticker) -> torch.Tensor:
        """Return int64 codes [B, K, frames] of one window."""
        import torch

        generators = [torch.Generator().manual_seed(job.item.seed) for job in jobs]
        spans = self._spans(jobs[0], 0)
        condition = self._condition(jobs, texts)
        codes = torch.full(
            (len(jobs), self._books, spans.frames), self._codes, dtype=torch.long, device=self._device
        )  # the code after the last stands for a token that is not there yet
        for stage, steps in enumerate(self._stages(jobs[0])):
            self._draw_stage(codes, stage, steps, spans, jobs, condition, generators, tick)
        return codes

    def _draw_stage(
        self,
        codes: torch.Tensor,
        stage: int,
        steps: int,
        spans: Spans,
        jobs: Sequence[Job],
        condition: Condition,
        generators: Sequence[torch.Generator],
        tick: Ticker,
    ) -> None:
        """Fill one codebook of ``codes``."""
        tokens = codes[:, stage]
        known = tokens[:, : spans.given].clone()
        scores = spans.first_scores(len(jobs), self._device)
        mask = self._attention_mask(stage, spans.frames)
        for step, share in enumerate(masked_shares(steps)):
            tokens[spans.mask(scores, share)] = self._codes
            tokens[:, : spans.given] = known
            logits = self._guided(codes, stage, mask, condition, jobs, share)
            heat = self._choice(jobs[0], _TEMPERATURE) * (steps - 1 - step) / steps
            chances = (logits / max(heat, _COLDEST)).softmax(dim=-1)
            drawn = self._drawn(chances, jobs[0], generators)
            absent = tokens == self._codes
            tokens.copy_(drawn.where(absent, tokens))
            scores = spans.scores(chances.gather(-1, drawn[..., None])[..., 0], absent)
            tick()

    def _guided(
        self,
        codes: torch.Tensor,
        stage: int,
        mask: torch.Tensor,
        condition: Condition,
        jobs: Sequence[Job],
        share: float,
    ) -> torch.Tensor:
        """Return float32 logits [B, frames, V] of one codebook, with guidance that falls with the masked share."""
        import torch

        if self.settings.compile and self._device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        rows = torch.cat([codes] * 2) if jobs[0].guided else codes
        hidden = self._model.model.decoder(
            input_ids=rows.flatten(0, 1),
            attention_mask=mask,
            encoder_hidden_states=condition["states"],
            encoder_attention_mask=condition.get("mask"),
            use_cache=False,
        )[0]
        logits: torch.Tensor = self._model.lm_heads[stage](hidden).float()
        if not jobs[0].guided:
            return logits
        end = self._choice(jobs[0], _GUIDANCE_END)
        scale = torch.tensor([share * job.guidance + (1 - share) * end for job in jobs], device=self._device)
        without, towards = logits.chunk(2)
        return without + scale[:, None, None] * (towards - without)

    def _attention_mask(self, stage: int, frames: int) -> torch.Tensor:
        """Return what is added to the attention, [1, 1, frames, frames]: later codebooks look at near tokens only."""
        import torch

        mask = torch.zeros(frames, frames)
        if stage > 0 and self._reach >= 0:
            at = torch.arange(frames)
            mask[(at[:, None] - at[None]).abs() > self._reach] = -math.inf
        return mask[None, None].to(self._device, self.dtype)

    def _drawn(self, chances: torch.Tensor, job: Job, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Return int64 [B, frames], each row by its own generator's luck.

        The smallest of exponential times, each token's at its own rate, comes from a token by its chance. The
        times belong to tokens, not to ranks: near ties may be ordered otherwise in a batch than alone.
        """
        import torch

        top_p, top_k = self._choice(job, _TOP_P), int(self._choice(job, _TOP_K))
        kept = chances
        if top_p > 0:
            sorted_chances, order = chances.sort(dim=-1, descending=True)
            before = sorted_chances.cumsum(dim=-1) - sorted_chances
            unlikely = torch.zeros_like(chances, dtype=torch.bool).scatter(-1, order, before > top_p)
            kept = chances.masked_fill(unlikely, 0)
        elif 0 < top_k < chances.shape[-1]:
            least = chances.topk(top_k, dim=-1).values[..., -1:]
            kept = chances.masked_fill(chances < least, 0)
        times = torch.stack([torch.empty(chances.shape[1:]).exponential_(generator=each) for each in generators])
        drawn: torch.Tensor = (kept / times.to(kept.device)).argmax(dim=-1)
        return drawn

    def _decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        wave: torch.Tensor = parts_of.decoded(self._codec, latents)
        return wave


def _own_choices(given: Configuration) -> Mapping[str, float]:
    """Return how the model is sampled where nothing is asked for: as its training did, else as audiocraft does."""
    return {
        _TEMPERATURE.name: given.number("generate.lm.temp", 3.0),
        _TOP_P.name: given.number("generate.lm.top_p", 0.9),
        _TOP_K.name: given.number("generate.lm.top_k", 0.0),
        _GUIDANCE_END.name: given.number("generate.lm.min_cfg_coef", 1.0),
    }
