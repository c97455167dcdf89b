"""A pool for one command: opened for its configuration, its start shown at a terminal.

Owns: which engine such a pool hosts, and the line that tells how far its start is.
Must not know: what the command asks of it.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from audio_pool.cli.terminal import redraw, say
from audio_pool.config import Config, load_config
from audio_pool.pool.pool import AudioPool

__all__ = ["configuration", "started"]

_REDRAW_S = 0.1


def configuration(config_path: str | None, cache_dir: str | None, engine: str | None) -> Config:
    """Return a command's configuration: ``--engine`` is hosted where no worker is configured."""
    overrides: dict[str, dict[str, str]] = {}
    if cache_dir is not None:
        overrides["cache"] = {"dir": cache_dir}
    config = load_config(config_path, overrides=overrides)
    if engine is None or config.workers or engine.startswith("kind:"):
        return config
    return load_config(config_path, overrides={**overrides, "defaults": {"engine": engine}})


@contextlib.contextmanager
def started(config: Config, *, quiet: bool) -> Iterator[AudioPool]:
    """Yield a pool that is ready. Its start is shown on standard error: as a line that is redrawn, or in three words.

    Args:
        quiet: not where there is no terminal.
    """
    terminal = sys.stderr.isatty()
    if not terminal and not quiet:
        say("starting a pool ...", err=True)
    pool = AudioPool(config)
    if terminal:
        pool.start(wait=False)
        try:
            _show_start(pool)
        except BaseException:
            pool.stop(drain_timeout_s=0.0)
            raise
    with pool:  # waits until it is ready, where it has not been shown
        yield pool


def _show_start(pool: AudioPool) -> None:
    """Redraw one line until every worker is ready, then remove it.

    Raises:
        AudioPoolError: the start-up error of the first worker that failed.
    """
    begun, drawn = time.monotonic(), 0
    try:
        while True:
            workers = pool.status().workers
            states = {worker.state for worker in workers.values()}
            if "broken" in states or not states & {"down", "starting", "loading"}:
                break
            coming = (
                f"{name} {worker.state} {', '.join(worker.engines)}".rstrip()
                for name, worker in workers.items()
                if worker.state != "ready"
            )
            line = f"starting a pool: {'; '.join(coming)} ({time.monotonic() - begun:.0f} s)"
            redraw(line.ljust(drawn))
            drawn = len(line)
            time.sleep(_REDRAW_S)
    finally:
        redraw(" " * drawn)
        redraw("")
    pool.wait_ready()
