"""What a CLAP engine can be told at load.

Owns: ClapSettings.
Must not know: any model, torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["ClapSettings"]


class ClapSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration's section of the engine; parse it, the constructor checks nothing."""

    model: str = ""
    """Hub id or directory, in transformers' layout or with a LAION ``.pt`` file, or that file itself; "" is the
    engine's own default."""
    revision: str = ""
    """Of a hub id; "" is its main branch."""
    device: Annotated[str, Meta(pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")] = "cpu"
    """"auto": the first GPU this process sees, else the CPU."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    models_dir: str = ""
    """Directory of models, looked in before the hub's cache."""
    text_model: str = ""
    """Tokenizer for a LAION ``.pt``, which has none: hub id or directory of roberta-base; "" is a directory
    ``roberta-base`` beside the file, else in ``models_dir``, else in the hub's cache."""
    batch_size: Annotated[int, Meta(ge=1, le=256)] = 8
    """Windows or texts in one forward pass."""
