"""Random checkpoints in the official directory layouts, made on the spot: tiny by default.

The layouts are the real ones (file names, keys, legacy weight-norm names, class names); the sizes are
given by the arguments, so that benchmarks can build the same models at their official sizes. Weights
are drawn from a fixed seed, so a checkpoint is the same in every run.

Each model has two functions: ``NAME_parts(sizes)`` builds its modules, ``NAME(directory)`` saves them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from audio_pool.engines._oobleck import legacy_weight_norm

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ("rain", "tin", "roof", "dog", "bark", "wind", "sea", "low", "quality", "music", "the", "a", "on")
Sizes = Mapping[str, Mapping[str, Any]]

T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "feed_forward_proj": "gated-gelu"}
OOBLECK = {
    "encoder_hidden_size": 8,
    "downsampling_ratios": [4, 4, 8, 16],
    "channel_multiples": [1, 1, 2, 2],
    "decoder_channels": 4,
    "decoder_input_channels": 64,
    "audio_channels": 2,
    "sampling_rate": 44100,
}
TANGOFLUX: Sizes = {
    "text": T5,
    "transformer": {
        "num_layers": 1,
        "num_single_layers": 1,
        "in_channels": 64,
        "attention_head_dim": 128,
        "joint_attention_dim": 32,
        "num_attention_heads": 1,
    },
    "vae": OOBLECK,
}
# Both halves of its autoencoder fit its transformer, as those of the official model do.
TANGOFLUX_WHOLE: Sizes = {
    "text": T5,
    "transformer": {**TANGOFLUX["transformer"], "in_channels": 4},
    "vae": {**OOBLECK, "decoder_input_channels": 4},
}
MEL: Sizes = {
    "vae": {"latent_channels": 4, "block_out_channels": (8, 8, 16), "norm_num_groups": 4, "scaling_factor": 0.5},
    "vocoder": {
        "model_in_dim": 16,
        "upsample_initial_channel": 64,
        "upsample_rates": [5, 4, 4, 2],
        "upsample_kernel_sizes": [16, 16, 8, 4],
        "resblock_kernel_sizes": [3, 7],
        "resblock_dilation_sizes": [[1, 3], [1, 3]],
    },
}
_UNET = {
    "sample_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 1,
    "block_out_channels": (16, 32),
    "norm_num_groups": 8,
    "attention_head_dim": 8,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}
_ROBERTA = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
AUDIOLDM: Sizes = {
    **MEL,
    "text": {**_ROBERTA, "projection_dim": 64, "max_position_embeddings": 80},
    "unet": {**_UNET, "cross_attention_dim": (16, 32), "projection_class_embeddings_input_dim": 64},
}
AUDIOLDM2: Sizes = {
    **MEL,
    "text": {**_ROBERTA, "projection_dim": 16, "max_position_embeddings": 80},
    "text_2": {**T5, "d_model": 24},
    "language": {"n_embd": 16, "n_head": 2, "n_layer": 2, "vocab_size": 50, "n_positions": 128},
    "unet": {**_UNET, "cross_attention_dim": ([None, 16, 24], [None, 16, 24])},
}
STABLE_AUDIO: Sizes = {
    "vae": {**OOBLECK, "decoder_input_channels": 4},
    "text": T5,
    "projection": {"text_encoder_dim": 32, "conditioning_dim": 32, "min_value": 0, "max_value": 32},
    "transformer": {
        "sample_size": 32,
        "in_channels": 4,
        "num_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "num_key_value_attention_heads": 1,
        "out_channels": 4,
        "cross_attention_dim": 32,
        "time_proj_dim": 16,
        "global_states_input_dim": 64,
        "cross_attention_input_dim": 32,
    },
}

CLAP: Sizes = {
    "text": {**_ROBERTA, "projection_dim": 16, "max_position_embeddings": 100},
    "audio": {
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 2, 2, 4],
        "patch_embeds_hidden_size": 8,
        "hidden_size": 64,
        "num_hidden_layers": 4,
    },
}

ENCODEC = {
    "target_bandwidths": [1.2],
    "sampling_rate": 32000,
    "audio_channels": 1,
    "normalize": False,
    "chunk_length_s": None,
    "overlap": None,
    "hidden_size": 16,
    "num_filters": 4,
    "codebook_size": 64,
    "codebook_dim": 16,
    "upsampling_ratios": [8, 5, 4, 4],
    "use_causal_conv": False,
    "use_conv_shortcut": False,
    "norm_type": "weight_norm",
}
MUSICGEN: Sizes = {
    "text": T5,
    "codec": ENCODEC,
    "decoder": {
        "vocab_size": 64,
        "pad_token_id": 64,
        "bos_token_id": 64,
        "num_codebooks": 4,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 96,
    },
}
MUSICGEN_STEREO: Sizes = {**MUSICGEN, "decoder": {**MUSICGEN["decoder"], "num_codebooks": 8, "audio_channels": 2}}
MUSICGEN_MELODY: Sizes = {**MUSICGEN, "tune": {"num_chroma": 12, "chroma_length": 235}}


# -- pieces ----------------------------------------------------------------------------------------------


def lively(module: torch.nn.Module, gain: float = 1.0) -> None:
    """Weights that carry a signal through: libraries start many of theirs near zero."""
    for parameter in module.parameters():
        if parameter.ndim >= 2:
            parameter.data.normal_(0.0, gain * (parameter.numel() // parameter.shape[0]) ** -0.5)


def t5_tokenizer(longest: int = 512) -> Any:
    """A T5 tokenizer of letters and a few words."""
    from transformers import T5Tokenizer

    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    vocabulary += [("▁" + word, -2.0) for word in WORDS]
    vocabulary += [(letter, -6.0) for letter in LETTERS]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=longest)


def roberta_tokenizer(longest: int = 64) -> Any:
    """A RoBERTa tokenizer of single bytes."""
    from transformers import RobertaTokenizer

    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "Ġ": 5}
    for letter in LETTERS:
        vocabulary[letter] = len(vocabulary)
    return RobertaTokenizer(vocab=vocabulary, merges=[], model_max_length=longest)


def t5_config(sizes: Mapping[str, Any]) -> Any:
    from transformers import T5Config

    return T5Config(**{"vocab_size": 64, **sizes}, is_encoder_decoder=False, use_cache=False)


def roberta_config(sizes: Mapping[str, Any]) -> dict[str, Any]:
    return {"vocab_size": 64, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, **sizes}


def oobleck(sizes: Mapping[str, Any]) -> Any:
    """An AutoencoderOobleck with every weight random (its snakes start at zero)."""
    from diffusers import AutoencoderOobleck

    with legacy_weight_norm():
        vae = AutoencoderOobleck(**sizes)
    for name, parameter in vae.named_parameters():
        if name.endswith(("alpha", "beta")):
            parameter.data.normal_(0.0, 0.2)
    return vae


def mel_parts(sizes: Sizes) -> dict[str, Any]:
    """VAE, vocoder and scheduler of the AudioLDM family: 16 kHz, 160 samples a mel frame, scale 4."""
    from diffusers import AutoencoderKL, DDIMScheduler
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    blocks = len(sizes["vae"]["block_out_channels"])
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        **sizes["vae"],
    )
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(sampling_rate=16000, normalize_before=False, **sizes["vocoder"])
    )
    lively(vocoder, 1.2)
    with torch.device("cpu"):  # it computes its noise levels at once
        scheduler = DDIMScheduler(
            beta_start=0.0015,
            beta_end=0.0195,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        )
    return {"vae": vae, "vocoder": vocoder, "scheduler": scheduler}


# -- TangoFlux -------------------------------------------------------------------------------------------


def tangoflux_parts(sizes: Sizes = TANGOFLUX) -> dict[str, Any]:
    """Modules: text_encoder, fc, duration (its Linear), transformer, vae."""
    from diffusers import FluxTransformer2DModel
    from transformers import T5EncoderModel

    width, joint = sizes["text"]["d_model"], sizes["transformer"]["joint_attention_dim"]
    parts = {
        "text_encoder": T5EncoderModel(t5_config(sizes["text"])),
        "fc": torch.nn.Sequential(torch.nn.Linear(width, joint), torch.nn.ReLU()),
        "duration": torch.nn.Linear(257, width),
        "transformer": FluxTransformer2DModel(
            **sizes["transformer"], pooled_projection_dim=width, guidance_embeds=False
        ),
        "vae": oobleck(sizes["vae"]),
    }
    lively(parts["fc"])
    # one token of hundreds: or what it does would drown in rounding
    lively(parts["duration"], 20.0)
    lively(parts["transformer"], 0.9)
    return parts


def tangoflux(
    directory: Path,
    sizes: Sizes = TANGOFLUX,
    *,
    text_beside: bool = True,
    sequence: int = 645,
    longest_s: float = 30,
) -> Path:
    """declare-lab/TangoFlux's three files, vae_config.json, and flan-t5-large's config and tokenizer."""
    torch.manual_seed(11)
    model = directory / "TangoFlux"
    model.mkdir(parents=True)
    text = (directory if text_beside else model) / "flan-t5-large"
    parts = tangoflux_parts(sizes)
    t5_tokenizer().save_pretrained(str(text))
    parts["text_encoder"].config.save_pretrained(str(text))
    given = {"audio_seq_len": sequence, "max_duration": longest_s, "text_encoder_name": "google/flan-t5-large"}
    (model / "config.json").write_text(json.dumps({**sizes["transformer"], **given}))
    weights = {"duration_emebdder.time_positional_embedding.0.weights": torch.randn(128)}
    prefixes = {
        "text_encoder": "text_encoder.",
        "fc": "fc.",
        "duration": "duration_emebdder.time_positional_embedding.1.",
        "transformer": "transformer.",
    }
    for name, prefix in prefixes.items():
        weights |= {prefix + key: value.contiguous() for key, value in parts[name].state_dict().items()}
    weights.pop("text_encoder.encoder.embed_tokens.weight", None)
    save_file(weights, model / "tangoflux.safetensors")
    save_file(parts["vae"].state_dict(), model / "vae.safetensors")
    (model / "vae_config.json").write_text(json.dumps(sizes["vae"]))
    return model


# -- diffusers' pipelines --------------------------------------------------------------------------------


def audioldm_parts(sizes: Sizes = AUDIOLDM) -> dict[str, Any]:
    from diffusers import UNet2DConditionModel
    from transformers import ClapTextConfig, ClapTextModelWithProjection

    text = ClapTextModelWithProjection(ClapTextConfig(**roberta_config(sizes["text"])))
    unet = UNet2DConditionModel(
        class_embed_type="simple_projection", class_embeddings_concat=True, **sizes["unet"]
    )
    lively(text)
    lively(unet.class_embedding, 3.0)
    tokenizer = roberta_tokenizer(longest=64 if sizes is AUDIOLDM else 512)
    return {"text_encoder": text, "tokenizer": tokenizer, "unet": unet, **mel_parts(sizes)}


def audioldm(directory: Path, sizes: Sizes = AUDIOLDM) -> Path:
    """cvssp/audioldm's layout, as its pipeline saves it."""
    from diffusers import AudioLDMPipeline

    torch.manual_seed(12)
    AudioLDMPipeline(**audioldm_parts(sizes)).save_pretrained(str(directory))
    return directory


