"""How families of models are told of a scene: captions, tags, musical terms.

Owns: the wordings that several engines share; each engine's INFO names its own.
Must not know: any single engine.
"""

from __future__ import annotations

from audio_pool.scene import Wording, wording_of

__all__ = ["MUSIC", "MUSIC_TAGS", "QUALITY_CAPTION", "SPOKEN", "TAGS"]

QUALITY_CAPTION = wording_of({}, always="high quality")
"""A caption whose model knows good recordings from bad ones by their captions."""

TAGS = wording_of(
    {
        "time": {"night": "night", "morning": "morning", "evening": "evening", "day": "daytime"},
        "distance": {"far": "distant", "near": "close-up", "close": "close-up"},
    },
    templates={"time": "{}", "place": "{} ambience", "space": "{} reverb", "period": "{}"},
    always="field recording, high-quality, stereo",
)
"""Tags, as the descriptions of stock recordings have them."""

_MOODS = {
    "tense": "tense, minor key, dissonant strings, slow build",
    "scary": "horror soundtrack, minor key, dissonant",
    "calm": "calm, slow tempo, soft dynamics",
    "happy": "happy, major key, upbeat",
    "sad": "sad, minor key, slow tempo",
}
_PERIODS = {
    "old radio": "lo-fi, 1930s radio recording",
    "medieval": "medieval, lute and recorder, modal",
    "future": "futuristic, synthesizers",
}

MUSIC = wording_of(
    {"mood": _MOODS, "period": _PERIODS},
    templates={"mood": "{} mood", "place": "soundtrack of {a}", "weather": "{} atmosphere", "period": "{} style"},
)
"""A description of music: mood and period become keys, tempi and instruments."""

MUSIC_TAGS = wording_of(
    {"mood": _MOODS, "period": _PERIODS, "time": {"night": "nocturne", "morning": "morning"}},
    templates={"mood": "{}", "place": "{} soundtrack", "weather": "{}", "time": "{}", "period": "{}", "space": "{}"},
)

SPOKEN = Wording(listens=False)
"""The prompt is what is said: nothing is added to it."""
