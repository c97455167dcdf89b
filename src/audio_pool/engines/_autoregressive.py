"""Language models of audio tokens: the way from prompts to drawn codes, and from codes to sounds.

Owns: conditions from a T5 text encoder, batches of rows of any length, sounds longer than the model's window,
the continuation of a given sound, pieces of a sound that is still being drawn. Works on transformers' decoders
of codebooks with EnCodec codes.
Must not know: any single model (each engine reads its own files and names its parts), the pool.

A new engine subclasses AutoregressiveEngine and hands it its modules (``TokenModel``). audiogen.py shows how
short that is.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from msgspec import structs

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import _torch
from audio_pool.engines._compiling import compile_module
from audio_pool.engines._continuation import Continuation, check_given, continued_frames, fitted
from audio_pool.engines._encodec import PieceDecoder, check_codec, encoded, frame_samples, plain_codebooks
from audio_pool.engines._generation import Condition, Job, StagedEngine
from audio_pool.engines._opening import Opened
from audio_pool.engines._texts import truncations
from audio_pool.engines._ticker import Ticker
from audio_pool.engines._token_cache import fixed_positions
from audio_pool.engines._token_drawing import Codebooks, Drawing, Predictor, Row, Window, steps_of
from audio_pool.engines._token_draws import Sampling
from audio_pool.engines._token_options import token_options
from audio_pool.engines._token_pass import TEXT_ROOM, TokenPasses
from audio_pool.engines.base import Audio, Item, OnStep
from audio_pool.errors import NotSupported
from audio_pool.types import frames_of

if TYPE_CHECKING:
    import torch

__all__ = ["AutoregressiveEngine", "TokenModel", "token_options"]

_TEXT_LONGEST = 512
"""Tokens that a T5 reads, where its tokenizer does not say."""
_WARMING_S = 0.1
"""Length of the sounds that compile a pass: it is the same for all lengths."""


@dataclass(frozen=True, kw_only=True)
class TokenModel:
    """The modules of a model and what is particular in them, as transformers builds them."""

    tokenizer: Any
    text_encoder: Any
    """A T5 encoder."""
    projection: Any
    """From the text encoder's width to the decoder's; None where they are alike."""
    language_model: Any
    """MusicgenForCausalLM, or another decoder with ``model.decoder``, ``lm_heads`` and its signature."""
    codec: Any
    """EncodecModel."""
    channels: int = 1
    """2: the codebooks of left and right alternate."""


class AutoregressiveEngine(StagedEngine):
    """The Generator protocol (and Streams) over a text encoder, a language model of codes and their decoder."""

    never_quantized = frozenset({"projection", "tune"})

    takes_tune: ClassVar[bool] = False
    """``init_audio`` alone conditions the model; otherwise there is only ``extend_s`` to do with it."""

    alike = ("guidance",)
    piece_s = 10.0
    """Length of the pieces in which sounds are decoded, and handed out."""

    def __init__(self, info: EngineInfo, settings: _torch.TorchSettings, opened: Opened, model: TokenModel) -> None:
        """
        Args:
            info: INFO under the engine's name; ``window_s`` is the model's.
            settings: checked.
            opened: device and precisions.
            model: its parts, loaded, on the CPU.
        """
        assert info.window_s is not None, "the INFO of such an engine has it"
        codec, lm = model.codec, model.language_model
        check_codec(codec, info.name)
        self._tokenizer, self._text_encoder = model.tokenizer, model.text_encoder
        if self._tokenizer.model_max_length > 2**31:  # transformers' way to say that none was given
            self._tokenizer.model_max_length = _TEXT_LONGEST
        self._projection, self._lm, self._codec = model.projection, lm, codec
        codec.quantizer = plain_codebooks(codec)
        self._channels = model.channels
        self._samples = frame_samples(codec)
        self._rate: int = codec.config.sampling_rate
        count: int = lm.config.num_codebooks
        self._codebooks = Codebooks(
            count=count,
            delays=tuple(book // model.channels for book in range(count)),
            vocabulary=lm.config.vocab_size,
        )
        self._width = self._frames(info.window_s)
        self._late = max(self._codebooks.delays)
        if settings.compile:
            decoder = lm.model.decoder
            decoder.embed_positions = fixed_positions(decoder.embed_positions, self._most_room(), self._time_axis)
        self._passes = TokenPasses(lm, self._most_room())
        encoder = {"text_encoder": model.text_encoder}
        if model.projection is not None:
            encoder["projection"] = model.projection
        info = structs.replace(info, sample_rate=self._rate, channels=model.channels, init_audio=self.takes_tune)
        stages = {
            "encoder": encoder,
            "sampler": {"language_model": lm, **self._conditioners()},
            "decoder": {"codec": codec},
        }
        super().__init__(info, settings, opened, stages)
        if settings.compile:
            compile_module(lm, settings, self._device)

    _time_axis = -1
    """Axis of time in what the language model hands to its positions."""

    def _prefix_room(self) -> int:
        """Return how many positions are prepended to the tokens at most."""
        return 0

    def _conditioners(self) -> dict[str, torch.nn.Module]:
        """Return parts that a window's condition is made with, beside the text's."""
        return {}

    def _most_room(self) -> int:
        return self._width + self._late + self._prefix_room()

    # -- conditions -------------------------------------------------------------------------------

    def _encode(self, prompt: str, negative: str, guided: bool) -> Condition:
        """Return the prompt's states [1, L, D] as the language model takes them.

        The unconditional twin is all zeros in these models, and made where rows are put together.
        """
        most = self._tokenizer.model_max_length
        tokens = self._tokenizer(prompt, max_length=most, truncation=True, return_tensors="pt")
        ids, mask = tokens.input_ids.to(self._device), tokens.attention_mask.to(self._device)
        states = self._text_encoder(input_ids=ids, attention_mask=mask)[0]
        if self._projection is not None:
            states = self._projection(states.to(next(self._projection.parameters()).dtype))
        return {"states": states.to(self.dtype)}

    def _condition(self, jobs: Sequence[Job], texts: Sequence[Condition], window: Window) -> Condition:
        """Return states [R, L, D] and their mask [R, L] for the rows of a window, all unconditional first.

        The unconditional rows may look at all of their states: those are zeros, and give zeros.
        """
        import torch

        longest = max(text["states"].shape[1] for text in texts)
        if self.settings.compile:
            longest = max(longest, TEXT_ROOM)
        width = texts[0]["states"].shape[-1]
        states = torch.zeros(len(texts), longest, width, dtype=self.dtype, device=self._device)
        mask = torch.zeros(len(texts), longest, dtype=torch.long, device=self._device)
        for row, text in enumerate(texts):
            length = text["states"].shape[1]
            states[row, :length] = text["states"][0]
            mask[row, :length] = 1
        if jobs[0].guided:
            states = torch.cat([torch.zeros_like(states), states])
            mask = torch.cat([torch.ones_like(mask), mask])
        return {"states": states, "mask": mask}

    def _first(self, condition: Condition) -> dict[str, torch.Tensor]:
        """Return the language model's arguments, beside tokens and cache, at a window's first pass."""
        return {"encoder_hidden_states": condition["states"], "encoder_attention_mask": condition["mask"]}

    def _later(self, condition: Condition) -> dict[str, torch.Tensor]:
        """Return them at every other pass."""
        return self._first(condition)

    def _text_warnings(self, job: Job) -> list[str]:
        warnings = truncations(job, self._tokenizer)
        if job.item.init_strength is not None:
            warnings.append("init_strength_unused: a given sound is taken as it is; there is no more or less of it")
        return warnings

    # -- jobs --------------------------------------------------------------------------------------

    def _job(self, index: int, item: Item) -> Job:
        if item.negative_prompt:
            raise NotSupported(f"{self.info.name} takes no negative prompt; {item.negative_prompt!r} was given")
        check_given(self.info, item, takes_tune=self.takes_tune)
        job = super()._job(index, item)
        cfg = job.number("cfg")
        if cfg is not None:
            job = replace(job, guidance=cfg)
        frames = continued_frames(item, self._rate)
        return job if frames is None else replace(job, frames=frames)

    def _shown(self, item: Item) -> tuple[Item, None, None]:
        """Return the whole item: what it hears of a given sound, and the join, are a Continuation's."""
        return item, None, None

    def _frames(self, seconds: float) -> int:
        """Return the frames of codes that a length takes."""
        return math.ceil(frames_of(seconds, self._rate) / self._samples)

    def _continuation(self, job: Job) -> Continuation | None:
        """Return the sound that a job continues; None where it continues none."""
        if job.item.extend_s is None or job.item.init_audio is None:
            return None
        return Continuation(
            sound=fitted(job.item.init_audio, self._channels),
            samples=self._samples,
            most=self._width - self._stride(job),
            rate=self._rate,
        )

    def _length(self, job: Job) -> int:
        """Return the frames of codes of a job's whole sound, those that it is given among them."""
        continued = self._continuation(job)
        if continued is None:
            return math.ceil(job.frames / self._samples)
        new: int = job.frames - continued.sound.shape[1]
        return continued.given + math.ceil(new / self._samples)

    def _begun(self, job: Job) -> int:
        """Return the frames of codes that a job is given."""
        continued = self._continuation(job)
        return 0 if continued is None else continued.given

    def _stride(self, job: Job) -> int:
        return self._frames(job.number("stride_s") or 0.0)

    def _compatible(self, job: Job) -> tuple[Hashable, ...]:
        """Rows may differ in length, guidance and sampling, not in where their windows begin."""
        begun = self._begun(job)
        return job.guided, begun, self._stride(job) if begun or self._length(job) > self._width else 0

    def _batches(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """Longest first: rows of like length share a batch, and its first row tells how many steps it takes."""
        return super()._batches(sorted(jobs, key=lambda job: -self._length(job)))

    def _step_count(self, job: Job) -> int:
        return steps_of(self._length(job), self._width, self._stride(job), self._codebooks, self._begun(job))

    # -- the run -----------------------------------------------------------------------------------

    def _drawing(self, jobs: Sequence[Job], texts: Sequence[Condition]) -> Drawing:
        """Return the drawing of a batch, with what its rows are given encoded."""

        def opens(rows: Sequence[int], window: Window) -> Predictor:
            condition = self._condition([jobs[row] for row in rows], [texts[row] for row in rows], window)
            return self._predictor(condition, window.end - window.begin + self._late)

        return Drawing(
            [self._row(job) for job in jobs],
            self._codebooks,
            opens,
            self._device,
            width=self._width,
            stride=self._stride(jobs[0]),
        )

    def _row(self, job: Job) -> Row:
        options = {name: job.number(name) for name in ("temperature", "top_k", "top_p")}
        continued = self._continuation(job)
        return Row(
            frames=self._length(job),
            given=None if continued is None else self._encoded(continued),
            sampling=Sampling(
                seed=job.item.seed,
                guidance=job.guidance,
                temperature=_known(options["temperature"]),
                top_k=int(_known(options["top_k"])),
                top_p=_known(options["top_p"]),
            ),
        )

    def _encoded(self, continued: Continuation) -> torch.Tensor:
        """Return the codes of what is heard of a sound, int64 [K, frames]."""
        with self._placement.stage("decoder"):
            sides = encoded(
                self._codec, continued.heard[:, None].to(self._device), self._codebooks.count // self._channels
            )
        return sides.transpose(0, 1).flatten(0, 1)

    def _predictor(self, condition: Condition, columns: int) -> Predictor:
        """Return the language model, conditioned, with nothing read yet, for so many columns of tokens."""
        first, later = self._first(condition), self._later(condition)
        return self._passes.predictor(first, later, len(condition["states"]), columns + self._prefix_room())

    def _warm(self) -> None:
        """Compile passes of the rows that the settings name, at load: no request waits for the compiler."""
        if not self.settings.compile:
            return
        for items in sorted({shape.items for shape in self.settings.compile_shapes} or {1}):
            self._passes.warm(2 * items)
            self.latents([Item(prompt="warm up", seed=0, duration_s=_WARMING_S, guidance_scale=2.0)] * items)

    def told(self) -> tuple[str, ...]:
        return self._passes.told()

    def _placed_sample(self, jobs: Sequence[Job], texts: Sequence[Condition], tick: Ticker) -> torch.Tensor:
        """Return codes [B, K, frames]; rows that are shorter end in zeros."""
        import torch

        drawing = self._drawing(jobs, texts)
        with self._placement.stage(self.sampler_stage):
            while not drawing.done:
                drawing.step()
                tick()
        longest = max(self._length(job) for job in jobs)
        codes = torch.zeros(len(jobs), self._codebooks.count, longest, dtype=torch.long, device=self._device)
        for row, job in enumerate(jobs):
            codes[row, :, : self._length(job)] = drawing.codes(row)
        return codes

    def _waves(self, jobs: Sequence[Job], latents: torch.Tensor) -> list[torch.Tensor]:
        """Each row by itself: what a decoder makes of a sound's end depends on where it ends."""
        import torch

        found = []
        for job, codes in zip(jobs, latents, strict=True):
            decoder = PieceDecoder(self._codec)
            pieces = (self._piece(decoder, job, codes[:, begin:end], end) for begin, end in self._cuts(job))
            found.append(torch.cat(list(self._whole(job, pieces)), dim=-1))
        return found

    def _whole(self, job: Job, pieces: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Yield a job's sound from what is decoded of its codes."""
        continued = self._continuation(job)
        return pieces if continued is None else continued.joined(pieces)

    def _cuts(self, job: Job) -> Iterator[tuple[int, int]]:
        """Yield begin and end in frames of the pieces that a sound is decoded in."""
        length, size = self._length(job), self._frames(self.piece_s)
        for begin in range(0, length, size):
            yield begin, min(begin + size, length)

    def _piece(self, decoder: PieceDecoder, job: Job, codes: torch.Tensor, end: int) -> torch.Tensor:
        """Return the next samples of a sound, [C, T] on the CPU."""
        books = codes.view(self._codebooks.count // self._channels, self._channels, -1).transpose(0, 1)
        return decoder(books, last=end == self._length(job))[:, 0].float().cpu()

    def latents(self, items: Sequence[Item], on_step: OnStep | None = None) -> list[Audio]:
        """Return the codes drawn, as float32 [K, frames] per item."""
        rows = super().latents(items, on_step)
        return [row[:, : self._length(self._job(0, item))] for row, item in zip(rows, items, strict=True)]

    def pieces(self, item: Item, on_step: OnStep | None = None) -> Iterator[Audio]:
        """Yield the sound piece by piece while it is drawn; all in a row are what ``generate`` gives.

        Raises:
            what ``generate`` raises.
        """
        job = self._job(0, item)
        with self._running(1), self._placement.stage("encoder"):
            text = self._encoding(*job.text)
        tick = Ticker(on_step, self._step_count(job), self._device)
        left = job.frames
        for wave in self._whole(job, self._drawn_pieces(job, text, tick)):
            piece = wave[:, :left].numpy()
            left -= piece.shape[1]
            if piece.shape[1]:
                yield np.ascontiguousarray(piece, dtype=np.float32)

    def _drawn_pieces(self, job: Job, text: Condition, tick: Ticker) -> Iterator[torch.Tensor]:
        """Yield a sound as it is drawn and decoded; nothing is held meanwhile, as torch's modes are its thread's."""
        with self._running(1):
            drawing, decoder = self._drawing([job], [text]), PieceDecoder(self._codec)
        for begin, end in self._cuts(job):
            with self._running(1):
                with self._placement.stage(self.sampler_stage):
                    while drawing.ready < end and not drawing.done:
                        drawing.step()
                        tick()
                with self._placement.stage("decoder"):
                    wave = self._piece(decoder, job, drawing.codes(0, begin, end), end)
            yield wave


def _known(value: float | None) -> float:
    assert value is not None, "these options have defaults"
    return value
