"""Tiny random checkpoints in the official directory layouts, made on the spot.

The layouts are the real ones (file names, keys, legacy weight-norm names, class names); only the sizes
are small. Weights are drawn from a fixed seed, so a checkpoint is the same in every run.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from audio_pool.engines._oobleck import legacy_weight_norm

PIECES = "abcdefghijklmnopqrstuvwxyz"
WORDS = ("rain", "tin", "roof", "dog", "bark", "wind", "sea", "low", "quality", "music", "the", "a", "on")


def t5_tokenizer(directory: Path, longest: int = 512) -> int:
    """A T5 tokenizer of letters and a few words; returns the size of its vocabulary."""
    from transformers import T5Tokenizer

    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    vocabulary += [("▁" + word, -2.0) for word in WORDS]
    vocabulary += [(letter, -6.0) for letter in PIECES]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=longest)
    tokenizer.save_pretrained(str(directory))
    return len(vocabulary)


def t5_config(vocabulary: int, width: int = 32) -> object:
    from transformers import T5Config

    return T5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=8,
        d_ff=2 * width,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
        use_cache=False,
    )


def oobleck(**sizes: object) -> object:
    """A small AutoencoderOobleck with every weight random (its snakes start at zero)."""
    from diffusers import AutoencoderOobleck

    with legacy_weight_norm():
        vae = AutoencoderOobleck(**sizes)
    for name, parameter in vae.named_parameters():
        if name.endswith(("alpha", "beta")):
            parameter.data.normal_(0.0, 0.2)
    return vae


OOBLECK = {
    "encoder_hidden_size": 8,
    "downsampling_ratios": [4, 4, 8, 16],
    "channel_multiples": [1, 1, 2, 2],
    "decoder_channels": 4,
    "decoder_input_channels": 64,
    "audio_channels": 2,
    "sampling_rate": 44100,
}


def tangoflux(directory: Path, *, text_beside: bool = True, sequence: int = 645) -> Path:
    """declare-lab/TangoFlux's three files, vae_config.json, and flan-t5-large's config and tokenizer."""
    from diffusers import FluxTransformer2DModel
    from transformers import T5EncoderModel

    torch.manual_seed(11)
    model = directory / "TangoFlux"
    model.mkdir(parents=True)
    text = (directory if text_beside else model) / "flan-t5-large"
    text.mkdir()
    width = 32
    config = t5_config(t5_tokenizer(text), width)
    config.save_pretrained(str(text))
    sizes = {
        "num_layers": 1,
        "num_single_layers": 1,
        "in_channels": 64,
        "attention_head_dim": 128,
        "joint_attention_dim": width,
        "num_attention_heads": 1,
    }
    given = {**sizes, "audio_seq_len": sequence, "max_duration": 30, "text_encoder_name": "google/flan-t5-large"}
    (model / "config.json").write_text(json.dumps(given))
    encoder = T5EncoderModel(config)
    weights = {"text_encoder." + name: value for name, value in encoder.state_dict().items()}
    weights.pop("text_encoder.encoder.embed_tokens.weight", None)
    weights["fc.0.weight"] = torch.randn(width, width) / width**0.5
    weights["fc.0.bias"] = torch.randn(width) * 0.1
    weights["duration_emebdder.time_positional_embedding.0.weights"] = torch.randn(128)
    weights["duration_emebdder.time_positional_embedding.1.weight"] = torch.randn(width, 257) * 0.1
    weights["duration_emebdder.time_positional_embedding.1.bias"] = torch.randn(width) * 0.1
    transformer = FluxTransformer2DModel(**sizes, pooled_projection_dim=width, guidance_embeds=False)
    weights |= {"transformer." + name: value for name, value in transformer.state_dict().items()}
    save_file({name: value.contiguous() for name, value in weights.items()}, model / "tangoflux.safetensors")
    save_file(oobleck(**OOBLECK).state_dict(), model / "vae.safetensors")
    (model / "vae_config.json").write_text(json.dumps(OOBLECK))
    return model


def lively(module: torch.nn.Module, gain: float = 1.0) -> None:
    """Weights that carry a signal through: libraries start many of theirs near zero."""
    for parameter in module.parameters():
        if parameter.ndim >= 2:
            parameter.data.normal_(0.0, gain * (parameter.numel() // parameter.shape[0]) ** -0.5)


def roberta_tokenizer(directory: Path | None = None, longest: int = 64) -> object:
    """A RoBERTa tokenizer of single bytes."""
    from transformers import RobertaTokenizer

    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "Ġ": 5}
    for letter in PIECES:
        vocabulary[letter] = len(vocabulary)
    return RobertaTokenizer(vocab=vocabulary, merges=[], model_max_length=longest)


def mel_parts(text_width: int = 16) -> dict[str, object]:
    """VAE, vocoder and scheduler of the AudioLDM family: 16 kHz, 160 samples a mel frame, scale 4."""
    from diffusers import AutoencoderKL, DDIMScheduler
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=4,
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        scaling_factor=0.5,
    )
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=16,
            sampling_rate=16000,
            upsample_initial_channel=64,
            upsample_rates=[5, 4, 4, 2],
            upsample_kernel_sizes=[16, 16, 8, 4],
            resblock_kernel_sizes=[3, 7],
            resblock_dilation_sizes=[[1, 3], [1, 3]],
            normalize_before=False,
        )
    )
    scheduler = DDIMScheduler(
        beta_start=0.0015,
        beta_end=0.0195,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    lively(vocoder, 1.2)
    return {"vae": vae, "vocoder": vocoder, "scheduler": scheduler}


def audioldm(directory: Path) -> Path:
    """cvssp/audioldm's layout, as its pipeline saves it."""
    from diffusers import AudioLDMPipeline, UNet2DConditionModel
    from transformers import ClapTextConfig, ClapTextModelWithProjection

    torch.manual_seed(12)
    width = 64
    tokenizer = roberta_tokenizer()
    text = ClapTextModelWithProjection(
        ClapTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_attention_heads=2,
            num_hidden_layers=2,
            projection_dim=width,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
            max_position_embeddings=80,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=(16, 32),
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=width,
        class_embeddings_concat=True,
    )
    lively(text)
    lively(unet.class_embedding, 3.0)
    pipe = AudioLDMPipeline(text_encoder=text, tokenizer=tokenizer, unet=unet, **mel_parts())
    pipe.save_pretrained(str(directory))
    return directory


