"""A signature of ours is certain, also where nothing else remembers the sound; anybody else's proves nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from tests.support.registered import bursts
from tests.support.signed import own_chain

from audio_pool.audio import codec
from audio_pool.cache.recognition import Recognition
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.origin import VerifyReport
from audio_pool.roots import ANYWHERE
from audio_pool.signing.anchors import NOBODY, Anchors, anchors_in
from audio_pool.signing.credential import read_credential
from audio_pool.signing.own_chain import OwnChain
from audio_pool.signing.signer import sign
from audio_pool.signing.statement import new_label, statement
from audio_pool.tasks import Seal
from audio_pool.worker.recognizing import heard

pytest.importorskip("c2pa", reason="files are not signed here: pip install 'audio-pool[c2pa]'")

FACTS = {
    "made_by": "audio_pool", "recipe_id": "ab" * 32, "engine": "TangoFlux", "prompt": "rain", "seed": 3,
    "digital_source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
    "AIGC": {"Label": "1"},
}  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> SoundCache:
    return SoundCache(tmp_path_factory.mktemp("kept"))


def signed(path: Path, chain: OwnChain) -> Path:
    codec.write(path, bursts(80), 44_100, "wav", 24, json.dumps(FACTS), loop=False)
    found = read_credential(str(chain.certificate), str(chain.private_key), now=time.time())
    seal = Seal(
        certificate=str(chain.certificate), private_key=str(chain.private_key), fingerprint=found.fingerprint[:16]
    )
    sign(path, "wav", statement(FACTS, version="1.2.3", label=new_label(), given=[]), seal, ())
    return path


def report(cache: SoundCache, path: Path, anchors: Anchors) -> VerifyReport:
    recognition = Recognition(cache.store)
    found = heard(str(path), ANYWHERE, path.name, anchors=anchors)
    return recognition.report(found, recognition.suspects(found), [])


def test_a_file_that_we_signed_is_certain_until_a_byte_of_it_is_changed(cache: SoundCache, tmp_path: Path) -> None:
    ours = own_chain(tmp_path / "ours")
    path = signed(tmp_path / "rain.wav", ours)
    told = report(cache, path, anchors_in(str(ours.certificate)))
    assert (told.verdict, told.by, told.certain, told.declares.manifest) == ("made_here", "manifest", True, "valid")
    assert told.origin is not None and (told.origin.engine, told.origin.recipe_id) == ("TangoFlux", "ab" * 32)
    # beside what is signed for stand the file's own words, as those of any file
    assert told.declares.made_by == "audio_pool" and told.declares.aigc
    assert told.declares.digital_source_type.endswith("/trainedAlgorithmicMedia")
    data = bytearray(path.read_bytes())
    data[5_000] ^= 1
    path.write_bytes(data)
    told = report(cache, path, anchors_in(str(ours.certificate)))
    assert (told.verdict, told.declares.manifest) == ("says_so", "invalid")


def test_a_forged_manifest_is_its_own_words(cache: SoundCache, tmp_path: Path) -> None:
    ours, theirs = own_chain(tmp_path / "ours"), own_chain(tmp_path / "theirs")
    path = signed(tmp_path / "rain.wav", theirs)
    for anchors in (anchors_in(str(ours.certificate)), NOBODY):
        told = report(cache, path, anchors)
        assert (told.verdict, told.by, told.declares.manifest) == ("says_so", "tags", "untrusted")
    # certified by the same authority is not us
    trusted = Anchors(anchors_in(str(theirs.certificate)).pem, anchors_in(str(ours.certificate)).serial_number)
    told = report(cache, path, trusted)
    assert (told.verdict, told.declares.manifest) == ("says_so", "valid")


def test_a_certificate_that_cannot_be_read_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("no certificate")
    assert anchors_in("") == anchors_in(str(tmp_path / "none")) == anchors_in(str(tmp_path)) == NOBODY
    assert anchors_in(str(tmp_path / "text.pem")) == NOBODY
