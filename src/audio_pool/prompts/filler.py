"""What a prompt says around the sound: "please make me ...", "ambience: ...", "... (sound effect)".

Owns: ``without_filler``.
Must not know: what the words in between mean.

Works on a text key: lower case, single spaces, no marks at the ends.
"""

from __future__ import annotations

import re

from audio_pool.prompts.lexicon import is_listed, word_info

__all__ = ["without_filler"]

_SOUND = (
    r"(?:sounds?|audio|recordings?|noises?|clips?|samples?|effects?|sfx|fx|soundscapes?|ambien[ct]e|ambiance|"
    r"atmospheres?|sound[ -]?effects?|tracks?|files?|foley)"
)
_KIND = (
    r"(?:(?:short|quick|nice|good|simple|single|realistic|convincing|authentic|natural|clear|clean|crisp|seamless|looping|"
    r"loopable|stereo|mono|field|audio|sound|background|foley|studio|live|high[ -]quality|hq|hd|high[ -]fidelity|"
    r"close[ -]up|lifelike|ambient|\d+[ -]?(?:seconds?|secs?|s|minutes?|min))\s+)*"
)
_MAKE = r"(?:make|create|produce|play|render|record|generate|give|get|find|do|design|compose|synthesi[sz]e|simulate)"
_LEAD = re.compile(
    rf"""^(?:
        (?:please|kindly)\s+(?:{_MAKE}|play)\s+(?:(?:me|us)\b\s*)?
      | (?:please|kindly|hi|hello|hey|ok|okay|so)\b[\s,:!.]*
      | (?:can|could|would|will)\ you\ (?:please\ |kindly\ |just\ )*(?:{_MAKE}\b\s*(?:me|us)?\b\s*)?
      | (?:i|we)(?:'d|\ would)?\ (?:want|need|like|love|wish)(?:\ you)?
          (?:\ to\ (?:hear|have|get|{_MAKE})(?:\s+(?:me|us)\b)?)?\b[\s,:]*
      | (?:can|could|may|might)\ (?:i|we)\ (?:please\ |kindly\ |just\ )*(?:have|get|hear|listen\ to)\b\s*
      | (?:i'm|i\ am|we're|we\ are)\ (?:looking\ for|after)\b\s*
      | (?:let|help)\ (?:me|us)\ hear\b\s* | let's\ hear\b\s* | how\ about\b\s*
      | what\ (?:(?:does|do|is)\b)?(?=.*\ sounds?\ like$)\s*
      | (?:the\ )?(?:sound|noise)\ (?:that\ )?(?=.*\ makes?$)\s*
      | (?:to\ hear|generate|synthesi[sz]e|simulate|create|produce)\b[\s,:]*(?!\ ?(?:noise|sound)s?\b)
      | {_MAKE}\ (?:me|us)\b\s*
      | (?:play|make|do)\b(?=.*\ for\ (?:me|us)$)\s*
      | (?:make|play|render|record|me|us|to\ have|to\ get|to\ make)\b[\s,:]*
          (?=(?:me\ |us\ )?(?:the|a|an|some|this)?\s*(?:[a-z-]+\ ){{0,4}}{_SOUND}\b)
      | (?:the|a|an|some|this|these)?\s*{_KIND}{_SOUND}\s*(?:is|are)?\s*
          (?:(?:of|with|featuring|containing|from|like|for)\s+(?=\S)|[:\-|\])]\s*)
      | (?:there\ is|there's|there\ are|(?:you|we|i|one)\ (?:can\ )?hear|hear|listen\ to)\b\s+(?=\S)
    )+""",
    re.VERBOSE,
)
_TRAIL = re.compile(
    r"(?<=\w)(?:[\s,]+(?:please|thanks|thank\ you|sound\ effects?|sfx|sound\ fx|can\ be\ heard|(?:is|are)\ heard"
    r"|sounds?\ like|makes?|audio"
    r"|for\ (?:me|us)|for\ (?:my|our|a|the)\ (?:game|video|film|movie|project|scene|podcast|app)"
    r"|soundscape|ambien[ct]e|ambiance))+$".replace("\\ ", " ")
)
_AMID = re.compile(r"\b(?:you|we|i|one) (?:can |could )?(?:also |just |clearly |faintly )?hear\b ?")
_BRACKETED = re.compile(r"\s*[(\[{]([^()\[\]{}]*)(?:[)\]}]|$)")
_NO_SOUND = re.compile(
    rf"\s*(?:(?:seamless|perfect|endless)\ ?)?(?:loop(?:ed|ing|able)?|{_KIND}{_SOUND}|hq|hd|high[ -]quality|stereo|"
    r"mono|wav|mp3|ogg|flac|foley|one[ -]?shot|no\ loop|version\ \d+|v\d+|take\ \d+)?\s*".replace("\\ ", " ")
)
_CLAUSE_ENDS = re.compile(r"[,;.:](?!\d)|\b(?:and|then|while|as|with|followed by|before|after)\b")
_LED = re.compile(r"\s*(?:(?:a|an|the|his|her|its|their)\s+)?")


def without_filler(text: str) -> str:
    """Return a prompt's text key without what is said around the sound; the key itself where nothing else is left."""
    bare = _AMID.sub("", _TRAIL.sub("", _LEAD.sub("", text, count=1)))
    if "(" in bare or "[" in bare or "{" in bare:
        bare = _unbracketed(bare)
    bare = bare.strip(" ,;:")
    return bare or text


def _unbracketed(text: str) -> str:
    """Put what stands in brackets where it belongs: "rain (heavy)" is "heavy rain", "rain (on a roof)" goes on."""
    out = ""
    end = 0
    for found in _BRACKETED.finditer(text):
        out += text[end : found.start()]
        end = found.end()
        inner = found[1].strip()
        if _NO_SOUND.fullmatch(inner):
            continue
        if out and all(is_listed(word_info(word).base, "quality") for word in re.findall(r"[a-z]+", inner)):
            start = max((mark.end() for mark in _CLAUSE_ENDS.finditer(out)), default=0)
            led = _LED.match(out, start)
            at = led.end() if led else start
            out = f"{out[:at]}{' ' if out[:at] and not out[:at].endswith(' ') else ''}{inner} {out[at:].lstrip()}"
        else:
            out += f" {inner}"
    return (out + text[end:]).strip()
