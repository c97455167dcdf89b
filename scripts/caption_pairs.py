"""Pairs of prompts that ask for the same sound, or for another: generated from scenes and word lists.

A scene is a few events and how they follow each other. Two wordings of one scene ask for the same; a wording of a
scene and one of the same scene with one thing changed do not. What may be changed is a family (``EDITS``); every
family and half of the words can be held out, so that what learns from some is judged on others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

__all__ = ["EDITS", "Pair", "generate"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two prompts."""

    one: str
    other: str
    same: bool
    family: str
    """What was changed, or "same"."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that sounds."""

    kind: str
    doer: str
    verb: str
    object: str = ""
    count: int = 1
    quality: str = ""
    manner: str = ""
    where: tuple[str, str] | None = None
    """Preposition and place."""
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """Events that sound together, or one after another."""

    events: tuple[Event, ...]
    successive: bool = False


# -- word lists -------------------------------------------------------------------------------------------


def _list(text: str) -> list[str]:
    return [word.replace("_", " ") for word in text.split()]


def _table(text: str) -> list[tuple[str, list[str]]]:
    """Read "dog:bark,growl cat:meow"."""
    rows = (item.partition(":") for item in text.split())
    return [(name.replace("_", " "), words.replace("_", " ").split(",")) for name, _, words in rows]


def _twos(text: str) -> list[tuple[str, str]]:
    """Read "loud/quiet near/close_to"."""
    rows = (item.replace("_", " ").partition("/") for item in text.split())
    return [(one, other) for one, _, other in rows]


