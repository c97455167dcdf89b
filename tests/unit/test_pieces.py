"""Messages in pieces, and sounds compressed in them: what comes out is what went in, and nothing else is taken."""

from __future__ import annotations

import numpy as np
import pytest

from audio_pool.errors import BadMessage
from audio_pool.transport import compression
from audio_pool.transport.compression import Codec, Encoded, best_codec, decoded
from audio_pool.transport.pieces import PIECE_BYTES, Assembly, Parting
from audio_pool.transport.tensors import from_frames, to_frames

MOST = 1 << 26
NOISE = np.random.default_rng(1)
SOUND = (0.1 * NOISE.standard_normal((2, 200_000))).astype(np.float32)
ZSTD = pytest.param("zstd", marks=pytest.mark.skipif(best_codec(1.0) != "zstd", reason="zstandard is not installed"))


def sent(frames: list[bytes | memoryview], codec: Codec = "") -> tuple[list[bytes], int]:
    """Return the message as it arrives, and the bytes that travelled."""
    assembly, travelled = Assembly(MOST), 0
    pieces = [[bytes(frame) for frame in piece] for piece in Parting(codec).parted(frames)]
    for piece in pieces[:-1]:
        assert assembly.take(piece) is None
    travelled = sum(len(frame) for piece in pieces for frame in piece)
    assert all(len(piece[-1]) <= PIECE_BYTES for piece in pieces)
    whole = assembly.take(pieces[-1])
    assert whole is not None and not assembly.waiting_bytes
    return [bytes(frame) for frame in whole], travelled


def test_a_small_message_goes_as_it_is() -> None:
    assert list(Parting().parted([b"a", b"", b"bc"])) == [[b"w", b"a", b"", b"bc"]]
    assert sent([b"a", b"", b"bc"])[0] == [b"a", b"", b"bc"]


@pytest.mark.parametrize(
    "sizes", [(PIECE_BYTES + 1,), (5, PIECE_BYTES, 7), (10, 0, 3 * PIECE_BYTES), (PIECE_BYTES,) * 2]
)
def test_a_large_message_arrives_as_it_was(sizes: tuple[int, ...]) -> None:
    frames = [NOISE.bytes(size) for size in sizes]
    assert sent([*frames])[0] == frames


@pytest.mark.parametrize("codec", ["", "zlib", ZSTD])
@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_a_sound_arrives_bit_for_bit_and_is_smaller(codec: Codec, kind: str) -> None:
    sound = SOUND.copy()
    if kind == "float16":
        sound = sound.astype(np.float16).astype(np.float32)
    elif kind == "bfloat16":
        sound = (sound.view(np.uint32) & 0xFFFF0000).view(np.float32)
    sound[0, :3] = -0.0, 0.0, 0.5
    frames = to_frames(sound, "a")
    arrived, travelled = sent([b"message", *frames], codec)
    assert arrived[0] == b"message"
    assert from_frames(arrived[1], arrived[2]).tobytes() == sound.tobytes()
    share = travelled / sound.nbytes
    assert share < {"float32": 0.95 if codec else 1.01, "float16": 0.51, "bfloat16": 0.51}[kind]


def test_samples_that_no_narrower_type_has_exactly_are_not_made_narrower() -> None:
    sound = SOUND.astype(np.float16).astype(np.float32)
    sound[1, -1] = np.float32(0.1)
    assert sent([*to_frames(sound, "a")])[1] > sound.nbytes
    huge = np.full((1, 300_000), 2.0**100, np.float32)  # beyond float16, and of few bits
    huge[0, ::2] *= 1.0 + 2.0**-9
    arrived, _ = sent([*to_frames(huge, "a")])
    assert from_frames(arrived[0], arrived[1]).tobytes() == huge.tobytes()


def test_what_pays_depends_on_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_zstd_is_here", lambda: True)
    assert (best_codec(100.0), best_codec(1000.0), best_codec(2500.0)) == ("zstd", "zstd", "")
    monkeypatch.setattr(compression, "_zstd_is_here", lambda: False)
    assert (best_codec(50.0), best_codec(100.0)) == ("zlib", "")


def test_what_is_no_piece_is_refused() -> None:
    pieces = [list(map(bytes, piece)) for piece in Parting().parted([NOISE.bytes(3 * PIECE_BYTES)])]

    def refused(*arrived: list[bytes], most: int = MOST) -> str:
        assembly = Assembly(most)
        for one in arrived[:-1]:
            assembly.take(one)
        with pytest.raises(BadMessage) as found:
            assembly.take(arrived[-1])
        return str(found.value)

    assert "not begun" in refused(pieces[1])
    assert "was due" in refused(pieces[0], pieces[2])
    assert "was due" in refused(pieces[0], pieces[0])
    assert "before the one before" in refused(pieces[0], [b"w", b"x"])
    assert "allowed are" in refused(pieces[0], most=PIECE_BYTES)
    assert "no piece" in refused([b"\xc1", b"x"])
    assert "frames" in refused([b"x"])
    assert "without a frame" in refused([])
    assert "bytes" in refused([pieces[0][0], b""])


@pytest.mark.parametrize(
    ("how", "data"),
    [
        (Encoded(4, 8), b"1234"),
        (Encoded(4, 7, "float32", "zlib"), b"1234"),
        (Encoded(4, 8, "float32", "zlib"), b"1234"),
        (Encoded(4, 4, "float16"), b"1234"),
        pytest.param(Encoded(4, 8, "float32", "zstd"), b"1234", marks=ZSTD.marks),
    ],
)
def test_what_does_not_decode_to_what_was_told_is_refused(how: Encoded, data: bytes) -> None:
    with pytest.raises(BadMessage):
        decoded(how, memoryview(data))


def test_a_bomb_is_not_unpacked() -> None:
    import zlib

    bomb = zlib.compress(bytes(1 << 22), 9)
    with pytest.raises(BadMessage, match="told"):
        decoded(Encoded(len(bomb), 400, "float32", "zlib"), memoryview(bomb))
