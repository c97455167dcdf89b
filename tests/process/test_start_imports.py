"""What is not imported before it is needed: every command, worker and pool begins with its imports."""

from __future__ import annotations

import subprocess
import sys

from tests.support.waiting import PATIENCE_S


def told(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_sound_is_filtered_and_measured_without_the_rest_of_scipy() -> None:
    code = (
        "import sys\n"
        "import numpy as np\n"
        "from audio_pool.audio.filter import highpass\n"
        "from audio_pool.audio.loudness import loudness_lufs, true_peak_dbfs\n"
        "sound = highpass(np.random.default_rng(1).standard_normal((2, 44100)).astype(np.float32), 44100, 80.0)\n"
        "loudness_lufs(sound, 44100), true_peak_dbfs(sound, 44100)\n"
        "print([name for name in ('scipy.signal', 'scipy.stats', 'scipy.fft', 'scipy.ndimage') if name in sys.modules])"
    )
    assert told(code) == "[]"