def audioldm2_parts(sizes: Sizes = AUDIOLDM2) -> dict[str, Any]:
    from diffusers import AudioLDM2ProjectionModel, AudioLDM2UNet2DConditionModel
    from transformers import (
        ClapConfig,
        ClapFeatureExtractor,
        ClapModel,
        GPT2Config,
        GPT2LMHeadModel,
        T5EncoderModel,
    )

    # the sound half of CLAP is in the layout, and has no part in making sounds
    audio = {
        "spec_size": 64,
        "window_size": 4,
        "num_mel_bins": 64,
        "intermediate_size": 37,
        "depths": [1, 1],
        "num_attention_heads": [1, 1],
        "num_hidden_layers": 2,
        "hidden_size": 32,
        "patch_size": 2,
        "patch_stride": 2,
        "patch_embed_input_channels": 4,
        "patch_embeds_hidden_size": 16,
    }
    shared = sizes["text"]["projection_dim"]
    text = roberta_config(sizes["text"])
    clap = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=shared))
    language = GPT2Config(bos_token_id=0, eos_token_id=1, **sizes["language"])
    language.max_new_tokens = 8
    parts = {
        "text_encoder": clap,
        "text_encoder_2": T5EncoderModel(t5_config(sizes["text_2"])),
        "projection_model": AudioLDM2ProjectionModel(
            shared, sizes["text_2"]["d_model"], sizes["language"]["n_embd"]
        ),
        "language_model": GPT2LMHeadModel(language),
    }
    for part in (clap.text_model, *list(parts.values())[1:]):
        lively(part)
    unet = AudioLDM2UNet2DConditionModel(**sizes["unet"])
    return {
        **parts,
        "tokenizer": roberta_tokenizer(longest=64 if sizes is AUDIOLDM2 else 512),
        "tokenizer_2": t5_tokenizer(),
        "feature_extractor": ClapFeatureExtractor(feature_size=64),
        "unet": unet,
        **mel_parts(sizes),
    }


