"""Compiled modules that never keep a request waiting for the compiler.

Owns: Compiler: which shapes of an engine's modules are compiled, what is answered by the plain module meanwhile, and
the thread that compiles what was met.
Must not know: any single engine, what the modules compute.

torch compiles each shape at its first call, which takes from seconds to minutes. While an engine warms up at load, a
call compiles. Afterwards a call of a shape that is not compiled yet is answered by the plain module and remembered;
when the sound is done, a thread compiles it, and the next one of its kind is quick. While the thread is at work all
calls go to the plain modules: what the compiler marks while it traces, it marks for all threads.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from audio_pool.engines._torch import TorchSettings, first_line, on_device
from audio_pool.errors import InvalidConfig

if TYPE_CHECKING:
    import torch

__all__ = ["Compiler", "compile_module", "repeated"]

logger = logging.getLogger(__name__)

_MOST_PADDING = 4
"""Times as many rows as were asked for are still quicker compiled than those alone launched one by one."""
_MOST_SHAPES = 16
"""Compiled in the background, of all modules of an engine; each takes memory."""
_LOWEST_PRIORITY = 19

Call: TypeAlias = "tuple[tuple[Any, ...], dict[str, Any]]"
Key: TypeAlias = "tuple[Any, ...]"


def compile_module(module: Any, settings: TorchSettings, device: torch.device) -> None:
    """Compile a module's forward in place, on a GPU by ``compile_mode``: launches bound these models.

    Each shape is compiled by itself, at its first call: graphs with symbolic sizes cannot be captured. Past torch's
    limit of shapes the module runs uncompiled, which is slower, never wrong.

    Raises:
        InvalidConfig: CUDA graphs without a GPU.
    """
    if settings.compile_mode == "graphs" and device.type != "cuda":
        raise InvalidConfig(f"compile_mode = 'graphs' needs a GPU; the device is {device}: leave it out")
    with warnings.catch_warnings():
        # torch's own inductor still uses it, when it is first imported
        warnings.filterwarnings("ignore", r"`torch.jit.script_method` is deprecated", DeprecationWarning)
        importlib.import_module("torch._inductor.compile_fx")
        if settings.compile_mode == "graphs":
            module.compile(backend="cudagraphs", dynamic=False)
        else:
            graphs = device.type == "cuda" and settings.compile_mode == "full"
            module.compile(mode="reduce-overhead" if graphs else "default", dynamic=False)


def repeated(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Return rows [B, ...] with the last one again and again, ``count`` in all."""
    import torch

    return torch.cat([rows, rows[-1:].expand(count - len(rows), *rows.shape[1:])]) if count > len(rows) else rows


