"""Things without a recipe of their own, and the recipe that comes nearest to each.

Owns: STAND_INS.
Must not know: how a prompt is read, how anything sounds.

A stand-in is made, and told with the warning ``nearest_recipe``: a goat asked for is a sheep heard. What is truly a
kind of a recipe (a hound, a mallard) is one of the recipe's own keys instead, and is not told.
"""

from __future__ import annotations

__all__ = ["STAND_INS"]

STAND_INS: dict[str, str] = {
    # -- animals
    "dog": "fox, jackal, hyena, seal, sea lion, walrus, raccoon, badger, otter",
    "wolf": "coyote, husky, whale, whale song",
    "cat": "lynx, weasel, ferret",
    "cow": "buffalo, bison, camel, moose, deer, elk, stag, llama, yak",
    "sheep": "goat, alpaca, antelope, kid goat",
    "pig": "hippo, hippopotamus, warthog, hedgehog, rhino",
    "neigh": "donkey, mule, zebra, bray",
    "roar": "bear, creature, alien, demon, ogre, troll, orc, panther, cheetah, jaguar, crocodile, alligator,"
    "gorilla, zombie, groan, moan, goblin, cyclops, gargoyle, minotaur, mutant, yeti",
    "fire": "candle, match strike",
    "bee": "fly buzz, housefly, dragonfly, beetle, moth, hummingbird, locust",
    "crickets": "cicada, locust swarm",
    "frogs": "lizard, reptile, gecko",
    "owl": "pigeon, dove, coo, cuckoo, pigeon coo",
    "crow": "magpie, vulture",
    "gull": "albatross, pelican, penguin, heron",
    "chicken": "turkey, turkey gobble, gobble, ostrich, quail, pheasant",
    "duck": "goose, goose honk, swan, swan honk, kazoo, fart",
    "birds": "parrot, eagle, hawk, falcon, peacock, dolphin, dolphin click, mouse squeak, rat, squirrel, hamster,"
    "bat squeak, vampire bat, bat, chipmunk, guinea pig, rodent",
    "laughter": "monkey, ape, chimpanzee, chimp",
    # -- people
    "cough": "sneeze, hiccup, burp, sniff, sneeze person, gag, vomit, spit",
    "breath": "yawn, snort, pant dog",
    "whisper": "ghost, spirit, wraith",
    "sonar": "radar",
    "telephone": "alarm bell, fire bell",
    "whoosh": "sliding door",
    "pop": "kiss, lip smack, balloon burst, soda can",
    "boiling": "gargle, lava, magma, swamp bubble, geyser",
    "footsteps": "chew, eat, crunch, apple bite, march, tap dance, skate",
    # -- weather and ground
    "thunder": "avalanche, earthquake, rockslide, landslide, rock fall, volcano, stampede",
    "rain_on_metal": "hail, hailstone, sleet, hailstorm",
    # -- machines and vehicles
    "engine": "generator, boat motor, motorboat, boat, go kart, kart, quad bike, lawn tractor, jet ski, snowmobile,"
    "ferry engine, outboard",
    "truck": "tram motor, ferry",
    "tractor": "bulldozer, excavator, steam roller, combine harvester, tank, backhoe, forklift, mech",
    "chainsaw": "hedge trimmer, leaf blower, weed whacker, strimmer, lawn mower, lawnmower, brush cutter, trimmer",
    "train": "skateboard, roller skate, roller coaster, rollercoaster, wheel, cart, trolley, mine cart, wagon,"
    "shopping cart, escalator, conveyor, conveyor belt",
    "chain": "portcullis, drawbridge, winch",
    "robot": "computer boot",
    "leaves": "flag, sail, flap, banner",
    "error": "glitch",
    "clock": "bicycle, bike pedal, freewheel, ratchet, metal ratchet",
    "jet": "rocket, rocket launch, missile, space shuttle, propeller plane, propeller, biplane, glider,"
    "spaceship launch, hot air balloon, flamethrower, blowtorch",
    "helicopter": "windmill, quadcopter, drone quadcopter, drone flying",
    "fan": "air conditioner, air conditioning, aircon",
    "hair_dryer": "hand dryer, heat gun, air pump",
    "fridge": "compressor, air compressor, vending machine, ice machine",
    "washing_machine": "tumble dryer, clothes dryer, dryer, dishwasher, dish washer, cement mixer",
    "vacuum_cleaner": "blender, food processor, juicer, coffee grinder, mixer, street sweeper",
    "drill": "grinder, angle grinder, jackhammer, jack hammer, sander, belt sander, dentist drill, electric shaver,"
    "shaver, electric razor, toothbrush, electric toothbrush, hair clipper, tattoo, tattoo machine",
    "hum": "elevator, lift motor, microwave, microwave oven, oven, projector, phone vibrate, force field",
    "typewriter": "sewing machine, sewing, slot machine, pinball, roulette, loom, stapler, telegraph",
    "printer": "inkjet, photocopier, copier, scanner, plotter, laser printer",
    "steam": "snake, snake hiss, bus door, train door, elevator door, tire deflate, deflate, fire extinguisher,"
    "kettle whistle, espresso machine, coffee machine, bike pump",
    # -- house and hands
    "running_water": "toilet, toilet flush, flush, drain, sink drain",
    "click": "scissors, stapler click, lighter, pen click, dice, dice roll, domino, chess piece, cock gun, reload,"
    "reload gun, reload pistol, reload rifle, reload shotgun, load gun, magazine gun, seatbelt, seat belt, padlock",
    "thud": "bowling ball, car door, nail gun, staple gun,"
    "ball, basketball, football, soccer ball, tennis, tennis ball, ping pong,"
    "table tennis, ball bounce, baseball, baseball bat, golf, dodgeball, pinata, car crash, crash, collapse",
    "hammer": "woodpecker, chisel, axe, axe chop, chop wood, pickaxe, mining",
    "anvil": "shield, shield block, armor, metal pan, pot clang, horseshoe",
    "sword": "scissor blade, spear, halberd, lightsaber sword",
    "laser": "lightsaber, light saber",
    "keys": "tambourine, maraca, shaker, coin purse, cash drawer",
    "coin": "cash register, till, jackpot, vending coin",
    "paper": "plastic, plastic bag, foil, wrapper, crisp packet, chip bag, card, card shuffle, card flip, cardboard,"
    "cardboard box, tape, duct tape, velcro, cloth, fabric, curtain, clothing",
    "door_creak": "drawer, stone door, cabinet, cupboard, swing, rocking chair, floor board, ladder, treasure chest,"
    "chest open, wheel squeak",
    "glass": "cutlery, fork, spoon, plate, crockery, ceramic, vase, dish, ice crack, crystal",
    "explosion": "cannon, cannon fire, cannon shot, trebuchet, catapult, mortar, car backfire, backfire",
    "stream": "tide pool, gutter water",
    "static": "vinyl, vinyl crackle, radio tune, record scratch, vinyl scratch",
    # -- instruments
    "horn": "trumpet, trombone, tuba, brass section, bugle, elephant, elephant trumpet, vuvuzela, party blower,"
    "party horn, french horn",
    "flute": "clarinet, oboe, saxophone, sax, bassoon, bagpipe, whistle tune, whistle man, person whistle,"
    "whistle woman, whistle song",
    "guitar": "sitar, koto, lyre, banjo, harp, zither, bouzouki",
    "piano": "harpsichord, celesta, clavichord, electric piano",
    "organ": "hammond, harmonium, accordion, harmonica, concertina, hurdy gurdy, melodica, barrel organ",
    "wind_chimes": "xylophone, marimba, glockenspiel, vibraphone, music box, steel drum, kalimba, triangle",
    "drums": "beatbox, bongo, conga, tabla, djembe, cajon",
    "kick": "timpani, taiko, tom tom, war drum",
    "choir": "opera, singer, vocal, hum tune, yodel, crowd chant",
}
"""Recipe -> phrases, separated by commas; one of several words needs them all, in any order, close to each other."""
