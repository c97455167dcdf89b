"""The compiled loops give what scipy's front door gives, to the bit, and are reached without it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import scipy.signal

from audio_pool.audio import kernels

NOISE = np.random.default_rng(3).standard_normal((5, 512)).astype(np.float32)


@pytest.fixture(params=["compiled", "front door"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "front door":
        monkeypatch.setattr(kernels, "_compiled", lambda package, name: None)
    else:
        assert kernels._compiled("signal", "_sosfilt") and kernels._compiled("fft._pocketfft", "pypocketfft")
    return request.param


@pytest.mark.parametrize("order", [1, 2, 5, 12])
def test_filtering_is_scipys(way: str, order: int) -> None:
    sections = scipy.signal.butter(order, 300.0, "highpass", fs=44_100, output="sos")
    signal = NOISE.ravel().astype(np.float64)
    kept = signal.copy()
    np.testing.assert_array_equal(kernels.sosfilt(sections, signal), scipy.signal.sosfilt(sections, signal))
    np.testing.assert_array_equal(signal, kept)


@pytest.mark.parametrize("longer", [1, 4, 0.5])
def test_transforms_are_scipys(way: str, longer: float) -> None:
    spectrum = kernels.rfft(NOISE)
    np.testing.assert_array_equal(spectrum, scipy.fft.rfft(NOISE, axis=1))
    length = int(512 * longer)
    back = kernels.irfft(spectrum, length)
    assert (back.dtype, spectrum.dtype) == (np.float32, np.complex64)
    np.testing.assert_array_equal(back, scipy.fft.irfft(spectrum, length, axis=1))


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 509, 512])
def test_a_sounds_channels_are_transformed_as_each_by_itself(way: str, channels: int, length: int) -> None:
    audio = NOISE[:channels, :length]
    spectra = kernels.rfft_of_sound(audio)
    assert (spectra.dtype, spectra.shape) == (np.complex64, (channels, length // 2 + 1))
    expected = np.fft.rfft(audio.astype(np.float64))
    np.testing.assert_allclose(spectra, expected, atol=1e-6 * np.sqrt(length) * float(np.abs(audio).max()))


def test_a_silent_channel_stays_silent_beside_a_loud_one() -> None:
    assert not kernels.rfft_of_sound(np.stack([NOISE[0], np.zeros(512, np.float32)]))[1].any()


@pytest.mark.parametrize("order", range(1, 13))
@pytest.mark.parametrize(("cutoff_hz", "rate"), [(20.0, 48_000), (80.0, 44_100), (9_000.0, 22_050)])
def test_the_sections_are_a_butterworth_filters(order: int, cutoff_hz: float, rate: int) -> None:
    sections = kernels.highpass_sections(order, cutoff_hz, rate)
    theirs = scipy.signal.butter(order, cutoff_hz, "highpass", fs=rate, output="sos")
    assert sections.shape == theirs.shape
    hz = np.geomspace(cutoff_hz / 4, rate / 2.01, 50)
    ours, expected = (scipy.signal.sosfreqz(one, hz, fs=rate)[1] for one in (sections, theirs))
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-12)
    at = scipy.signal.sosfreqz(sections, [cutoff_hz], fs=rate)[1][0]
    assert 20 * np.log10(abs(at)) == pytest.approx(-3.0103, abs=1e-3)
