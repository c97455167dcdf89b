"""LAION's own ``laion-clap`` package as a scorer, in an interpreter of its own.

Owns: loading that package without a download and without unpickling, and embedding with it.
Must not know: what its vectors are used for; transformers' ClapModel (engines/clap.py).

The package needs numpy below 2, so it cannot be installed beside audio-pool: give its worker an
interpreter made with ``audio-pool env create``. As it comes it fetches three tokenizers when imported and
a RoBERTa when constructed, all but one of which it then throws away; here it gets none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import numpy as np

from audio_pool.engine_info import CompanionInfo, EngineInfo
from audio_pool.engines._clap import RATE, ClapSettings, Mono, embed_windows, unit_rows
from audio_pool.engines._laion_checkpoint import checkpoint_in, read_state, tokenizer_of
from audio_pool.engines._memory import give_back
from audio_pool.engines._torch import device_at_work, settle_device
from audio_pool.engines.base import Audio, Vectors
from audio_pool.errors import EngineUnavailable, InvalidConfig, OutOfMemory

__all__ = ["INFO", "LaionClapScorer", "Settings", "load"]

INFO = EngineInfo(
    name="laion_clap",
    role="scorer",
    languages=("en",),
    model="lukewys/laion_clap",
    licence="CC0-1.0",
    commercial_use=True,
    sample_rate=RATE,
    channels=1,
    any_rate=True,
    dimensions=512,
    requires=("torch", "transformers", "soxr", "laion_clap"),
    # the repository holds several models; this is the one meant, and it carries no tokenizer
    files=("630k-audioset-best.pt", "README.md"),
    companions=(
        CompanionInfo(
            model="FacebookAI/roberta-base",
            files=("config.json", "tokenizer*.json", "vocab.json", "merges.txt", "README.md"),
            licence="MIT",
        ),
    ),
    summary="CLAP by LAION's own package, for those who compare; the same vectors as clap",
)

_AUDIO_MODELS = {96: "HTSAT-tiny", 128: "HTSAT-base"}
"""The package's names of its audio encoders, by the width of their patches."""


Settings = ClapSettings


def load(info: EngineInfo, settings: ClapSettings) -> LaionClapScorer:
    """Load the package and a checkpoint: ``model`` is, or has, a LAION ``.pt`` file; ``dtype`` is float32.

    Raises:
        EngineUnavailable: the model or its tokenizer is not on this machine, or the package does not load.
        InvalidConfig: another dtype, or a checkpoint with feature fusion.
    """
    if settings.dtype != "float32":
        raise InvalidConfig(f"engine {info.name!r}: dtype {settings.dtype!r} was given, the package has float32 only")
    found = settings.locate(info)
    device = settle_device(settings.device)
    path = checkpoint_in(found.path)
    tokenizer = tokenizer_of(path, settings.text_model, settings.models_dir, engine=info.implementation)
    state = read_state(path, engine=info.implementation)
    width = int(state["audio_branch.patch_embed.proj.weight"].shape[0])
    if width not in _AUDIO_MODELS:
        raise EngineUnavailable(f"{info.name}: {path} is of no size that the package knows (patch width {width})")
    import torch

    try:
        with _nothing_fetched(tokenizer):
            from laion_clap import CLAP_Module

            module = CLAP_Module(enable_fusion=False, device=device, amodel=_AUDIO_MODELS[width])
        state.pop("text_branch.embeddings.position_ids", None)
        module.model.load_state_dict(state)
    except torch.OutOfMemoryError as exc:
        raise OutOfMemory(f"{info.name} does not fit on {device}", hint="device = 'cpu'") from exc
    except (ImportError, RuntimeError, OSError, ValueError, TypeError, AttributeError) as exc:
        raise EngineUnavailable(f"{info.name}: the package does not load {path}: {str(exc)[:300]}") from exc
    loaded = msgspec.structs.replace(
        info,
        model=settings.model or info.model,
        model_revision=found.revision or settings.revision,
        dtype=settings.dtype,
        quantization="none",
    )
    return LaionClapScorer(loaded, module.eval(), str(device), settings.batch_size)


@contextmanager
def _nothing_fetched(tokenizer: Any) -> Iterator[None]:
    """Inside, answer here what the package would fetch by name.

    The tokenizers of BERT and BART are of no use to it; RoBERTa's weights come with the checkpoint.
    """
    import transformers

    def empty_roberta(cls: Any, *_: Any, **__: Any) -> Any:
        return cls(transformers.RobertaConfig(max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5))

    answers: list[tuple[Any, Any]] = [
        (transformers.BertTokenizer, lambda cls, *_, **__: None),
        (transformers.BartTokenizer, lambda cls, *_, **__: None),
        (transformers.RobertaTokenizer, lambda cls, *_, **__: tokenizer),
        (transformers.RobertaModel, empty_roberta),
    ]
    with ExitStack() as undo:
        for owner, answer in answers:
            undo.callback(_put_back, owner, owner.__dict__.get("from_pretrained"))
            owner.from_pretrained = classmethod(answer)
        yield


def _put_back(owner: Any, method: Any) -> None:
    if method is None:
        del owner.from_pretrained
    else:
        owner.from_pretrained = method


class LaionClapScorer:
    """The loaded package (engines.base.Scorer)."""

    def __init__(self, info: EngineInfo, module: Any, device: str, batch_size: int) -> None:
        self.info = info
        self.device = device
        self._module = module
        self._batch_size = batch_size

    @property
    def logit_scale(self) -> float:
        """Return the factor of cosines before a softmax over labels, as the model learned it."""
        return float(self._module.model.logit_scale_a.detach().float().exp())

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [N, D], rows of unit length; texts are cut at 77 tokens by the package."""
        import torch

        vectors = np.zeros((len(texts), self.info.dimensions), np.float32)
        with device_at_work(self.info.name, torch.device(self.device)), torch.inference_mode():
            for start in range(0, len(texts), self._batch_size):
                some = list(texts[start : start + self._batch_size])
                found = self._module.get_text_embedding(some, use_tensor=True)
                vectors[start : start + len(some)] = found.float().cpu().numpy()
        return unit_rows(vectors)

    def embed_audio(self, sounds: Sequence[Audio], sample_rate: int) -> Vectors:
        """Return float32 [N, D], rows of unit length, for float32 [C, T] sounds at ``sample_rate`` (Hz).

        Raises:
            InvalidAudio; EngineUnavailable: soxr is needed and missing.
        """
        return embed_windows(
            sounds,
            sample_rate,
            dimensions=self.info.dimensions,
            batch_size=self._batch_size,
            embed=self._windows,
        )

    def _windows(self, batch: Sequence[Mono]) -> Vectors:
        import torch

        with device_at_work(self.info.name, torch.device(self.device)), torch.inference_mode():
            # Tensors in: given arrays the package first rounds them to 16 bits.
            found = self._module.get_audio_embedding_from_data(
                [torch.from_numpy(np.ascontiguousarray(part)) for part in batch], use_tensor=True
            )
        return unit_rows(found.float().cpu().numpy())

    def close(self) -> None:
        """Give the model's memory back."""
        self._module = None
        give_back(self.device)
