"""``second``: another engine like ``stage``."""

from __future__ import annotations

import stage_engine

INFO = stage_engine.info("second")


def load(**settings: object) -> stage_engine.Stage:
    return stage_engine.load("second", **settings)
