"""What says the same, and what only looks like it: pairs by family, held in strict and in tolerant matching.

A pair's family is what its two prompts differ in. Every pair is judged both ways round.
"""

from __future__ import annotations

import pytest

from audio_pool.cache.policy import CALIBRATIONS, Candidate, judge
from audio_pool.prompts.normalize import canonical_key


def hits(query: str, prompt: str, mode: str, cosine: float = 0.99) -> bool:
    """Whether words alone let one stand for the other: the cosine confirms."""
    (one,) = judge(
        query,
        [Candidate(1, prompt, cosine)],
        mode=mode,  # type: ignore[arg-type]
        calibration=CALIBRATIONS["minilm"],
        tau_prompt_sem=0.70,
        tau_use=0.35,
    )
    return one.accepted


ANOTHER = {
    "preposition": [
        ("a car drives into a wall", "a car drives along a wall"),
        ("a plane flying into a building", "a plane flying over a building"),
        ("a ball rolls under a table", "a ball rolls off a table"),
        ("a boat glides across a lake", "a boat glides along a lake"),
        ("a man runs towards a train", "a man runs through a train"),
        ("a stone falls in a bucket", "a stone falls on a bucket"),
        ("a horse gallops around a barn", "a horse gallops into a barn"),
        ("a cat in a box", "a cat on a box"),
        ("a hammer against a pipe", "a hammer inside a pipe"),
        ("a drone flies over a bridge", "a drone flies under a bridge"),
        ("wind between the houses", "wind inside the houses"),
        ("water dripping into a barrel", "water dripping from a barrel"),
        ("a dog walks behind a cart", "a dog walks under a cart"),
        ("a rat in a wall", "a rat near a wall"),
        ("a bell rings at noon", "a bell rings until noon"),
        ("a car in rain", "rain in a car"),
    ],
    "number": [
        ("boots falling", "a boot falling"),
        ("in two boots", "in boots"),
        ("a wolf howling", "wolves howling"),
        ("a goat bleats", "goats bleat"),
        ("a tree falls", "trees fall"),
        ("a branch snaps", "branches snap"),
        ("an owl hoots", "owls hoot"),
        ("a horse gallops", "horses gallop"),
        ("a wave breaks", "waves break"),
        ("a nail drops on the floor", "nails drop on the floor"),
        ("a walrus bellows", "walruses bellow"),
        ("a drop of water", "drops of water"),
        ("a dozen drums", "two drums"),
        ("a pair of drums", "three drums"),
    ],
    "synonym": [
        ("a flat tire", "an apartment tire"),
        ("a burning torch", "a burning flashlight"),
        ("a gas leak", "a petrol leak"),
        ("a helicopter flies", "a helicopter flies by"),
        ("a girl laughs", "a girl giggles"),
        ("a boy weeps", "a boy bawls"),
        ("a crow", "cock-a-doodle-doo"),
        ("a man claps", "applause"),
        ("a siren", "an emergency siren"),
        ("a soft pillow falls", "a quiet pillow falls"),
        ("a soft blanket", "a quiet blanket"),
        ("a man runs a machine", "a man operates a machine"),
        ("a boy runs", "a boy operates"),
        ("rock music", "stone music"),
        ("a rock band plays", "a stone band plays"),
        ("a chair rocks", "a chair stones"),
        ("a man raps", "a man knocks"),
        ("a mad scientist laughs", "an angry scientist laughs"),
        ("a mummy groans", "a mother groans"),
        ("a balloon is blown up", "a balloon explodes"),
        ("dribbling a basketball", "a trickling basketball"),
        ("a ship's horn", "a vessel's blood"),
        ("tires screech", "tires scream"),
        ("an alarm goes on", "an alarm continues"),
        ("a truck drives away", "a truck leaves"),
        ("the leaves fall", "the leaves autumn"),
        ("a man taps on a table", "a man faucets on a table"),
        ("a man lifts a box", "a man elevators a box"),
        ("a man fiddles with a lock", "a violin with a lock"),
        ("water splashes", "water sloshes"),
        ("a peal of bells", "a peel of bells"),
        ("rolling thunder", "a rolling thunderclap"),
        ("firecrackers", "fireworks"),
        ("a crowd murmurs", "a crowd mumbles"),
    ],
    "reference": [
        ("wind blows, rain after it", "rain, wind blows after it"),
        ("a gong sounds and an owl hoots after it", "an owl hoots and a gong sounds after it"),
        ("a dog barks, a cat hisses before that", "a cat hisses, a dog barks before that"),
        ("a dog barks and a cat hisses at it", "a cat hisses and a dog barks at it"),
        ("a man and his dog", "a man and her dog"),
        ("a nurse calls his name", "a nurse calls her name"),
        ("a man speaks and she laughs", "a man speaks and he laughs"),
        ("a horse and a man behind it", "a man and a horse behind it"),
        ("a man talks to his wife", "a man talks to her wife"),
        ("a sailor scrubs his deck", "a sailor scrubs her deck"),
        ("an archer looses her arrow", "an archer looses their arrow"),
    ],
    "role": [
        ("a hammer hits a bell", "a bell hits a hammer"),
        ("a boy pushes a nurse", "a nurse is pushed"),
        ("a train under a bridge", "a bridge under a train"),
        ("the echo of a bell in a cave", "a bell of an echo in a cave"),
        ("a car horn honks", "a horn car honks"),
        ("a wolf is chased", "a wolf chases"),
        ("a man calls a dog", "a dog calls a man"),
    ],
    "typo": [
        ("a bittern booms", "a bitter booms"),
        ("a lute plays", "a flute plays"),
        ("a tern cries", "a turn cries"),
        ("a theremin plays", "a kora plays"),
        ("erik speaks", "eric speaks"),
        ("a crow caws", "a cow caws"),
    ],
}  # fmt: skip

