"""Which device an engine asks, marks and fills, and that it never waits for it between steps.

A stand-in for torch.cuda answers for two cards. Tensors of torch's meta device have no values: whatever would wait
for a real device (to copy from it, to look at a number) is an error there, and every copy to it can be counted.
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tests.support import built
from torch.utils._python_dispatch import TorchDispatchMode

from audio_pool.engines import Item, _torch
from audio_pool.engines._host import ToHost
from audio_pool.engines._quantize import quantize, replaceable
from audio_pool.engines._ticker import Ticker
from audio_pool.errors import Cancelled, DeviceLost, EngineError, InvalidConfig, OutOfMemory

SECOND = torch.device("cuda:1")


def item(prompt: str = "rain on a tin roof", seed: int = 7, **more) -> Item:
    return Item(**{"prompt": prompt, "seed": seed, "duration_s": 0.5, "steps": 3, **more})


class StandIn:
    """torch.cuda of a machine with two cards: the first an older one, the second one with bfloat16."""

    capabilities = {0: (7, 5), 1: (8, 6)}
    total = 16 * 2**30

    def __init__(self) -> None:
        self.current = 0
        self.marked: list[int] = []
        self.waits: list[int] = []
        self.lost: set[int] = set()
        self.allocated = 0
        self.reserved = 0
        self.emptied = 0
        self.fractions: list[float] = []

    @contextlib.contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        before, self.current = self.current, device.index
        yield
        self.current = before

    def current_stream(self, device: torch.device | None = None) -> StandIn.Stream:
        return StandIn.Stream(self, self.current if device is None else device.index)

    def Event(self) -> StandIn.Mark:  # noqa: N802  # torch's name
        return StandIn.Mark(self)

    def get_device_capability(self, device: torch.device | None = None) -> tuple[int, int]:
        return self.capabilities[self.current if device is None else device.index]

    def is_bf16_supported(self, including_emulation: bool = True) -> bool:
        return self.get_device_capability()[0] >= 8

    def synchronize(self, device: torch.device) -> None:
        if device.index in self.lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def memory_allocated(self, device: torch.device) -> int:
        return self.allocated

    def memory_reserved(self, device: torch.device) -> int:
        return self.reserved

    def get_device_properties(self, device: torch.device) -> StandIn:
        return self

    @property
    def total_memory(self) -> int:
        return self.total

    def set_per_process_memory_fraction(self, fraction: float, device: torch.device) -> None:
        self.fractions.append(fraction)

    def empty_cache(self) -> None:
        self.emptied += 1

    class Stream:
        def __init__(self, cuda: StandIn, index: int) -> None:
            self.cuda, self.index = cuda, index

        def synchronize(self) -> None:
            self.cuda.waits.append(self.index)

        def record_event(self) -> StandIn.Mark:
            event = StandIn.Mark(self.cuda)
            event.record(self)
            return event

    class Mark:
        def __init__(self, cuda: StandIn) -> None:
            self.cuda = cuda

        def record(self, stream: StandIn.Stream | None = None) -> None:
            self.cuda.marked.append(self.cuda.current if stream is None else stream.index)

        def synchronize(self) -> None: ...


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    for name in dir(stand_in):
        if not name.startswith("_") and hasattr(torch.cuda, name):
            monkeypatch.setattr(torch.cuda, name, getattr(stand_in, name))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return stand_in


# -- the device meant, not the current one ---------------------------------------------------------------


def test_progress_is_marked_on_the_engines_own_device(cuda: StandIn) -> None:
    tick = Ticker(lambda done, total: None, 3, SECOND)
    for _ in range(3):
        tick()
    assert cuda.marked == [1, 1, 1]


def test_precision_is_the_devices_own(cuda: StandIn) -> None:
    assert _torch.dtype_of("auto", torch.device("cuda:0")) == torch.float16
    assert _torch.dtype_of("auto", SECOND) == torch.bfloat16
    assert cuda.current == 0


def test_what_may_be_quantised_goes_by_the_engines_own_device(cuda: StandIn) -> None:
    """quanto's four bits in float16 need a compiler on newer cards, and on those alone."""
    pytest.importorskip("optimum.quanto")
    settings = _torch.TorchSettings(quantization="4bit", dtype="float16")
    with pytest.raises(InvalidConfig, match="set dtype = 'bfloat16'"):
        quantize(torch.nn.Linear(128, 128).half(), settings, SECOND)
    quantize(torch.nn.Linear(128, 128).half(), settings, torch.device("cuda:0"))


