"""ComfyUI's nodes before a real gateway and a real pool. Only ComfyUI itself is played: how it loads a folder of
nodes, its bar and its Cancel."""

from __future__ import annotations

import http.server
import importlib.util
import json
import sys
import threading
import types
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.gateways import Gateway, running
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.client.client import AudioClient

FOLDER = Path(__file__).parents[2] / "examples" / "comfyui_audio_pool"


@pytest.fixture(scope="module")
def nodes() -> Iterator[types.ModuleType]:
    """The folder as ComfyUI loads it: by its path, under a name made of it."""
    name = str(FOLDER).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, FOLDER / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module
    for loaded in [one for one in sys.modules if one == name or one.startswith(f"{name}.")]:
        del sys.modules[loaded]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("c"), brings=("stage",)) as served:
        yield served.ready()
        served.signal()
        served.wait()


@pytest.fixture(scope="module")
def gateway(served: Served) -> Iterator[str]:
    gateway = Gateway(served.place, served.endpoint)
    with running(gateway):
        yield gateway.url


class Comfy:
    """ComfyUI around the nodes: its progress bar, and its Cancel button."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.drawn: list[tuple[int, int]] = []
        self.pressed = False
        utils, management = types.ModuleType("comfy.utils"), types.ModuleType("comfy.model_management")
        told = self.drawn

        class ProgressBar:
            def __init__(self, total: int) -> None:
                self.total = total

            def update_absolute(self, value: int, total: int) -> None:
                told.append((value, total))

        class Interrupted(Exception):
            pass

        def throw() -> None:
            if self.pressed:
                raise Interrupted

        self.interrupted = Interrupted
        utils.ProgressBar = ProgressBar  # type: ignore[attr-defined]
        management.processing_interrupted = lambda: self.pressed  # type: ignore[attr-defined]
        management.throw_exception_if_processing_interrupted = throw  # type: ignore[attr-defined]
        comfy = types.ModuleType("comfy")
        for name, module in (("comfy", comfy), ("comfy.utils", utils), ("comfy.model_management", management)):
            monkeypatch.setitem(sys.modules, name, module)


def run(nodes: types.ModuleType, name: str, **widgets: Any) -> Any:
    """Run a node as ComfyUI does: widgets that are not given have their defaults, and no other name is taken."""
    node = nodes.NODE_CLASS_MAPPINGS[name]
    inputs = {**node.INPUT_TYPES()["required"], **node.INPUT_TYPES().get("optional", {})}
    assert set(widgets) <= set(inputs)
    defaults = {key: kind[1]["default"] for key, kind in inputs.items()}
    results = getattr(node(), node.FUNCTION)(**{**defaults, **widgets})
    assert len(results) == len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
    return results


def made(nodes: types.ModuleType, gateway: str, prompt: str, **widgets: Any) -> Any:
    return run(nodes, "AudioPoolMakeSound", prompt=prompt, gateway=gateway, **{"seconds": 0.5, **widgets})


def test_every_node_has_what_comfyui_reads_of_it(nodes: types.ModuleType) -> None:
    assert set(nodes.NODE_CLASS_MAPPINGS) == set(nodes.NODE_DISPLAY_NAME_MAPPINGS)
    for node in nodes.NODE_CLASS_MAPPINGS.values():
        assert node.RETURN_TYPES[0] == "AUDIO" and node.CATEGORY and node.DESCRIPTION
        assert callable(getattr(node, node.FUNCTION))
        for kind, options in (one for part in node.INPUT_TYPES().values() for one in part.values()):
            assert isinstance(kind, list) or kind in ("STRING", "FLOAT", "INT", "BOOLEAN")
            assert "default" in options and (isinstance(kind, list) or "key" not in options)


def test_a_sound_is_made_as_audio_and_its_progress_is_drawn(
    nodes: types.ModuleType, gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    comfy = Comfy(monkeypatch)
    audio, number, metadata = made(nodes, gateway, f"tone {uuid.uuid4().hex}", seconds=0.5)
    waveform = audio["waveform"]
    assert (waveform.dtype, waveform.ndim, waveform.shape[0]) == (torch.float32, 3, 1)
    told = json.loads(metadata)
    assert waveform.shape[1] == told["channels"] and audio["sample_rate"] == told["sample_rate"]
    assert waveform.shape[2] == round(0.5 * audio["sample_rate"])
    assert number == told["entry_id"] > 0
    assert comfy.drawn[-1] == (100, 100)


def test_samples_are_those_of_the_file(nodes: types.ModuleType, gateway: str, served: Served) -> None:
    prompt = f"tone {uuid.uuid4().hex}"
    audio, number, _ = made(nodes, gateway, prompt)
    with AudioClient(served.endpoint) as client:
        raw = client.generate(prompt, duration_s=0.5, loop=False, delivery="raw")
    assert raw.metadata.entry_id == number and torch.equal(audio["waveform"][0], torch.from_numpy(raw.audio.copy()))


def test_a_kept_sound_is_found_and_has_others_like_it(nodes: types.ModuleType, gateway: str) -> None:
    word = f"bell{uuid.uuid4().hex[:8]}"
    first = made(nodes, gateway, f"tone {word}")[1]
    found = run(nodes, "AudioPoolFindSound", words=word, gateway=gateway)
    assert found[1] == first and found[0]["waveform"].shape[2] > 0
    others = [run(nodes, "AudioPoolAnotherSound", sound_id=first, number=n, gateway=gateway)[1] for n in (1, 2)]
    again = [run(nodes, "AudioPoolAnotherSound", sound_id=others[0], number=n, gateway=gateway)[1] for n in (1, 2)]
    assert len({first, *others}) == 3 and {others[0], *again} == {first, *others}
    assert run(nodes, "AudioPoolFindSound", words=word, number=3, gateway=gateway)[1] in {first, *others}
    with pytest.raises(RuntimeError, match="0 kept sounds fit"):
        run(nodes, "AudioPoolFindSound", words=uuid.uuid4().hex, gateway=gateway)
    with pytest.raises(RuntimeError, match="3 kept sounds fit, given was number 9"):
        run(nodes, "AudioPoolFindSound", words=word, number=9, gateway=gateway)


def test_cancel_ends_the_prompt_and_the_pools_work(
    nodes: types.ModuleType, gateway: str, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comfy = Comfy(monkeypatch)
    ended: list[BaseException] = []

    def work() -> None:
        try:
            made(nodes, gateway, f"hold {tmp_path}/go {uuid.uuid4().hex}")
        except BaseException as exc:
            ended.append(exc)

    with AudioClient(served.endpoint) as client:
        thread = threading.Thread(target=work)
        thread.start()
        try:
            eventually(lambda: client.status().requests == 1, "it is under way")
            comfy.pressed = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive() and isinstance(ended[0], comfy.interrupted)
            eventually(lambda: client.status().requests == 0, "the pool has stopped")
        finally:
            (tmp_path / "go").touch()
            thread.join(PATIENCE_S)


@pytest.mark.parametrize(
    ("widgets", "told"),
    [
        ({"prompt": " "}, "the prompt is empty"),
        ({"engine": "stagey"}, "did you mean 'stage'"),
        ({"seconds": 5000.0}, "duration_s"),
        ({"prompt": "fail now"}, "a gear is broken|failed"),
        ({"gateway": "127.0.0.1:8080"}, "allowed is an address such as http://127.0.0.1:8080"),
        ({"gateway": "http://127.0.0.1:9"}, "audio-pool serve --http"),
    ],
)
def test_what_is_wrong_is_said_at_the_node(nodes: types.ModuleType, gateway: str, widgets, told) -> None:
    with pytest.raises(RuntimeError, match=told):
        run(nodes, "AudioPoolMakeSound", **{"prompt": "tone a", "seconds": 0.5, "gateway": gateway, **widgets})


def test_a_key_comes_from_the_environment(
    nodes: types.ModuleType, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audio_pool.gateway.key_file import HttpKey, create_key

    file = served.place / "keys.json"
    key = create_key(file, lambda sha256: HttpKey(name="comfy", sha256=sha256, namespace="comfy"))
    keyed = Gateway(served.place, served.endpoint, config=f'[http]\nkeys_file = "{file}"\n', name="keyed")
    with running(keyed):
        monkeypatch.setenv("AUDIO_POOL_GATEWAY", keyed.url)
        with pytest.raises(RuntimeError, match="Set AUDIO_POOL_KEY for ComfyUI"):
            made(nodes, "", "tone key")
        monkeypatch.setenv("AUDIO_POOL_KEY", key)
        assert json.loads(made(nodes, "", "tone key")[2])["namespace"] == "comfy"


class Stranger(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_error(404)


def test_another_server_at_the_address_is_noticed(nodes: types.ModuleType) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        thread = threading.Thread(target=stranger.handle_request)
        thread.start()
        with pytest.raises(RuntimeError, match=r"answered 404: .*is it one of audio_pool"):
            made(nodes, f"http://127.0.0.1:{stranger.server_port}", "tone a")
        thread.join(PATIENCE_S)
