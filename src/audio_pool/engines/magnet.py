"""MAGNeT: music and sounds from a masked token model, codebook by codebook, on transformers' parts.

Owns: the model's conditions and guidance, the windows of a long sound, what a request may choose.
Must not know: how audiocraft's files are read (_audiocraft_parts.py), which tokens a window draws at a step
(_masked_drawing.py), the pool. Heavy imports happen inside load().

Paper: Ziv et al., "Masked Audio Generation using a Single Non-Autoregressive Transformer", 2024.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from msgspec import structs

from audio_pool.engine_info import CompanionInfo, EngineInfo, Notes, OptionInfo
from audio_pool.engines import _audiocraft_parts as parts_of
from audio_pool.engines import _masked_options as options
from audio_pool.engines._compiling import Compiler
from audio_pool.engines._continuation import Continuation, check_given, continued_frames, fitted
from audio_pool.engines._encodec import PieceDecoder, check_codec, encoded, frame_samples, plain_codebooks
from audio_pool.engines._generation import Condition, Job, StagedEngine, cut
from audio_pool.engines._masked_drawing import Chances, MaskedDrawing, Predictor
from audio_pool.engines._masked_spans import Spans
from audio_pool.engines._opening import Opened
from audio_pool.engines._paste import Stretch
from audio_pool.engines._texts import truncations
from audio_pool.engines._ticker import Ticker
from audio_pool.engines._token_drawing import Window, windows
from audio_pool.engines._wording import MUSIC
from audio_pool.engines.base import Audio, Item, OnStep
from audio_pool.errors import InvalidRequest

if TYPE_CHECKING:
    import torch

__all__ = ["INFO", "Magnet", "Settings", "load"]

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
    longest_s=600.0,
    window_s=10.0,
    steps=20,
    guidance_scale=10.0,
    negative_prompt=True,
    inpaint=True,
    extend=True,
    streams=True,
    options=options.MASKED,
    files=parts_of.FILES,
    companions=(CompanionInfo(model="google-t5/t5-base", files=parts_of.T5_FILES, licence="Apache-2.0"),),
    requires=("torch", "transformers", "yaml", "sentencepiece"),
    extra="musicgen",
    parameters=590_000_000,
    wording=MUSIC,
    tips=(
        "Music: name the genre, the instruments, the mood and the tempo: 'funky groove with electric piano playing "
        "blue chords, 100 BPM'.",
        "The audio-magnet models make sounds, the magnet models music: give each a named model of its own.",
        "No sung or spoken words: it was trained on instrumental music.",
    ),
    summary="Music at 32 kHz or sounds at 16 kHz, mono, up to 10 minutes; 50 steps for each 10 or 30 s.",
)

_WORKING_BYTES = 2**30
_OF_SOUNDS, _GUIDANCE_OF_SOUNDS = "audio-magnet", 20.0
"""What the published models that make sounds are called, and what they are guided by."""
_REACH = 5
"""Tokens to either side that codebooks after the first look at, where the model does not say."""


class Settings(parts_of.AudiocraftSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of TorchSettings, and text_encoder."""


