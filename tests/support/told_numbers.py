"""A status in which every number is told, and why its pool makes no sounds."""

from __future__ import annotations

from audio_pool.api import Health, PoolStatus, WorkerStatus
from audio_pool.numbers import (
    BOUNDS_S,
    DiskSpace,
    EngineLoad,
    ErrorNote,
    GpuMemory,
    Histogram,
    PoolNumbers,
    RequestCount,
    TaskAtWork,
)

STEPS = tuple(1 if step in (0, 10) else 0 for step in range(len(BOUNDS_S) + 1))
SOME = Histogram(counts=STEPS, sum_s=0.7)
STATUS = PoolStatus(
    version="1.2",
    health="degraded",
    requests=3,
    waiting=1,
    workers={
        "w": WorkerStatus(
            state="ready",
            incarnation=3,
            engines=("tone",),
            device="cuda:0",
            tasks=1,
            tasks_done=9,
            at_work=(TaskAtWork(role="generate", engine="tone", busy_s=1.5, stage="generate", fraction=0.25),),
        ),
        'odd "name"\n': WorkerStatus(state="down", incarnation=1, crashes=2),
    },
    semantic="off: no encoder",
    cache="/c",
    clients={"connections": 2, "refused": 1, "feedback_wrong": 1},
    replies={"replies_dropped": 4},
    arena={"bytes": 5, "quota_bytes": 9},
    numbers=PoolNumbers(
        started=1.0,
        requests=(RequestCount(engine="tone", status="result", cache="exact", count=7),),
        load=(EngineLoad(engine="tone", priority="normal", running=1, waiting=2),),
        request_seconds={"exact": SOME},
        stage_seconds={"queue": SOME, "generate": SOME},
        generate_seconds={"tone": SOME},
        audio_seconds={"tone": 12.5},
        lookups={"exact": 10, "semantic": 3, "join": 10},
        hits={"exact": 7},
        rerolls={"gate": 2},
        loop_rejects=3,
        model_loads={"w": 4},
        worker_bytes={"w": 1000},
        gpus=(GpuMemory(uuid="GPU-1", name="H200", used_bytes=1, free_bytes=2),),
        disk=DiskSpace(free_bytes=10, total_bytes=20),
        errors=(ErrorNote(at=5.0, code="quality", message="every candidate was silent", request_id="r1"),),
    ),
)
HEALTH = Health(state="degraded", blockers=("the queue is full",))
