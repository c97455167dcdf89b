"""Random checkpoints of the newer diffusion models in diffusers' layouts, made on the spot: tiny by default.

As checkpoints.py: ``NAME_parts(sizes)`` builds the modules, ``NAME(directory)`` saves them, weights come from a fixed
seed. What the libraries start at zero is drawn too, or sounds would not depend on what they are made of.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tests.support.checkpoints import LETTERS, WORDS, Sizes, lively, oobleck, t5_tokenizer

from audio_pool.engines._oobleck import legacy_weight_norm

STABLE_AUDIO_3: Sizes = {
    "vae": {
        "patch_size": 64,
        "encoder_channels": 16,
        "encoder_c_mults": (2,),
        "encoder_strides": (4,),
        "encoder_transformer_depths": (2,),
        "latent_dim": 8,
        "dim_heads": 16,
        "decoder_sinusoidal_blocks": (2,),
    },
    "text": {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
    },
    "duration": {"output_dim": 32, "fourier_dim": 16},
    "transformer": {
        "io_channels": 8,
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
        "cond_token_dim": 32,
        "global_cond_dim": 32,
        "local_add_cond_dim": 9,
        "timestep_features_dim": 16,
        "num_memory_tokens": 4,
    },
}


def drawn(module: torch.nn.Module, gain: float = 1.0) -> None:
    """Draw every weight, gains and biases about where the libraries start them."""
    lively(module, gain)
    for name, parameter in module.named_parameters():
        if parameter.ndim < 2:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
        elif name.endswith("weight_g"):
            parameter.data.uniform_(0.5, 1.5)


def gemma_tokenizer(longest: int) -> Any:
    """A Gemma tokenizer of letters and a few words."""
    from transformers import GemmaTokenizer

    vocabulary = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<mask>": 4, "▁": 5}
    for letter in LETTERS:
        vocabulary[letter] = len(vocabulary)
    merges = []
    for word in WORDS[:6]:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
            merges.append((word[: end - 1], word[end - 1]))
    return GemmaTokenizer(vocab=vocabulary, merges=merges, model_max_length=longest)


def stable_audio_3_parts(sizes: Sizes = STABLE_AUDIO_3, *, distilled: bool = True) -> dict[str, Any]:
    from diffusers import AutoencoderSAME, FlowMatchEulerDiscreteScheduler, StableAudio3DiTModel
    from diffusers.pipelines.stable_audio_3 import StableAudio3DurationEmbedder
    from transformers import T5GemmaConfig, T5GemmaEncoderModel

    with legacy_weight_norm():
        vae = AutoencoderSAME(**sizes["vae"])
    config = T5GemmaConfig(
        encoder=dict(sizes["text"]), decoder=dict(sizes["text"]), is_encoder_decoder=False, vocab_size=64
    )
    parts = {
        "vae": vae,
        "text_encoder": T5GemmaEncoderModel(config),
        "duration_embedder": StableAudio3DurationEmbedder(**sizes["duration"]),
        "transformer": StableAudio3DiTModel(**sizes["transformer"]),
    }
    drawn(vae, 0.7)
    for module in (parts["duration_embedder"], parts["transformer"]):
        drawn(module)
    # a flow's slope is of the size of the sound and its noise, or a few steps blow up
    parts["transformer"].proj_out.weight.data *= 0.15
    with torch.device("cpu"):
        scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, stochastic_sampling=distilled)
    return {**parts, "tokenizer": gemma_tokenizer(40), "scheduler": scheduler}


def stable_audio_3(directory: Path, sizes: Sizes = STABLE_AUDIO_3, *, distilled: bool = True) -> Path:
    """What diffusers' converter makes of stabilityai/stable-audio-3-medium, or of its undistilled base."""
    from diffusers import StableAudio3Pipeline

    torch.manual_seed(15)
    StableAudio3Pipeline(**stable_audio_3_parts(sizes, distilled=distilled)).save_pretrained(str(directory))
    return directory


