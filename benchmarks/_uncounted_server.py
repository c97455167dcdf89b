"""``audio-pool`` whose pool counts nothing of its requests: what counting costs is what it needs less."""

from __future__ import annotations

import sys

from audio_pool.cli import main
from audio_pool.pool.requests import RequestTable


def _nothing(*_: object) -> None: ...


if __name__ == "__main__":
    RequestTable._count = _nothing  # type: ignore[assignment]
    sys.argv[0] = "audio-pool"
    main()
