"""docs/protocol.md against the code: its bytes, its fields with their ranges and defaults, its limits and codes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest

from audio_pool.api import (
    CacheStats,
    Cancellation,
    EngineReport,
    ExplainedEntry,
    Explanation,
    Health,
    JobReport,
    Making,
    PictureReport,
    PoolStatus,
    WorkerStatus,
    as_request,
)
from audio_pool.candidates import CandidateChosen, CandidateFile
from audio_pool.client import control
from audio_pool.client.session import ClientSession
from audio_pool.config import Config
from audio_pool.craft import CraftForm, CraftReport
from audio_pool.errors import AudioPoolError, BadMessage, Busy, CallerError, Cancelled, InvalidRequest, error_from_code
from audio_pool.library import FileForm, KeptSound, SoundFile, SoundMarks, SoundSearch, Waveform
from audio_pool.numbers import (
    DiskSpace,
    EngineLoad,
    ErrorNote,
    GpuMemory,
    Histogram,
    PoolNumbers,
    RequestCount,
    TaskAtWork,
    UnderWay,
)
from audio_pool.pending import Pending
from audio_pool.pool.replies import Body, Reply
from audio_pool.presets import Preset
from audio_pool.reports import (
    CandidateReport,
    HitReport,
    KeptCandidate,
    LoopReport,
    PresentSettings,
    QualityReport,
    RefusedReport,
    Timings,
    WorkerReport,
)
from audio_pool.residents import ModelReport
from audio_pool.results import Accepted, Failure, Progress, SoundMetadata
from audio_pool.server.outbox import SocketSink
from audio_pool.staffing import LeaseReport
from audio_pool.transport import client_messages, packing
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

DOC = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
EXAMPLES = [
    (json.loads(text), bytes.fromhex(dump))
    for text, dump in re.findall(r"```json\n(.*?)\n```\n\n```hex\n([0-9a-f \n]*)\n```", DOC)
]
FROM_CLIENT = [pair for pair in EXAMPLES if pair[0]["type"] in client_messages._CLIENT_TYPES]
FROM_SERVER = [pair for pair in EXAMPLES if pair[0]["type"] not in client_messages._CLIENT_TYPES]


def section(title: str) -> str:
    """The text under a heading, to the next of any level."""
    return re.split(r"\n#+ ", DOC.split(f"# {title}\n", 1)[1], maxsplit=1)[0]


def rows(text: str) -> dict[str, str]:
    """First cell (without its quotes) to the whole row, of every table in the text."""
    found = [row for row in text.splitlines() if row.startswith("| `")]
    return {row.split("|")[1].strip().strip("`"): row for row in found}


# --- bytes


def test_every_example_is_there() -> None:
    assert len(EXAMPLES) == DOC.count("```json") == DOC.count("```hex") == 16
    assert len(FROM_CLIENT) == 6


@pytest.mark.parametrize(("message", "dump"), EXAMPLES)
def test_the_bytes_are_the_message(message: dict[str, Any], dump: bytes) -> None:
    assert msgpack.packb(message) == dump
    assert packing.unpack(dump) == message


@pytest.mark.parametrize(("message", "dump"), FROM_CLIENT)
def test_the_server_understands_the_clients_examples(message: dict[str, Any], dump: bytes) -> None:
    decoded = client_messages.decode_client(packing.unpack(dump))
    assert decoded.request_id == message["request_id"]


class Sent:
    """Stands where the socket is: keeps the frames of the last message."""

    def send(
        self, envelope: tuple[bytes, ...], frames: list[bytes], *, droppable: bool = False, sender: None = None
    ) -> None:
        self.frames = frames


BODIES: dict[str, type[Cancellation] | type[Explanation] | type[Health] | type[JobReport]] = {
    "c1": Cancellation,
    "h1": Health,
    "j1": JobReport,
    "e1": Explanation,
}
"""The answer to each question among the examples, by its ``request_id``."""


def made_by_the_server(message: dict[str, Any]) -> bytes:
    sent = Sent()
    sink = SocketSink(request_id=message["request_id"], envelope=(b"id",), outbox=sent)  # type: ignore[arg-type]
    if message["type"] in ("accepted", "progress"):
        event = Accepted if message["type"] == "accepted" else Progress
        sink.notify(msgspec.convert(message["body"], event))
        return sent.frames[0]
    error: AudioPoolError | None = None
    if message["request_id"] == "r2":
        with pytest.raises(InvalidRequest) as refused:
            parse(AudioRequest, FROM_CLIENT[1][0]["request"])
        error = refused.value
    elif message["type"] == "busy":
        error = Busy("the queue is full", retry_after_ms=800)
    elif message["type"] == "cancelled":
        error = Cancelled("cancelled by its caller")
    body: Body | None = msgspec.convert(message["body"], BODIES[message["request_id"]]) if "body" in message else None
    metadata = msgspec.convert(message["metadata"], SoundMetadata) if "metadata" in message else None
    failure = None if error is None else Failure.of(error)
    sink.finish(Reply(kind=message["type"], path=message.get("path"), metadata=metadata, body=body, failure=failure))
    if metadata is None:
        return sent.frames[0]
    whole = msgpack.unpackb(sent.frames[0])  # the example shows two of its fields
    whole["metadata"] = {key: value for key, value in whole["metadata"].items() if key in message["metadata"]}
    return packing.pack(whole)


@pytest.mark.parametrize(("message", "dump"), FROM_SERVER)
def test_the_servers_examples_are_what_it_sends(message: dict[str, Any], dump: bytes) -> None:
    assert made_by_the_server(message) == dump


def test_our_own_client_understands_the_servers_examples() -> None:
    session, answers = ClientSession("test"), []
    pending = {name: Pending(name, lambda: None) for name in ("r1", "r2", "r3")}
    for one in pending.values():
        session.submit(as_request("rain", {}), one, now=0.0, timeout_s=1.0, events=True)
    questions: list[tuple[str, control.Question[Any]]] = [
        ("h1", control.HEALTH),
        ("c1", control.cancel("r1")),
        ("j1", control.job("r1")),
        ("e1", control.explain("rain", {})),
    ]
    for request_id, question in questions:
        session.ask(
            question, request_id=request_id, now=0.0, timeout_s=1.0, on_result=answers.append, on_error=answers.append
        )
    for message, dump in FROM_SERVER:
        if message["type"] != "cancelled":
            session.on_message([b"", dump])
    assert pending["r1"].result(0).metadata == SoundMetadata(duration_s=2.0, is_loop=True)
    assert isinstance(pending["r2"].exception(0), InvalidRequest)
    busy = pending["r3"].exception(0)
    assert isinstance(busy, Busy) and busy.retry_after_ms == 800
    assert answers == [
        Cancellation(target="r1", cancelled=True),
        Health(state="ready", engines={"procedural": "ready"}, instance="9f86d081884c7d65"),
        JobReport(request_id="r1", state="running", prompt="rain", created_at=1767225600.0, attempts=1),
        msgspec.convert(FROM_SERVER[-1][0]["body"], Explanation),
    ]
    assert answers[-1].entries[0].prompt == "rain on a car" and answers[-1].present_settings.duration_s == 8.0
    accepted, progress = pending["r1"].events(0)
    assert (accepted.type, progress.type) == ("accepted", "progress")
    assert isinstance(progress.body, Progress) and progress.body.fraction == 0.25


def test_the_servers_messages_as_types_are_the_documented_bytes() -> None:
    """Field by field and in order, whoever builds them."""
    for message, dump in FROM_SERVER:
        if message["type"] in ("accepted", "progress"):
            body = Accepted if message["type"] == "accepted" else Progress
            typed: Any = msgspec.msgpack.decode(dump, type=client_messages.BodyReply[body])
        elif message["type"] != "result":
            typed = msgspec.msgpack.decode(dump, type=client_messages.ErrorReply)
        elif "body" in message:
            body = BODIES[message["request_id"]]
            typed = msgspec.msgpack.decode(dump, type=client_messages.BodyReply[body])
        else:  # real metadata has more fields than the example
            typed = msgspec.msgpack.decode(dump, type=client_messages.SoundReply)
            assert list(msgspec.to_builtins(typed)) == list(message)
            continue
        assert packing.pack(typed) == dump


# --- fields


def bounds_of(info: Any) -> list[str]:
    """What the row of a field of this type has to say of its range."""
    if isinstance(info, msgspec.inspect.UnionType):
        return [token for part in info.types for token in bounds_of(part)]
    if isinstance(info, msgspec.inspect.Metadata):
        return bounds_of(info.type)
    if isinstance(info, msgspec.inspect.LiteralType):
        return [f"`{value}`" for value in info.values]
    if isinstance(info, msgspec.inspect.IntType | msgspec.inspect.FloatType) and info.le is not None:
        low, high = (int(bound) if bound == int(bound) else bound for bound in (info.ge, info.le))
        return [f" {low}..{high} "]
    if isinstance(info, msgspec.inspect.StrType) and info.max_length is not None:
        return [f"{info.min_length or 0}..{info.max_length} characters"]
    if isinstance(info, msgspec.inspect.BytesType) and info.max_length is not None:
        return [f"0..{info.max_length} bytes"]
    if isinstance(info, msgspec.inspect.ListType):
        return [f"{info.min_length or 0}..{info.max_length} items", *bounds_of(info.item_type)]
    return []


TYPE_NAMES = {"IntType": "int", "FloatType": "float", "StrType": "str", "BoolType": "bool", "DictType": "map",
              "BytesType": "bin", "ListType": "array", "VarTupleType": "array", "StructType": "map"}  # fmt: skip


def types_of(info: Any) -> set[str]:
    if isinstance(info, msgspec.inspect.UnionType):
        return {name for part in info.types for name in types_of(part)}
    if isinstance(info, msgspec.inspect.Metadata):
        return types_of(info.type)
    if isinstance(info, msgspec.inspect.LiteralType):
        return {"str" if isinstance(info.values[0], str) else "int"}
    name = TYPE_NAMES.get(type(info).__name__)
    return {name} if name else set()


def check_fields(cls: Any, documented: dict[str, str], besides: set[str] = frozenset()) -> None:
    fields = {field.encode_name: field for field in msgspec.inspect.type_info(cls).fields if field.name not in besides}
    assert set(documented) == set(fields)
    for name, field in fields.items():
        row = documented[name]
        for token in bounds_of(field.type):
            assert token in row, f"{cls.__name__}.{name}: {token!r} is not in {row!r}"
        (kind,) = types_of(field.type)
        assert row.split("|")[2].strip().split(" ")[0] == kind, f"{name}: is a {kind}"
        assert ("required" in row) == (field.required), name
        if field.default not in (msgspec.NODEFAULT, None) and not isinstance(field.default, bytes):
            assert f"`{json.dumps(msgspec.to_builtins(field.default))}`" in row, f"{name}: default {field.default!r}"


def test_every_field_of_a_request_is_told_with_its_range_and_default() -> None:
    documented = rows(section("4. The fields of `request`"))
    check_fields(AudioRequest, documented)
    config, named = Config(), 0
    for row in documented.values():
        for path, key, shown in re.findall(r"\| ([a-z]+)\.([a-z_]+) \((\S+)\) \|", row):
            assert str(getattr(getattr(config, path), key)) == shown, row
            named += 1
    assert named >= 15


def test_every_message_of_a_client_is_told_with_its_fields() -> None:
    common = rows(section("3. Messages to the server"))
    assert set(common) == {"v", "type", "request_id", "token"}
    for kind, cls in client_messages._CLIENT_TYPES.items():
        if kind in ("status", "health", "engines", "cache_stats"):
            questions = rows(section("status, health, engines, cache_stats"))
            assert kind in questions
            own = {"numbers"} if kind == "status" else set()
            assert {field.name for field in msgspec.structs.fields(cls)} == {"v", "request_id", "token"} | own
            assert own <= questions.keys()
        else:
            check_fields(cls, rows(section(kind)), besides={"v", "request_id", "token"})


@pytest.mark.parametrize(
    ("cls", "title"),
    [
        (SoundSearch, "A search"),
        (FileForm, "A file's form"),
        (CraftForm, "A craft's form"),
        (SoundMarks, "A change of marks"),
    ],
)
def test_every_field_of_what_is_asked_of_the_library_is_told(cls: Any, title: str) -> None:
    check_fields(cls, rows(section(title)))


def check_report(cls: Any, documented: dict[str, str]) -> None:
    """Names, types, and where a value may be null or a key absent, of what a server says."""
    fields = {field.encode_name: field for field in msgspec.inspect.type_info(cls).fields}
    assert set(documented) == set(fields)
    for name, field in fields.items():
        row = documented[name]
        parts = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else [field.type]
        (kind,) = types_of(field.type)
        null = any(isinstance(part, msgspec.inspect.NoneType) for part in parts)
        assert row.split("|")[2].strip() == (f"{kind} or null" if null else kind), name
        # msgspec's inspection has no name for UNSET
        absent = not field.required and field.default is field.default_factory is msgspec.NODEFAULT
        assert ("absent" in row) == absent, name


@pytest.mark.parametrize(
    ("cls", "title"),
    [
        (SoundMetadata, "The result's metadata"),
        (EngineReport, "An engine"),
        (CacheStats, "Cache figures"),
        (JobReport, "A job"),
        (PictureReport, "A picture"),
        (Explanation, "An explanation"),
        (ExplainedEntry, "An explained entry"),
        (TaskAtWork, "Work in hand"),
        (PoolNumbers, "Numbers"),
        (KeptSound, "A kept sound"),
        (SoundFile, "A sound's file"),
        (CraftReport, "A craft's report"),
        (Waveform, "A waveform"),
        (KeptCandidate, "A kept candidate"),
        (CandidateFile, "A candidate's file"),
        (CandidateChosen, "A choice"),
        (LeaseReport, "A lease"),
        (ModelReport, "A model in memory"),
        (Preset, "A preset"),
    ],
)
def test_every_key_of_a_report_is_told_with_its_type(cls: Any, title: str) -> None:
    check_report(cls, rows(section(title)))


def test_every_key_of_status_and_of_nested_maps_is_told() -> None:
    status = rows(section("status, health, engines, cache_stats").split("The body of `status`")[1])
    check_report(PoolStatus, status)
    metadata = rows(section("The result's metadata"))
    numbers = rows(section("Numbers"))
    nested = [
        (RequestCount, numbers["requests"]),
        (EngineLoad, numbers["load"]),
        (UnderWay, numbers["under_way"]),
        (Histogram, section("Numbers")),
        (GpuMemory, numbers["gpus"]),
        (DiskSpace, numbers["disk"]),
        (ErrorNote, numbers["errors"]),
        (WorkerStatus, status["workers"]),
        (CandidateReport, metadata["candidates"]),
        (QualityReport, metadata["quality"]),
        (LoopReport, metadata["loop"]),
        (Timings, metadata["timings_ms"]),
        (HitReport, metadata["hit"]),
        (RefusedReport, metadata["hit"]),
        (PresentSettings, metadata["present_settings"]),
        (Making, rows(section("An explanation"))["made"]),
        (WorkerReport, metadata["worker"]),
    ]
    for cls, row in nested:
        for field in msgspec.structs.fields(cls):
            assert f"`{field.encode_name}`" in row, f"{cls.__name__}.{field.encode_name}"


def test_limits_are_the_codes() -> None:
    limits = [packing._LIMITS[key] for key in ("max_str_len", "max_array_len", "max_map_len")]
    for number in (client_messages.MAX_CLIENT_BYTES, *limits):
        assert re.search(rf"\s{number:,}\s", DOC)
    assert packing._LIMITS["max_ext_len"] == 0
    with pytest.raises(BadMessage):
        packing.unpack(msgpack.packb({"a": msgpack.ExtType(1, b"x")}))
    with pytest.raises(BadMessage):
        packing.unpack(msgpack.packb({"a": "x" * 65_537}))
    packing.unpack(msgpack.packb({"a": "x" * 65_536}))


# --- codes


def tree(cls: type[AudioPoolError]) -> set[type[AudioPoolError]]:
    return {cls}.union(*(tree(child) for child in cls.__subclasses__()))


def test_every_error_code_is_told_with_whether_a_retry_helps() -> None:
    codes = rows(section("Errors").split("| code |")[1])
    # a gateway's own never cross this wire: docs/http.md has them
    ours = [cls for cls in tree(AudioPoolError) if not cls.__module__.startswith("audio_pool.gateway")]
    known = {cls.code: cls for cls in ours if cls is not CallerError}
    assert set(codes) == set(known)
    for code, row in codes.items():
        retryable = type(error_from_code(code, "")).retryable
        assert row.split("|")[2].strip() == ("yes" if retryable else "no"), code