def described(info: EngineInfo, settings: Settings, path: Path) -> EngineInfo:
    """Return the info with the guidance of the model at ``path``, by its name: its file is read by torch alone."""
    if not Path(info.model).name.startswith(_OF_SOUNDS):
        return info
    return structs.replace(info, guidance_scale=_GUIDANCE_OF_SOUNDS)


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
        check_codec(self._codec, info.name)
        self._codec.quantizer = plain_codebooks(self._codec)
        self._hop = frame_samples(self._codec)
        self._own = options.own_choices(given)
        self._span = given.whole("masking.span_len", 3)
        self._reach = given.whole("transformer_lm.subcodes_context", _REACH)
        self._masks: dict[tuple[bool, int], torch.Tensor] = {}
        codec = self._codec.config
        seconds = given.number("dataset.segment_duration", 10.0)
        self._window = int(seconds * codec.sampling_rate / self._hop)
        """Frames that the model was trained on at a time."""
        self._books, self._codes = self._model.config.num_codebooks, self._model.config.vocab_size
        info = structs.replace(
            info,
            sample_rate=codec.sampling_rate,
            channels=codec.audio_channels,
            window_s=seconds,
            guidance_scale=given.number("generate.lm.max_cfg_coef", info.guidance_scale),
        )
        stages = {
            "encoder": {"text_encoder": self._text_encoder, "projection": self._projection},
            "sampler": {"language_model": self._model},
            "decoder": {"codec": self._codec},
        }
        super().__init__(info, settings, opened, stages)
        if settings.compile:
            self._compiler = Compiler(settings, self._device)
            self._compiler.add(self._model.model.decoder)

    # -- what it says of an item -------------------------------------------------------------------

    def notes(self, item: Item) -> Notes:
        noted = super().notes(item)
        job = self._job(0, item)
        warnings, made_s = list(noted.warnings), None
        made = self._made(job) * self._hop
        if job.frames > made and item.extend_s is None and item.mask is None:
            made_s, rest_s = made / self.info.sample_rate, (job.frames - made) / self.info.sample_rate
            warnings.append(f"silent_end: the model makes {made_s:.3f} s; the last {rest_s:.3f} s are silent")
        if self._choice(job, options.TOP_K) and self._choice(job, options.TOP_P):
            warnings.append(f"top_k_unused: top_p is {self._choice(job, options.TOP_P):g}; top_k counts where it is 0")
        return Notes(warnings=tuple(warnings), made_s=made_s)

    def _text_warnings(self, job: Job) -> list[str]:
        warnings = truncations(job, self._tokenizer)
        if job.item.init_strength is not None:
            warnings.append("init_strength_unused: a given sound is taken as it is; there is no more or less of it")
        return warnings

    def _job(self, index: int, item: Item) -> Job:
        check_given(self.info, item)
        job = super()._job(index, item)
        end = self._choice(job, options.GUIDANCE_END)
        if job.number(options.GUIDANCE_END.name) is not None and end > job.guidance:
            raise InvalidRequest(
                f"options: guidance_end: given {end:g}, allowed is at most guidance_scale ({job.guidance:g})"
            )
        stride_s, window_s = job.number(options.STRIDE.name), self._window * self._hop / self.info.sample_rate
        if stride_s is not None and stride_s >= window_s:
            raise InvalidRequest(
                f"options: stride_s: given {stride_s:g}, allowed is less than the model's window ({window_s:g} s)"
            )
        frames = continued_frames(item, self.info.sample_rate)
        return job if frames is None else replace(job, frames=frames)

    def _shown(self, item: Item) -> tuple[Item, Audio | None, Stretch | None]:
        """Return what the model is to make; a sound that goes on is joined by its Continuation."""
        return (item, None, None) if item.mask is None else super()._shown(item)

    def _most_around_s(self) -> float:
        return self._window * self._hop / self.info.sample_rate

    def _choice(self, job: Job, option: OptionInfo) -> float:
        """Return an option as asked for, else as the model was trained to be sampled."""
        asked = job.number(option.name)
        return self._own[option.name] if asked is None else asked

    def _step_count(self, job: Job) -> int:
        return sum(self._steps(job)) * len(self._windows(job))

    def _steps(self, job: Job) -> list[int]:
        later = job.options[options.LATER_STEPS.name]
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

    # -- windows -----------------------------------------------------------------------------------

    def _width(self, job: Job) -> int:
        """Return the frames of codes that are drawn at a time: whole spans."""
        if job.options[options.SPANS.name] == "stride1":
            return self._window
        return self._window // self._span * self._span

    def _spans(self, job: Job, window: Window) -> Spans:
        known = np.arange(self._window) < window.known if job.stretch is None else self._kept(job)
        return Spans(known, self._span, job.options[options.SPANS.name] == "stride1")

    def _kept(self, job: Job) -> npt.NDArray[np.bool_]:
        """Return the tokens [frames] that stay where a part of a sound is made anew: those that lie outside it."""
        start, end = (round(second * self.info.sample_rate) for second in job.item.mask or (0.0, 0.0))
        count = -(-job.frames // self._hop)
        begins = np.arange(-(-count // self._span) * self._span) * self._hop
        ends = begins + self._hop
        return (ends <= job.frames) & ((ends <= start) | (begins >= end))

    def _stride(self, job: Job) -> int:
        """Return the frames of codes that a further window adds: whole spans."""
        width, stride_s = self._width(job), job.number(options.STRIDE.name)
        stride = width // 2 if stride_s is None else round(stride_s * self.info.sample_rate / self._hop)
        return min(max(1, stride // self._span) * self._span, width - self._span)

    def _continuation(self, job: Job) -> Continuation | None:
        """Return the sound that a job continues; None where it continues none."""
        if job.item.extend_s is None or job.item.init_audio is None:
            return None
        most = self._width(job) - self._stride(job)
        sound = fitted(job.item.init_audio, self.info.channels)
        return Continuation(sound=sound, samples=self._hop, most=most, rate=self.info.sample_rate)

    def _windows(self, job: Job) -> list[Window]:
        """Return the windows of a sound; each is drawn as a whole, whatever of it is needed."""
        width, stride, continued = self._width(job), self._stride(job), self._continuation(job)
        if continued is not None:
            new: int = job.frames - continued.sound.shape[1]
            return windows(continued.given + math.ceil(new / self._hop), width, stride, continued.given)
        length = math.ceil(job.frames / self._hop)
        if job.stretch is not None:
            return [Window(begin=0, known=0, end=length)]
        # as published: what no span holds at the end of the model's own length is not made
        return windows(min(length, width) if length <= self._window else length, width, stride)

    def _made(self, job: Job) -> int:
        """Return the frames of codes that are drawn or given."""
        last = self._windows(job)[-1]
        return last.begin + self._spans(job, last).frames

    def _compatible(self, job: Job) -> tuple[Hashable, ...]:
        found = self._windows(job)
        kept = b"" if job.stretch is None else self._kept(job).tobytes()
        return *super()._compatible(job), len(found), found[0].known, kept

    # -- the run -----------------------------------------------------------------------------------

    def _sample(self, jobs: Sequence[Job], texts: Sequence[Condition], tick: Ticker) -> torch.Tensor:
        """Return int64 codes [B, K, frames] of all windows."""
        import torch

        return torch.cat(list(self._drawn(jobs, texts, tick)), dim=-1)

    def _drawn(self, jobs: Sequence[Job], texts: Sequence[Condition], tick: Ticker) -> Iterator[torch.Tensor]:
        """Yield the new codes of each window, int64 [B, K, frames]; with the first, those that are given."""
        from torch.nn.functional import pad

        first = jobs[0]
        chances = Chances(
            temperature=self._choice(first, options.TEMPERATURE),
            top_p=self._choice(first, options.TOP_P),
            top_k=int(self._choice(first, options.TOP_K)),
        )
        seeds = [job.item.seed for job in jobs]
        drawing = MaskedDrawing(seeds, self._codes, chances, self._device)
        predict = self._predictor(jobs, self._condition(jobs, texts))
        codes = self._given(jobs)
        for window in self._windows(first):
            spans = self._spans(first, window)
            given = codes[..., max(0, codes.shape[-1] - window.known) :] if first.stretch is None else codes
            given = pad(given, (0, spans.frames - given.shape[-1]))
            with self._placement.stage(self.sampler_stage):
                codes = drawing.window(given, spans, self._steps(first), predict, tick)
            yield codes[..., window.known if window.begin else 0 :]

    def _given(self, jobs: Sequence[Job]) -> torch.Tensor:
        """Return the codes of given sounds, int64 [B, K, frames]: to go on from, to put back around a part, or none."""
        import torch
        from torch.nn.functional import pad

        continued = [self._continuation(job) for job in jobs]
        heard = [each.heard for each in continued if each is not None]
        if jobs[0].stretch is not None:
            heard = [torch.from_numpy(job.item.init_audio) for job in jobs if job.item.init_audio is not None]
        if not heard:
            return torch.zeros(len(jobs), self._books, 0, dtype=torch.long, device=self._device)
        waves = torch.stack(heard)
        waves = pad(waves, (0, -waves.shape[-1] % self._hop))
        with self._placement.stage("decoder"):
            return encoded(self._codec, waves.to(self._device), self._books)

    def _predictor(self, jobs: Sequence[Job], condition: Condition) -> Predictor:
        """Return the model, conditioned, with guidance that falls with the share of tokens that are not there."""
        import torch

        guided, end = jobs[0].guided, self._choice(jobs[0], options.GUIDANCE_END)

        def predict(codes: torch.Tensor, book: int, share: float) -> torch.Tensor:
            if self.settings.compile and self._device.type == "cuda":
                torch.compiler.cudagraph_mark_step_begin()
            rows = torch.cat([codes] * 2) if guided else codes
            hidden = self._model.model.decoder(
                input_ids=rows.flatten(0, 1),
                attention_mask=self._attention_mask(book, codes.shape[-1]),
                encoder_hidden_states=condition["states"],
                encoder_attention_mask=condition.get("mask"),
                use_cache=False,
            )[0]
            logits: torch.Tensor = self._model.lm_heads[book](hidden).float()
            if not guided:
                return logits
            scale = torch.tensor([share * job.guidance + (1 - share) * end for job in jobs], device=self._device)
            without, towards = logits.chunk(2)
            return without + scale[:, None, None] * (towards - without)

        return predict

    def _attention_mask(self, book: int, frames: int) -> torch.Tensor:
        """Return what is added to the attention, [1, 1, frames, frames]: later codebooks look at near tokens only."""
        import torch

        key = book > 0 and self._reach >= 0, frames
        if key not in self._masks:
            mask = torch.zeros(frames, frames)
            if key[0]:
                at = torch.arange(frames)
                mask[(at[:, None] - at[None]).abs() > self._reach] = -math.inf
            self._masks[key] = mask[None, None].to(self._device, self.dtype)
        return self._masks[key]

    def _waves(self, jobs: Sequence[Job], latents: torch.Tensor) -> list[torch.Tensor]:
        """Each row by itself, in pieces: whole, ten minutes would take gigabytes."""
        import torch

        found = []
        for job, codes in zip(jobs, latents, strict=True):
            decoder, made, size = PieceDecoder(self._codec), codes.shape[-1], self._window
            pieces = (
                decoder(codes[None, :, at : at + size], last=at + size >= made)[0].float().cpu()
                for at in range(0, made, size)
            )
            found.append(torch.cat(list(self._whole(job, pieces)), dim=-1))
        return found

    def _whole(self, job: Job, pieces: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Yield a job's sound from what is decoded of its codes."""
        continued = self._continuation(job)
        return pieces if continued is None else continued.joined(pieces)

    def pieces(self, item: Item, on_step: OnStep | None = None) -> Iterator[Audio]:
        """Yield the sound window by window while it is drawn; all in a row are what ``generate`` gives.

        Raises:
            what ``generate`` raises.
        """
        job = self._job(0, item)
        if job.stretch is not None:
            yield self.generate([item], on_step)[0]
            return
        with self._running(1), self._placement.stage("encoder"):
            text = self._encoding(*job.text)
        left = job.frames
        for wave in self._whole(job, self._drawn_pieces(job, text, on_step)):
            piece = cut(wave, min(left, wave.shape[1]))
            left -= piece.shape[1]
            if piece.shape[1]:
                yield piece
        if left:
            yield np.zeros((self.info.channels, left), np.float32)

    def _drawn_pieces(self, job: Job, text: Condition, on_step: OnStep | None) -> Iterator[torch.Tensor]:
        """Yield a sound as it is drawn and decoded; nothing is held meanwhile, as torch's modes are its thread's."""
        tick = Ticker(on_step, self._step_count(job), self._device)
        decoder, drawn = PieceDecoder(self._codec), self._drawn([job], [text], tick)
        count = len(self._windows(job))
        for number in range(count):
            with self._running(1):
                codes = next(drawn)
                with self._placement.stage("decoder"):
                    wave = decoder(codes, last=number == count - 1)[0].float().cpu()
            yield wave
