"""The compiled library and numpy finish a sound alike; a library of another source, or none, is no fault."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Iterator
from pathlib import Path

import hatch_build
import numpy as np
import pytest

from audio_pool.audio import kernels, loudness, native

RNG = np.random.default_rng(11)
NOISE = (0.2 * RNG.standard_normal((2, 5_000))).astype(np.float32)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The library of the present source: that of the installation, or one made on the spot."""
    if (found := native.library()) is not None:
        return found
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler here: numpy does it all")
    path = tmp_path_factory.mktemp("kernels") / native.NAME
    assert hatch_build.compile_kernels(path) == ""
    made = native.loaded(path)
    assert made is not None
    return made


@pytest.fixture
def ways(compiled: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Iterator[ctypes.CDLL | None]:
    """Once with the library, once without: two rounds for what is zipped with it."""

    def each() -> Iterator[ctypes.CDLL | None]:
        for way in (compiled, None):
            monkeypatch.setattr(native, "library", lambda way=way: way)
            yield way

    return each()


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("order", [1, 4, 5, 12])
@pytest.mark.parametrize("warm", [0, 700, 12_000])
def test_a_filter_gives_the_same_samples_to_the_last_bit_of_a_float(
    ways: Iterator[ctypes.CDLL | None], channels: int, order: int, warm: int
) -> None:
    sections = kernels.highpass_sections(order, 80.0, 44_100)
    audio = np.repeat(NOISE, 2, axis=0)[:channels]
    offsets = np.array([0.01, -0.2, 0.0])[:channels]
    ours, theirs = (kernels.filtered(sections, audio, offsets, warm) for _ in ways)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2.0**-24)
    assert float((ours != theirs).mean()) < 1e-2


def test_more_sections_than_the_library_takes_are_filtered_all_the_same(ways: Iterator[ctypes.CDLL | None]) -> None:
    sections = np.tile(kernels.highpass_sections(2, 80.0, 44_100), (native.MOST_SECTIONS + 1, 1))
    ours, theirs = (kernels.filtered(sections, NOISE, np.zeros(2)) for _ in ways)
    np.testing.assert_array_equal(ours, theirs)  # both by scipy


@pytest.mark.parametrize("warm", [0, 300])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_powers_are_the_same_between_any_bounds(ways: Iterator[ctypes.CDLL | None], channels: int, warm: int) -> None:
    sections = loudness.k_weighting(44_100)
    audio = np.repeat(NOISE, 2, axis=0)[:channels]
    bounds = np.array([5, 6, 1_500, 4_990, 5_000])
    ours, theirs = (kernels.filtered_powers(sections, audio, bounds, warm) for _ in ways)
    np.testing.assert_allclose(ours, theirs, rtol=1e-11)


def test_samples_are_rounded_to_the_same_24_bits(ways: Iterator[ctypes.CDLL | None]) -> None:
    step = np.float32(2.0**-23)
    edges = np.array([0, 0.5, 1.5, 2.5, -0.5, -1.5, 0.49, 1 / step, 2 / step, -1 / step, -3 / step], np.float32) * step
    audio = np.stack([np.concatenate([edges, NOISE[0, :500]]), np.concatenate([edges[::-1], NOISE[1, :500]])])
    ours, theirs = (kernels.in_24_bits(audio[:, 3:]) for _ in ways)
    np.testing.assert_array_equal(ours, theirs)
    assert ours.shape == (508, 2)
    assert kernels.in_24_bits(audio)[:11, 0].tolist() == [
        256 * at for at in (0, 0, 2, 2, 0, -2, 0, (1 << 23) - 1, (1 << 23) - 1, -(1 << 23), -(1 << 23))
    ]


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("frames", [0, 3, 4_999])
def test_moments_are_the_same(ways: Iterator[ctypes.CDLL | None], channels: int, frames: int) -> None:
    audio = np.repeat(NOISE, 2, axis=0)[:channels, :frames]
    ours, theirs = (kernels.moments(audio) for _ in ways)
    for name in ("sums", "squares", "product", "tops"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-10, atol=1e-13)


def test_moments_tell_what_is_no_number(ways: Iterator[ctypes.CDLL | None]) -> None:
    huge = np.full((2, 9), np.finfo(np.float32).max, np.float32)
    for wrong in (np.nan, np.inf, -np.inf):
        audio = huge.copy()
        audio[1, 4] = wrong
        for _ in ways:
            assert np.isfinite(kernels.moments(huge).squares).all()
            assert not np.isfinite(kernels.moments(audio).squares).all()


def test_windows_are_summed_alike_however_many_there_are(ways: Iterator[ctypes.CDLL | None]) -> None:
    places = np.arange(0, 4_800, 7)
    window = np.hanning(128).astype(np.float32)
    ours, theirs = (kernels.window_powers(NOISE, places, window, np.array([1, 9, 65])) for _ in ways)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    spectra = np.fft.rfft(NOISE[:, 693:821] * window)
    np.testing.assert_allclose(ours[99, 1], np.square(np.abs(spectra[:, 9:])).sum(), rtol=1e-5)


def test_powers_between_bounds_need_no_filter(ways: Iterator[ctypes.CDLL | None]) -> None:
    bounds = np.array([3, 4, 2_500, 5_000])
    ours, theirs = (kernels.powers_between(NOISE, bounds) for _ in ways)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    np.testing.assert_allclose(ours[2], np.square(NOISE[:, 2_500:], dtype=np.float64).sum(), rtol=1e-10)


def test_bands_add_up_the_same_bins(ways: Iterator[ctypes.CDLL | None]) -> None:
    spectra = kernels.rfft(NOISE.reshape(-1, 50))
    bounds = np.array([0, 1, 7, 7, 26])
    found = []
    for _ in ways:
        sums = np.ones((len(spectra), 4))
        kernels.add_band_powers(spectra, bounds, sums)
        found.append(sums)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    np.testing.assert_allclose(found[0][:, 3], 1 + np.square(np.abs(spectra[:, 7:])).sum(axis=1), rtol=1e-6)
    assert (found[0][:, 2] == 1).all()


def test_what_rings_out_into_silence_ends_at_zero(ways: Iterator[ctypes.CDLL | None]) -> None:
    audio = np.zeros((1, 100_000), np.float32)
    audio[0, 0] = 1.0
    sections = kernels.highpass_sections(4, 300.0, 8_000)
    ours, theirs = (kernels.filtered(sections, audio, np.zeros(1)) for _ in ways)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2.0**-24)
    assert not ours[0, -1]


def test_only_a_library_of_this_source_is_loaded(compiled: ctypes.CDLL, tmp_path: Path) -> None:
    del compiled
    assert native.loaded(tmp_path / "none.so") is None
    other = tmp_path / "other.so"
    other.write_bytes(b"no library")
    assert native.loaded(other) is None


def test_a_library_of_an_older_source_is_left_alone(
    compiled: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tmp_path / "kernels.c"
    changed.write_text(native.SOURCE.read_text() + "\n/* changed */\n")
    monkeypatch.setattr(native, "SOURCE", changed)
    assert native.loaded(Path(compiled._name)) is None


def test_no_compiler_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / native.NAME
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    assert "no-such-compiler" in hatch_build.compile_kernels(out)
    monkeypatch.setenv("CC", "false")
    assert hatch_build.compile_kernels(out).startswith("false failed")
    assert not list(tmp_path.iterdir())
