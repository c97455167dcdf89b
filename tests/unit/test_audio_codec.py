"""Files: what goes in comes out, with its recipe and its loop points, and broken ones say what is wrong."""

from __future__ import annotations

import functools
import json
import os
import resource
import struct

import numpy as np
import pytest
from tests.support.audio_signals import RATE, decaying, pink, recordings, tone, white

from audio_pool.audio import codec
from audio_pool.errors import InvalidAudio, InvalidRequest, NotFound, StorageError

RECIPE = {"prompt": "rain \u201con\u201d a tin roof \u96e8", "seed": 2**63 - 1, "steps": None, "nested": {"a": [1]}}
LONG = {**RECIPE, "negative_prompt": "x" * 6000}
EVERY = [("wav", 16), ("wav", 24), ("wav", 32), ("flac", 16), ("flac", 24), ("ogg", 16), ("opus", 16), ("mp3", 16)]
LOSSLESS = EVERY[:5]
FRAMES = 3 * codec.BLOCK_FRAMES + 101


def written(tmp_path, audio, format, depth=24, *, recipe=RECIPE, loop=False, rate=RATE):
    path = tmp_path / "sound.tmp"
    told = codec.write(path, audio, rate, format, depth, json.dumps(recipe), loop)
    return path, told


@pytest.mark.parametrize(("format", "depth"), EVERY)
@pytest.mark.parametrize("recipe", [RECIPE, LONG])
def test_the_recipe_comes_back_whole(tmp_path, format, depth, recipe):
    path, _ = written(tmp_path, white(5001), format, depth, recipe=recipe)
    found = codec.inspect(path)
    assert found["recipe"] == recipe
    assert found["format"] == format
    assert found["bit_depth"] == (depth if format in ("wav", "flac") else None)


@pytest.mark.parametrize(("format", "depth"), EVERY)
@pytest.mark.parametrize("channels", [1, 2])
def test_the_length_is_exact(tmp_path, format, depth, channels):
    path, told = written(tmp_path, pink(FRAMES)[:channels], format, depth)
    audio, rate = codec.read(path)
    found = codec.inspect(path)
    expected = FRAMES if format != "opus" else round(FRAMES * 48_000 / RATE)
    assert audio.shape == (channels, expected)
    assert audio.dtype == np.float32
    assert (told.frames, found["frames"], found["channels"]) == (expected, expected, channels)
    assert rate == told.sample_rate == found["sample_rate"] == (48_000 if format == "opus" else RATE)
    assert found["duration_s"] == pytest.approx(FRAMES / RATE, abs=1e-4)


@pytest.mark.parametrize(("format", "depth"), LOSSLESS)
def test_lossless_formats_keep_every_step(tmp_path, format, depth):
    sound = decaying(FRAMES)
    path, _ = written(tmp_path, sound, format, depth)
    audio, _ = codec.read(path)
    error = np.abs(audio - sound).max()
    assert error <= {16: 1.5 / 2**15, 24: 0.5001 / 2**23, 32: 0}[depth]
    assert depth == 32 or np.array_equal(audio * 2 ** (depth - 1), np.rint(audio * 2 ** (depth - 1)))