@dataclass(frozen=True)
class _Tensor:
    """What the compiler has to know of a tensor: enough to call a module with one like it."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def like(self) -> torch.Tensor:
        import torch

        return torch.zeros(self.shape, dtype=self.dtype, device=self.device)


class Compiler:
    """The compiled modules of one engine."""

    def __init__(self, settings: TorchSettings, device: torch.device) -> None:
        self._settings, self._device = settings, device
        self._lock = threading.Lock()
        self._wanted: list[tuple[_Compiled, Key]] = []
        self._compiled = 0
        self._thread: threading.Thread | None = None
        self._warming = self._closed = False
        self._missed = False
        self._rows: dict[tuple[str, tuple[int, ...]], set[int]] = {}
        """Batches that are warmed up, by stage and the shape of a row."""

    def add(self, module: Any) -> None:
        """Compile a module's calls by this object's rules.

        Raises:
            InvalidConfig: as ``compile_module``.
        """
        compile_module(module, self._settings, self._device)
        # where torch keeps what answers a compiled module's calls; it has no public hook before it
        module._compiled_call_impl = _Compiled(self, module._call_impl, module._compiled_call_impl)

    @contextlib.contextmanager
    def warming_up(self) -> Iterator[None]:
        """Inside, calls compile, and whoever makes them waits."""
        self._warming = True
        try:
            yield
        finally:
            self._warming = False

    def rows_for(self, stage: str, rows: torch.Tensor) -> int:
        """Return how many rows to pad a batch to: the least of those warmed up for the stage that is not far too large.

        Args:
            stage: which takes them.
            rows: [B, ...].
        """
        known, count = self._rows.setdefault((stage, tuple(rows.shape[1:])), set()), len(rows)
        if self._warming:
            known.add(count)
        return min((more for more in known if count <= more <= _MOST_PADDING * count), default=count)

    def told(self) -> tuple[str, ...]:
        """Return named warnings of what was answered since the last question."""
        missed, self._missed = self._missed, False
        if not missed:
            return ()
        return (
            "not_compiled: a shape of this batch is not compiled yet: the plain modules made it, which is slower. "
            "Where it can be it is compiled meanwhile, for the next; compile_shapes says what is ready from the start",
        )

    def begin(self) -> None:
        """Compile in the background what was met and is not compiled."""
        with self._lock:
            if self._wanted and self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, name="compiler", daemon=True)
                self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Return True once nothing is being compiled, False when the time is over."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return self._thread is None

    def close(self) -> None:
        """Begin nothing more; what is being compiled ends by itself."""
        with self._lock:
            self._closed = True
            self._wanted.clear()

    # -- asked by the modules -------------------------------------------------------------------------

    @property
    def warming(self) -> bool:
        """A call is to compile."""
        return self._warming

    @property
    def busy(self) -> bool:
        """The thread is at work."""
        return self._thread is not None

    def met(self, module: _Compiled, key: Key) -> None:
        """Remember a call that the plain module answers."""
        self._missed = True
        with self._lock:
            known = key in module.ready or key in module.given_up or (module, key) in self._wanted
            if known or self._compiled >= _MOST_SHAPES:
                return
            self._compiled += 1
            self._wanted.append((module, key))

    # -- the thread -----------------------------------------------------------------------------------

    def _work(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # a thread's own priority is Linux's
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        while True:
            with self._lock:
                if not self._wanted:
                    self._thread = None
                    return
                module, key = self._wanted.pop(0)
            try:
                with on_device(self._device):
                    module.compile(key)
            except Exception as exc:  # the compiler's errors share no class, and none may end the worker
                module.given_up.add(key)
                logger.warning("a shape stays uncompiled: %s: %s", type(exc).__name__, first_line(exc))


class _Compiled:
    """Answers a module's calls: compiled where their shapes are, else plainly."""

    def __init__(self, compiler: Compiler, plain: Callable[..., Any], compiled: Callable[..., Any]) -> None:
        self._compiler, self._plain, self._run = compiler, plain, compiled
        self.ready: set[Key] = set()
        self.given_up: set[Key] = set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        key = _key((args, kwargs))
        if self._compiler.warming:
            found = self._run(*args, **kwargs)
            self.ready.add(key)
            return found
        if key in self.ready and not self._compiler.busy:
            return self._run(*args, **kwargs)
        if key not in self.ready:
            self._compiler.met(self, key)
        return self._plain(*args, **kwargs)

    def compile(self, key: Key) -> None:
        """Compile a call by making one like it, on this thread."""
        import torch

        args, kwargs = _call(key)
        with torch.no_grad():  # as the engine's own calls are made: it is a part of what is compiled
            self._run(*args, **kwargs)
        self.ready.add(key)


def _key(call: Call) -> Key:
    """Return what two calls that are compiled alike have in common; a call can be made of it again."""
    args, kwargs = call
    return tuple(map(_marked, args)), tuple((name, _marked(value)) for name, value in sorted(kwargs.items()))


def _marked(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return _Tensor(tuple(value.shape), value.dtype, value.device)
    if isinstance(value, dict):
        return dict, tuple((name, _marked(one)) for name, one in sorted(value.items()))
    if isinstance(value, list | tuple):
        return type(value), tuple(map(_marked, value))
    return value


def _call(key: Key) -> Call:
    args, kwargs = key
    return tuple(map(_again, args)), {name: _again(value) for name, value in kwargs}


def _again(mark: Any) -> Any:
    if isinstance(mark, _Tensor):
        return mark.like()
    if isinstance(mark, tuple) and mark and mark[0] is dict:
        return {name: _again(one) for name, one in mark[1]}
    if isinstance(mark, tuple) and mark and mark[0] in (list, tuple):
        return mark[0](map(_again, mark[1]))
    return mark
