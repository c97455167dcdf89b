"""What files of a format cannot be: of every rate, a loop without a gap.

Owns: the rates of each format, the warnings about them.
Must not know: how files are written.
"""

from __future__ import annotations

__all__ = ["file_warnings", "nearest_rate"]

_TELEPHONE_RATES = (8_000,)
"""ITU-T G.711: what is without a header is read at the rate that the standard has."""
_RATES = {
    "mp3": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "opus": (8_000, 12_000, 16_000, 24_000, 48_000),
    "ulaw": _TELEPHONE_RATES,
    "alaw": _TELEPHONE_RATES,
}
"""Of formats that do not have every rate."""


def nearest_rate(format: str, sample_rate: int) -> int:
    """Return the rate in Hz nearest to ``sample_rate`` that ``format`` supports, the higher of two equally near."""
    rates = _RATES.get(format)
    if rates is None:
        return sample_rate
    return min(rates, key=lambda rate: (abs(rate - sample_rate), -rate))


def file_warnings(format: str, sample_rate: int, loop: bool) -> tuple[str, ...]:
    """Return what a file is not that it was asked to be."""
    found = []
    rate = nearest_rate(format, sample_rate)
    if rate != sample_rate:
        found.append(f"rate_changed: {format} has no {sample_rate} Hz; written at {rate} Hz")
    if loop and format in ("opus", "mp3"):
        found.append(f"loop_in_{format}: {format} pads its frames, so players may gap at the joint; use wav")
    return tuple(found)
