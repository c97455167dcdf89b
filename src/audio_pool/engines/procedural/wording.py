"""How the built-in engine is told of a scene: words of its own grammar, and its options.

Owns: WORDING.
Must not know: recipes, how words are read (words.py, adjectives.py say what each means).

What names a further sound (rain, crickets at night, birds in a forest) comes before what changes all sounds, each as a
clause of its own: an adjective that stands alone in its clause is every sound's.
"""

from __future__ import annotations

from audio_pool.scene import Phrase, Wording

__all__ = ["WORDING"]


def _words(**phrases: str) -> dict[str, Phrase]:
    return {name.replace("_", " "): Phrase(words=words) for name, words in phrases.items()}


def _spaces(space: str, names: str) -> dict[str, Phrase]:
    return {name: Phrase(options={"space": space}) for name in names.split(", ")}


WORDING = Wording(
    templates={"weather": "with {}", "place": "in {a}", "mood": "{}"},
    known={
        "weather": _words(storm="in a storm", stormy="in a storm", windy="with wind", rainy="with rain"),
        "time": _words(night="at night", evening="with crickets", morning="with birds", dawn="with birds"),
        "place": {
            **_words(underwater="underwater", indoors="indoors", castle="in a hall", space_station="in a room"),
            "outdoors": Phrase(words="outdoors", options={"space": "open"}),
        },
        "space": {
            **_spaces("room", "room, small room, indoors, house, office, studio"),
            **_spaces("hall", "hall, large hall, cathedral, church, cave, tunnel, dungeon, reverberant"),
            **_spaces("open", "open, outdoors, open air, field, valley"),
        },
        # what is played keeps the mood's scale; everything else is lower, slower or softer
        "mood": _words(
            tense="tense, deep", scary="scary, deep", creepy="creepy, deep", dark="dark, deep", ominous="ominous, deep",
            calm="calm, soft", peaceful="peaceful, soft", sad="sad, slow", frantic="frantic, intense",
            chaotic="frantic, intense",
        ),
        "distance": _words(far="far away", distant="far away", remote="far away"),
        "period": _words(old_radio="muffled", vintage="muffled", radio="muffled", gramophone="muffled"),
    },
)  # fmt: skip
