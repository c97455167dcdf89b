"""Texts and sounds brought before a scorer.

Owns: reading the sounds that a question names or brought, and the figures of each operation.
Must not know: which scorer, tasks' way here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from audio_pool.engines import Scorer
from audio_pool.errors import InvalidAudio
from audio_pool.roots import ANYWHERE, Roots
from audio_pool.tasks import ClapTask
from audio_pool.worker.input_files import read_input

__all__ = ["heard"]

Body = dict[str, Any]  # opaque: figures for the caller, as docs/protocol.md shows them


def heard(scorer: Scorer, task: ClapTask, longest_s: float) -> Body:
    """Return vectors, similarities, or labels with scores, for texts and files.

    Args:
        longest_s: what a file may decode to.

    Raises:
        PathNotAllowed, NotFound, InvalidAudio: a file, or that there is none.
    """
    texts = scorer.embed_text(task.texts) if task.texts else np.zeros((0, scorer.info.dimensions), np.float32)
    vectors = []
    named = [("paths", path, Roots(task.roots)) for path in task.paths]
    for name, path, roots in (*named, *(("sounds", path, ANYWHERE) for path in task.sounds)):
        audio, rate = read_input(path, roots, name, longest_s)
        vectors.append(scorer.embed_audio([audio], rate)[0])
    sent = [f"sound {number}" for number in range(1, len(task.sounds) + 1)]
    sounds = np.stack(vectors) if vectors else np.zeros((0, scorer.info.dimensions), np.float32)
    body: Body = {"model": scorer.info.model, "logit_scale": scorer.logit_scale}
    match task.operation:
        case "embed":
            body |= {"texts": texts.tolist(), "paths": sounds[: len(task.paths)].tolist()}
            if sent:
                body["sounds"] = sounds[len(task.paths) :].tolist()
        case "similarity":
            everything = np.concatenate([texts, sounds])
            body |= {"of": [*task.texts, *task.paths, *sent], "similarity": (everything @ everything.T).tolist()}
        case "zero-shot":
            if not task.texts or not vectors:
                raise InvalidAudio("zero-shot: needs at least one text (label) and one path or sound")
            body |= {"labels": task.texts, "paths": [*task.paths, *sent], "scores": (sounds @ texts.T).tolist()}
    return body
