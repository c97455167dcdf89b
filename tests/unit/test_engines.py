"""Which engines there are, under which names they are loaded, and that nobody else names them."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import ModuleType

import pytest

import audio_pool.engines
from audio_pool.engine_info import EngineInfo
from audio_pool.engines import (
    Generator,
    Item,
    ReadsMeaning,
    configured_info,
    engine_info,
    engine_infos,
    engine_names,
    load_engine,
)
from audio_pool.errors import EngineUnavailable, InvalidConfig, InvalidRequest, UnknownEngine
from audio_pool.source_type import digital_source_type

SOURCE = Path(__file__).parents[2] / "src" / "audio_pool"
COMMIT = "ab" * 20


# -- names -----------------------------------------------------------------------------------------------


def test_names_by_role() -> None:
    generators = engine_names("generator")
    assert {"procedural", "mock", "audioldm2"} <= set(generators)
    assert not {"minilm", "bge", "clap"} & set(generators)
    assert engine_names("embedder") == ["bge", "minilm"]
    assert set(generators) < set(engine_names())


def test_an_unknown_engine_that_should_make_sounds_is_answered_with_those_that_do() -> None:
    with pytest.raises(UnknownEngine) as caught:
        engine_info("xyzzy", role="generator")
    assert "procedural" in caught.value.message
    for silent in ("minilm", "bge", "clap"):
        assert silent not in caught.value.message
    with pytest.raises(UnknownEngine, match="did you mean 'procedural'"):
        engine_info("procedurl", role="generator")


def test_every_engine_says_what_it_is() -> None:
    for info in engine_infos():
        assert info.implementation == info.name
        assert info.summary and info.licence
        if info.role == "generator":
            assert info.kinds, f"{info.name} is found by no kind"
        for option in info.options:
            assert option.summary, f"{info.name}: {option.name}"


@pytest.fixture
def folder_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An engine of this package that is a folder with a module of its own."""
    folder = tmp_path / "gong"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from audio_pool.engines.gong.struck import INFO, Settings, load\n__all__ = ['INFO', 'Settings', 'load']\n"
    )
    (folder / "struck.py").write_text(
        "from msgspec import Struct\n"
        "from audio_pool.engine_info import EngineInfo\n"
        "INFO = EngineInfo(name='gong', role='generator', model='gong', licence='MIT', commercial_use=True)\n"
        "class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):\n"
        "    size: float = 1.0\n"
        "class Gong:\n"
        "    device = 'cpu'\n"
        "    def __init__(self, info, settings): self.info, self.settings = info, settings\n"
        "    def notes(self, item): ...\n"
        "    def generate(self, items, on_step=None): return []\n"
        "    def close(self): ...\n"
        "def load(info, settings): return Gong(info, settings)\n"
    )
    monkeypatch.setattr(audio_pool.engines, "__path__", [*audio_pool.engines.__path__, str(tmp_path)])
    yield "gong"
    for name in [name for name in sys.modules if name.startswith("audio_pool.engines.gong")]:
        del sys.modules[name]
    vars(audio_pool.engines).pop("gong", None)


def test_an_engine_may_be_a_folder(folder_engine: str) -> None:
    assert folder_engine in engine_names("generator")
    engine = load_engine(folder_engine, {"size": 2.0}, name="great_gong")
    assert isinstance(engine, Generator)
    assert (engine.info.name, engine.info.implementation, engine.settings.size) == ("great_gong", "gong", 2.0)
    with pytest.raises(InvalidConfig, match="engine 'gong': unknown field 'sise'; did you mean 'size'"):
        load_engine(folder_engine, {"sise": 2.0})


# -- named models ----------------------------------------------------------------------------------------


def test_an_engine_is_loaded_under_the_name_it_is_asked_for() -> None:
    engine = load_engine("mock", {"device": "cpu"}, name="beeps", kinds=["alarms"])
    assert isinstance(engine, Generator) and engine.device == "cpu"
    assert (engine.info.name, engine.info.implementation, engine.info.kinds) == ("beeps", "mock", ("alarms",))
    plain = load_engine("mock")
    assert (plain.info.name, plain.info.implementation, plain.info.kinds) == ("mock", "mock", ("test",))
    with pytest.raises(InvalidConfig, match="engine 'beeps': unknown field 'devise'; did you mean 'device'"):
        load_engine("mock", {"devise": "cpu"}, name="beeps")


def test_what_is_configured_is_known_without_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    music = configured_info("music", "audioldm2", kinds=["music"], settings={"model": "cvssp/audioldm2-music"})
    assert (music.name, music.implementation, music.kinds) == ("music", "audioldm2", ("music",))
    assert (music.model, music.model_revision) == ("cvssp/audioldm2-music", "")
    assert configured_info("audioldm2").kinds == engine_info("audioldm2").kinds

    home = tmp_path / "hub" / "models--cvssp--audioldm2-music"
    (home / "snapshots" / COMMIT).mkdir(parents=True)
    (home / "snapshots" / COMMIT / "model_index.json").write_text("{}")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    music = configured_info("music", "audioldm2", settings={"model": "cvssp/audioldm2-music"})
    assert music.model_revision == COMMIT

    plain = tmp_path / "models" / "audioldm2"
    notes = plain / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    (plain / "model_index.json").write_text("{}")
    (notes / "model_index.json.metadata").write_text(f"{'cd' * 20}\netag\n1.0\n")
    assert configured_info("base", "audioldm2", models_dir=str(tmp_path / "models")).model_revision == "cd" * 20
    pinned = configured_info("base", "audioldm2", settings={"revision": "v2"})
    assert pinned.model_revision == "v2", "not here: what is asked for is what will be loaded"

    built_in = configured_info("rainmaker", "procedural")
    assert (built_in.model, built_in.model_revision) == ("procedural", engine_info("procedural").model_revision)


