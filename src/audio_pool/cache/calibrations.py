"""The interface to what was measured of encoders, kept with the sounds that they are compared by.

Owns: the protocol Calibrations.
Must not know: any database (``sqlite/calibrations.py`` is the implementation); how an encoder is measured.
"""

from __future__ import annotations

from typing import Protocol

from audio_pool.cache.calibration import Measured

__all__ = ["Calibrations"]


class Calibrations(Protocol):
    """Measurements by space of vectors: another revision of an encoder is another space."""

    def at_070(self, space: str) -> float | None:
        """Return the cosine that tau 0.70 stands for; None where the space was not measured. Microseconds."""

    def all(self) -> list[Measured]:
        """Return every measurement, without its curve."""

    def keep(self, measured: Measured) -> None:
        """Keep a measurement in the place of an earlier one; every look-up that begins afterwards uses it.

        Raises:
            StorageError.
        """

    def forget(self, space: str) -> bool:
        """Remove a measurement; False where there is none. Raises StorageError."""
