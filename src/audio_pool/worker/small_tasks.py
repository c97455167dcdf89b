"""Every task but the long ones: what each comes to.

Owns: which of the runner's verbs answers which task.
Must not know: sockets, threads, how a task is carried out (runner.py, hosted.py).
"""

from __future__ import annotations

from audio_pool.tasks import (
    CallTask,
    ClapTask,
    CraftTask,
    DrawTask,
    EchoTask,
    EmbedTask,
    LoadTask,
    RenderTask,
    TraceTask,
    UnloadTask,
)
from audio_pool.worker.runner import Outcome, TaskRunner

__all__ = ["SmallTask", "carried_out"]

SmallTask = CallTask | LoadTask | UnloadTask


def carried_out(runner: TaskRunner, task: SmallTask) -> Outcome:
    """Carry a task out. Raises what came in its way."""
    match task:
        case EmbedTask():
            return runner.embed(task)
        case RenderTask():
            return runner.render(task)
        case DrawTask():
            return runner.draw(task)
        case CraftTask():
            return runner.craft(task)
        case TraceTask():
            return runner.trace(task)
        case EchoTask():
            return runner.echo(task)
        case ClapTask():
            return runner.clap(task)
        case LoadTask():
            return Outcome(results={0: runner.engines.load_one(task.engine, task.setup)})
        case UnloadTask():
            return Outcome(results={0: runner.engines.unload(task.engine)})
