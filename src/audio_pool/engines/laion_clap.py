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

from audio_pool.engine_info import EngineInfo
from audio_pool.engines._clap_settings import ClapSettings
from audio_pool.engines._clap_windows import RATE, Mono, mean_of_windows, mono_at_rate, unit_rows, windows
from audio_pool.engines._laion_checkpoint import checkpoint_in, read_state, tokenizer_of
from audio_pool.engines._torch import settle_device
from audio_pool.engines.base import Audio, Vectors
from audio_pool.errors import EngineUnavailable, InvalidConfig, OutOfMemory
from audio_pool.models.weights import locate
from audio_pool.validation import parse

__all__ = ["INFO", "LaionClapScorer", "load"]

INFO = EngineInfo(
    name="laion_clap",
    role="scorer",
    model="lukewys/laion_clap",
    licence="CC0-1.0",
    commercial_use=True,
    sample_rate=RATE,
    channels=1,
    any_rate=True,
    dimensions=512,
    requires=("torch", "transformers", "soxr", "laion_clap"),
    summary="CLAP by LAION's own package, for those who compare; the same vectors as clap",
)

_AUDIO_MODELS = {96: "HTSAT-tiny", 128: "HTSAT-base"}
"""The package's names of its audio encoders, by the width of their patches."""


def load(**settings: Any) -> LaionClapScorer:
    """LAION's CLAP, ready to embed.

    Args:
        settings: the fields of ClapSettings; ``model`` is, or has, a LAION ``.pt`` file, ``dtype`` is float32.

    Raises:
        EngineUnavailable: the model or its tokenizer is not on this machine, or the package does not load.
        InvalidConfig: a setting out of bounds, or a checkpoint with feature fusion.
    """
    chosen = parse(ClapSettings, settings, error=InvalidConfig, what=f"engines.{INFO.name}")
    if chosen.dtype != "float32":
        raise InvalidConfig(f"engines.{INFO.name}: dtype {chosen.dtype!r} was given, the package has float32 only")
    name = chosen.model or INFO.model
    found = locate(name, engine=INFO.name, models_dir=chosen.models_dir or None, revision=chosen.revision)
    device = settle_device(chosen.device)
    path = checkpoint_in(found.path)
    tokenizer = tokenizer_of(path, chosen.text_model, chosen.models_dir)
    state = read_state(path)
    width = int(state["audio_branch.patch_embed.proj.weight"].shape[0])
    if width not in _AUDIO_MODELS:
        raise EngineUnavailable(f"laion_clap: {path} is of no size that the package knows (patch width {width})")
    import torch

    try:
        with _nothing_fetched(tokenizer):
            from laion_clap import CLAP_Module

            module = CLAP_Module(enable_fusion=False, device=device, amodel=_AUDIO_MODELS[width])
        state.pop("text_branch.embeddings.position_ids", None)
        module.model.load_state_dict(state)
    except torch.OutOfMemoryError as exc:
        raise OutOfMemory(f"laion_clap does not fit on {device}", hint="device = 'cpu'") from exc
    except (ImportError, RuntimeError, OSError, ValueError, TypeError, AttributeError) as exc:
        raise EngineUnavailable(f"laion_clap: the package does not load {path}: {str(exc)[:300]}") from exc
    info = msgspec.structs.replace(INFO, model=name, model_revision=found.revision or chosen.revision)
    return LaionClapScorer(info, module.eval(), chosen.batch_size)


@contextmanager
def _nothing_fetched(tokenizer: Any) -> Iterator[None]:
    """While it lasts, what the package would fetch by name is answered here.

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

    def __init__(self, info: EngineInfo, module: Any, batch_size: int) -> None:
        self.info = info
        self._module = module
        self._batch_size = batch_size

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied with before a softmax over labels, as the model learned it."""
        return float(self._module.model.logit_scale_a.detach().float().exp())

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        """float32 [N, D], rows of unit length; texts are cut at 77 tokens by the package."""
        import torch

        vectors = np.zeros((len(texts), self.info.dimensions), np.float32)
        with torch.inference_mode():
            for start in range(0, len(texts), self._batch_size):
                some = list(texts[start : start + self._batch_size])
                found = self._module.get_text_embedding(some, use_tensor=True)
                vectors[start : start + len(some)] = found.float().cpu().numpy()
        return unit_rows(vectors)

    def embed_audio(self, sounds: Sequence[Audio], sample_rate: int) -> Vectors:
        """float32 [N, D], rows of unit length, for float32 [C, T] sounds at ``sample_rate`` (Hz).

        Raises:
            InvalidAudio; EngineUnavailable: soxr is needed and missing.
        """
        counts: list[int] = []
        heard: list[Mono] = []
        for sound in sounds:
            parts = windows(mono_at_rate(sound, sample_rate))
            counts.append(len(parts))
            heard += parts
        vectors = np.zeros((len(heard), self.info.dimensions), np.float32)
        for start in range(0, len(heard), self._batch_size):
            some = heard[start : start + self._batch_size]
            vectors[start : start + len(some)] = self._windows(some)
        return mean_of_windows(vectors, counts)

    def _windows(self, heard: list[Mono]) -> Vectors:
        import torch

        with torch.inference_mode():
            # Tensors in: given arrays the package first rounds them to 16 bits.
            found = self._module.get_audio_embedding_from_data(
                [torch.from_numpy(np.ascontiguousarray(part)) for part in heard], use_tensor=True
            )
        return unit_rows(found.float().cpu().numpy())

    def close(self) -> None:
        """Gives the model's memory back."""
        del self._module