ANIMALS = _table(
    """
    dog:bark,growl,whine cat:meow,purr,hiss cow:moo horse:neigh,snort sheep:bleat pig:grunt,squeal duck:quack
    owl:hoot frog:croak crow:caw rooster:crow wolf:howl lion:roar bee:buzz cricket:chirp bird:chirp,sing snake:hiss
    monkey:screech,chatter pigeon:coo,flap hen:cluck donkey:bray elephant:trumpet goose:honk seagull:cry
    mouse:squeak bear:growl,roar fly:buzz parrot:squawk
    """
)
PEOPLE = _list(
    """
    man woman child boy girl baby nurse teacher soldier singer farmer waiter priest sailor clown
    """
)
VOICES = _list(
    """
    speak laugh cough sneeze whistle sing shout whisper cry snore yawn sigh hum groan scream mumble
    """
)
VEHICLES = _list(
    """
    car truck train motorcycle bus helicopter airplane boat tractor scooter van tram jeep ferry
    """
)
MOTIONS = _list(
    """
    pass approach idle accelerate brake start stop reverse honk rattle rumble
    """
)
MACHINES = _table(
    """
    drill:whir,grind saw:cut,buzz blender:whir printer:rattle,beep fan:hum,whir generator:hum,rumble pump:hum,gurgle
    fridge:hum dishwasher:hum,slosh engine:rev,idle typewriter:clack,ding projector:whir,click
    lawnmower:roar,sputter furnace:roar,rumble sewing_machine:whir,rattle air_conditioner:hum,drone robot:beep,whir
    elevator:ding,hum
    """
)
THINGS = _table(
    """
    door:creak,slam,close,open bell:ring,toll clock:tick,chime phone:ring,buzz alarm:beep,blare siren:wail,blare
    window:rattle,shatter chain:rattle,clink kettle:whistle,boil fire:crackle,roar gate:squeak,clang drum:beat,roll
    horn:blow,blare glass:clink,shatter,break coin:drop,jingle curtain:rustle rope:creak,snap bottle:break,roll
    key:jingle drawer:open,slide plate:clatter,break zipper:zip flag:flap whip:crack gong:ring swing:creak
    hinge:squeak balloon:pop,squeak
    """
)
NATURE = _table(
    """
    rain:fall,patter wind:blow,howl,whistle thunder:rumble,crack,roll water:drip,splash,flow,trickle wave:crash,lap
    hail:fall,rattle stream:gurgle,babble leaf:rustle ice:crack snow:crunch avalanche:rumble waterfall:roar
    mud:bubble,squelch branch:snap,creak
    """
)
DEEDS = _table(
    """
    knock_on:door,window,table hit:nail,drum,gong,ball pour:water,milk,sand,coffee tear:paper,cloth
    crumple:paper,foil cut:wood,paper,bread open:drawer,bottle,can,box close:drawer,box,gate,book
    play:piano,guitar,violin,flute,trumpet stir:soup,tea,paint sharpen:knife,pencil,axe shake:bottle,rug,maraca
    sweep:floor,yard chop:carrot,onion drop:plate,coin,stone,book drag:chair,sack,chain scrape:plate,ice,pan
    ring:bell wash:dish,car,window load:gun,truck turn:page,key crack:egg,nut roll:dice,barrel rub:glass,wood
    throw:stone,ball chase:dog,cat brush:horse,carpet call:dog,taxi
    """
)
PLACES = _table(
    """
    in:cave,forest,hall,kitchen,tunnel,church,street,garden,garage,field,bathroom,cellar
    on:roof,gravel,bridge,stage,beach,balcony,floor under:bridge,table,water over:bridge,city,forest
    through:tunnel,forest,city behind:wall,door,curtain against:wall,window into:tunnel,cave,hall
    outside:house,church inside:house,car,church along:wall,river,street past:house,church near:house,lake
    across:field,street down:stair,street up:stair,hill out_of:cave,tunnel
    """
)
QUALITIES = _twos(
    """
    loud/quiet big/small old/new wooden/metal heavy/light fast/slow high/low wet/dry angry/calm distant/close
    plastic/glass male/female young/elderly deep/shrill electric/diesel stone/wooden
    """
)
MANNERS = _twos(
    """
    loudly/quietly slowly/quickly continuously/briefly faintly/loudly once/repeatedly violently/gently
    rhythmically/irregularly nearby/in_the_distance steadily/intermittently far_away/close_by twice/three_times
    angrily/happily
    """
)
EQUALS = _twos(
    """
    speak/talk airplane/plane motorcycle/motorbike phone/telephone fridge/refrigerator rooster/cockerel child/kid
    baby/infant shout/yell quickly/rapidly quietly/softly big/large distant/far-off start/begin scream/shriek
    continuously/constantly stream/brook faintly/weakly nearby/close_by tram/streetcar in_the_distance/far_away
    truck/lorry stone/rock drawer/chest_drawer gently/softly repeatedly/over_and_over man/male woman/female
    close_by/near elevator/lift rug/carpet street/road faint/weak near/close_to engine/motor
    """
)
SYNONYM_TRAPS = _twos(
    """
    laugh/giggle cry/wail speak/whisper sing/hum shout/scream walk/run start/stop open/close boil/fry drop/throw
    pass/stop approach/depart accelerate/brake ring/buzz creak/slam tick/chime crack/creak beat/roll drip/pour
    patter/pour blow/whistle bark/growl hum/rattle chirp/screech
    """
)
PAST = dict(
    _twos(
        """
        speak/spoke sing/sang blow/blew ring/rang fall/fell break/broke beat/beat cut/cut hit/hit tear/tore throw/threw
        sweep/swept fly/flew shake/shook grind/ground run/ran begin/began depart/departed slide/slid
        """
    )
)
PLURALS = dict(
    _twos(
        """
        man/men woman/women child/children wolf/wolves sheep/sheep mouse/mice goose/geese leaf/leaves fly/flies
        baby/babies ferry/ferries knife/knives key/keys country/countries city/cities
        """
    )
)
MASS = frozenset(
    _list(
        """
        bread cloth coffee foil hail ice milk mud paint paper rain sand snow soup tea thunder water wind wood
        """
    )
)
NUMBERS = ("zero", "a", "two", "three", "four", "five", "six")
FILLERS = (
    "the sound of ",
    "recording of ",
    "please make the sound of ",
    "audio of ",
    "sfx: ",
    "there is ",
    "I want to hear ",
)