def audioldm2(directory: Path) -> Path:
    """cvssp/audioldm2's layout, which names GPT2Model as its language model."""
    from diffusers import AudioLDM2Pipeline, AudioLDM2ProjectionModel, AudioLDM2UNet2DConditionModel
    from transformers import (
        ClapConfig,
        ClapFeatureExtractor,
        ClapModel,
        GPT2Config,
        GPT2LMHeadModel,
        GPT2Model,
        T5EncoderModel,
        T5Tokenizer,
    )

    torch.manual_seed(13)
    tokenizer = roberta_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "projection_dim": 16,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "max_position_embeddings": 80,
    }
    audio = {
        "spec_size": 64,
        "window_size": 4,
        "num_mel_bins": 64,
        "intermediate_size": 37,
        "depths": [1, 1],
        "num_attention_heads": [1, 1],
        "num_hidden_layers": 2,
        "hidden_size": 32,
        "projection_dim": 16,
        "patch_size": 2,
        "patch_stride": 2,
        "patch_embed_input_channels": 4,
        "patch_embeds_hidden_size": 16,
    }
    clap = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=16))
    t5 = directory / "tokenizer_2"
    vocabulary = t5_tokenizer(t5)
    language = GPT2Config(
        n_embd=16, n_head=2, n_layer=2, vocab_size=50, n_ctx=128, n_positions=128, bos_token_id=0, eos_token_id=1
    )
    language.max_new_tokens = 8
    unet = AudioLDM2UNet2DConditionModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=([None, 16, 24], [None, 16, 24]),
    )
    pipe = AudioLDM2Pipeline(
        text_encoder=clap,
        text_encoder_2=T5EncoderModel(t5_config(vocabulary, 24)),
        projection_model=AudioLDM2ProjectionModel(16, 24, 16),
        language_model=GPT2LMHeadModel(language),
        tokenizer=tokenizer,
        tokenizer_2=T5Tokenizer.from_pretrained(str(t5)),
        feature_extractor=ClapFeatureExtractor(feature_size=64),
        unet=unet,
        **mel_parts(),
    )
    for part in (pipe.text_encoder.text_model, pipe.text_encoder_2, pipe.projection_model, pipe.language_model):
        lively(part)
    pipe.save_pretrained(str(directory))
    # as the official repositories have it: the bare model, by the bare model's name
    bare: GPT2Model = pipe.language_model.transformer
    bare.save_pretrained(str(directory / "language_model"))
    index = json.loads((directory / "model_index.json").read_text())
    index["language_model"] = ["transformers", "GPT2Model"]
    (directory / "model_index.json").write_text(json.dumps(index))
    return directory


def stable_audio(directory: Path) -> Path:
    """stabilityai/stable-audio-open-1.0's layout: 1.5 s long instead of 47."""
    from diffusers import (
        CosineDPMSolverMultistepScheduler,
        StableAudioDiTModel,
        StableAudioPipeline,
        StableAudioProjectionModel,
    )
    from transformers import T5EncoderModel, T5Tokenizer

    torch.manual_seed(14)
    vocabulary = t5_tokenizer(directory / "tokenizer", longest=24)
    width, latent = 32, 4
    pipe = StableAudioPipeline(
        vae=oobleck(**{**OOBLECK, "decoder_input_channels": latent}),
        text_encoder=T5EncoderModel(t5_config(vocabulary, width)),
        projection_model=StableAudioProjectionModel(
            text_encoder_dim=width, conditioning_dim=width, min_value=0, max_value=32
        ),
        tokenizer=T5Tokenizer.from_pretrained(str(directory / "tokenizer")),
        transformer=StableAudioDiTModel(
            sample_size=32,
            in_channels=latent,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            num_key_value_attention_heads=1,
            out_channels=latent,
            cross_attention_dim=width,
            time_proj_dim=16,
            global_states_input_dim=2 * width,
            cross_attention_input_dim=width,
        ),
        scheduler=CosineDPMSolverMultistepScheduler(sigma_min=0.3, sigma_max=500.0),
    )
    lively(pipe.text_encoder)
    pipe.save_pretrained(str(directory))
    return directory
