"""What adjectives and places mean: the words that change a Character, the kinds of a thing, the scenes of recipes.

Owns: ADJECTIVES, KINDS, SCENES, ``changed``.
Must not know: how a prompt is read (words.py), how anything sounds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypedDict

from audio_pool.engines.procedural.recipe import Character

__all__ = ["ADJECTIVES", "KINDS", "SCENES", "CharacterChange", "changed"]


class CharacterChange(TypedDict, total=False):
    """What an adjective does to a Character: factors of the first five, values of the rest."""

    intensity: float
    speed: float
    pitch: float
    size: float
    gain: float
    distance: float
    cutoff_hz: float
    room: str
    material: str
    ground: str
    mood: str
    drive: str
    gait: str
    kind: str
    several: bool


_MULTIPLIED: tuple[Literal["intensity", "speed", "pitch", "size", "gain"], ...] = (
    "intensity", "speed", "pitch", "size", "gain",
)  # fmt: skip
ADJECTIVES: tuple[tuple[str, CharacterChange], ...] = (
    ("heavy heavily hard strong strongly intense pouring torrential violent fierce mighty powerful raging"
     " roaring thick dense busy vigorous vigorously howling", {"intensity": 2.0}),
    ("light lightly gentle gently slight mild delicate sparse weak", {"intensity": 0.5}),
    ("soft softly faint faintly", {"intensity": 0.7, "gain": 0.6}),
    ("slow slowly lazy leisurely sluggish", {"speed": 0.6}),
    ("fast quick quickly rapid rapidly hurried frantic brisk swift speeding racing", {"speed": 1.6}),
    ("loud loudly noisy deafening blaring", {"gain": 1.5}),
    ("quiet quietly subtle silent", {"gain": 0.35}),
    ("deep deeply low lower bass", {"pitch": 0.6}),
    ("high shrill pitched treble squeaky higher", {"pitch": 1.6}),
    ("large big huge giant enormous massive great", {"size": 1.7}),
    ("small tiny little mini miniature", {"size": 0.6}),
    ("distant distantly distance far faraway afar away remote", {"distance": 0.8}),
    ("indoors indoor inside room house apartment office", {"room": "room"}),
    ("hall church cathedral cave tunnel echo echoing echoey reverberant cavernous dungeon", {"room": "hall"}),
    ("underwater submerged", {"cutoff_hz": 420.0}),
    ("muffled dull dampened muted wall", {"cutoff_hz": 800.0}),
    ("metallic metal", {"material": "metal"}),
    ("wooden wood", {"material": "wood"}),
    ("gravel crunchy pebble dirt", {"ground": "gravel"}),
    ("snow snowy icy", {"ground": "snow"}),
    ("sand sandy", {"ground": "sand"}),
    ("grass grassy lawn", {"ground": "grass"}),
    ("puddle muddy mud", {"ground": "water"}),
    ("happy cheerful joyful upbeat bright uplifting playful", {"mood": "happy"}),
    ("sad melancholy melancholic sorrowful gloomy minor mournful", {"mood": "sad"}),
    ("calm peaceful relaxing relaxed soothing serene tranquil", {"mood": "calm"}),
    ("several many multiple repeated repeatedly continuous continuously constant constantly series", {"several": True}),
    ("accelerate accelerating acceleration gear gears gearshift drive driving", {"drive": "gears"}),
    ("tense ominous dark scary eerie creepy suspenseful menacing", {"mood": "tense"}),
)

KINDS: tuple[tuple[str, CharacterChange], ...] = (
    # animals and people
    ("puppy, kitten, piglet, lamb, calf, chick", {"size": 0.7}),
    ("hound, bull, ox, toad", {"size": 1.3}),
    ("hog, boar, bullfrog", {"size": 1.6}),
    ("werewolf", {"size": 1.35}),
    ("dog howl", {"size": 0.8}),
    ("monster, beast", {"size": 1.35, "pitch": 0.85}),
    ("growl, snarl", {"pitch": 0.75, "cutoff_hz": 1500.0}),  # the mouth is all but shut
    ("raven", {"size": 1.4}),
    ("rook", {"size": 1.2}),
    ("jackdaw", {"size": 0.65}),
    ("cavalry", {"several": True}),
    ("tiger, leopard", {"size": 0.85}),
    ("dragon", {"size": 1.5}),
    ("dinosaur", {"size": 1.8}),
    ("wasp, hornet", {"pitch": 0.75}),
    ("grasshopper, katydid", {"pitch": 1.5, "speed": 1.6}),
    ("blackbird", {"kind": "blackbird"}),
    ("finch, chaffinch", {"kind": "chaffinch"}),
    ("great tit", {"kind": "great tit"}),
    ("robin, wren", {"kind": "robin"}),
    ("thrush, nightingale", {"kind": "thrush"}),
    ("warble, warbler", {"kind": "willow warbler"}),
    ("sparrow", {"kind": "sparrow"}),
    ("canary, greenfinch", {"kind": "greenfinch"}),
    ("swarm", {"several": True}),
    ("man, male, boy", {"kind": "man"}),
    ("woman, female, lady", {"kind": "woman"}),
    ("child, kid, girl", {"pitch": 1.35}),
    ("giggle", {"pitch": 1.35, "speed": 1.2}),
    ("cackle", {"pitch": 1.3, "speed": 1.15}),
    ("evil laugh", {"pitch": 0.65, "speed": 0.75}),
    ("chuckle", {"pitch": 0.85, "intensity": 0.6}),
    ("yell, shout, battle cry", {"pitch": 0.65}),
    ("monk, chant", {"pitch": 0.6, "room": "hall"}),
    ("pant", {"speed": 2.4}),
    ("gasp", {"speed": 1.6, "intensity": 1.4}),
    ("sigh", {"speed": 0.6}),
    ("respirator", {"cutoff_hz": 1500.0}),
    ("restaurant, cafe, cafeteria, pub", {"room": "room"}),
    ("party", {"room": "room", "intensity": 1.6}),
    ("mall", {"room": "hall"}),
    ("market, marketplace", {"room": "open"}),
    ("high heel", {"pitch": 1.6, "size": 0.8}),
    ("boots", {"size": 1.3, "intensity": 1.3}),
    ("run, jog, jogger, sprint", {"gait": "run"}),
    ("trot", {"gait": "trot"}),
    ("canter", {"speed": 0.85}),
    ("horse walk", {"gait": "walk"}),
    ("wade", {"ground": "water"}),
    # weather
    ("breeze, draft, draught, drizzle", {"intensity": 0.5}),
    ("gale, hurricane, tornado, blizzard, downpour, cloudburst", {"intensity": 2.0}),
    ("fountain", {"pitch": 1.3, "intensity": 1.6}),
    ("inferno, blaze", {"size": 1.7, "intensity": 1.6}),
    ("torch", {"size": 0.6}),
    ("hearth, fireplace", {"room": "room"}),
    ("stone water, stone pond, rock water", {"size": 0.6}),
    ("cannonball, dive, plunge", {"size": 1.5}),
    # machines
    ("spaceship", {"size": 1.6, "intensity": 1.3}),
    ("transformer, power line, electric hum, electrical hum", {"kind": "mains"}),
    ("machinery", {"intensity": 1.8, "pitch": 1.15}),
    ("engine room", {"size": 1.4, "intensity": 2.0}),
    ("generator hum", {"pitch": 1.2, "intensity": 1.6}),
    ("server, data center", {"size": 0.6, "intensity": 1.5}),
    ("screwdriver", {"pitch": 0.6}),
    ("mallet", {"pitch": 0.6}),
    ("semi truck, eighteen wheeler", {"size": 1.25}),
    ("bus", {"size": 0.85, "intensity": 0.7}),
    ("brake screech, car brake", {"pitch": 1.7}),
    ("receipt printer", {"pitch": 1.6, "speed": 1.6}),
    ("busy signal, busy tone", {"kind": "busy"}),
    ("ringtone", {"kind": "electronic"}),
    ("fax", {"kind": "fax"}),
    ("servo", {"kind": "servo"}),
    ("computer beep, computer processing, sci fi computer, spaceship computer, scifi interface", {"kind": "computer"}),
    ("taser", {"speed": 2.0}),
    ("tent zipper", {"size": 1.6}),
    ("paparazzi", {"several": True}),
    ("page, page turn, book", {"kind": "turn"}),
    ("rip paper, tear paper", {"kind": "tear"}),
    ("rev", {"drive": "rev"}),
    ("race", {"drive": "gears"}),
    ("scooter, moped", {"size": 0.6}),
    ("harley, chopper engine", {"size": 1.3}),
    ("dirt bike", {"pitch": 1.3}),
    ("steam train, steam engine, locomotive", {"kind": "steam"}),
    ("tram", {"size": 0.7}),
    ("subway, metro", {"room": "hall"}),
    ("fighter jet", {"pitch": 1.5, "intensity": 1.5}),
    ("airplane cabin", {"cutoff_hz": 900.0}),
    ("foghorn, ship horn", {"size": 2.4}),
    ("train horn", {"size": 1.35}),
    ("air horn", {"pitch": 1.25}),
    ("steam whistle, train whistle, locomotive whistle, steam train whistle", {"pitch": 1.9}),
    ("air raid", {"speed": 0.3, "pitch": 0.6}),
    ("ambulance, ambulance siren", {"speed": 4.0}),
    ("fire truck, fire engine, fire siren", {"speed": 0.6, "pitch": 0.7}),
    ("car alarm", {"speed": 0.6, "pitch": 0.6}),
    ("smoke alarm, fire alarm, smoke detector", {"pitch": 1.3}),
    ("watch, stopwatch", {"speed": 2.2, "pitch": 1.6}),
    ("metronome", {"pitch": 1.4}),
    ("bomb tick", {"speed": 2.0}),
    ("buzzer", {"pitch": 0.3}),
    ("spaceship alarm", {"pitch": 0.6, "speed": 0.5}),
    ("goat bell, sheep bell", {"size": 0.6}),
    ("sleigh bell, jingle bell", {"size": 1.6, "speed": 1.5}),
    ("pipe hit", {"size": 1.7}),
    ("ceiling fan", {"size": 1.6}),
    ("computer fan", {"size": 0.5}),
    # weapons and household
    ("pistol", {"size": 0.75}),
    ("rifle, sniper, musket", {"size": 1.2}),
    ("shotgun", {"size": 1.45}),
    ("grenade, firecracker", {"size": 0.7}),
    ("minigun, gatling", {"speed": 1.8}),
    ("artillery, mine explode", {"size": 1.4}),
    ("zap", {"size": 0.6}),
    ("sword swing, slash", {"kind": "swing"}),
    ("unsheathe, unsheathed, sword draw, knife sharpen", {"kind": "draw"}),
    ("knife, dagger", {"size": 0.6}),
    ("punch", {"size": 0.65}),
    ("body fall", {"size": 1.35, "cutoff_hz": 900.0}),
    ("slam", {"size": 1.2, "material": "wood"}),
    ("car door slam", {"size": 0.8, "material": "metal"}),
    ("squeak, squeal", {"pitch": 1.5}),
    ("floorboard", {"pitch": 0.7}),
    ("dinner bell", {"size": 0.35}),
    ("gate", {"size": 1.6}),
    ("hinge", {"size": 0.7}),
    ("window break, window shatter", {"size": 1.5}),
    ("bottle break", {"size": 0.7}),
    ("mouse click", {"size": 0.7}),
    ("lever, lock, latch", {"size": 1.5}),
    ("shower, bathroom shower", {"intensity": 1.8, "pitch": 1.4}),
    ("cauldron", {"size": 2.0}),
    # instruments
    ("violin, fiddle", {"kind": "solo"}),
    ("cello", {"pitch": 0.5, "kind": "solo"}),
    ("viola", {"pitch": 0.75, "kind": "solo"}),
    ("lute", {"pitch": 1.25, "size": 0.9}),
    ("recorder", {"pitch": 1.5}),
    ("tin whistle", {"pitch": 2.0}),
    ("sub bass", {"pitch": 0.6}),
    ("hi hat", {"kind": "hi hat"}),
    ("ride cymbal", {"kind": "ride"}),
    ("splash cymbal", {"size": 0.5}),
    ("orchestra, orchestral, symphony", {"pitch": 0.75, "room": "hall"}),
    ("ukulele, mandolin", {"pitch": 1.8}),
    ("electric guitar", {"kind": "electric"}),
    ("piccolo, ocarina", {"pitch": 1.8}),
    ("pan flute, shakuhachi", {"pitch": 0.75}),
    ("hip hop", {"speed": 0.8}),
    ("techno", {"speed": 1.18}),
    ("breakbeat", {"speed": 1.45}),
)
"""Names of kinds of a thing that one recipe makes, separated by commas, and how they differ from the usual one."""

SCENES = {
    "storm": ("rain", "wind", "thunder"),
    "stormy": ("rain", "wind", "thunder"),
    "thunderstorm": ("thunder", "rain"),
    "forest": ("birds", "wind"),
    "woodland": ("birds", "wind"),
    "jungle": ("birds", "crickets", "stream"),
    "meadow": ("birds", "wind"),
    "swamp": ("frogs", "crickets"),
    "marsh": ("frogs", "crickets"),
    "night": ("crickets",),
    "farm": ("cow", "chicken", "birds"),
    "barnyard": ("cow", "sheep", "chicken"),
    "city": ("engine", "crowd"),
    "street": ("car_passing", "crowd"),
    "traffic": ("car_passing", "engine"),
    "construction": ("hammer", "drill"),
    "carpentry": ("hammer", "saw"),
    "carpenter": ("hammer", "saw"),
    "factory": ("hum", "engine"),
    "workshop": ("hammer", "saw"),
    "office": ("typing", "hum"),
    "kitchen": ("frying", "running_water"),
    "laundromat": ("washing_machine", "hum"),
    "tavern": ("crowd", "fire"),
    "inn": ("crowd", "fire"),
    "harbor": ("ocean_waves", "gull"),
    "harbour": ("ocean_waves", "gull"),
    "pier": ("ocean_waves", "gull"),
    "laboratory": ("bubbles", "robot"),
    "arcade": ("coin", "laser", "power_up"),
    "battle": ("explosion", "machine_gun"),
    "battlefield": ("explosion", "gunshot"),
    "monastery": ("choir",),
}
"""Places and events that stand for several sounds at once."""


def changed(character: Character, change: CharacterChange) -> Character:
    """Return the character with one adjective's change applied; factors multiply, the lower cutoff counts."""
    values = change.copy()
    for name in _MULTIPLIED:
        if name in values:
            values[name] *= getattr(character, name)
    if character.cutoff_hz is not None and "cutoff_hz" in values:
        values["cutoff_hz"] = min(character.cutoff_hz, values["cutoff_hz"])
    return replace(character, **values)