DOUBLING = frozenset(
    _list("hit cut stop sit hum clap snap flap chop drop drag rub pop run zip rev whir drip lap begin stir")
)
"""Verbs whose last letter doubles before an ending."""

# -- wording ----------------------------------------------------------------------------------------------


def ing(verb: str) -> str:
    head, *rest = verb.split()
    if head.endswith("e") and not head.endswith("ee"):
        head = head[:-1]
    elif head in DOUBLING:
        head += head[-1]
    return " ".join([head + "ing", *rest])


def third(verb: str) -> str:
    head, *rest = verb.split()
    if head.endswith("y") and head[-2] not in "aeiou":
        head = head[:-1] + "ies"
    else:
        head += "es" if head.endswith(("s", "sh", "ch", "x", "z")) else "s"
    return " ".join([head, *rest])


def past(verb: str) -> str:
    head, *rest = verb.split()
    if head in PAST:
        head = PAST[head]
    elif head.endswith("e"):
        head += "d"
    elif head.endswith("y") and head[-2] not in "aeiou":
        head = head[:-1] + "ied"
    else:
        head = ing(head)[:-3] + "ed"
    return " ".join([head, *rest])


def plural(noun: str) -> str:
    head, space, last = noun.rpartition(" ")
    last = PLURALS.get(last) or (last + ("es" if last.endswith(("s", "sh", "ch", "x")) else "s"))
    return head + space + last


