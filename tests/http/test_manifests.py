"""Manifests by the library that everybody has: files are signed and read back by c2pa-python's own Reader."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.support.signed import by_the_reader, own_chain

from audio_pool.audio import codec
from audio_pool.errors import Conflict, EngineUnavailable, InvalidAudio, NotFound, SigningFailed, StorageError
from audio_pool.signing.credential import read_credential
from audio_pool.signing.embedded import SIGNABLE
from audio_pool.signing.ingredient import ingredient_of
from audio_pool.signing.manifest_report import read_manifest
from audio_pool.signing.own_chain import OwnChain, make_own_chain
from audio_pool.signing.signer import sign
from audio_pool.signing.statement import new_label, statement
from audio_pool.tasks import Seal

c2pa = pytest.importorskip("c2pa", reason="files are not signed here: pip install 'audio-pool[c2pa]'")

RATE = 48_000
FACTS = {
    "made_by": "audio_pool", "recipe_id": "ab" * 32, "engine": "TangoFlux", "model": "/models/tangoflux",
    "model_revision": "c0ffee", "licence": "Apache-2.0", "prompt": "rain on a tin roof", "seed": 2**62 + 1,
    "generation_timestamp": 1_764_000_000.5, "recipe": {"implementation": "tangoflux", "frames": 24_000},
}  # fmt: skip


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> OwnChain:
    return own_chain(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def seal(chain: OwnChain) -> Seal:
    found = read_credential(str(chain.certificate), str(chain.private_key), now=time.time())
    return Seal(
        certificate=str(chain.certificate), private_key=str(chain.private_key), fingerprint=found.fingerprint[:16]
    )


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A loop in each format, as this package writes it."""
    audio = 0.3 * np.random.default_rng(5).standard_normal((2, RATE // 2)).clip(-1, 1).astype(np.float32)
    folder, files = tmp_path_factory.mktemp("plain"), {}
    for format in SIGNABLE:
        files[format] = folder / f"rain.{format}"
        codec.write(files[format], audio, RATE, format, 24, json.dumps(FACTS), loop=True)
    return files


def signed(source: Path, folder: Path, seal: Seal, **more: Any) -> Path:
    path = folder / source.name
    shutil.copy(source, path)
    given = more.pop("ingredients", ())
    told = statement(FACTS, version="1.2.3", label=new_label(), given=[one.label for one in given], **more)
    sign(path, source.suffix[1:], told, seal, given)
    return path


@pytest.mark.parametrize("format", SIGNABLE)
def test_the_reader_says_that_a_signed_file_is_valid(
    format: str, unsigned: dict[str, Path], seal: Seal, chain: OwnChain, tmp_path: Path
) -> None:
    path = signed(unsigned[format], tmp_path, seal)
    found = by_the_reader(path)
    assert found["validation_state"] == "Valid"
    assert [one["code"] for one in found["validation_status"]] == ["signingCredential.untrusted"]
    assert by_the_reader(path, chain.authority.read_text())["validation_state"] == "Trusted"
    manifest = found["manifests"][found["active_manifest"]]
    assert manifest["title"] == "rain on a tin roof"
    assert manifest["signature_info"]["issuer"] == "A studio"
    generator = manifest["claim_generator_info"][0]
    assert (generator["name"], generator["version"]) == ("audio_pool", "1.2.3")
    by_label = {one["label"]: one["data"] for one in manifest["assertions"]}
    (action,) = by_label["c2pa.actions.v2"]["actions"]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert action["softwareAgent"] == {"name": "TangoFlux (tangoflux)", "version": "c0ffee"}
    assert action["when"] == "2025-11-24T16:00:00Z"
    recipe = by_label["audio-pool.recipe"]
    assert (recipe["recipe_id"], recipe["seed"], recipe["licence"]) == ("ab" * 32, 2**62 + 1, "Apache-2.0")
    report = read_manifest(path)
    assert report is not None and report.state == "untrusted" and report.failures == ()
    assert report.label == found["active_manifest"] and report.issuer == "A studio"
    assert report.recipe == recipe and report.actions[0].software == "TangoFlux (tangoflux) c0ffee"
    trusted = read_manifest(path, trust_anchors=chain.authority.read_text())
    assert trusted is not None and trusted.state == "valid"


@pytest.mark.parametrize("format", SIGNABLE)
def test_nothing_else_in_a_signed_file_is_another(
    format: str, unsigned: dict[str, Path], seal: Seal, tmp_path: Path
) -> None:
    before, after = unsigned[format], signed(unsigned[format], tmp_path, seal)
    assert np.array_equal(soundfile.read(before)[0], soundfile.read(after)[0])
    was, now = codec.inspect(before), codec.inspect(after)
    assert {**now, "path": ""} == {**was, "path": ""}, "loop points, comment and recipe"
    if format != "mp3":
        assert now["loop"] == {"start": 0, "end": RATE // 2 - 1}
    if format == "wav":
        own, theirs = chunks(before), chunks(after)
        assert [name for name, _ in theirs] == [*(name for name, _ in own), b"C2PA"]
        assert theirs[: len(own)] == own, "smpl, apRc and the samples are as they were, byte by byte"
    for tool in (["ffmpeg", "-v", "error", "-i", "{}", "-f", "f32le", "-"], ["sox", "{}", "-t", "f32", "-"]):
        if shutil.which(tool[0]) is None or (tool[0], format) == ("sox", "mp3"):  # not every sox reads MP3
            continue
        decoded = [
            subprocess.run([word.format(path) for word in tool], capture_output=True, check=True, timeout=60).stdout
            for path in (before, after)
        ]
        assert decoded[0] and decoded[0] == decoded[1], tool[0]


def chunks(path: Path) -> list[tuple[bytes, bytes]]:
    data, at, found = path.read_bytes(), 12, []
    while at < len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        found.append((name, data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return found


@pytest.mark.parametrize("format", SIGNABLE)
def test_one_bit_that_is_another_makes_it_invalid(
    format: str, unsigned: dict[str, Path], seal: Seal, tmp_path: Path
) -> None:
    path = signed(unsigned[format], tmp_path, seal)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert by_the_reader(path)["validation_state"] == "Invalid"
    report = read_manifest(path)
    assert report is not None and report.state == "invalid"
    assert report.failures == ("assertion.dataHash.mismatch",)


def test_what_carries_no_manifest_is_told_apart(unsigned: dict[str, Path], tmp_path: Path) -> None:
    for path in unsigned.values():
        assert read_manifest(path) is None
    ogg = tmp_path / "rain.ogg"
    soundfile.write(ogg, np.zeros(RATE), RATE)
    assert read_manifest(ogg) is None
    with pytest.raises(NotFound):
        read_manifest(tmp_path / "none.wav")


def test_a_given_sounds_manifest_is_carried_on(unsigned: dict[str, Path], seal: Seal, tmp_path: Path) -> None:
    """Through two steps: what was made of what was made of it still holds the first one's statement."""
    (tmp_path / "a").mkdir()
    first = signed(unsigned["wav"], tmp_path / "a", seal)
    known = hashlib.sha256(first.read_bytes()).hexdigest()
    assert ingredient_of(first, label="given", title="", sha256="cd" * 32).archive == b"", "another file than was given"
    given = ingredient_of(first, label="given", title="a given sound", sha256=known)
    second = signed(unsigned["flac"], tmp_path, seal, ingredients=[given])
    third = signed(
        unsigned["mp3"], tmp_path, seal, ingredients=[ingredient_of(second, label="it", title="it")], deed="converted"
    )
    found = by_the_reader(third)
    assert found["validation_state"] == "Valid" and len(found["manifests"]) == 3
    label = read_manifest(first)
    assert label is not None and label.label in found["manifests"]
    report = read_manifest(second)
    assert report is not None
    assert [one.action for one in report.actions] == ["c2pa.opened", "c2pa.edited"]
    assert report.actions[1].source_type.endswith("/compositeWithTrainedAlgorithmicMedia")
    (one,) = report.ingredients
    assert (one.title, one.relationship, one.manifest) == ("a given sound", "parentOf", label.label)
    last = read_manifest(third)
    assert last is not None and [one.action for one in last.actions] == ["c2pa.opened", "c2pa.transcoded"]


def test_a_given_sound_without_a_manifest_is_named_by_its_content(
    unsigned: dict[str, Path], seal: Seal, tmp_path: Path
) -> None:
    given = [
        ingredient_of(unsigned[format], label=format, title=format, sha256="ef" * 32, relationship="componentOf")
        for format in ("wav", "flac")
    ]
    report = read_manifest(signed(unsigned["wav"], tmp_path, seal, ingredients=given, deed="mixed"))
    assert report is not None and report.state == "untrusted"
    assert [one.action for one in report.actions] == ["c2pa.created", "c2pa.placed", "c2pa.placed"]
    assert [(one.title, one.sha256, one.manifest) for one in report.ingredients] == [
        ("wav", "ef" * 32, ""),
        ("flac", "ef" * 32, ""),
    ]


@pytest.fixture
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """An address, and what anybody has sent there."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        ended = threading.Event()

        def listen() -> None:
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    heard.append(connection.recv(1))

        thread = threading.Thread(target=listen)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/manifest.c2pa", heard
        ended.set()
        thread.join()


@pytest.mark.parametrize("format", SIGNABLE)
def test_a_manifest_that_lies_elsewhere_is_not_fetched(
    format: str, unsigned: dict[str, Path], chain: OwnChain, tmp_path: Path, listener: tuple[str, list[bytes]]
) -> None:
    url, heard = listener
    path = tmp_path / f"remote.{format}"
    info = c2pa.C2paSignerInfo(
        c2pa.C2paSigningAlg.ES256, chain.certificate.read_bytes(), chain.private_key.read_bytes(), None
    )
    told = statement(FACTS, version="1", label=new_label())
    with c2pa.Builder(json.dumps(told)) as builder, c2pa.Signer.from_info(info) as signer:
        builder.set_no_embed()
        builder.set_remote_url(url)
        with unsigned[format].open("rb") as source, path.open("w+b") as target:
            builder.sign(signer, SIGNABLE[format], source, target)
    assert url.encode() in path.read_bytes()
    assert read_manifest(path) is None
    assert ingredient_of(path, label="given", title="given").archive == b""
    assert heard == []


def test_a_huge_or_broken_manifest_is_neither_read_nor_carried(unsigned: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "huge.wav"
    data = bytearray(unsigned["wav"].read_bytes())
    data += struct.pack("<4sI", b"C2PA", 0x7FFF_FFF0)
    path.write_bytes(data)
    with pytest.raises(InvalidAudio, match=r"its manifest has 2,147,483,632 bytes, read are at most 8,388,608"):
        read_manifest(path)
    assert ingredient_of(path, label="given", title="given").archive == b""
    rubbish = os.urandom(4096)
    whole = bytearray(unsigned["wav"].read_bytes() + struct.pack("<4sI", b"C2PA", len(rubbish)) + rubbish)
    struct.pack_into("<I", whole, 4, len(whole) - 8)
    path.write_bytes(whole)
    with pytest.raises(InvalidAudio, match="its manifest cannot be read"):
        read_manifest(path)
    assert ingredient_of(path, label="given", title="given").archive == b""


# ------------------------------------------------------------------------------------- keys and disks


def changed(chain: OwnChain, folder: Path, **texts: bytes) -> tuple[str, str]:
    """Copies of both files, one of them with another content."""
    paths = []
    for name, source in (("certificate", chain.certificate), ("private_key", chain.private_key)):
        path = folder / source.name
        path.write_bytes(texts.get(name, source.read_bytes()))
        path.chmod(0o600)
        paths.append(str(path))
    return paths[0], paths[1]


def test_keys_that_cannot_sign_are_refused_and_it_is_said_why(chain: OwnChain, tmp_path: Path) -> None:
    now = time.time()
    other = make_own_chain(tmp_path / "other", "Others", days=30, now=now)

    def refused(certificate: str, private_key: str, says: str, at: float = now) -> None:
        with pytest.raises(SigningFailed, match=says) as caught:
            read_credential(certificate, private_key, now=at)
        assert "BEGIN" not in f"{caught.value} {caught.value.hint}", "no message holds the key"

    certificate, private_key = changed(chain, tmp_path)
    read_credential(certificate, private_key, now=now)
    refused("", private_key, "certificate: none is given")
    refused(str(tmp_path / "none.pem"), private_key, r"certificate: .*none.pem cannot be read: No such file")
    refused(certificate, str(tmp_path), "private_key: .* is not a regular file")
    refused(certificate, private_key, r"certificate: .* expired at 20\d\d-", at=now + 31 * 86_400)
    refused(certificate, private_key, r"certificate: .* is valid from 20\d\d-", at=now - 86_400)
    refused(certificate, str(other.private_key), "is not the key of the first certificate")
    for mode in (0o640, 0o604, 0o660):
        os.chmod(private_key, mode)
        refused(certificate, private_key, rf"can be read by others than its owner \(mode {mode:04o}\)")
    os.chmod(private_key, 0o400)
    read_credential(certificate, private_key, now=now)
    os.chmod(private_key, 0o600)
    refused(*changed(chain, tmp_path, certificate=b"nothing"), "holds no certificates in PEM")
    refused(*changed(chain, tmp_path, private_key=b"nothing"), "holds no private key in PEM")
    certificate, private_key = changed(chain, tmp_path)
    refused(str(chain.authority), private_key, "is not the key of the first certificate")
    strangers = chain.certificate.read_bytes().split(b"-----END CERTIFICATE-----\n")[0] + b"-----END CERTIFICATE-----\n"
    mixed = strangers + other.authority.read_bytes()
    refused(*changed(chain, tmp_path, certificate=mixed), "certificate 1 was not issued by the one behind it")


def test_a_certificate_for_another_purpose_is_refused(tmp_path: Path) -> None:
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Web server")])
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    day = datetime.timedelta(days=1)
    begun = x509.CertificateBuilder(name, name, key.public_key(), 7, now - day, now + day)
    made = (
        begun.add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "c.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "k.pem").write_bytes(private)
    (tmp_path / "k.pem").chmod(0o600)
    with pytest.raises(SigningFailed, match=r"is for 1\.3\.6\.1\.5\.5\.7\.3\.1, allowed are emailProtection"):
        read_credential(str(tmp_path / "c.pem"), str(tmp_path / "k.pem"), now=now.timestamp())


def test_ones_own_chain_is_written_once_and_only_its_owner_reads_the_key(chain: OwnChain, tmp_path: Path) -> None:
    assert chain.private_key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Conflict, match="is there already"):
        make_own_chain(chain.certificate.parent, "A studio", days=30, now=time.time())
    assert sorted(path.name for path in chain.certificate.parent.iterdir()) == [
        "authority.pem",
        "certificate.pem",
        "private_key.pem",
    ]


def test_a_key_that_is_gone_or_another_signs_nothing_more(
    unsigned: dict[str, Path], chain: OwnChain, seal: Seal, tmp_path: Path
) -> None:
    certificate, private_key = changed(chain, tmp_path)
    own = Seal(certificate=certificate, private_key=private_key, fingerprint=seal.fingerprint)
    (tmp_path / "out").mkdir()
    signed(unsigned["wav"], tmp_path / "out", own)
    os.unlink(private_key)
    with pytest.raises(SigningFailed, match=r"private_key: .* cannot be read: No such file"):
        signed(unsigned["wav"], tmp_path / "out", own)
    assert list((tmp_path / "out").iterdir()) == [], "what could not be signed reaches nobody"
    other = make_own_chain(tmp_path / "other", "Others", days=30, now=time.time())
    replaced = Seal(
        certificate=str(other.certificate), private_key=str(other.private_key), fingerprint=seal.fingerprint
    )
    with pytest.raises(SigningFailed, match="is another than the pool knows"):
        signed(unsigned["wav"], tmp_path / "out", replaced)


def test_a_full_disk_leaves_nothing_half_signed(unsigned: dict[str, Path], seal: Seal, tmp_path: Path) -> None:
    full = tmp_path / "rain.wav"
    shutil.copy(unsigned["wav"], full)
    (tmp_path / "rain.wav.signed").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="is full"):
        sign(full, "wav", statement(FACTS, version="1", label=new_label()), seal)
    assert list(tmp_path.iterdir()) == []


def test_without_the_library_it_is_said_what_is_missing(
    unsigned: dict[str, Path], seal: Seal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = signed(unsigned["wav"], tmp_path, seal)
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    with pytest.raises(EngineUnavailable, match="reading a manifest needs c2pa-python") as caught:
        read_manifest(path)
    assert caught.value.hint == "pip install 'audio-pool[c2pa]'"
    assert read_manifest(unsigned["wav"]) is None, "what carries none needs no library"
    with pytest.raises(SigningFailed, match="signing needs c2pa-python"):
        signed(unsigned["wav"], tmp_path, seal)


def test_two_threads_sign_at_once(unsigned: dict[str, Path], seal: Seal, tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(4)]
    wrong: list[BaseException] = []

    def work(folder: Path) -> None:
        try:
            folder.mkdir()
            for format in SIGNABLE:
                assert read_manifest(signed(unsigned[format], folder, seal)) is not None
        except BaseException as exc:
            wrong.append(exc)

    threads = [threading.Thread(target=work, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


