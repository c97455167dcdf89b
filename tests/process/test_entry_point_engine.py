"""The engine of docs/adding-an-engine.md, installed as another package would be, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

DOC = Path(__file__).parents[2] / "docs" / "adding-an-engine.md"


def block(language: str) -> str:
    """The document's first code block in a language."""
    found = re.search(rf"```{language}\n(.*?)```", DOC.read_text(), re.DOTALL)
    assert found, f"no {language} block in {DOC.name}"
    return found.group(1)


@pytest.fixture
def installed(tmp_path) -> Path:
    """A directory with the module and its dist-info, as an installer leaves them."""
    points = tomllib.loads(block("toml"))["project"]["entry-points"]
    ((group, named),) = points.items()
    ((name, module),) = named.items()
    (tmp_path / f"{module}.py").write_text(block("python"))
    info = tmp_path / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
    return tmp_path


def run(installed: Path, script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_is_thirty_odd_lines():
    lines = [line for line in block("python").splitlines() if line.strip()]
    assert len(lines) <= 32


def test_an_engine_of_another_package_is_listed_loaded_and_keeps_the_promises(installed):
    run(
        installed,
        """
        import numpy as np, sys
        from audio_pool.engines import Item, engine_info, engine_names, load_engine
        from audio_pool.errors import Cancelled, NotSupported

        assert "bells" in engine_names()
        assert engine_info("bells").licence == "MIT"
        assert "torch" not in sys.modules
        engine = load_engine("bells")
        items = [
            Item(prompt="bell", seed=1, duration_s=1.237),
            Item(prompt="bell", seed=2, duration_s=0.5, steps=3),
            Item(prompt="bell", seed=1, duration_s=1.237),
        ]
        seen = []
        sounds = engine.generate(items, on_step=lambda done, total: seen.append((done, total)))
        assert [sound.shape for sound in sounds] == [(1, 54552), (1, 22050), (1, 54552)]
        assert all(sound.dtype == np.float32 and np.abs(sound).max() > 0.1 for sound in sounds)
        assert seen == [(done, 8) for done in range(1, 9)]
        assert np.array_equal(sounds[0], sounds[2]) and not np.array_equal(sounds[0][:, :22050], sounds[1])
        for item, sound in zip(items, sounds):
            assert np.array_equal(engine.generate([item])[0], sound), "alone as in a batch"

        def cancel(done, total):
            if done == 2:
                raise Cancelled("stop")

        try:
            engine.generate(items, on_step=cancel)
            raise SystemExit("not cancelled")
        except Cancelled:
            pass
        assert np.array_equal(engine.generate(items)[1], sounds[1])
        assert engine.notes(items[0]).expects == {"decay"}
        try:
            engine.notes(Item(prompt="bell", seed=1, duration_s=1.0, negative_prompt="dog"))
            raise SystemExit("not refused")
        except NotSupported:
            pass
        """,
    )


def test_the_commands_list_it(installed):
    said = run(installed, "import sys; sys.argv[1:] = ['engines']; from audio_pool.cli import main; main()")
    assert re.search(r"^bells .*MIT", said, re.MULTILINE)


def test_a_package_that_does_not_import_or_lacks_a_name_is_told(installed):
    module = installed / "acme_bells.py"
    for text, says in (("import nowhere_at_all", "nowhere_at_all"), ("INFO = 1", "INFO and load")):
        module.write_text(text)
        said = run(
            installed,
            """
            from audio_pool.engines import load_engine
            from audio_pool.errors import EngineUnavailable
            try:
                load_engine("bells")
            except EngineUnavailable as exc:
                print(exc.message)
            """,
        )
        assert says in said and "bells" in said