class Writer:
    """Puts a scene into words, otherwise each time."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def write(self, scene: Scene) -> str:
        rng = self._rng
        events = list(scene.events)
        if not scene.successive and len(events) > 1 and rng.random() < 0.5:
            events.reverse()
        style = rng.choice(["finite", "progressive", "gerund", "past"])
        parts = [self._event(one, style) for one in events]
        text = self._joined(parts, successive=scene.successive)
        if rng.random() < 0.15:
            text = rng.choice(FILLERS) + text
        if rng.random() < 0.5:
            text = text[0].upper() + text[1:]
        if rng.random() < 0.25:
            text += "."
        for word, fellow in EQUALS:
            if rng.random() < 0.35:
                text = _replaced(text, word, fellow)
        return self._misspelt(text) if rng.random() < 0.06 else text

    def _joined(self, parts: list[str], *, successive: bool) -> str:
        if len(parts) == 1:
            return parts[0]
        first, second = parts[0], parts[1]
        if successive:
            return self._rng.choice(
                [f"{first}, then {second}", f"{first} followed by {second}", f"{first} before {second}",
                 f"{first} and then {second}", f"{second} after {first}", f"first {first}, then {second}"]
            )  # fmt: skip
        return self._rng.choice(
            [f"{first} and {second}", f"{first} while {second}", f"{first} as {second}", f"{first} with {second}",
             f"{first}, {second}", f"while {first}, {second}"]
        )  # fmt: skip

    def _event(self, one: Event, style: str) -> str:
        rng = self._rng
        if one.absent:
            return f"no {one.doer} {ing(one.verb)}"
        many = one.count > 1
        noun = plural(one.doer) if many else one.doer
        if one.quality:
            noun = f"{one.quality} {noun}"
        if many:
            noun = f"{rng.choice([NUMBERS[one.count], str(one.count)])} {noun}"
        elif one.doer not in MASS and style != "gerund" and rng.random() < 0.85:
            noun = f"{rng.choice(['a', 'a', 'the'])} {noun}"
        elif one.doer in MASS and rng.random() < 0.3:
            noun = f"the {noun}"
        verb = {
            "finite": one.verb if many else third(one.verb),
            "progressive": f"{'are' if many else 'is'} {ing(one.verb)}",
            "gerund": ing(one.verb),
            "past": past(one.verb),
        }[style]
        done_to = f" {self._thing(one.object)}" if one.object else ""
        where = f" {one.where[0]} {self._thing(one.where[1])}" if one.where else ""
        manner = f" {one.manner}" if one.manner else ""
        if not done_to and not many and not manner and rng.random() < 0.15:
            article = "" if one.doer in MASS else "a "
            return f"{article}{ing(one.verb)} {one.quality + ' ' if one.quality else ''}{one.doer}{where}"
        if not done_to and not many and not manner and rng.random() < 0.1:
            return f"the {ing(one.verb)} of {noun}{where}"
        if manner and " " not in manner.strip() and style != "gerund" and manner.endswith("ly") and rng.random() < 0.3:
            return f"{noun}{manner} {verb}{done_to}{where}"
        if where and rng.random() < 0.12:
            return f"{where.strip()} {noun} {verb}{done_to}{manner}"
        return (
            f"{noun} {verb}{done_to}{where}{manner}" if rng.random() < 0.5 else f"{noun} {verb}{done_to}{manner}{where}"
        )

    def _thing(self, noun: str) -> str:
        return noun if noun in MASS else f"{self._rng.choice(['a', 'the'])} {noun}"

    def _misspelt(self, text: str) -> str:
        words = text.split()
        long = [i for i, word in enumerate(words) if len(word) > 5 and word.isalpha()]
        if long:
            i = self._rng.choice(long)
            k = self._rng.randrange(1, len(words[i]) - 2)
            word = words[i]
            words[i] = self._rng.choice([word[:k] + word[k + 1] + word[k] + word[k + 2 :], word[:k] + word[k + 1 :]])
        return " ".join(words)


def _replaced(text: str, word: str, fellow: str) -> str:
    words = text.split(" ")
    for form in (lambda w: w, third, ing, past, plural):
        if form(word) in words:
            at = words.index(form(word))
            words[at] = form(fellow) if fellow.count(" ") == 0 else fellow
            return " ".join(words) if form(word) == word or fellow.count(" ") == 0 else text
    if word in text and " " in word:
        return text.replace(word, fellow, 1)
    return text


# -- scenes and what changes them --------------------------------------------------------------------------


class Maker:
    """Draws scenes from one half of the words, and changes them."""

    def __init__(self, rng: random.Random, *, half: int) -> None:
        self._rng = rng
        self._half = half

    def mine(self, words: list) -> list:  # type: ignore[type-arg]
        """Half of a list's words; short lists are whole in both."""
        return words[self._half :: 2] if len(words) > 3 else words

    def scene(self) -> Scene:
        count = self._rng.choices([1, 2], [0.4, 0.6])[0]
        events: list[Event] = []
        while len(events) < count:
            one = self.event()
            if all(one.doer != other.doer for other in events):
                events.append(one)
        return Scene(tuple(events), successive=count > 1 and self._rng.random() < 0.45)

    def event(self) -> Event:
        rng = self._rng
        kind = rng.choice(["animal", "person", "vehicle", "machine", "thing", "nature", "deed", "deed"])
        doer, verb, done_to = self._core(kind)
        one = Event(kind, doer, verb, done_to)
        if doer not in MASS and kind in ("animal", "person", "vehicle", "thing") and rng.random() < 0.15:
            one = replace(one, count=rng.randrange(2, 6))
        if rng.random() < 0.25:
            one = replace(one, quality=rng.choice(rng.choice(QUALITIES)))
        if rng.random() < 0.3:
            one = replace(one, manner=rng.choice(rng.choice(MANNERS)))
        elif rng.random() < 0.4:
            one = replace(one, where=self._place())
        return one

    def _core(self, kind: str) -> tuple[str, str, str]:
        rng = self._rng
        if kind == "deed":
            verb, things = rng.choice(self.mine(DEEDS))
            return rng.choice(self.mine(PEOPLE)), verb, rng.choice(things)
        if kind == "person":
            return rng.choice(self.mine(PEOPLE)), rng.choice(self.mine(VOICES)), ""
        if kind == "vehicle":
            return rng.choice(self.mine(VEHICLES)), rng.choice(MOTIONS), ""
        table = {"animal": ANIMALS, "machine": MACHINES, "thing": THINGS, "nature": NATURE}[kind]
        doer, verbs = rng.choice(self.mine(table))
        return doer, rng.choice(verbs), ""

    def _place(self) -> tuple[str, str]:
        preposition, places = self._rng.choice(PLACES)
        return preposition, self._rng.choice(places)

    def _change(self, scene: Scene, changed: Callable[[Event], Event | None]) -> Scene | None:
        """The scene with one event changed; None where none can be."""
        order = list(range(len(scene.events)))
        self._rng.shuffle(order)
        for i in order:
            new = changed(scene.events[i])
            if new is not None and new != scene.events[i]:
                return replace(scene, events=(*scene.events[:i], new, *scene.events[i + 1 :]))
        return None

    def _other(self, words: list[str], than: str) -> str:
        return self._rng.choice([word for word in words if word != than])

    def doer(self, scene: Scene, kinds: str) -> Scene | None:
        def changed(one: Event) -> Event | None:
            if one.kind not in kinds.split():
                return None
            if one.kind in ("person", "deed"):
                names = self.mine(PEOPLE)
            elif one.kind == "vehicle":
                names = self.mine(VEHICLES)
            else:
                table = {"animal": ANIMALS, "machine": MACHINES, "thing": THINGS, "nature": NATURE}[one.kind]
                names = [name for name, _ in self.mine(table)]
            return replace(one, doer=self._other(names, one.doer))

        return self._change(scene, changed)

    def verb(self, scene: Scene) -> Scene | None:
        def changed(one: Event) -> Event | None:
            if one.kind == "deed":
                verbs = [verb for verb, things in DEEDS if one.object in things and verb != one.verb]
                return replace(one, verb=self._rng.choice(verbs)) if verbs else None
            if one.kind == "person":
                return replace(one, verb=self._other(self.mine(VOICES), one.verb))
            if one.kind == "vehicle":
                return replace(one, verb=self._other(MOTIONS, one.verb))
            return None

        return self._change(scene, changed)

    def synonym_trap(self, scene: Scene) -> Scene | None:
        traps = dict(SYNONYM_TRAPS) | {b: a for a, b in SYNONYM_TRAPS}
        return self._change(scene, lambda one: replace(one, verb=traps[one.verb]) if one.verb in traps else None)

    def done_to(self, scene: Scene) -> Scene | None:
        def changed(one: Event) -> Event | None:
            things = next((things for verb, things in DEEDS if verb == one.verb), [])
            return replace(one, object=self._other(things, one.object)) if one.object and len(things) > 1 else None

        return self._change(scene, changed)

    def quality(self, scene: Scene) -> Scene | None:
        opposite = dict(QUALITIES) | {b: a for a, b in QUALITIES}
        return self._change(scene, lambda one: replace(one, quality=opposite[one.quality]) if one.quality else None)

    def manner(self, scene: Scene) -> Scene | None:
        opposite = dict(MANNERS) | {b: a for a, b in MANNERS}
        return self._change(scene, lambda one: replace(one, manner=opposite[one.manner]) if one.manner else None)

    def dropped_quality(self, scene: Scene) -> Scene | None:
        return self._change(scene, lambda one: replace(one, quality="") if one.quality else None)

    def count(self, scene: Scene) -> Scene | None:
        def changed(one: Event) -> Event | None:
            if one.doer in MASS or one.kind in ("nature", "machine"):
                return None
            return replace(one, count=self._rng.choice([n for n in range(1, 6) if n != one.count]))

        return self._change(scene, changed)

    def preposition(self, scene: Scene) -> Scene | None:
        def changed(one: Event) -> Event | None:
            if one.where is None:
                return None
            return replace(one, where=(self._other([name for name, _ in PLACES], one.where[0]), one.where[1]))

        return self._change(scene, changed)

    def place(self, scene: Scene) -> Scene | None:
        def changed(one: Event) -> Event | None:
            places = next((places for name, places in PLACES if one.where and name == one.where[0]), [])
            return (
                replace(one, where=(one.where[0], self._other(places, one.where[1])))
                if one.where and len(places) > 1
                else None
            )

        return self._change(scene, changed)

    def absence(self, scene: Scene) -> Scene | None:
        return self._change(scene, lambda one: replace(one, absent=True, count=1)) if len(scene.events) > 1 else None

    def dropped(self, scene: Scene) -> Scene | None:
        return Scene(scene.events[: self._rng.choice([1, 1])]) if len(scene.events) > 1 else None

    def added(self, scene: Scene) -> Scene | None:
        if len(scene.events) > 1:
            return None
        one = self.event()
        return Scene((*scene.events, one), self._rng.random() < 0.3) if one.doer != scene.events[0].doer else None

    def order(self, scene: Scene) -> Scene | None:
        return replace(scene, events=scene.events[::-1]) if scene.successive else None

    def simultaneity(self, scene: Scene) -> Scene | None:
        return replace(scene, successive=not scene.successive) if len(scene.events) > 1 else None

    def roles(self, scene: Scene) -> Scene | None:
        """Two doers change places, or their qualities, manners or counts do."""
        if len(scene.events) < 2:
            return None
        a, b = scene.events
        for name in self._rng.sample(["doer", "quality", "manner", "count"], 4):
            mine, theirs = getattr(a, name), getattr(b, name)
            if mine != theirs and not (name == "doer" and MASS & {mine, theirs}):
                return replace(scene, events=(replace(a, **{name: theirs}), replace(b, **{name: mine})))
        return None


