"""Which files tasks read and write, and both moved to another machine."""

from __future__ import annotations

import pytest
from tests.unit.test_worker_messages import RESULTS, TASKS

from audio_pool.errors import BadMessage
from audio_pool.tasks import (
    Called,
    ClapTask,
    CraftTask,
    DrawTask,
    EchoTask,
    EmbedTask,
    GenerateTask,
    LoadTask,
    MasteredSound,
    MasterTask,
    Rendered,
    RenderTask,
    Task,
    TraceTask,
    UnloadTask,
)
from audio_pool.transport import packing
from audio_pool.transport.task_files import inputs_of, moved, output_of, relocated, retold

WRITES = (GenerateTask, MasterTask, RenderTask, DrawTask, CraftTask)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_a_task_that_was_moved_names_no_path_of_the_machine_that_it_comes_from(task: Task) -> None:
    found = {one.path: f"/node/{number}" for number, one in enumerate(inputs_of(task))}
    there = relocated(task, found, "/node/out")
    assert type(there) is type(task)
    assert {one.path for one in inputs_of(there)} == set(found.values())
    wire = packing.pack(there)
    if not isinstance(task, TraceTask | CraftTask):  # which name what was given in their answers
        assert not [path for path in found if path.encode() in wire]
    if isinstance(task, WRITES):
        job = task.parts[0].job if isinstance(task, GenerateTask) else task.job
        assert output_of(there, job).directory == "/node/out" and not output_of(there, job).spill
        assert output_of(there, job).name == output_of(task, job).name
    else:
        with pytest.raises(BadMessage):
            output_of(task, 1)


def test_all_that_reads_is_seen() -> None:
    reads = {type(task) for task in TASKS if inputs_of(task)}
    assert reads >= {RenderTask, DrawTask, TraceTask, CraftTask, ClapTask}
    assert not reads & {EchoTask, EmbedTask, LoadTask, UnloadTask}


def test_the_files_of_results_are_moved() -> None:
    paths = []
    for result in RESULTS:
        seen: list[str] = []

        def mover(path: str, seen: list[str] = seen) -> str:
            seen.append(path)
            return f"/head{path}"

        there = moved(result, mover)
        again: list[str] = []
        moved(there, lambda path, again=again: again.append(path) or path)
        assert again == [f"/head{path}" for path in seen]
        paths += [(type(result), path) for path in seen]
    assert {kind for kind, _ in paths} >= {MasteredSound, Rendered}


def test_answers_name_files_as_they_were_asked_for() -> None:
    body = {"given": [{"name": "/node/1"}, "sound 1"], "path": "/node/out/x.wav"}
    assert retold(Called(body=body), {"/node/1": "/data/a.wav"}) == Called(
        body={"given": [{"name": "/data/a.wav"}, "sound 1"], "path": "/node/out/x.wav"}
    )
