"""The official models' sizes, for random weights: speed and memory do not depend on their values.

From the models' published configurations; each has the keys that tests/support/checkpoints.py builds from.
"""

from __future__ import annotations

from typing import Any

_FLAN_T5_LARGE = {
    "vocab_size": 32_128,
    "d_model": 1024,
    "d_kv": 64,
    "d_ff": 2816,
    "num_layers": 24,
    "num_heads": 16,
    "feed_forward_proj": "gated-gelu",
}
_T5_BASE = {
    "vocab_size": 32_128,
    "d_model": 768,
    "d_kv": 64,
    "d_ff": 3072,
    "num_layers": 12,
    "num_heads": 12,
    "feed_forward_proj": "relu",
}
_ROBERTA_BASE = {
    "vocab_size": 50_265,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "max_position_embeddings": 514,
    "projection_dim": 512,
}
_OOBLECK = {
    "encoder_hidden_size": 128,
    "downsampling_ratios": [2, 4, 4, 8, 8],
    "channel_multiples": [1, 2, 4, 8, 16],
    "decoder_channels": 128,
    "decoder_input_channels": 64,
    "audio_channels": 2,
    "sampling_rate": 44_100,
}
_MEL = {
    "vae": {
        "latent_channels": 8,
        "block_out_channels": (128, 256, 512),
        "layers_per_block": 2,
        "scaling_factor": 0.9228,
    },
    "vocoder": {
        "model_in_dim": 64,
        "upsample_initial_channel": 1024,
        "upsample_rates": [5, 4, 2, 2, 2],
        "upsample_kernel_sizes": [16, 16, 8, 4, 4],
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5]] * 3,
    },
}
_WIDTHS = (128, 256, 384, 640)
_UNET = {
    "sample_size": 128,
    "in_channels": 8,
    "out_channels": 8,
    "layers_per_block": 2,
    "block_out_channels": _WIDTHS,
    "attention_head_dim": 32,
    "down_block_types": ("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 3,
    "up_block_types": ("CrossAttnUpBlock2D",) * 3 + ("UpBlock2D",),
}

SIZES: dict[str, dict[str, Any]] = {
    "tangoflux": {
        "text": _FLAN_T5_LARGE,
        "transformer": {
            "num_layers": 6,
            "num_single_layers": 18,
            "in_channels": 64,
            "attention_head_dim": 128,
            "joint_attention_dim": 1024,
            "num_attention_heads": 8,
        },
        "vae": _OOBLECK,
    },
    "audioldm": {
        **_MEL,
        "text": _ROBERTA_BASE,
        "unet": {**_UNET, "cross_attention_dim": _WIDTHS, "projection_class_embeddings_input_dim": 512},
    },
    "audioldm2": {
        **_MEL,
        "text": _ROBERTA_BASE,
        "text_2": _FLAN_T5_LARGE,
        "language": {"n_embd": 768, "n_head": 12, "n_layer": 12, "vocab_size": 50_257, "n_positions": 1024},
        "unet": {**_UNET, "cross_attention_dim": ([None, 768, 1024],) * 4},
    },
    "stable_audio": {
        "vae": _OOBLECK,
        "text": _T5_BASE,
        "projection": {"text_encoder_dim": 768, "conditioning_dim": 768, "min_value": 0, "max_value": 512},
        "transformer": {
            "sample_size": 1024,
            "in_channels": 64,
            "num_layers": 24,
            "attention_head_dim": 64,
            "num_attention_heads": 24,
            "num_key_value_attention_heads": 12,
            "out_channels": 64,
            "cross_attention_dim": 768,
            "time_proj_dim": 256,
            "global_states_input_dim": 1536,
            "cross_attention_input_dim": 768,
        },
    },
}

AUDIOLDM2_LARGE: dict[str, Any] = {
    **SIZES["audioldm2"],
    "unet": {**SIZES["audioldm2"]["unet"], "transformer_layers_per_block": 2},
}
"""cvssp/audioldm2-large, nearly: twice the transformer blocks of the base model make 570 M weights, where its card
says 750 M; what else differs is not known here."""

CLAP: dict[str, Any] = {
    "text": _ROBERTA_BASE,
    "audio": {
        "depths": [2, 2, 6, 2],
        "num_attention_heads": [4, 8, 16, 32],
        "patch_embeds_hidden_size": 96,
        "hidden_size": 768,
        "num_hidden_layers": 4,
    },
}
"""laion/clap-htsat-unfused: HTSAT-tiny and RoBERTa-base."""

_ENCODEC_32K = {
    "target_bandwidths": [2.2],
    "sampling_rate": 32_000,
    "audio_channels": 1,
    "normalize": False,
    "chunk_length_s": None,
    "overlap": None,
    "hidden_size": 128,
    "num_filters": 64,
    "codebook_size": 2048,
    "codebook_dim": 128,
    "upsampling_ratios": [8, 5, 4, 4],
    "use_causal_conv": False,
    "use_conv_shortcut": False,
    "norm_type": "weight_norm",
}


def _musicgen(layers: int, width: int, heads: int) -> dict[str, Any]:
    decoder = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads, "ffn_dim": 4 * width}
    return {"text": _T5_BASE, "codec": _ENCODEC_32K, "decoder": decoder}


MUSICGEN = {
    "musicgen": _musicgen(24, 1024, 16),
    "musicgen_medium": _musicgen(48, 1536, 24),
    "musicgen_large": _musicgen(48, 2048, 32),
}

USUAL: dict[str, dict[str, float | int]] = {
    "tangoflux": {"duration_s": 30.0, "steps": 50},
    "audioldm": {"duration_s": 10.0, "steps": 100},
    "audioldm2": {"duration_s": 10.0, "steps": 200},
    "stable_audio": {"duration_s": 47.0, "steps": 100},
    "musicgen": {"duration_s": 10.0},
}
"""The usual clip of each."""