EDITS: dict[str, Callable[[Maker, Scene], Scene | None]] = {
    "animal": lambda maker, scene: maker.doer(scene, "animal"),
    "person": lambda maker, scene: maker.doer(scene, "person deed"),
    "vehicle": lambda maker, scene: maker.doer(scene, "vehicle"),
    "thing": lambda maker, scene: maker.doer(scene, "thing machine nature"),
    "verb": Maker.verb,
    "synonym_trap": Maker.synonym_trap,
    "object": Maker.done_to,
    "quality": Maker.quality,
    "manner": Maker.manner,
    "dropped_quality": Maker.dropped_quality,
    "count": Maker.count,
    "preposition": Maker.preposition,
    "place": Maker.place,
    "absence": Maker.absence,
    "dropped": Maker.dropped,
    "added": Maker.added,
    "order": Maker.order,
    "simultaneity": Maker.simultaneity,
    "roles": Maker.roles,
}
"""What makes another sound of a scene, by family; None where the scene has nothing of the sort."""


def generate(count: int, *, seed: int, half: int, families: frozenset[str]) -> Iterator[Pair]:
    """Yield pairs, half of them of one scene.

    Args:
        count: how many.
        seed: the same pairs for the same seed.
        half: 0 or 1: which half of the words.
        families: the changes to make; names of ``EDITS``.
    """
    rng = random.Random(seed)
    maker, writer = Maker(rng, half=half), Writer(rng)
    names = sorted(families)
    made = 0
    while made < count:
        scene = maker.scene()
        if made % 2:
            name = names[(made // 2) % len(names)]
            other = EDITS[name](maker, scene)
            if other is None:
                continue
            yield Pair(writer.write(scene), writer.write(other), same=False, family=name)
        else:
            one, two = writer.write(scene), writer.write(scene)
            if one == two:
                continue
            yield Pair(one, two, same=True, family="same")
        made += 1