SAME = {
    "request": [
        ("please make me a dog barking", "a dog barks"),
        ("Can you please create a sound of a steam engine?", "steam engine"),
        ("I'd like to hear a steam engine", "a steam engine"),
        ("could you give me the audio of a steam engine please", "steam engine"),
        ("ambience: a forest with birds", "a forest with birds"),
        ("SFX - glass breaking", "glass breaking"),
        ("Sound effect: glass breaking", "glass breaking"),
        ("a high-quality recording of rain", "rain"),
        ("we need some thunder", "thunder"),
        ("play rain for me", "rain"),
        ("please play a printer humming", "a printer hums"),
        ("make a creaking door sound", "a creaking door"),
        ("what a frog sounds like", "a frog"),
        ("can I have an oyster shell cracking?", "an oyster shell cracking"),
        ("give me a 10 second clip of rain", "rain"),
        ("foley: a gate creaks", "a gate creaks"),
        ("I need a sound effect of a creaking door for my game", "a creaking door"),
    ],
    "compound": [
        ("a sci-fi door opens", "a scifi door opens"),
        ("a sci fi laser", "a scifi laser"),
        ("wind in the treetops", "wind in the tree tops"),
        ("a campfire crackles", "a camp fire crackles"),
        ("birdsong", "bird song"),
        ("a lo-fi beat", "a lofi beat"),
        ("a seagull cries", "a sea gull cries"),
        ("a snare drum in a ballroom", "a snare drum in a ball room"),
        ("a hi-hat", "a hihat"),
        ("rooftop rain", "roof top rain"),
    ],
    "british": [
        ("a lift going up", "an elevator going up"),
        ("a tap dripping", "a faucet dripping"),
        ("turning on a tap", "turning on a faucet"),
        ("the kitchen tap runs", "the kitchen faucet runs"),
        ("autumn leaves rustle", "fall leaves rustle"),
        ("windscreen wipers", "windshield wipers"),
        ("a petrol engine", "a gasoline engine"),
        ("a spanner drops", "a wrench drops"),
        ("a railway crossing", "a railroad crossing"),
        ("a forest in autumn", "a forest in the fall"),
        ("an argument in a flat", "an argument in an apartment"),
        ("a torch clicking on", "a flashlight clicking on"),
        ("a gas pump", "a petrol pump"),
        ("a zip being pulled", "a zipper being pulled"),
        ("an underground train brakes", "a subway train brakes"),
        ("a dustbin lid falls", "a trash can lid falls"),
        ("a car park at night", "a parking lot at night"),
        ("firemen shouting", "firefighters shouting"),
    ],
    "numerals": [
        ("twenty one drums", "21 drums"),
        ("a hundred drums", "100 drums"),
        ("one hundred and twenty bpm techno", "120 bpm techno"),
        ("two hundred drums", "200 drums"),
        ("a pair of drums", "two drums"),
        ("half a dozen drums", "six drums"),
        ("one dog barks", "a dog barks"),
        ("a gong sounds one time", "a gong sounds once"),
        ("a dozen drums", "twelve drums"),
        ("1,000 drums", "a thousand drums"),
        ("a gong is struck 3x", "a gong is struck three times"),
    ],
    "inverted": [
        ("in the distance a church bell tolls", "a church bell tolls in the distance"),
        ("outside a dog barks", "a dog barks outside"),
        ("on a tin roof the rain drums", "the rain drums on a tin roof"),
        ("from the kitchen comes a clatter", "a clatter comes from the kitchen"),
        ("through the woods runs a brook", "a brook runs through the woods"),
        ("under a bridge, a train passes", "a train passes under a bridge"),
        ("by a river a camel groans", "a camel groans by a river"),
        ("from the attic come footsteps", "footsteps come from the attic"),
        ("at night a wolf howls", "a wolf howls in the night"),
        ("in the background you can hear a clock ticking", "a clock ticking in the background"),
        ("howling on a hill, a wolf", "a wolf howling on a hill"),
        ("a wolf, howling on a hill", "a wolf howling on a hill"),
        ("chirping in tall grass, crickets", "crickets chirping in tall grass"),
        ("high above the village tolls a bell", "a bell tolls high above the village"),
        ("deep in a cave growls a bear", "a bear growls in a cave"),
        ("in a hangar clomples a robot", "a robot clomples in a hangar"),
        ("in an old barn chatter monkeys", "monkeys chatter in an old barn"),
        ("away from a barn trots a mare", "a mare trots away from a barn"),
    ],
    "pile": [
        ("sword clash", "clash of swords"),
        ("sword clash", "swords clashing"),
        ("the roar of a lion", "lion roar"),
        ("door slam", "the slamming of a door"),
        ("thunder rumble", "a rumble of thunder"),
        ("the rustling of leaves", "leaves rustle"),
        ("church bell ringing", "the ringing of a church bell"),
        ("a creaking of floorboards", "floorboards creaking"),
        ("a bell ringing sound", "a bell rings"),
        ("the whistle of a kettle", "a kettle whistles"),
        ("patter of rain on leaves", "rain pattering on leaves"),
        ("angrily blaring foghorn", "a foghorn blares angrily"),
    ],
    "passive": [
        ("a door is slammed", "a door slams"),
        ("a drum is being beaten", "beating a drum"),
        ("a nail is hammered by a man", "a man hammers a nail"),
        ("paper is torn", "tearing paper"),
        ("a person unfolds a map", "a map being unfolded"),
        ("someone tears paper", "paper is being torn"),
        ("a bell is rung", "a bell rings"),
        ("a window is opened", "opening a window"),
        ("a whistle is blown", "a whistle blows"),
        ("wood being chopped", "chopping wood"),
        ("a pepper is ground by a nurse", "a nurse grinds a pepper"),
    ],
    "plural unheard": [
        ("footsteps on gravel", "footstep sounds on gravel"),
        ("a man's footsteps in snow", "footstep of a man in snow"),
        ("hoofbeats on cobblestone", "hoofbeats on cobblestones"),
        ("raindrop on a window", "raindrops on a window"),
        ("winds howling over tundra", "wind howling over tundra"),
        ("heavy rains on a lagoon", "heavy rain on a lagoon"),
        ("walking in boots on stone floors", "walking in boots on a stone floor"),
    ],
    "parentheses": [
        ("a dog barking (distant)", "a distant dog barking"),
        ("rain (heavy)", "heavy rain"),
        ("footsteps (on gravel)", "footsteps on gravel"),
        ("door creak (slow)", "slow door creak"),
        ("a steam engine (sound effect)", "a steam engine"),
        ("thunder [loop]", "thunder"),
        ("footsteps in the snow, slow", "slow footsteps in the snow"),
    ],
    "preposition": [
        ("a bell inside a church", "a bell in a church"),
        ("rain upon a roof", "rain on a roof"),
        ("a cat beneath a table", "a cat under a table"),
        ("a dog next to a door", "a dog beside a door"),
        ("a man walks towards a door", "a man walks toward a door"),
        ("wind among trees", "wind amongst trees"),
    ],
    "reference": [
        ("wind blows, rain after it", "wind blows, then rain"),
        ("a man clears his throat", "a man clears a throat"),
        ("the cricket 's chirp", "the cricket's chirp"),
        ("a 1920's gramophone", "a 1920s gramophone"),
        ("a dog barks before a gong sounds", "a gong sounds, a dog barks before it"),
        ("a gong sounds and after that an owl hoots", "a gong sounds and then an owl hoots"),
    ],
    "typo": [
        ("a helicpter hovers", "a helicopter hovers"),
        ("a thunderstrom", "a thunderstorm"),
        ("a violiin plays", "a violin plays"),
        ("rian on a roof", "rain on a roof"),
        ("a dgo barks", "a dog barks"),
        ("footsetps on grvel", "footsteps on gravel"),
        ("a traktor idles", "a tractor idles"),
        ("oceann waves", "ocean waves"),
        ("a crickt chirps", "a cricket chirps"),
        ("adn then a bell rings wiht an echo", "and then a bell rings with an echo"),
        ("a loud exploson", "a loud explosion"),
        ("birds chirpping", "birds chirping"),
        ("a baddger growls", "a badger growls"),
        ("an avil rings", "an anvil rings"),
        ("a bicycle chqin squeaks", "a bicycle chain squeaks"),
        ("a guitare solo", "a guitar solo"),
        ("lightening strikes a tower", "lightning strikes a tower"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "one", "other"), [(family, *pair) for family, pairs in ANOTHER.items() for pair in pairs]
)
def test_another_sound_is_refused_in_every_mode(family: str, one: str, other: str) -> None:
    for query, prompt in ((one, other), (other, one)):
        assert not hits(query, prompt, "strict"), f"{family}: both are {canonical_key(query)!r}"
        assert not hits(query, prompt, "tolerant"), f"{family}: {canonical_key(query)!r}, {canonical_key(prompt)!r}"


@pytest.mark.parametrize(
    ("family", "one", "other"), [(family, *pair) for family, pairs in SAME.items() for pair in pairs]
)
def test_the_same_sound_in_other_words_has_the_same_key(family: str, one: str, other: str) -> None:
    assert canonical_key(one) == canonical_key(other), family


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("a helicopter lnding on a roof", "a helicopter landing on a roof"),
        ("a restless croud", "a restless crowd"),
        ("a toad crlaks in a canyon", "a toad croaks in a canyon"),
    ],
)
def test_a_misspelling_that_may_mean_two_words_finds_each_at_a_lower_cosine(misspelt: str, meant: str) -> None:
    """An encoder has not seen the word, which costs the cosine more than the guard on words lets through."""
    for query, prompt in ((misspelt, meant), (meant, misspelt)):
        assert hits(query, prompt, "tolerant", cosine=0.62)
        assert not hits(query, prompt.replace("a ", "two "), "tolerant", cosine=0.62)
    assert not hits(f"{meant} nearby", meant, "tolerant", cosine=0.62)  # nothing is misspelt


def test_a_very_long_prompt_is_its_own_key() -> None:
    long = "a dog barks while rain falls, " * 30
    assert canonical_key(long) == long.strip(" ,")
    assert not hits(long, long.replace("barks", "growls"), "tolerant")


@pytest.mark.parametrize(
    "prompt", ["un chien aboie", "ein hund bellt", "le chat miaule", "perro ladrando", "die glocke läutet im wald"]
)
def test_no_english_rule_touches_another_language(prompt: str) -> None:
    assert canonical_key(prompt.title()) == prompt


def test_words_that_are_mostly_unknown_are_no_misspellings() -> None:
    assert canonical_key("thundr zorp blik quon frell vashe morg tulk") == "thundr zorp blik quon frell vashe morg tulk"
