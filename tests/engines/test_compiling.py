"""compile = true: no request waits for the compiler, whatever its shape.

In the compiler's place stands what takes as long as the test wants at the first call of each shape, and then answers
as the plain module: which calls compile, on which thread, is what counts here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tests.support import built
from tests.support.waiting import PATIENCE_S

from audio_pool.engines import Item, Tells, _torch
from audio_pool.worker.batching import generate_halving


def item(seed: int = 7, duration_s: float = 0.5, **more: Any) -> Item:
    return Item(**{"prompt": "rain", "seed": seed, "duration_s": duration_s, "steps": 2, **more})


class Compilation:
    """What would compile: a list of (thread, module, shapes), and a gate that holds it."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str, tuple[tuple[int, ...], ...]]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fails = False

    def compile(self, module: torch.nn.Module, **given: object) -> None:
        plain, known = module._call_impl, set()

        def run(*args: Any, **kwargs: Any) -> Any:
            tensors = [one for one in (*args, *kwargs.values()) if isinstance(one, torch.Tensor)]
            shapes = tuple(tuple(one.shape) for one in tensors)
            if shapes not in known:
                self.done.append((threading.current_thread().name, type(module).__name__, shapes))
                assert self.gate.wait(PATIENCE_S)
                if self.fails:
                    raise RuntimeError("no kernel for this shape")
                known.add(shapes)
            return plain(*args, **kwargs)

        module._compiled_call_impl = run

    def here(self) -> list[str]:
        """The modules that this thread has compiled."""
        return [module for thread, module, _ in self.done if thread == threading.current_thread().name]


@pytest.fixture
def compilation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Compilation]:
    found = Compilation()
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **given: found.compile(module, **given))
    yield found
    found.gate.set()


@pytest.fixture(scope="module")
def plain() -> Any:
    return built.engine("audioldm")


def compiled(*shapes: tuple[int, float]) -> Any:
    warmed = [_torch.CompileShape(items=items, duration_s=seconds) for items, seconds in shapes]
    return built.engine("audioldm", compile=True, compile_shapes=warmed)


def alike(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_what_fits_into_a_warmed_shape_is_padded_to_it(compilation: Compilation, plain: Any) -> None:
    engine = compiled((2, 1.0), (1, 2.0))
    warmed = len(compilation.done)
    assert {"UNet2DConditionModel", "SpeechT5HifiGan"} <= set(compilation.here())
    for asked, length in ((0.3, 1.0), (1.0, 1.0), (1.6, 2.0)):
        (found,) = engine.generate([item(duration_s=asked)])
        (wanted,) = plain.generate([item(duration_s=length)])
        alike(found, wanted[:, : found.shape[1]])
        assert found.shape == (1, round(asked * 16_000))
    both = engine.generate([item(1), item(2, 0.9)])
    for found, one in zip(both, (item(1), item(2, 0.9)), strict=True):
        alike(found, engine.generate([one])[0])
    assert len(compilation.done) == warmed and engine.told() == ()


def test_any_other_shape_is_answered_at_once_and_compiled_meanwhile(compilation: Compilation, plain: Any) -> None:
    engine = compiled((1, 0.5))
    assert isinstance(engine, Tells)
    warmed = len(compilation.here())
    compilation.gate.clear()
    sounds, warnings, _ = generate_halving(engine, [item(duration_s=0.8)])
    alike(sounds[0], plain.generate([item(duration_s=0.8)])[0])
    (said,) = warnings
    assert said.startswith("not_compiled: ") and "compile_shapes" in said
    # while the thread is held at its work, all are answered: warmed ones, and more of the same
    alike(engine.generate([item()])[0], plain.generate([item()])[0])
    engine.generate([item(duration_s=0.8)])
    assert len(compilation.here()) == warmed and len(engine.told()) == 1
    compilation.gate.set()
    assert engine._compiler.wait(PATIENCE_S)
    before = len(compilation.done)
    assert {thread for thread, _, _ in compilation.done[warmed:]} == {"compiler"}
    sounds, warnings, _ = generate_halving(engine, [item(duration_s=0.8)])
    alike(sounds[0], plain.generate([item(duration_s=0.8)])[0])
    assert warnings == [] and len(compilation.done) == before


def test_what_does_not_compile_stays_plain_and_nothing_waits_at_the_close(compilation: Compilation, plain: Any) -> None:
    engine = compiled()
    compilation.fails = True
    alike(engine.generate([item()])[0], plain.generate([item()])[0])
    assert engine._compiler.wait(PATIENCE_S)
    tried = len(compilation.done)
    assert tried
    alike(engine.generate([item()])[0], plain.generate([item()])[0])
    assert engine.told() and engine._compiler.wait(PATIENCE_S)
    compilation.fails = False
    compilation.gate.clear()
    engine.generate([item(duration_s=0.8)])
    engine.close()
    assert compilation.here() == []


def test_an_engine_that_is_not_compiled_says_nothing(plain: Any) -> None:
    plain.generate([item()])
    assert plain.told() == ()