LONGCAT: Sizes = {
    "vae": {
        "channels": 8,
        "c_mults": [1, 2, 2],
        "strides": [4, 8, 16],
        "latent_dim": 8,
        "encoder_latent_dim": 16,
        "downsampling_ratio": 512,
    },
    "text": {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    "transformer": {"dit_dim": 32, "dit_depth": 2, "dit_heads": 2, "dit_text_dim": 32, "latent_dim": 8},
}


def longcat_parts(sizes: Sizes = LONGCAT) -> dict[str, Any]:
    from diffusers import FlowMatchEulerDiscreteScheduler, LongCatAudioDiTTransformer, LongCatAudioDiTVae
    from transformers import UMT5Config, UMT5EncoderModel

    with legacy_weight_norm():
        vae = LongCatAudioDiTVae(**sizes["vae"])
    transformer = LongCatAudioDiTTransformer(**sizes["transformer"])
    drawn(vae, 0.7)
    vae.decoder.layers[-2].weight_g.data *= 0.003  # its shortcuts add up
    drawn(transformer)
    with torch.device("cpu"):
        scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0, invert_sigmas=True)
    return {
        "vae": vae,
        "text_encoder": UMT5EncoderModel(UMT5Config(**sizes["text"], is_encoder_decoder=False, use_cache=False)),
        "tokenizer": t5_tokenizer(longest=48),
        "transformer": transformer,
        "scheduler": scheduler,
    }


def longcat(directory: Path, sizes: Sizes = LONGCAT) -> Path:
    """LongCat-AudioDiT's layout as diffusers' converter makes it."""
    from diffusers import LongCatAudioDiTPipeline

    torch.manual_seed(16)
    LongCatAudioDiTPipeline(**longcat_parts(sizes)).save_pretrained(str(directory))
    return directory


_ACE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "sliding_window": 8,
}
ACE_STEP: Sizes = {
    "vae": {
        "encoder_hidden_size": 16,
        "downsampling_ratios": [2, 4, 4, 6, 10],
        "channel_multiples": [1, 1, 1, 2, 2],
        "decoder_channels": 4,
        "decoder_input_channels": 8,
        "audio_channels": 2,
        "sampling_rate": 48000,
    },
    "text": {
        "vocab_size": 260,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
    },
    "transformer": {**_ACE, "num_hidden_layers": 2, "in_channels": 24, "audio_acoustic_hidden_dim": 8},
    "condition": {
        **_ACE,
        "text_hidden_dim": 32,
        "timbre_hidden_dim": 8,
        "num_lyric_encoder_hidden_layers": 1,
        "num_timbre_encoder_hidden_layers": 1,
    },
    "tokens": {
        **_ACE,
        "audio_acoustic_hidden_dim": 8,
        "num_attention_pooler_hidden_layers": 1,
    },
    "fsq": {"fsq_dim": 32, "fsq_input_levels": [8, 8, 5]},
}


def byte_tokenizer(longest: int) -> Any:
    """A byte-level tokenizer without merges, with the end of text as Qwen has it."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    vocabulary = {letter: at for at, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(BPE(vocab={**vocabulary, "<|endoftext|>": len(vocabulary)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=end, pad_token=end, model_max_length=longest)


def ace_step_parts(sizes: Sizes = ACE_STEP, *, turbo: bool = False, tokens: bool = True) -> dict[str, Any]:
    from diffusers import AceStepTransformer1DModel, FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.ace_step import (
        AceStepAudioTokenDetokenizer,
        AceStepAudioTokenizer,
        AceStepConditionEncoder,
    )
    from transformers import Qwen3Config, Qwen3Model

    condition = AceStepConditionEncoder(**sizes["condition"])
    condition.silence_latent = 0.3 * torch.randn(condition.silence_latent.shape)
    transformer = AceStepTransformer1DModel(**sizes["transformer"], is_turbo=turbo)
    parts = {
        "vae": oobleck(sizes["vae"]),
        "text_encoder": Qwen3Model(Qwen3Config(**sizes["text"])),
        "transformer": transformer,
        "condition_encoder": condition,
    }
    for name, parameter in parts["vae"].named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()  # or the narrow decoder says mostly these
    drawn(transformer)
    drawn(condition)
    if tokens:
        parts["audio_tokenizer"] = AceStepAudioTokenizer(**sizes["tokens"], **sizes["fsq"])
        parts["audio_token_detokenizer"] = AceStepAudioTokenDetokenizer(**sizes["tokens"])
        drawn(parts["audio_tokenizer"], 2.0)
        drawn(parts["audio_token_detokenizer"])
    with torch.device("cpu"):
        scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0)
    return {**parts, "tokenizer": byte_tokenizer(4096), "scheduler": scheduler}


def ace_step(directory: Path, sizes: Sizes = ACE_STEP, *, turbo: bool = False, tokens: bool = True) -> Path:
    """ACE-Step 1.5's layout as diffusers' converter makes it, of its base or its turbo model."""
    from diffusers import AceStepPipeline

    torch.manual_seed(17)
    AceStepPipeline(**ace_step_parts(sizes, turbo=turbo, tokens=tokens)).save_pretrained(str(directory))
    return directory