@pytest.mark.parametrize("format", ["ogg", "opus", "mp3"])
def test_lossy_formats_sound_alike_and_in_time(tmp_path, format):
    sound = tone(2 * RATE, 441.0) + tone(2 * RATE, 1323.0, 0.1)
    path, told = written(tmp_path, sound, format, 16)
    audio, rate = codec.read(path)
    wanted = tone(2 * rate, 441.0, rate=rate) + tone(2 * rate, 1323.0, 0.1, rate)
    inner = slice(rate // 4, -rate // 4)
    error = np.square((audio - wanted)[:, inner]).mean() / np.square(wanted).mean()
    assert 10 * np.log10(error) < -20
    assert told.warnings == (() if format != "opus" else ("rate_changed: opus has no 44100 Hz; written at 48000 Hz",))


def test_sixteen_bits_are_dithered_so_that_faint_tones_survive(tmp_path):
    faint = tone(4 * RATE, 1000, 0.4 / 2**15, channels=1)
    path, _ = written(tmp_path, faint, "wav", 16)
    audio, _ = codec.read(path)
    found = 2 * abs((audio[0] * np.exp(-2j * np.pi * 1000 * np.arange(4 * RATE) / RATE)).mean())
    assert found == pytest.approx(0.4 / 2**15, rel=0.1)
    spectrum = np.abs(np.fft.rfft(audio[0] * np.hanning(4 * RATE)))
    assert spectrum[4 * 3000] < 0.05 * spectrum[4 * 1000], "a third harmonic is what plain rounding leaves"


@pytest.mark.parametrize(("format", "depth"), LOSSLESS)
def test_digital_silence_stays_silent_and_overs_are_clipped_not_wrapped(tmp_path, format, depth):
    sound = np.zeros((2, 1000), np.float32)
    sound[:, 500], sound[:, 600] = 1.7, -1.7
    path, _ = written(tmp_path, sound, format, depth)
    audio, _ = codec.read(path)
    assert not audio[:, :500].any()
    assert np.all(audio[:, 500] > 0.999)
    assert np.all(audio[:, 600] < -0.999)


@pytest.mark.parametrize(("format", "depth"), EVERY)
def test_the_same_sound_gives_the_same_samples(tmp_path, format, depth):
    first, _ = codec.read(written(tmp_path, white(30_000), format, depth)[0])
    second, _ = codec.read(written(tmp_path, white(30_000), format, depth)[0])
    assert np.array_equal(first, second)


def chunks(data):
    """(name, body) of every RIFF chunk; asserts that sizes and padding add up to the file."""
    assert data[:4] == b"RIFF"
    assert data[8:12] == b"WAVE"
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    at, found = 12, []
    while at < len(data):
        name, size = data[at : at + 4], struct.unpack("<I", data[at + 4 : at + 8])[0]
        found.append((name, data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    assert at == len(data)
    return found


@pytest.mark.parametrize("depth", [16, 24, 32])
@pytest.mark.parametrize(("frames", "channels"), [(1001, 1), (1000, 2)])
def test_wav_chunks_are_well_formed_and_behind_data(tmp_path, depth, frames, channels):
    for loop in (False, True):
        path, _ = written(tmp_path, white(frames, channels=channels), "wav", depth, loop=loop)
        found = chunks(path.read_bytes())
        names = [name for name, _ in found]
        assert (b"smpl" in names) == loop
        assert names.index(b"apRc") > names.index(b"data")
        assert json.loads(dict(found)[b"apRc"]) == RECIPE
        if loop:
            assert names.index(b"smpl") > names.index(b"data")
            smpl = struct.unpack("<15I", dict(found)[b"smpl"])
            assert smpl[2] == round(1e9 / RATE)
            assert smpl[7] == 1, "one loop"
            assert smpl[10] == 0, "type 0: forward"
            assert (smpl[11], smpl[12], smpl[14]) == (0, frames - 1, 0), "the whole file, for ever"
            assert codec.inspect(path)["loop"] == {"start": 0, "end": frames - 1}
        else:
            assert codec.inspect(path)["loop"] is None


@pytest.mark.parametrize(("format", "depth"), EVERY)
def test_only_formats_that_loop_badly_warn(tmp_path, format, depth):
    _, told = written(tmp_path, white(48_000), format, depth, loop=True, rate=48_000)
    assert [warning.split(":")[0] for warning in told.warnings] == (
        [f"loop_in_{format}"] if format in ("opus", "mp3") else []
    )


@pytest.mark.parametrize(
    ("format", "rate", "nearest"),
    [("opus", 44_100, 48_000), ("opus", 22_050, 24_000), ("opus", 11_025, 12_000), ("mp3", 96_000, 48_000),
     ("mp3", 44_100, 44_100), ("mp3", 20_000, 22_050), ("wav", 96_000, 96_000), ("ogg", 37_000, 37_000)],
)  # fmt: skip
def test_the_nearest_rate_is_taken_and_told(tmp_path, format, rate, nearest):
    path, told = written(tmp_path, tone(rate, 500, rate=rate), format, 16, rate=rate)
    assert codec.nearest_rate(format, rate) == told.sample_rate == codec.inspect(path)["sample_rate"] == nearest
    assert bool(told.warnings) == (rate != nearest)
    audio, _ = codec.read(path)
    assert np.argmax(np.abs(np.fft.rfft(audio[0]))) * nearest / audio.shape[1] == pytest.approx(500, abs=2)


@pytest.mark.parametrize(("format", "rate", "loudest_error"), [("pcm", 22_050, 2e-4), ("ulaw", 8_000, 0.03),
                                                               ("alaw", 8_000, 0.03)])  # fmt: skip
def test_a_file_without_a_header_is_samples_and_nothing_else(tmp_path, format, rate, loudest_error):
    sound = tone(rate, 500, rate=rate, channels=1)
    path, told = written(tmp_path, sound, format, 16, rate=rate, loop=True)
    assert (told.sample_rate, told.warnings) == (rate, ())
    assert path.stat().st_size == rate * (2 if format == "pcm" else 1)
    heard, _ = codec.read_back(path, format, rate, 1)
    assert np.abs(heard - sound).max() < loudest_error
    if format == "pcm":
        assert np.array_equal(np.frombuffer(path.read_bytes(), "<i2"), np.rint(heard[0] * 2**15).astype(np.int16))
    else:
        assert written(tmp_path, tone(RATE, 500, channels=1), format, 16)[1].sample_rate == rate, "G.711 has one rate"


BIT_RATES = [("mp3", 22_050, 32), ("mp3", 24_000, 48), ("mp3", 44_100, 32), ("mp3", 44_100, 128), ("mp3", 48_000, 240),
             ("mp3", 8_000, 8), ("opus", 48_000, 32), ("opus", 48_000, 192)]  # fmt: skip


@pytest.mark.parametrize(("format", "rate", "bit_rate"), BIT_RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_bit_rate_is_kept_and_so_is_the_length(tmp_path, format, rate, bit_rate, channels):
    path = tmp_path / "sound"
    sound = white(4 * rate, 0.1)[:channels]
    codec.write(path, sound, rate, format, 16, "", False, bit_rate)
    assert path.stat().st_size * 8 / 4_000 == pytest.approx(bit_rate, rel=0.15)
    assert codec.read(path)[0].shape == sound.shape


def test_long_sounds_encode_in_blocks(tmp_path):
    path, _ = written(tmp_path, white(40 * RATE, 0.05), "ogg")
    assert codec.read(path)[0].shape == (2, 40 * RATE)


@pytest.mark.parametrize(
    ("format", "depth", "message"),
    [("aiff", 16, "'aiff', allowed is one of wav, flac, ogg, opus, mp3"),
     ("flac", 32, "given 32, allowed for flac is one of 16, 24"),
     ("wav", 20, "given 20, allowed for wav is one of 16, 24, 32")],
)  # fmt: skip
def test_unknown_formats_and_depths_are_refused(tmp_path, format, depth, message):
    with pytest.raises(InvalidRequest, match=message):
        written(tmp_path, white(100), format, depth)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("audio", [np.zeros((2, 0)), np.full((2, 9), np.nan), np.full((2, 9), np.inf), np.zeros(9)])
def test_what_is_no_sound_is_not_written(tmp_path, audio):
    with pytest.raises(InvalidAudio, match="all finite"):
        written(tmp_path, audio.astype(np.float32), "wav")
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_refuses_leaves_no_file(tmp_path):
    with pytest.raises(InvalidAudio, match="mp3 at 44100 Hz, 5 channels cannot be written"):
        written(tmp_path, white(1000, channels=5), "mp3")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory):
    """Of a format and a depth: a sound of several blocks, and the size of its whole file."""
    sound = pink(FRAMES)

    @functools.cache
    def of(format, depth):
        return sound, written(tmp_path_factory.mktemp(format), sound, format, depth)[0].stat().st_size

    return of


@pytest.mark.parametrize("kept", [0, 1000, 8000])
@pytest.mark.parametrize(("format", "depth"), EVERY)
def test_a_disk_that_takes_no_more_is_no_fault_of_the_sound(tmp_path, whole_file, format, depth, kept):
    sound, whole = whole_file(format, depth)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole * kept // 10_000, hard))
    try:
        with pytest.raises(StorageError, match=r"takes no file .*File too large"):
            written(tmp_path, sound, format, depth)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_missing_foreign_and_damaged_files_say_what_they_are(tmp_path):
    with pytest.raises(NotFound, match="no such file"):
        codec.read(tmp_path / "none.wav")
    text = tmp_path / "text.flac"
    text.write_text("this is not music")
    for look in (codec.read, codec.inspect):
        with pytest.raises(InvalidAudio, match="not a sound file"):
            look(text)


@pytest.mark.parametrize(("format", "depth"), [("flac", 24), ("wav", 16)])
def test_files_cut_short_are_found_out(tmp_path, format, depth):
    path, _ = written(tmp_path, white(100_000), format, depth)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(InvalidAudio, match=r"cut short|damaged"):
        codec.read(path)


def test_foreign_files_have_no_recipe():
    for path in recordings():
        found = codec.inspect(path)
        assert found["recipe"] is None
        audio, rate = codec.read(path)
        assert audio.shape == (found["channels"], found["frames"])
        assert rate == found["sample_rate"]


@pytest.mark.parametrize("format", ["wav", "flac", "ogg", "opus", "mp3"])
def test_a_file_without_a_comment_can_be_written(tmp_path, format):
    path = tmp_path / f"a.{format}"
    codec.write(path, tone(4800, 440, rate=48_000), 48_000, format, 16, "", False)
    assert codec.inspect(path)["recipe"] is None


@pytest.mark.parametrize("format", ["flac", "ogg"])
def test_loops_carry_their_points_as_comments_and_one_shots_none(tmp_path, format):
    path, other = tmp_path / f"a.{format}", tmp_path / f"b.{format}"
    sound = tone(30_000, 441)
    comment = json.dumps({"prompt": "x" * 3000})
    codec.write(path, sound, 44_100, format, 16, comment, True)
    codec.write(other, sound, 44_100, format, 16, comment, False)
    assert b"LOOPSTART=0" in path.read_bytes() and b"LOOPLENGTH=30000" in path.read_bytes()
    assert b"LOOPSTART" not in other.read_bytes()
    found = codec.inspect(path)
    assert found["loop"] == {"start": 0, "end": 29_999}
    assert found["recipe"] == json.loads(comment)
    assert codec.inspect(other)["loop"] is None
    # the sound itself is untouched, and libsndfile checks the page's checksum when it reads
    assert np.array_equal(codec.read(path)[0], codec.read(other)[0])
    assert [one.name for one in tmp_path.iterdir() if one.suffix == ".tags"] == []
