"""Writes a page that plays every sound of the built-in engine: loops gapless, single events, spectrograms.

    make gallery                                          into out/gallery
    python scripts/listening_gallery.py DIR [RECIPE ...]

The page needs no server and no network: open DIR/index.html. It plays OGG inside scripts, which a browser loads from a
folder where it would refuse to fetch a file; they are decoded whole and looped to the sample. The same sounds lie
beside them as files, for any other player.
"""

from __future__ import annotations

import base64
import html
import io
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import soundfile
from sound_gallery import picture, prompt_of

from audio_pool.engines.base import Item
from audio_pool.engines.procedural.engine import ProceduralEngine
from audio_pool.engines.procedural.recipe import RECIPES, Recipe

SECONDS = 8.0
RATE = 44_100
_BLOCK = 65_536
"""Vorbis is written in blocks of so many frames: libsndfile fails on long single writes."""

_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>The sounds of the built-in engine</title>
<style>
:root { color-scheme: light dark; font: 16px/1.4 system-ui, sans-serif }
body { margin: 1.5rem auto; max-width: 75rem; padding: 0 1rem }
section { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)) }
figure { margin: 0; padding: .6rem; border: 1px solid #8886; border-radius: .5rem }
img { width: 100%; border-radius: .3rem; image-rendering: pixelated }
button { font: inherit; margin: .3rem .3rem 0 0; padding: .2rem .8rem }
button[aria-pressed=true] { background: #d60; color: #fff }
</style>
<h1>The sounds of the built-in engine</h1>
<p>"loop" plays the sound as it was asked for with loop, without a gap; "once" as a single sound.
Eight seconds from left to right, 30 Hz to 20 kHz from bottom to top. The sounds are files in <code>sounds</code> too.
</p>
<p id="told" role="alert"></p>
"""
_TAIL = """<script>
const context = new AudioContext({ sampleRate: 44100 }), buffers = {};
let playing = null, button = null;
function audioGallery(name, text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const { done, failed } = buffers[name];
  context.decodeAudioData(bytes.buffer, done, () => failed(new Error("this browser does not play OGG Vorbis")));
}
function loaded(name) {
  return new Promise((done, failed) => {
    if (buffers[name] instanceof AudioBuffer) return done(buffers[name]);
    buffers[name] = { done: (buffer) => { buffers[name] = buffer; done(buffer); }, failed };
    const script = document.createElement("script");
    script.src = "sounds/" + name + ".js";
    script.onerror = () => failed(new Error("there is no file " + script.src));
    document.body.append(script);
  });
}
function stop() {
  if (playing) { playing.onended = null; playing.stop(); playing = null; }
  if (button) { button.setAttribute("aria-pressed", "false"); button = null; }
}
document.addEventListener("click", async (event) => {
  const pressed = event.target.closest("button");
  if (!pressed) return;
  const again = pressed === button;
  stop();
  if (again) return;
  button = pressed;
  pressed.setAttribute("aria-pressed", "true");
  await context.resume();
  const told = document.getElementById("told");
  told.textContent = "";
  let buffer;
  try {
    buffer = await loaded(pressed.dataset.sound);
  } catch (error) {
    told.textContent = pressed.dataset.sound + ": " + error.message;
  }
  if (button !== pressed) return;
  if (!buffer) return stop();
  playing = context.createBufferSource();
  playing.buffer = buffer;
  playing.loop = pressed.dataset.loop === "yes";
  playing.onended = stop;
  playing.connect(context.destination);
  playing.start();
});
</script>
</html>
"""


def encoded(sound: np.ndarray) -> bytes:
    """Return float32 [2, T] as OGG Vorbis."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", RATE, sound.shape[0], format="OGG", subtype="VORBIS") as writer:
        for start in range(0, sound.shape[1], _BLOCK):
            writer.write(sound[:, start : start + _BLOCK].T)
    return file.getvalue()


def card(recipe: Recipe) -> str:
    """Return one recipe's part of the page."""
    name, summary = recipe.name, html.escape(recipe.summary)
    buttons = "".join(
        f'<button data-sound="{name}_{kind}" data-loop="{"yes" if kind == "loop" else "no"}" aria-pressed="false"'
        f' aria-label="{kind}: {summary}">{kind}</button>'
        for kind in ("loop", "once")
    )
    return (
        f'<figure><img src="pictures/{name}.png" alt="spectrogram: {summary}" width="320" height="120">'
        f"<figcaption><b>{name}</b>: {summary}<br>{buttons}</figcaption></figure>"
    )


def page(recipes: list[Recipe]) -> str:
    """Return index.html."""
    parts = [_HEAD]
    for module, group in groupby(recipes, key=lambda recipe: recipe.paint.__module__):
        parts.append(f"<h2>{module.rpartition('.')[2].capitalize()}</h2>\n<section>")
        parts += [card(recipe) for recipe in group]
        parts.append("</section>")
    return "\n".join([*parts, _TAIL])


def write(directory: Path, recipes: list[Recipe]) -> None:
    """Write the page, its pictures and its sounds."""
    engine = ProceduralEngine()
    for folder in ("sounds", "pictures"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    for recipe in recipes:
        for kind in ("loop", "once"):
            item = Item(prompt=prompt_of(recipe), seed=1, duration_s=SECONDS, sample_rate=RATE, loop=kind == "loop")
            sound = engine.generate([item])[0]
            data, name = encoded(sound), f"{recipe.name}_{kind}"
            (directory / "sounds" / f"{name}.ogg").write_bytes(data)
            text = base64.b64encode(data).decode()
            (directory / "sounds" / f"{name}.js").write_text(f'audioGallery("{name}", "{text}");\n', encoding="utf-8")
        (directory / "pictures" / f"{recipe.name}.png").write_bytes(picture(sound))
    (directory / "index.html").write_text(page(recipes), encoding="utf-8")


def main() -> None:
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "out/gallery")
    recipes = [RECIPES[name] for name in sys.argv[2:]] or list(RECIPES.values())
    write(directory, recipes)
    print(f"{len(recipes)} sounds: open {directory / 'index.html'}")


if __name__ == "__main__":
    main()
