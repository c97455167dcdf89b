"""HTTPS by the gateway itself."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
from tests.http.conftest import Gateway, Pool, running
from tests.support.waiting import PATIENCE_S


def test_a_gateway_speaks_tls(pool: Pool, tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    try:
        subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    config = f'[http]\ntls_certificate = "{certificate}"\ntls_key = "{key}"\n'
    gateway = Gateway(tmp_path, pool.endpoint, config=config)
    trust = ssl.create_default_context(cafile=str(certificate))
    with running(gateway), httpx.Client(verify=trust, timeout=PATIENCE_S, trust_env=False) as client:
        assert gateway.url.startswith("https://")
        asked = {"prompt": "a door shuts", "duration_s": 0.2}
        assert client.post(f"{gateway.url}/v1/sounds", json=asked).status_code == 200
        own_page = {"origin": gateway.url}
        assert client.post(f"{gateway.url}/v1/sounds", json=asked, headers=own_page).status_code == 200
        assert client.get(f"{gateway.url}/health", headers={"origin": "http://evil.example"}).status_code == 403
