"""The engine of docs/adding-an-engine.md, installed as another package would be, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.support.waiting import PATIENCE_S

from audio_pool import AudioPool
from audio_pool.errors import NotSupported

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


def test_the_example_with_given_sounds_does_all_that_it_declares_in_a_pool(tmp_path):
    """Beside it stands an engine whose words decide the length."""
    blocks = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)
    (example,) = [found for found in blocks if "class Hum" in found]
    (tmp_path / "acme_hum.py").write_text(example)
    speaks = example.replace('"hum"', '"says"').replace("inpaint=True, extend=True", "natural_length=True, speech=True")
    (tmp_path / "acme_says.py").write_text(speaks.replace("item.duration_s", "0.5 * len(item.prompt.split())"))
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[audio_pool.engines]\nhum = acme_hum\nsays = acme_says\n")
    given = np.random.default_rng(1).normal(0.0, 0.1, 66_150)
    soundfile.write(tmp_path / "given.wav", given, 44_100, subtype="FLOAT")
    worker = {"name": "w", "engines": ["hum", "says"], "python": sys.executable, "env": {"PYTHONPATH": str(tmp_path)}}
    tree = {
        "defaults": {"engine": "hum", "duration_s": 5.0},
        "cache": {"dir": str(tmp_path / "cache"), "encoder": "off"},
        "sound": {"min_quality": 0.0, "on_quality_failure": "best"},
        "workers": [worker],
    }
    source = {"init_audio": str(tmp_path / "given.wav"), "highpass_hz": 0.0}

    def likeness(result, first: int, last: int) -> float:
        heard = soundfile.read(result.path, always_2d=True)[0][first:last, 0]
        return float(np.corrcoef(heard, given[first:last])[0, 1])

    with AudioPool.from_config(tree) as pool:
        stream = pool.stream("a hum", timeout_s=PATIENCE_S)
        assert len(list(stream)) > 1 and stream.result().metadata.stream.pieces == "engine"
        several = pool.generate("a hum", candidates=2, force=True, timeout_s=PATIENCE_S).metadata
        assert several.batch_size == 1 and 100 < several.bandwidth_hz <= 1000
        part = pool.generate("a hum", **source, mask_start_s=0.5, mask_end_s=1.0, timeout_s=PATIENCE_S)
        assert part.metadata.duration_s == 1.5
        assert likeness(part, 2_000, 20_000) > 0.999 and likeness(part, 46_000, 64_000) > 0.999
        assert likeness(part, 22_050, 44_100) < 0.1
        longer = pool.generate("a hum", **source, extend_s=0.5, timeout_s=PATIENCE_S)
        assert longer.metadata.duration_s == 2.0 and likeness(longer, 2_000, 64_000) > 0.999
        with pytest.raises(NotSupported, match="cannot start from a sound"):
            pool.generate("a hum", **source, timeout_s=PATIENCE_S)
        said = pool.generate("three short words", engine="says", duration_s=4.0, timeout_s=PATIENCE_S).metadata
        assert (said.duration_s, said.natural_length) == (1.5, True)
        assert [one.split(":")[0] for one in said.warnings] == ["duration_s_ignored"]