def audioldm2(directory: Path, sizes: Sizes = AUDIOLDM2) -> Path:
    """cvssp/audioldm2's layout, which names GPT2Model as its language model."""
    from diffusers import AudioLDM2Pipeline

    torch.manual_seed(13)
    parts = audioldm2_parts(sizes)
    AudioLDM2Pipeline(**parts).save_pretrained(str(directory))
    # as the official repositories have it: the bare model, by the bare model's name
    parts["language_model"].transformer.save_pretrained(str(directory / "language_model"))
    index = json.loads((directory / "model_index.json").read_text())
    index["language_model"] = ["transformers", "GPT2Model"]
    (directory / "model_index.json").write_text(json.dumps(index))
    return directory


def stable_audio_scheduler() -> Any:
    from diffusers import CosineDPMSolverMultistepScheduler

    with torch.device("cpu"):  # it computes its noise levels at once, which a benchmark's meta device has none of
        return CosineDPMSolverMultistepScheduler(sigma_min=0.3, sigma_max=500.0)


def stable_audio_parts(sizes: Sizes = STABLE_AUDIO, scheduler: Any = None) -> dict[str, Any]:
    from diffusers import StableAudioDiTModel, StableAudioProjectionModel
    from transformers import T5EncoderModel

    text = T5EncoderModel(t5_config(sizes["text"]))
    projection = StableAudioProjectionModel(**sizes["projection"])
    lively(text)
    lively(projection, 3.0)
    return {
        "vae": oobleck(sizes["vae"]),
        "text_encoder": text,
        "projection_model": projection,
        "tokenizer": t5_tokenizer(longest=24 if sizes is STABLE_AUDIO else 128),
        "transformer": StableAudioDiTModel(**sizes["transformer"]),
        "scheduler": scheduler or stable_audio_scheduler(),
    }


