"""Files of tasks, for workers that share no disk with the pool: which a task reads, which it writes, and both moved.

Owns: where paths are in tasks and in their results.
Must not know: how a file travels, who moves it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, structs

from audio_pool.errors import BadMessage
from audio_pool.roots import ANYWHERE, Roots
from audio_pool.tasks import (
    Called,
    ClapTask,
    CraftTask,
    DrawTask,
    EchoTask,
    EmbedTask,
    GeneratePart,
    GenerateTask,
    LoadTask,
    MasteredSound,
    MasteringSpec,
    MasterTask,
    Rendered,
    RenderTask,
    Task,
    TaskResult,
    TraceTask,
    UnloadTask,
)

__all__ = ["Input", "Output", "inputs_of", "moved", "needs_folder", "output_of", "relocated", "retold"]

Mover = Callable[[str], str]
"""Where a file is that was at this path."""


class Input(Struct, frozen=True):
    """A file that a task reads."""

    path: str
    field: str
    """Of the request, which names it in errors."""
    roots: Roots = ANYWHERE


class Output(Struct, frozen=True, kw_only=True):
    """Where a task writes for one job."""

    directory: str
    name: str
    """What its files' names begin with."""
    spill: str = ""
    """A second directory, for when the first takes no files."""


def inputs_of(task: Task) -> list[Input]:
    """Return the files that a task reads, each once."""
    found: list[Input] = []
    match task:
        case GenerateTask():
            found = [Input(part.init_audio, "init_audio") for part in task.parts if part.init_audio is not None]
            found += [given for part in task.parts for given in _given_to(part)]
        case MasterTask():
            found = _given_to(task)
        case RenderTask() | DrawTask():
            found = [Input(task.master, "master")]
        case CraftTask() | ClapTask():
            found = [Input(path, "paths", Roots(task.roots)) for path in task.paths]
            found += [Input(path, "sounds") for path in task.sounds]
        case TraceTask():
            found = [Input(path, "path", Roots(task.roots)) for path in (task.path,) if path]
            found += [Input(path, "sounds") for path in task.sounds]
            found += [Input(path, "provenance.certificate") for path in (task.certificate,) if path]
            found += [Input(one.master, "master") for one in task.against]
        case EchoTask() | EmbedTask() | LoadTask() | UnloadTask():
            pass  # named one by one: of another kind somebody has to say what it reads
    return list({one.path: one for one in found}.values())


def needs_folder(task: Task) -> bool:
    """Return True for a task that may read files, or write some."""
    return not isinstance(task, EchoTask | EmbedTask | LoadTask | UnloadTask)


def _given_to(part: GeneratePart | MasterTask) -> list[Input]:
    """Return the sound whose manifest is carried on. The key that signs is never sent: it lies where workers are."""
    return [Input(part.mastering.given, "init_audio")] if part.mastering.given else []


def output_of(task: Task, job: int) -> Output:
    """Return where a task writes for a job. Raises BadMessage: nowhere."""
    match task:
        case GenerateTask():
            for part in task.parts:
                if part.job == job:
                    return _mastered_at(part)
        case MasterTask() if task.job == job:
            return _mastered_at(task)
        case RenderTask() | DrawTask() | CraftTask() if task.job == job:
            directory, name = os.path.split(task.out)
            return Output(directory=directory, name=name, spill=task.spill if isinstance(task, RenderTask) else "")
        case _:
            pass
    raise BadMessage(f"files of job {job}, for which {type(task).__name__} writes none")


def _mastered_at(part: GeneratePart | MasterTask) -> Output:
    mastering = part.mastering
    return Output(directory=mastering.directory, name=mastering.name, spill=mastering.spill)


def relocated(task: Task, found: Mapping[str, str], folder: str) -> Task:
    """Return a task that reads its files where they are here, and writes into a folder.

    Args:
        found: where each file is, by the path that the task says.
    """
    match task:
        case GenerateTask():
            parts = []
            for part in task.parts:
                mastering = _into(part.mastering, found, folder)
                read = part.init_audio if part.init_audio is None else found[part.init_audio]
                parts.append(structs.replace(part, mastering=mastering, init_audio=read))
            return structs.replace(task, parts=parts)
        case MasterTask():
            return structs.replace(task, mastering=_into(task.mastering, found, folder))
        case RenderTask():
            return structs.replace(task, master=found[task.master], out=_in(folder, task.out), spill="")
        case DrawTask():
            return structs.replace(task, master=found[task.master], out=_in(folder, task.out))
        case CraftTask():
            return structs.replace(
                task,
                paths=tuple(found[path] for path in task.paths),
                sounds=tuple(found[path] for path in task.sounds),
                roots=None,
                out=_in(folder, task.out),
            )
        case ClapTask():
            paths, sounds = [found[path] for path in task.paths], [found[path] for path in task.sounds]
            return structs.replace(task, paths=paths, sounds=sounds, roots=None)
        case TraceTask():
            return structs.replace(
                task,
                path=found[task.path] if task.path else "",
                roots=None,
                sounds=tuple(found[path] for path in task.sounds),
                certificate=found[task.certificate] if task.certificate else "",
                against=tuple(structs.replace(one, master=found[one.master]) for one in task.against),
            )
        case EchoTask() | EmbedTask() | LoadTask() | UnloadTask():
            return task


def _into(mastering: MasteringSpec, found: Mapping[str, str], folder: str) -> MasteringSpec:
    given = found[mastering.given] if mastering.given else ""
    return structs.replace(mastering, directory=folder, spill="", given=given)


def _in(folder: str, path: str) -> str:
    return os.path.join(folder, os.path.basename(path))


def moved(result: TaskResult, mover: Mover) -> TaskResult:
    """Return a result whose files are elsewhere."""
    match result:
        case MasteredSound():
            return _moved_sound(result, mover)
        case Rendered():
            return structs.replace(result, path=mover(result.path))
        case Called(body={"path": str(path)}):
            return Called(body={**result.body, "path": mover(path)})
        case _:
            return result


def _moved_sound(result: MasteredSound, mover: Mover) -> MasteredSound:
    sound = result.sound
    delivered = sound.delivered_path if sound.delivered_path is None else mover(sound.delivered_path)
    return structs.replace(
        result,
        sound=structs.replace(sound, path=mover(sound.path), delivered_path=delivered),
        others=tuple(_moved_sound(one, mover) for one in result.others),
    )


def retold(result: TaskResult, names: Mapping[str, str]) -> TaskResult:
    """Return a result that names files as whoever asked named them."""
    return Called(body=_retold(result.body, names)) if isinstance(result, Called) and names else result


def _retold(value: Any, names: Mapping[str, str]) -> Any:  # opaque: a caller's own payload, or figures
    match value:
        case str():
            return names.get(value, value)
        case dict():
            return {key: _retold(inner, names) for key, inner in value.items()}
        case list() | tuple():
            return [_retold(inner, names) for inner in value]
        case _:
            return value
