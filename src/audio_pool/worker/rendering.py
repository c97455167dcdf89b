"""Another rendition of a kept master, written by a worker.

Owns: where it goes when the folder that it was meant for takes no files.
Must not know: how it is written (mastering.py), what it is kept for.
"""

from __future__ import annotations

import logging
from pathlib import Path

from audio_pool.errors import StorageError
from audio_pool.results import RenditionReport
from audio_pool.tasks import Rendered, RenderTask
from audio_pool.worker.mastering import Mastering
from audio_pool.worker.sealing import Sealing

__all__ = ["rendered"]

log = logging.getLogger(__name__)


def rendered(mastering: Mastering, task: RenderTask) -> Rendered:
    """Write the rendition, elsewhere where need be. Raises what ``Mastering.render`` raises."""
    out = Path(task.out)
    try:
        report = _written(mastering, task, out)
    except StorageError as exc:
        if not task.spill:
            raise
        log.warning("a rendition is written elsewhere: %s", exc)
        out = Path(task.spill, out.name)
        report = _written(mastering, task, out)
    return Rendered(path=str(out), report=report)


def _written(mastering: Mastering, task: RenderTask, out: Path) -> RenditionReport:
    master = Path(task.master)
    return mastering.render(
        master,
        task.rendition,
        out,
        loop=task.loop,
        comment=task.comment,
        retold=task.retold,
        sealing=Sealing.of_master(task.seal, master),
    )