def stable_audio(directory: Path, sizes: Sizes = STABLE_AUDIO) -> Path:
    """stabilityai/stable-audio-open-1.0's layout: 1.5 s long instead of 47."""
    from diffusers import StableAudioPipeline

    torch.manual_seed(14)
    StableAudioPipeline(**stable_audio_parts(sizes)).save_pretrained(str(directory))
    return directory


# -- language models of audio tokens ---------------------------------------------------------------------


def encodec(sizes: Mapping[str, Any]) -> Any:
    """An EncodecModel with every weight random (its codebooks start at zero)."""
    from transformers import EncodecConfig, EncodecModel

    codec = EncodecModel(EncodecConfig(**sizes))
    lively(codec.encoder, 1.2)
    lively(codec.decoder, 1.2)
    for layer in codec.quantizer.layers:
        layer.codebook.embed.normal_()
    return codec


def musicgen_parts(sizes: Sizes = MUSICGEN) -> dict[str, Any]:
    """Modules: model (all of it in one, with a tune's projection where the sizes have ``tune``), tokenizer."""
    import transformers as library
    from transformers import T5EncoderModel

    kind = "MusicgenMelody" if "tune" in sizes else "Musicgen"
    decoder_config = getattr(library, f"{kind}DecoderConfig")(**sizes["decoder"])
    decoder = getattr(library, f"{kind}ForCausalLM")(decoder_config)
    text, codec = T5EncoderModel(t5_config(sizes["text"])), encodec(sizes["codec"])
    config = getattr(library, f"{kind}Config")(
        text_encoder=text.config, audio_encoder=codec.config, decoder=decoder.config, **sizes.get("tune", {})
    )
    cls = getattr(library, f"{kind}ForConditionalGeneration")
    model = cls(config, text_encoder=text, audio_encoder=codec, decoder=decoder)
    for part in (text, decoder):
        part.set_attn_implementation("sdpa")  # as they are loaded
    for part in (text, decoder, model.enc_to_dec_proj, getattr(model, "audio_enc_to_dec_proj", text)):
        lively(part)
    return {"model": model, "tokenizer": t5_tokenizer()}


def musicgen(directory: Path, sizes: Sizes = MUSICGEN) -> Path:
    """facebook/musicgen-small's layout, as transformers saves it."""
    torch.manual_seed(15)
    parts = musicgen_parts(sizes)
    parts["model"].save_pretrained(str(directory))
    parts["tokenizer"].save_pretrained(str(directory))
    return directory
