"""Prompts in other languages are recognised by evidence; whatever lacks it is English."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_pool.prompts.language import foreign_language, is_english

ENGLISH = [
    # as captions are written
    "Rain falls on a tin roof while thunder rumbles in the distance",
    "A man is speaking as dogs bark and a car passes by",
    "An engine idles, then accelerates quickly",
    "Birds chirping in a forest with a stream nearby",
    "footsteps on gravel",
    "The wind is blowing hard",
    "three knocks on a wooden door",
    "heavy rain, no thunder",
    "crowd cheering in a stadium, distant fireworks",
    "A woman laughs and a baby cries",
    "water dripping in a cave",
    "old train leaving the station at night",
    # games and synthesis
    "8-bit coin pickup",
    "sword whoosh and metal clang",
    "level up jingle",
    "laser zap sfx",
    "mana regen",
    "health regen tick",
    "UI click, soft",
    "zombie groan",
    "synthwave bassline 120 bpm",
    "lo-fi hip hop beat",
    "sub drop",
    "om mantra",
    "de-esser test",
    # words that no list has
    "xyzzy",
    "whoosh",
    "synthwave",
    "Motörhead",
    "blorptastic florp",
    "Nokia ringtone",
    "Yamaha DX7 e-piano",
    "KO punch",
    # words from elsewhere, and names
    "café ambience",
    "déjà vu chime",
    "naïve melody",
    "El Niño storm",
    "jalapeño sizzling in a pan",
    "Schwarzwald forest birds",
    "Für Elise",
    "Dvořák largo",
    "Björk vocals",
    "Champs-Élysées traffic",
    "Rio de Janeiro carnival",
    "Rio de Janeiro",
    "Rio de la Plata birds",
    "São Paulo",
    "Los Angeles",
    "Dia de los Muertos parade",
    "d'Artagnan sword fight",
    "mariachi trumpet",
    "coup de grâce sword",
    "allegro con fuoco",
    "la la la",
    "la di da",
    "doo wop na na na",
    "rock'n'roll guitar riff",
    "wind in tunnel",
    "war drums",
    "die hard explosion",
    "α wave tone",
    # nothing to judge by
    "440 Hz",
    "...",
    "♪♪♪",
]

FOREIGN = {
    "German": [
        "Regen auf einem Blechdach", "Hund bellt", "ein Gewitter mit starkem Wind", "Schritte im Kies",
        "wind in den Bäumen", "Motor startet im Winter", "Vogelgezwitscher", "eine Tür quietscht", "leise Klaviermusik",
        "Die Katze miaut und ein Kind lacht",
    ],
    "French": [
        "pluie sur un toit", "un chien qui aboie", "l'orage gronde au loin", "le vent dans les arbres",
        "des pas sur la neige", "bruit de moteur", "une foule qui applaudit", "cloches d'église",
    ],
    "Spanish": [
        "lluvia sobre un tejado", "perro ladrando", "viento fuerte en el bosque", "una puerta que cruje",
"olas del mar", "pasos en la nieve", "truenos a lo lejos",
    ],
    "Italian": [
        "pioggia su un tetto di lamiera", "un cane che abbaia", "il vento tra gli alberi", "passi sulla neve",
        "onde del mare", "una porta che cigola",
    ],
    "Portuguese": [
        "chuva num telhado de zinco", "cachorro latindo", "vento forte na floresta", "passos na neve",
        "crianças brincando", "trovão ao longe",
    ],
    "Dutch": [
        "regen op een dak", "blaffende hond", "een deur die kraakt", "voetstappen in de sneeuw", "onweer in de verte",
    ],
    "Polish": ["deszcz na dachu", "szczekanie psa", "wiatr w lesie", "skrzypiące drzwi", "kroki na śniegu"],
    "Swedish": ["regn på ett plåttak", "en hund som skäller", "åska i fjärran", "steg i snön"],
    "Danish or Norwegian": ["regn på et bliktag", "en hund der gør", "vinden blåser i trærne", "tordenvejr"],
    "Finnish": ["sade peltikatolla", "koira haukkuu", "tuuli puhaltaa metsässä", "ukkosen jyrinä"],
    "Czech or Slovak": ["déšť na plechové střeše", "štěkot psa", "kroky ve sněhu", "vietor v lese"],
    "Croatian or Serbian": ["kiša na limenom krovu", "pas laje", "vjetar u šumi"],
    "Hungarian": ["eső a bádogtetőn", "egy kutya ugat", "szél fúj az erdőben"],
    "Romanian": ["ploaie pe un acoperiș de tablă", "un câine latră", "vântul bate în pădure"],
    "Turkish": ["teneke çatıya düşen yağmur", "köpek havlaması", "ormanda rüzgar", "gök gürültüsü"],
    "Indonesian or Malay": ["hujan di atas atap seng", "anjing menggonggong", "suara ombak di pantai"],
    "Vietnamese": ["mưa trên mái tôn", "tiếng chó sủa", "sóng biển"],
    "another language": ["zumbido de abejas", "ronflement de pompe"],
    "text in Cyrillic": ["дождь по крыше", "лай собаки", "дощ на даху"],
    "Japanese": ["雨の音", "犬が吠える", "ピアノ"],
    "Chinese": ["雨声", "狗叫"],
    "Korean": ["빗소리", "개 짖는 소리"],
    "Greek": ["βροχή στη στέγη"],
    "text in Arabic script": ["صوت المطر"],
    "Hebrew": ["גשם על הגג"],
    "text in Devanagari": ["छत पर बारिश"],
    "Thai": ["เสียงฝน"],
}


@pytest.mark.parametrize("prompt", ENGLISH)
def test_a_prompt_without_evidence_against_it_is_english(prompt: str) -> None:
    assert foreign_language(prompt) == ""
    assert is_english(prompt)


@pytest.mark.parametrize(
    ("language", "prompt"), [(language, prompt) for language, prompts in FOREIGN.items() for prompt in prompts]
)
def test_a_prompt_in_another_language_is_named(language: str, prompt: str) -> None:
    assert foreign_language(prompt) == language
    assert not is_english(prompt)


@pytest.mark.parametrize("prompt", ["LLUVIA SOBRE UN TEJADO", "Lluvia Sobre Un Tejado", "l’orage au loin"])
def test_case_and_typographic_apostrophes_make_no_difference(prompt: str) -> None:
    assert not is_english(prompt)


@pytest.mark.parametrize("prompt", ["cesta lluvia", "tormenta electrica lejana", "trovao ao longe", "kroky ve snehu"])
def test_words_typed_without_their_accents_are_recognised(prompt: str) -> None:
    assert not is_english(prompt)


def test_the_language_with_most_of_the_words_counts() -> None:
    assert is_english("a German man says Regen auf dem Dach and a crowd laughs in the street")
    assert not is_english("Regen auf dem Dach und ein Hund bellt, field recording")


@given(st.text(max_size=60))
def test_any_text_has_an_answer(text: str) -> None:
    assert is_english(text) == (foreign_language(text) == "")
