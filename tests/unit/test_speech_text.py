"""A text on its way to a voice: sentences, words for what is written otherwise, phonemes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.voice_models import dictionaries

from audio_pool.engines._speech.english import spoken
from audio_pool.engines._speech.numerals import cardinal, ordinal, year
from audio_pool.engines._speech.pronouncing import Pronouncer
from audio_pool.engines._speech.sentences import LONGEST, split
from audio_pool.errors import EngineUnavailable

RULES = Path(__file__).parents[2] / "src" / "audio_pool" / "engines" / "_speech"


# -- sentences ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Dr. Smith met Mrs. Jones. They left.", ["Dr. Smith met Mrs. Jones.", "They left."]),
        ("It is 3.14 or v2.0. Fine.", ["It is 3.14 or v2.0.", "Fine."]),
        ('"Stop!" he said. "Go!" She went.', ['"Stop!" he said.', '"Go!"', "She went."]),
        ("Well... perhaps. And then… Silence.", ["Well... perhaps.", "And then…", "Silence."]),
        ("She said no. Then no. 5 came.", ["She said no.", "Then no. 5 came."]),
        ("J. R. R. Tolkien wrote it.", ["J. R. R. Tolkien wrote it."]),
        ("The U.S. Army came. In the U.S. They stayed.", ["The U.S. Army came.", "In the U.S.", "They stayed."]),
        ("See e.g. the book, etc. And so on.", ["See e.g. the book, etc.", "And so on."]),
        ("At 5 p.m. on Jan. 5 it began.", ["At 5 p.m. on Jan. 5 it began."]),
        ("1. First this. 2. Then that?! Yes", ["1. First this.", "2. Then that?!", "Yes"]),
        ("今日は晴れ。「行こう！」と彼は言った。はい？", ["今日は晴れ。", "「行こう！」と彼は言った。", "はい？"]),
        ("你好。再见！", ["你好。", "再见！"]),
        ("यह है। वह था।", ["यह है।", "वह था।"]),
        ("One line\nand its rest", ["One line and its rest"]),
        ("   \n \n ", []),
    ],
)
def test_a_sentence_ends_where_a_reader_would_stop(text: str, sentences: list[str]) -> None:
    assert [one.text for one in split(text)] == sentences


def test_each_language_has_abbreviations_of_its_own() -> None:
    german = split("Am 3. Mai kam Dr. Maier z. B. nach Köln, usw. Dann ging er.", "de-DE")
    assert [one.text for one in german] == ["Am 3. Mai kam Dr. Maier z. B. nach Köln, usw.", "Dann ging er."]
    assert len(split("M. Dupont est là. Il part.", "fr")) == 2 and len(split("La Sra. Gil. Ya está.", "es_ES")) == 2


def test_what_follows_a_piece_is_told() -> None:
    found = split("One. Two...\n\nThree, " + "and more, " * 60)
    assert [one.ends for one in found[:2]] == ["sentence", "paragraph"]
    assert {one.ends for one in found[2:-1]} == {"clause"} and found[-1].ends == "paragraph"
    assert all(one.text.endswith(",") for one in found[2:-1])
    assert split("Wait... What? No.")[0].ends == "trailing"


@given(st.text(alphabet="ab.,!?… 。\n\"'Dr1", max_size=400), st.integers(20, 60))
def test_no_word_is_lost_and_no_piece_is_too_long(text: str, longest: int) -> None:
    found = split(text, longest=longest)
    assert "".join("".join(one.text.split()) for one in found) == "".join(text.split())
    assert all(0 < len(one.text) <= longest for one in found)


def test_five_thousand_characters_without_a_stop_are_cut_into_breaths() -> None:
    found = split("word " * 1000)
    assert len(found) > 16 and max(len(one.text) for one in found) <= LONGEST
    assert max(len(one.text) for one in split("x" * 5000)) <= LONGEST


# -- written and spoken ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Dr. Smith paid $3.50 on Jan. 5, 1984.",
         "Doctor Smith paid three dollars and fifty cents on January fifth, nineteen eighty four."),
        ("21°C, 5 km, 1 kg and 1.5 GHz", "twenty one degrees Celsius, five kilometers, one kilogram and one point five "
         "gigahertz"),
        ("1,250,000 or .5?", "one million two hundred and fifty thousand or zero point five?"),
        ("the 1990s, 2007, 2024, 3rd", "the nineteen nineties, two thousand and seven, twenty twenty four, third"),
        ("Call 555-1234 or 007!", "Call five five five, one two three four or zero zero seven!"),
        ("at 3:05 p.m. and 10:00, 9 AM", "at three oh five P M and ten o'clock, nine A M"),
        ("£2.50, €1,000 and $1 million", "two pounds and fifty pence, one thousand euros and one million dollars"),
        ("e.g. no. 5 & more", "for example number five and more"),
        ("No. I said no.", "No. I said no."),
        ("mail bob@mail.com", "mail bob at mail dot com"),
        ("10-20 apples, -5 degrees, 60%", "ten to twenty apples, minus five degrees, sixty percent"),
        ("1/2 a B52, the U.S. Army", "one half a B fifty two, the U S Army"),
        ("\ufeffhel\u200blo \u202eworld\u202c \u2066one\u2069", "hello world one"),
    ],
)  # fmt: skip
def test_digits_symbols_and_abbreviations_become_words(written: str, said: str) -> None:
    assert spoken(written) == said


@given(st.text(max_size=80))
def test_whatever_is_written_leaves_no_digit(text: str) -> None:
    assert not any(one in "0123456789$%&@#" for one in spoken(text))


def test_numbers_of_every_size() -> None:
    assert [cardinal(one) for one in ("0", "13", "70", "101", "1000", "20000")] == [
        "zero", "thirteen", "seventy", "one hundred and one", "one thousand", "twenty thousand"]  # fmt: skip
    assert cardinal("9" * 30) == " ".join(["nine"] * 30)
    assert [ordinal(one) for one in ("1", "12", "20", "101")] == ["first", "twelfth", "twentieth",
                                                                "one hundred and first"]  # fmt: skip
    assert [year(one) for one in ("1900", "1905", "2000", "2010")] == [
        "nineteen hundred", "nineteen oh five", "two thousand", "twenty ten"]  # fmt: skip


# -- phonemes ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def american(tmp_path_factory: pytest.TempPathFactory) -> Pronouncer:
    folder = dictionaries(tmp_path_factory.mktemp("d") / "d")
    return Pronouncer([folder / "us_gold.json", folder / "us_silver.json"], RULES / "letters_us.txt", british=False)


@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("Hello, world!", "həlˈO, wˈɜɹld!"),
        ("HELLO hello Hello", "həlˈO həlˈO həlˈO"),
        ("The cat. The apple.", "ðə kˈæt. ði ˈæpᵊl."),
        ("A cat to apple", "ɐ kˈæt tʊ ˈæpᵊl"),
        ("to record a record", "tə ɹəkˈɔɹd ɐ ɹˈɛkəɹd"),
        ("used to walk", "jˈust tə wˈɔk"),
        ("walks walked walking", "wˈɔks wˈɔkt wˈɔkɪŋ"),
        ("cats, houses, the cat's", "kˈæts, hˈWsᵻz, ðə kˈæts"),
        ("houseboat", "hˈWsbˌOt"),
        ("unhappy happily", "ˌʌnhˈæpi hˈæpili"),
        ("Dr. Smith", "dˈɑktəɹ smˈɪθ"),
        ("FBI US us", "ˌɛfbˌiˈI jˌuˈɛs ˈʌs"),
        ("TWO CATS SAT.", "tˈu kˈæts sˈæt."),
        ("the CAT walks", "ðə kˈæt wˈɔks"),
        ("HappyCat, BoatUS, càt", "hˈæpi kˈæt, bˈOt jˌuˈɛs, kˈæt"),
        ("house-boat — \"one\"", "hˈWs bˈOt — \"wˈʌn\""),
    ],
)  # fmt: skip
def test_words_are_spoken_as_the_dictionary_has_them_in_their_place(american, text: str, phonemes: str) -> None:
    assert american.phonemes(text) == phonemes


def test_a_word_that_nobody_knows_is_spoken_by_its_letters_with_one_stress(american) -> None:
    for word in ("blorp", "zintaflex", "quorn", "Müller", "naïve", "rhythmically"):
        said = american.word(word)
        assert said.count("ˈ") == 1, (word, said)
    assert american.word("blorp") == "blˈɔɹp" and american.word("Müller") == american.word("Muller")
    assert american.phonemes("你好 😀 ***") == ""


def test_an_acronym_of_letters_that_no_dictionary_names_is_a_word(tmp_path) -> None:
    (tmp_path / "us_gold.json").write_text('{"hello": "həlˈO"}')
    bare = Pronouncer([tmp_path / "us_gold.json"], RULES / "letters_us.txt", british=False)
    assert bare.phonemes("BBC") == bare.phonemes("bbc") != ""


def test_british_english_is_another_one(tmp_path) -> None:
    folder = dictionaries(tmp_path / "d")
    british = Pronouncer([folder / "gb_gold.json"], RULES / "letters_gb.txt", british=True)
    assert british.phonemes("houses walking") == "hˈWsɪz wˈɔkɪŋ"
    assert "ɹ" not in british.word("zorp") and "ː" in british.word("zorp")


def test_what_is_no_dictionary_is_named(tmp_path) -> None:
    (tmp_path / "us_gold.json").write_text("<!doctype html>")
    with pytest.raises(EngineUnavailable, match=r"us_gold\.json is no pronouncing dictionary"):
        Pronouncer([tmp_path / "us_gold.json"], RULES / "letters_us.txt", british=False)


def test_the_packages_dictionaries_say_common_words_as_they_are_said() -> None:
    misaki = pytest.importorskip("misaki", reason="misaki is not installed: pip install 'audio-pool[kokoro]'")
    folder = Path(misaki.__file__).parent / "data"
    pronouncer = Pronouncer([folder / "us_gold.json", folder / "us_silver.json"], RULES / "letters_us.txt",
                            british=False)  # fmt: skip
    assert pronouncer.phonemes("The quick brown fox.") == "ðə kwˈɪk bɹˈWn fˈɑks."
