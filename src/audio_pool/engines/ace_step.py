"""ACE-Step 1.5: tags and lyrics to 48 kHz stereo music, through diffusers' AceStepPipeline.

Owns: what is particular to this model: lyrics and musical facts beside the prompt, its projected guidance, its level.
Must not know: the pool. Heavy imports happen inside load().
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from audio_pool.engine_info import EngineInfo, Notes, OptionInfo
from audio_pool.engines import _oobleck
from audio_pool.engines._flow import FlowDiffusion
from audio_pool.engines._generation import Condition, Job
from audio_pool.engines._opening import Opened, load_pipeline, open_model
from audio_pool.engines._samplers import FLOW, sampler_option
from audio_pool.engines._told import part_config
from audio_pool.engines._torch import TorchSettings
from audio_pool.engines._wording import MUSIC_TAGS
from audio_pool.engines.base import Item
from audio_pool.errors import InvalidRequest, NotSupported

if TYPE_CHECKING:
    import torch

__all__ = ["INFO", "AceStep", "Settings", "load"]

# What the model was trained with: acestep/constants.py of its repository.
_LANGUAGES = (
    "ar az bg bn ca cs da de el en es fa fi fr he hi hr ht hu id is it ja ko la lt ms ne nl no pa pl pt ro ru sa sk sr "
    "sv sw ta te th tl tr uk ur vi yue zh unknown"
)
_KEYS = tuple(f"{note}{sign} {mode}" for note in "ABCDEFG" for sign in ("", "#", "b") for mode in ("major", "minor"))

_LYRICS = OptionInfo(
    name="lyrics",
    type="str",
    default="",
    low=0,
    high=4096,
    summary="What is sung, with sections in brackets: [verse], [chorus], [bridge]; empty or [instrumental]: nothing",
)
_LANGUAGE = OptionInfo(
    name="vocal_language",
    type="str",
    default="en",
    choices=tuple(_LANGUAGES.split()),
    summary="Language of the lyrics (ISO 639-1)",
)
_BPM = OptionInfo(name="bpm", type="int", low=30, high=300, summary="Beats a minute; unset: the model's choice")
_KEY = OptionInfo(name="keyscale", type="str", choices=_KEYS, summary="Key and mode; unset: the model's choice")
_TIME = OptionInfo(
    name="timesignature",
    type="str",
    choices=("2", "3", "4", "6"),
    summary="Beats of a bar (6: 6/8); unset: the model's choice",
)
_SHIFT = OptionInfo(
    name="shift",
    type="float",
    default=3.0,
    low=0.1,
    high=10.0,
    summary="Where the steps of the flow lie: above 1 more of them at much noise, below 1 at little",
)
_GUIDED_FROM = OptionInfo(
    name="cfg_interval_start",
    type="float",
    default=0.0,
    low=0.0,
    high=1.0,
    summary="Share of the way from noise to music from which guidance acts",
)
_GUIDED_TO = OptionInfo(
    name="cfg_interval_end",
    type="float",
    default=1.0,
    low=0.0,
    high=1.0,
    summary="Share of the way from noise to music until which guidance acts",
)

_COVER = OptionInfo(
    name="cover_strength",
    type="float",
    default=1.0,
    low=0.0,
    high=1.0,
    summary="Of a sound made from another: 1 as a cover of it, 0 as its tags alone say; between them both",
)

INFO = EngineInfo(
    name="ace_step",
    role="generator",
    kinds=("music",),
    model="ACE-Step/acestep-v15-xl-turbo-diffusers",
    licence="MIT (ACE-Step 1.5)",
    commercial_use=True,
    sample_rate=48_000,
    channels=2,
    shortest_s=0.05,
    longest_s=600.0,
    steps=8,
    guidance_scale=1.0,
    init_audio=True,
    inpaint=True,
    extend=True,
    options=(sampler_option(FLOW), _SHIFT, _LYRICS, _LANGUAGE, _BPM, _KEY, _TIME, _GUIDED_FROM, _GUIDED_TO, _COVER),
    requires=("torch", "diffusers", "transformers"),
    extra="diffusers",
    parameters=4_000_000_000,
    wording=MUSIC_TAGS,
    tips=(
        "The prompt is tags: genre, instruments, mood, voice ('dream pop, warm synths, female vocal').",
        "Words to sing go into options.lyrics, with [verse] and [chorus]; tempo, key and metre into bpm, keyscale, "
        "timesignature.",
        "Music of less than 10 s is outside of what it learned.",
    ),
    summary="Music and songs from tags and lyrics, to 10 minutes, 48 kHz stereo.",
)

_BASE_STEPS, _BASE_GUIDANCE = 50, 7.0
"""Of checkpoints that are not distilled."""
_TRAINED_FROM_S = 10.0
_TEXT_LONGEST, _LYRICS_LONGEST = 256, 2048
"""Tokens that the model reads."""
_TIMBRE_S = 30
"""Seconds of the sound (here: of silence) that its timbre encoder hears."""
_MOMENTUM, _NORM = -0.75, 2.5
"""Of the projected guidance, as the pipeline has them (Sadat et al., 2024)."""
_LEVEL = 10.0 ** (-1.0 / 20.0)
"""-1 dBFS: the peak that the pipeline gives every piece."""

Settings = TorchSettings


def described(info: EngineInfo, settings: TorchSettings, path: Path) -> EngineInfo:
    """Return the info with the steps and guidance of the model at ``path``."""
    config = part_config(path, "transformer")
    turbo = bool(config.get("is_turbo")) or config.get("model_version") == "turbo"  # as the pipeline reads it
    return _sampled(info, turbo) if config else info


def _sampled(info: EngineInfo, turbo: bool) -> EngineInfo:
    """Return the info with the defaults of a checkpoint, which is distilled (``turbo``) or not."""
    return info if turbo else structs.replace(info, steps=_BASE_STEPS, guidance_scale=_BASE_GUIDANCE)


def load(info: EngineInfo, settings: TorchSettings) -> AceStep:
    """Load the model.

    Raises:
        EngineUnavailable, OutOfMemory; InvalidConfig: settings that do not go together.
    """
    from diffusers import AceStepPipeline

    opened = open_model(info, settings, working_bytes=2 * 2**30)
    with _oobleck.legacy_weight_norm():
        pipe = load_pipeline(info, AceStepPipeline, opened)
    engine = AceStep(info, settings, opened, pipe)
    engine._warm()
    return engine


class AceStep(FlowDiffusion):
    """Latents are float32 [L, C], 25 frames a second."""

    time_axis = 1
    alike = (*FlowDiffusion.alike, "prompt", "length")

    def __init__(self, info: EngineInfo, settings: TorchSettings, opened: Opened, pipe: Any) -> None:
        self.pipe = pipe
        _oobleck.decoder_only(pipe.vae, keep_encoder=True)
        # kept apart: they are used outside any module's call, where offloading would not bring them
        own = pipe.condition_encoder
        self._silence = own.silence_latent.detach().to(opened.device, opened.dtype, copy=True)
        self._nothing = own.null_condition_emb.detach().to(opened.device, opened.dtype, copy=True)
        self._momentum: Any = None
        self._interval = 0.0, 1.0
        # checkpoints may lack the halves that hear a sound as tokens: sounds of others are then noised, not covered
        self._hears = pipe.audio_tokenizer is not None and pipe.audio_token_detokenizer is not None
        if self._hears:
            for part in (pipe.audio_tokenizer, pipe.audio_token_detokenizer):
                part.eval().requires_grad_(False)
        info = structs.replace(
            _sampled(info, pipe.is_turbo),
            options=tuple(one for one in info.options if self._hears or one.name != _COVER.name),
            sample_rate=pipe.sample_rate,
            channels=pipe.vae.config.audio_channels,
        )
        stages = {
            "encoder": {"text_encoder": pipe.text_encoder, "condition_encoder": pipe.condition_encoder},
            "denoiser": {"transformer": pipe.transformer},
            "decoder": {"vae": pipe.vae},
        }
        super().__init__(info, settings, opened, stages, pipe.scheduler)

    # -- what is asked -----------------------------------------------------------------------------

    def notes(self, item: Item) -> Notes:
        noted, warnings = super().notes(item), []
        if item.duration_s < _TRAINED_FROM_S:
            warnings.append(
                f"below_training_length: {self.info.name} was trained on {_TRAINED_FROM_S:g} s and more; "
                f"{item.duration_s:g} s may have neither beginning nor end"
            )
        if self.pipe.is_turbo and item.guidance_scale is not None and item.guidance_scale > 1:
            warnings.append(f"guidance_unused: given {item.guidance_scale:g}; this checkpoint's guidance is built in")
        return structs.replace(noted, warnings=(*noted.warnings, *warnings))

    def _job(self, index: int, item: Item) -> Job:
        if item.negative_prompt:
            raise NotSupported(f"{self.info.name} takes no negative prompt; it was trained with none")
        job = super()._job(index, item)
        if self._guided_from(job) > self._guided_to(job):
            raise InvalidRequest(
                f"options: {_GUIDED_TO.name}: given {self._guided_to(job):g}, allowed is at least "
                f"{_GUIDED_FROM.name} ({self._guided_from(job):g})"
            )
        if job.number(_COVER.name) not in (None, _COVER.default) and self._task(job) != "cover":
            raise InvalidRequest(
                f"options: {_COVER.name}: given {job.number(_COVER.name):g}; it goes with init_audio alone, where "
                "init_strength is below 1 and neither a part is made anew nor more added"
            )
        return dataclasses.replace(job, guidance=1.0) if self.pipe.is_turbo else job

    def _task(self, job: Job) -> str:
        """Return which of its tasks the model is given."""
        if job.stretch is not None:
            return "repaint"
        return "cover" if self._hears and job.strength < 1 else "text2music"

    def _guided_from(self, job: Job) -> float:
        return job.number(_GUIDED_FROM.name) or 0.0

    def _guided_to(self, job: Job) -> float:
        found = job.number(_GUIDED_TO.name)
        return 1.0 if found is None else found

    def _text_warnings(self, job: Job) -> list[str]:
        warnings, formatted = [], self.pipe._format_prompt(prompt=job.item.prompt, **self._facts(job))
        limits = ("prompt", _TEXT_LONGEST), ("lyrics", _LYRICS_LONGEST)
        for text, (name, most) in zip(formatted, limits, strict=True):
            given = len(self.pipe.tokenizer(text).input_ids)
            if given > most:
                lost = " (tempo, key, metre and length come last)" if name == "prompt" else ""
                warnings.append(f"{name}_truncated: {given} tokens, of which the model reads {most}{lost}")
        return warnings

    def _facts(self, job: Job, task: str = "") -> dict[str, Any]:
        """Return what the model is told beside the prompt."""
        options = job.options
        return {
            "lyrics": options[_LYRICS.name],
            "vocal_language": options[_LANGUAGE.name],
            "bpm": options[_BPM.name],
            "keyscale": options[_KEY.name],
            "timesignature": options[_TIME.name],
            "audio_duration": job.item.duration_s,
            "instruction": self.pipe._get_task_instruction(task or self._task(job)),
        }

    def _compatible(self, job: Job) -> tuple[Hashable, ...]:
        """Only one text to a pass: the model is shown no mask, and would read the others' padding."""
        return *super()._compatible(job), job.item.prompt, int(job.item.duration_s)

    # -- what the model is shown -------------------------------------------------------------------

    def _encode(self, prompt: str, negative: str, guided: bool) -> Condition:
        """Return nothing: what is encoded depends on more than the prompt, see ``_condition``."""
        return {}

    def _condition(self, jobs: Sequence[Job], texts: Sequence[Condition]) -> Condition:
        """Return the conditional states [1, N, D] (all jobs have one text), and the sound around them [B, L, 2 C]."""
        import torch
        from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer

        self._momentum = MomentumBuffer(momentum=_MOMENTUM)  # one for each run
        self._interval = self._guided_from(jobs[0]), self._guided_to(jobs[0])
        given, self._around = self._around, None
        cover = jobs[0].number(_COVER.name) if self._task(jobs[0]) == "cover" else None
        with self._placement.stage("encoder"):
            condition = {"states": self._states(jobs[0])}
            if cover is not None and cover < 1:
                condition["plain_states"] = self._states(jobs[0], "text2music")
        condition["cover"] = torch.tensor(1.0 if cover is None else cover, device=self._device)
        condition["scale"] = torch.tensor([job.guidance for job in jobs], device=self._device)
        condition["context"] = self._context(jobs, given)
        return condition

    def _states(self, job: Job, task: str = "") -> torch.Tensor:
        import torch

        facts = self._facts(job, task)
        # lists: one text by itself would be taken for a list of letters
        text, text_mask, lyrics, lyrics_mask = self.pipe.encode_prompt(
            [job.item.prompt], [facts.pop("lyrics")], self._device, **facts
        )
        timbre = self._silence[:, : math.ceil(_TIMBRE_S * self.pipe.latents_per_second)]
        states, _ = self.pipe.condition_encoder(
            text_hidden_states=text,
            text_attention_mask=text_mask,
            lyric_hidden_states=lyrics,
            lyric_attention_mask=lyrics_mask,
            refer_audio_acoustic_hidden_states_packed=timbre,
            refer_audio_order_mask=torch.zeros(1, dtype=torch.long, device=self._device),
        )
        found: torch.Tensor = states
        return found

    def _context(self, jobs: Sequence[Job], given: torch.Tensor | None) -> torch.Tensor:
        """Return [B, L, 2 C]: the sound that the model is shown, silence where it is to be new, and where that is."""
        import torch

        length = self._noise_shape(jobs[0])[0]
        silence = self._silence.repeat(1, math.ceil(length / self._silence.shape[1]), 1)[:, :length]
        silence = silence.expand(len(jobs), -1, -1)
        task = self._task(jobs[0])
        if given is None or task == "text2music":
            return torch.cat([silence, torch.ones_like(silence)], dim=-1)
        given = given.to(self.dtype)
        if task == "cover":
            return torch.cat([self._heard(given, silence), torch.ones_like(silence)], dim=-1)
        new = super()._new(jobs, given)
        return torch.cat([torch.where(new, silence, given), new.expand_as(given).to(given.dtype)], dim=-1)

    def _heard(self, given: torch.Tensor, silence: torch.Tensor) -> torch.Tensor:
        """Return what the model's tokens keep of sounds [B, L, C]: melody and rhythm, not timbre."""
        import torch

        parts = self.pipe.audio_tokenizer, self.pipe.audio_token_detokenizer
        try:
            tokenizer, detokenizer = (part.to(self._device) for part in parts)
            # one by one: they have no say in each other
            heard = [detokenizer(tokenizer.tokenize(one[None], silence[:1])[0].to(one.dtype)) for one in given]
        finally:
            # on the device only while they work: few requests start from a sound
            for part in parts:
                part.to("cpu")
        return torch.cat(heard)[:, : given.shape[1]]

    def _new(self, jobs: Sequence[Job], latents: torch.Tensor) -> torch.Tensor:
        """Return that all is free: the model is shown what lies around the new part, and makes it with that."""
        import torch

        return torch.ones_like(latents[:, :, :1], dtype=torch.bool)

    def _predicted(self, rows: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        """Return the flow; of guided rows both halves alike, for this model's guidance is no mere difference."""
        import torch

        count, states = len(condition["context"]), condition["states"]
        guided, rows = len(rows) > count, rows[:count]
        context = condition["context"]
        if not guided:
            return self._half_cover(self._flow(rows, t, states, context), rows, t, condition)
        first, last = self._interval
        way = 1.0 - float(t) if (first, last) != (0.0, 1.0) else 0.5
        towards = self._flow(rows, t, states, context).float()
        if first <= way <= last:
            from diffusers.guiders.adaptive_projected_guidance import normalized_guidance

            towards = normalized_guidance(
                pred_cond=towards,
                pred_uncond=self._flow(rows, t, self._nothing.expand_as(states), context).float(),
                guidance_scale=condition["scale"][:, None, None] - 1.0,
                momentum_buffer=self._momentum,
                eta=0.0,
                norm_threshold=_NORM,
                use_original_formulation=True,
                norm_dim=(1,),
            )
        towards = self._half_cover(towards, rows, t, condition)
        return torch.cat([towards, towards])

    def _half_cover(
        self, towards: torch.Tensor, rows: torch.Tensor, t: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """Return the flow of a cover mixed with that of its tags alone, where less than a whole cover is asked for."""
        if "plain_states" not in condition:
            return towards
        plain = self._flow(rows, t, condition["plain_states"], condition["context"]).to(towards.dtype)
        return condition["cover"] * towards + (1 - condition["cover"]) * plain

    def _flow(self, rows: torch.Tensor, t: torch.Tensor, states: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        import torch

        found = []
        for some, beside in zip(
            *(each.split(1 if self._rows_apart else len(rows)) for each in (rows, context)), strict=True
        ):
            at = t.expand(len(some)).to(some.dtype)
            found.append(
                self.pipe.transformer(
                    hidden_states=some,
                    timestep=at,
                    timestep_r=at,
                    encoder_hidden_states=states.expand(len(some), -1, -1),
                    context_latents=beside,
                    return_dict=False,
                )[0]
            )
        return torch.cat(found)

    # -- steps and decode --------------------------------------------------------------------------

    def _set_steps(self, scheduler: Any, job: Job) -> None:
        import torch

        shift = job.number(_SHIFT.name)
        levels = self.pipe._get_timestep_schedule(job.steps, shift, torch.device("cpu"), torch.float32)
        scheduler.set_timesteps(sigmas=levels.tolist(), device="cpu")

    def _noise_shape(self, job: Job) -> tuple[int, ...]:
        frames = math.ceil(job.item.duration_s * self.pipe.latents_per_second)
        return frames, int(self.pipe.transformer.config.audio_acoustic_hidden_dim)

    def _decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        """Return [B, C, T], each at the level that the pipeline gives it; decoded in pieces, for it may be long."""
        vae = self.pipe.vae
        rows = latents.transpose(1, 2).to(next(vae.decoder.parameters()).dtype)
        samples = rows.shape[-1] * int(vae.hop_length)
        wave = _oobleck.decode(vae, rows, samples, chunked=True).float()
        peak = wave.abs().amax(dim=(1, 2), keepdim=True)
        return wave * (_LEVEL / peak.clamp(min=1e-6))

    def _latent_samples(self) -> int:
        return int(self.pipe.vae.hop_length)

    def _sound_latents(self, job: Job, length: int) -> torch.Tensor:
        assert job.item.init_audio is not None, "asked for where there is a given sound"
        vae, sound = self.pipe.vae, job.item.init_audio
        found = _oobleck.encode(vae, vae.encoder, sound, self.info.channels, length, self._device)
        return found.transpose(0, 1)