def test_amds_cards_take_four_bits_in_float16(cuda: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their capabilities read as those of newer NVIDIA cards; quanto's own kernels are for the latter alone."""
    pytest.importorskip("optimum.quanto")
    monkeypatch.setattr(torch.version, "hip", "6.4.43483")
    layer = torch.nn.Sequential(torch.nn.Linear(128, 128).half())
    before = _torch.weight_bytes(layer)
    quantize(layer, _torch.TorchSettings(quantization="4bit", dtype="float16"), SECOND)
    assert _torch.weight_bytes(layer) < 0.4 * before


def test_four_bits_leave_the_layers_whose_type_the_library_goes_by() -> None:
    """T5 casts what goes into ``wo`` to the type of its weights: uint8 would leave whole numbers below 256 of it."""
    from transformers.models.t5.modeling_t5 import T5DenseGatedActDense

    text = torch.nn.ModuleDict({"text": built.parts("tangoflux", "cpu")["text_encoder"], "out": torch.nn.Linear(2, 2)})
    linear = {name for name, layer in text.named_modules() if type(layer) is torch.nn.Linear}
    four, eight = ({name for name, _ in replaceable(text, bits)} for bits in (4, 8))
    assert eight == linear
    assert four == {name for name in linear if not name.endswith(".wo")} != linear
    assert {"out", "text.encoder.block.0.layer.1.DenseReluDense.wi_0"} <= four

    block = next(layer for layer in text.modules() if isinstance(layer, T5DenseGatedActDense))
    hidden = torch.randn(1, 3, block.wi_0.in_features, generator=torch.Generator().manual_seed(1))
    given: list[torch.Tensor] = []

    class Packed(torch.nn.Linear):
        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            given.append(hidden)
            return hidden.float()

    wo = block.wo
    block.wo = Packed(wo.in_features, wo.out_features)
    block.wo.weight = torch.nn.Parameter(torch.zeros(8, 1, dtype=torch.uint8), requires_grad=False)
    block(hidden)
    assert given[0].dtype == torch.uint8, "or the library has changed, and nothing need be left out"


def test_an_engine_works_with_its_device_as_the_current_one(cuda: StandIn) -> None:
    engine = built.engine("audioldm")
    seen = []
    predict = engine._predict
    engine._predict = lambda *given: (seen.append(cuda.current), predict(*given))[1]
    engine._working = lambda items: _torch.device_errors("audioldm", SECOND, None, items)
    engine.generate([item()])
    assert seen == [1, 1, 1] and cuda.current == 0


# -- a device that is lost -------------------------------------------------------------------------------


def test_a_lost_device_is_an_error_of_its_own(cuda: StandIn) -> None:
    def work(raised: Exception) -> None:
        with _torch.device_errors("audioldm", SECOND, None, 1):
            raise raised

    with pytest.raises(RuntimeError, match="shape mismatch"):
        work(RuntimeError("shape mismatch"))
    cuda.lost.add(0)  # another card's trouble
    with pytest.raises(OutOfMemory):
        work(torch.OutOfMemoryError("CUDA out of memory"))
    cuda.lost.add(1)
    for raised in (RuntimeError("CUDA error: unspecified launch failure"), torch.OutOfMemoryError("out of memory")):
        with pytest.raises(DeviceLost, match=f"audioldm: cuda:1 is lost to this process: {raised}"):
            work(raised)
    with pytest.raises(Cancelled):  # not the device's
        work(Cancelled("stop"))


@pytest.mark.parametrize("lost", [True, False])
def test_a_scorer_tells_a_lost_device_from_a_failure(monkeypatch: pytest.MonkeyPatch, lost: bool) -> None:
    scorer = built.clap()
    monkeypatch.setattr(_torch, "device_lost", lambda device: lost)

    def fail(**given: object) -> None:
        raise RuntimeError("CUDA error: misaligned address")

    scorer._clap.get_text_features = fail
    with pytest.raises(EngineError, match="misaligned address") as caught:
        scorer.embed_text(["rain"])
    assert isinstance(caught.value, DeviceLost) is lost


# -- a cap per engine ------------------------------------------------------------------------------------


def test_each_engine_has_its_own_cap(cuda: StandIn) -> None:
    """Of 16 GB: one with 8 and one with 2, whichever was loaded last."""
    first, second = _torch.MemoryCap("8GB", SECOND), _torch.MemoryCap("2GB", SECOND)
    giga = 2**30
    with first.held():
        cuda.allocated = 3 * giga  # its weights
    with second.held():
        cuda.allocated = 4 * giga
    assert cuda.fractions == [8 / 16, 1.0, 5 / 16, 1.0]
    cuda.fractions.clear()
    for _ in range(2):
        with first.held():
            assert cuda.fractions[-1] == 9 / 16, "8 GB beside the other's 1 GB"
        with second.held():
            assert cuda.fractions[-1] == 5 / 16, "2 GB beside the other's 3 GB"
        assert cuda.fractions[-1] == 1.0, "others have no cap"


def test_a_failed_pass_leaves_a_cap_as_it_was(cuda: StandIn) -> None:
    cap = _torch.MemoryCap("8GB", SECOND)
    with contextlib.suppress(OutOfMemory), cap.held():
        cuda.allocated = 7 * 2**30  # held by the traceback
        raise OutOfMemory("too much")
    cuda.allocated = 0
    with cap.held():
        assert cuda.fractions[-1] == 8 / 16


def test_what_others_have_cached_does_not_widen_a_cap(cuda: StandIn) -> None:
    cuda.reserved = 9 * 2**30
    with _torch.MemoryCap("8GB", SECOND).held():
        assert cuda.emptied == 1


def test_no_cap_touches_no_limit(cuda: StandIn) -> None:
    with _torch.MemoryCap(None, SECOND).held():
        pass
    assert cuda.fractions == []


# -- no waiting between steps ----------------------------------------------------------------------------


class Copies(TorchDispatchMode):
    """Counts tensors that come to the meta device from elsewhere."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if torch.is_tensor(made) and made.device.type == "meta" and "copy" in func.__name__:
            sources = [one for one in args if torch.is_tensor(one) and one.device.type != "meta"]
            self.count += len(sources)
        return made


@pytest.mark.parametrize("name", built.GENERATORS)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_no_step_waits_for_the_device(name: str, guidance: float) -> None:
    """A step that copies a number to a GPU, or reads one from it, waits until all that was queued is done."""
    here, there = built.engine(name), built.engine(name, "meta", build_on="meta")
    jobs = [there._job(index, item(seed=index, guidance_scale=guidance, steps=4)) for index in range(2)]
    with torch.no_grad():
        texts = [here._encoding(*job.text) for job in jobs]
    texts = [{key: value.to("meta") for key, value in text.items()} for text in texts]
    if name == "stable_audio":  # its noise is drawn on the CPU: see below
        there._seed_sampler = lambda scheduler, jobs, noise: setattr(
            scheduler, "noise_sampler", lambda *sigmas: torch.zeros_like(noise)
        )
    counts: list[int] = []
    with torch.no_grad(), Copies() as copies:
        tick = Ticker(lambda done, total: counts.append(copies.count), 4, torch.device("meta"))
        made = there._placed_sample(jobs, texts, tick)
    assert made.shape[0] == 2 and len(counts) == 4
    assert counts[0] > 0, "the noise at least has come there"
    assert counts == [counts[0]] * 4


def test_noise_that_is_drawn_on_the_way_is_copied_without_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchsde")
    engine = built.engine("stable_audio")
    jobs = [engine._job(0, item())]
    scheduler, _ = engine._schedule(jobs[0])
    noise = torch.zeros(1, *engine._noise_shape(jobs[0]))
    engine._seed_sampler(scheduler, jobs, noise)
    wanted = scheduler.noise_sampler(torch.tensor(2.0), torch.tensor(1.0))
    copies: list[tuple[object, ...]] = []

    class Pinned:
        def __init__(self, values: torch.Tensor) -> None:
            self.values = values

        def to(self, device: torch.device, *, non_blocking: bool = False) -> torch.Tensor:
            copies.append((str(device), non_blocking))
            return self.values

    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: Pinned(tensor))
    engine._device = SECOND
    engine._seed_sampler(scheduler, jobs, noise)
    found = scheduler.noise_sampler(torch.tensor(2.0), torch.tensor(1.0))
    torch.testing.assert_close(found, wanted, atol=0, rtol=0)
    assert copies == [("cuda:1", True)]


class Returned(TorchDispatchMode):
    """Notes each copy of a whole sound or batch of them, and whether it was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.blocking: list[bool] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.copy_.default and args[0].ndim == 3 and args[0].shape[-1] >= 8000:
            self.blocking.append(not (args[2] if len(args) > 2 else (kwargs or {}).get("non_blocking", False)))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["audioldm", "tangoflux"])
