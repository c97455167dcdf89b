"""The built-in engine's workshop: building blocks of synthesis, and the recipes made of them.

canvas (what a recipe paints on) <- spectra, grains, space (the blocks) <- recipe (how one is declared)
<- weather, nature, people, machines, signals, household, music (the recipes) <- words (prompt -> layers).
Must not know: the worker, torch, scipy. numpy is all it needs.
"""