def test_another_model_loses_what_is_said_of_the_default_one() -> None:
    own = configured_info("mine", "laion_clap", settings={"model": "someone/else"})
    assert (own.files, own.companions) == ((), ())
    assert engine_info("laion_clap").files and engine_info("laion_clap").companions


def test_engines_that_read_meaning_say_so_by_their_type() -> None:
    assert isinstance(load_engine("procedural"), ReadsMeaning)
    assert not isinstance(load_engine("mock"), ReadsMeaning)


# -- engines of other packages ---------------------------------------------------------------------------


@pytest.fixture
def by_keywords(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Another package's engine that declares no Settings."""
    module = ModuleType("acme_chime")
    module.INFO = EngineInfo(name="chime", role="generator", model="chime", licence="MIT", commercial_use=True)

    class Chime:
        info = module.INFO

        def notes(self, item: Item) -> None: ...

        def generate(self, items: list[Item], on_step: object = None) -> list[object]:
            return []

        def close(self) -> None: ...

    def load(*, pitch: float = 1.0, broken: bool = False) -> Chime:
        if broken:
            raise TypeError("its own fault")
        return Chime()

    module.load = load

    class Point:
        name, value = "chime", "acme_chime"

        def load(self) -> ModuleType:
            return module

    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Point()])
    return module


def test_an_engine_without_settings_takes_keywords_and_gets_its_name(by_keywords: ModuleType) -> None:
    engine = load_engine("chime", {"pitch": 2.0}, name="doorbell", kinds=["ui"], models_dir="/nowhere")
    assert isinstance(engine, Generator), "it is given a device"
    assert (engine.info.name, engine.info.implementation, engine.info.kinds) == ("doorbell", "chime", ("ui",))
    assert by_keywords.INFO.name == "chime"
    with pytest.raises(InvalidConfig, match=r"engine 'chime': .*unexpected keyword argument 'pich'"):
        load_engine("chime", {"pich": 2.0})
    with pytest.raises(TypeError, match="its own fault"):
        load_engine("chime", {"broken": True})


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable, match="engine 'loud' needs torch") as caught:
        load_engine("audioldm", name="loud")
    assert caught.value.hint == "pip install 'audio-pool[diffusers]'"


# -- options of the engines that need no weights -----------------------------------------------------------


def test_mocks_frequency_is_what_is_asked_for() -> None:
    import numpy as np

    engine = load_engine("mock")
    tone, usual = engine.generate(
        [
            Item(prompt="tone", seed=1, duration_s=1.0, options={"frequency_hz": 1000}),
            Item(prompt="tone", seed=1, duration_s=1.0),
        ]
    )
    assert [int(np.argmax(np.abs(np.fft.rfft(sound[0])))) for sound in (tone, usual)] == [1000, 221]
    with pytest.raises(InvalidRequest, match="frequency_hz: given 5, engine 'mock' allows a number, 20 to 20000"):
        engine.notes(Item(prompt="tone", seed=1, duration_s=1.0, options={"frequency_hz": 5}))


# -- nobody else names an engine ---------------------------------------------------------------------------

NAMES = {
    "tangoflux", "audioldm", "audioldm2", "stable_audio", "stable_audio_3", "longcat", "ace_step", "clap",
    "laion_clap", "bge", "minilm", "procedural", "mock",
    "kokoro", "piper",
}  # fmt: skip
ALLOWED = {
    "config/sections.py": {"procedural"},  # the documented default of defaults.engine
    "generator.py": {"procedural", "mock", "clap", "bge"},  # public keys: strategy, clap_model, bge_model
    "server/image_server.py": {"mock"},  # an older protocol's strategies
    "cache/policy.py": {"minilm", "bge"},  # measured figures, by encoder
    "cli/doctor.py": {"clap", "kokoro", "piper"},  # extras of this package
    # the first services' APIs are named after their engines, and foreign names of models mean some by default
    "config/http.py": {"audioldm2", "stable_audio"},
    "gateway/dialects/names.py": {"audioldm2", "stable_audio", "ace_step"},
    "gateway/dialects/services.py": {"audioldm2", "stable_audio"},
    # "clap" is also an operation of the protocol
    **{
        file: {"clap"}
        for file in (
            "cli/__init__.py", "cli/clap.py", "client/client.py", "client/control.py", "client/session.py",
            "pool/executor.py", "pool/pool.py", "pool/service.py", "pool/task_builder.py", "scheduler/dispatch.py",
            "scheduler/events.py", "scheduler/jobs.py", "scheduler/scheduler.py", "scheduler/work.py",
            "server/zmq_frontend.py", "tasks.py",
            "transport/client_messages.py", "transport/worker_messages.py", "worker/process.py", "worker/runner.py",
        )
    },
}  # fmt: skip


def literals(path: Path) -> set[str]:
    """The engines' names that stand in a file as whole string literals."""
    tree = ast.parse(path.read_text())
    return {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    } & NAMES


def test_who_has_no_trained_model_names_itself_as_its_model() -> None:
    for info in engine_infos():
        if info.role == "generator":
            told = digital_source_type(info.implementation or info.name, info.model)
            assert told.endswith("/trainedAlgorithmicMedia") == bool(info.parameters), info.name


def test_names_of_single_engines_stand_only_in_their_own_files() -> None:
    assert set(engine_names()) >= NAMES
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        file = path.relative_to(SOURCE).as_posix()
        own = path.parent.name if path.parent.parent.name == "engines" else path.stem
        mine = {own} if file.startswith("engines/") else ALLOWED.get(file, set())
        foreign = literals(path) - mine
        if foreign:
            found[file] = foreign
    assert not found, "say it in INFO instead"