def test_results_come_back_into_pinned_memory_and_are_waited_for_once(
    name: str, cuda: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = built.engine(name)
    items = [item(), item(seed=8), item(steps=2)]  # two batches
    wanted = engine.generate(items)
    empty, pinned = torch.empty, []

    def page_locked(*size: object, pin_memory: bool = False, **given: object) -> torch.Tensor:
        pinned.extend([size] if pin_memory else [])
        return empty(*size, **given)

    monkeypatch.setattr(torch, "empty", page_locked)
    engine._to_host = ToHost(SECOND)
    with Returned() as copies:
        found = engine.generate(items)
    assert (len(pinned), copies.blocking, cuda.waits) == (2, [False, False], [1])
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


# -- memory that is given back ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", built.GENERATORS)
def test_a_closed_engine_holds_no_weights(name: str) -> None:
    engine = built.engine(name)
    engine.generate([item()])
    weights = [
        weakref.ref(weight) for part in vars(engine).values() if isinstance(part, torch.nn.Module)
        for weight in part.parameters()
    ]  # fmt: skip
    engine.close()
    gc.collect()
    assert weights and not any(weight() is not None for weight in weights)
    assert engine.info.name == name


@pytest.mark.parametrize("name", built.GENERATORS)
def test_texts_are_cut_at_what_the_model_reads_where_its_tokenizer_names_no_limit(name: str) -> None:
    found = built.parts(name, "cpu")
    for part, tokenizer in found.items():
        if part.startswith("tokenizer"):
            tokenizer.model_max_length = int(1e30)  # transformers' way to say that none was given
    engine = built.engine(name, found=found)
    long = item("dog " * 700, negative_prompt="sea " * 700, steps=1)
    assert np.isfinite(engine.generate([long])[0]).all()
    assert any(said.startswith("prompt_truncated: ") for said in engine.notes(long).warnings)


def test_built_engines_are_those_that_are_loaded() -> None:
    """The same algorithm over the same modules: what is measured on them holds."""
    for name in built.GENERATORS:
        if built.sampler_of(name):
            continue
        engine, plain = built.engine(name), built.plain(name)
        found, wanted = engine.generate([item()])[0], plain(item())
        assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
