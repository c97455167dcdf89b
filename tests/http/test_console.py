"""The console's files over HTTP: who gets them, under which rules, and when they are sent again."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.waiting import PATIENCE_S

from audio_pool.gateway.console import CONTENT_SECURITY_POLICY, FOLDER
from audio_pool.gateway.key_file import HttpKey, create_key

from .conftest import Gateway, Pool, running

FILES = sorted(path.name for path in FOLDER.iterdir())
TYPES = {f".{end}": f"text/{end.replace('js', 'javascript')}; charset=utf-8" for end in ("html", "css", "js")}


@pytest.fixture(scope="module")
def keyed(pool: Pool) -> Iterator[httpx.Client]:
    """A client of a gateway with keys, who shows none."""
    file = pool.place / "console_keys.json"
    create_key(file, lambda sha256: HttpKey(name="any", sha256=sha256))
    gateway = Gateway(pool.place, pool.endpoint, config=f'[http]\nkeys_file = "{file}"\n', name="console")
    with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


def test_the_page_is_at_the_root_under_a_strict_policy(http: httpx.Client) -> None:
    page = http.get("/")
    assert page.status_code == 200 and page.headers["content-type"] == TYPES[".html"]
    assert page.text == (FOLDER / "index.html").read_text()
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert not re.search(r"unsafe|https?:|data:|\*", CONTENT_SECURITY_POLICY)
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"


def test_every_file_goes_out_with_its_type_and_an_etag(http: httpx.Client) -> None:
    for name in FILES:
        answer = http.get(f"/console/{name}")
        assert answer.content == (FOLDER / name).read_bytes(), name
        assert answer.headers["content-type"] == TYPES.get(Path(name).suffix, "image/svg+xml"), name
        assert "no-cache" in answer.headers["cache-control"] and answer.headers["vary"] == "accept-encoding"
        again = http.get(f"/console/{name}", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304 and again.content == b"", name


def test_head_says_what_get_sends(http: httpx.Client) -> None:
    for path in ("/", "/console/app.js"):
        sent, told = http.get(path), http.head(path)
        assert told.status_code == 200 and told.content == b""
        differ = {"x-request-id", "date"}
        assert {k: v for k, v in told.headers.items() if k not in differ} == {
            k: v for k, v in sent.headers.items() if k not in differ
        }
    refused = http.post("/")
    assert refused.status_code == 405 and refused.headers["allow"] == "GET, HEAD, OPTIONS"


def test_it_is_packed_for_who_takes_that(http: httpx.Client) -> None:
    whole = (FOLDER / "style.css").read_bytes()
    etags = set()
    for encoding, packed in (("gzip", True), ("br, gzip;q=0.5", True), ("gzip;q=0", False), ("identity", False)):
        with http.stream("GET", "/console/style.css", headers={"accept-encoding": encoding}) as answer:
            raw = b"".join(answer.iter_raw())
        assert (answer.headers.get("content-encoding") == "gzip") == packed, encoding
        assert (gzip.decompress(raw) if packed else raw) == whole
        etags.add((packed, answer.headers["etag"]))
    assert len(etags) == 2, "each form has an ETag of its own"


def test_there_is_nothing_else(http: httpx.Client) -> None:
    for path in ("/console/nothing.js", "/console/..%2fconsole.py", "/console/console.py", "/console/"):
        answer = http.get(path)
        assert answer.status_code == 404 and answer.headers["content-type"] == "application/problem+json", path


def test_a_key_is_not_needed_to_open_it(keyed: httpx.Client) -> None:
    assert keyed.get("/v1/engines").status_code == 401
    assert keyed.get("/").status_code == 200 and keyed.get("/console/app.js").status_code == 200


def test_a_link_to_it_may_be_followed_from_any_page_and_to_nothing_else(http: httpx.Client) -> None:
    visit = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert http.get("/", headers=visit).status_code == 200
    assert http.get("/v1/engines", headers=visit).status_code == 403
    assert http.get("/", headers={**visit, "sec-fetch-dest": "iframe"}).status_code == 403
    assert http.get("/", headers={**visit, "sec-fetch-mode": "no-cors"}).status_code == 403
    assert http.get("/", headers={**visit, "origin": "https://evil.example"}).status_code == 403
    assert http.get("/", headers={**visit, "host": "evil.example"}).status_code == 403
    assert http.post("/", headers=visit).status_code == 403


def test_what_the_first_view_needs_is_asked_for_at_once() -> None:
    """A browser that finds out module by module what it needs makes a slow network's way many times."""
    page = (FOLDER / "index.html").read_text()
    todo, needed = ["app.js", "make.js"], set()
    while todo:
        name = todo.pop()
        needed.add(name)
        imports = re.findall(r'^import .*from "\./([a-z_]+\.js)";$', (FOLDER / name).read_text(), re.MULTILINE)
        todo += [one for one in imports if one not in needed]
    linked = set(re.findall(r'<link rel="modulepreload" href="/console/([a-z_]+\.js)">', page))
    assert linked == needed - {"app.js"}


def test_nothing_is_fetched_from_elsewhere_or_written_as_markup() -> None:
    for name in FILES:
        text = (FOLDER / name).read_text()
        known = ("http://www.w3.org/", "http://127.0.0.1", "http://localhost")
        links = [link for link in re.findall(r"https?://[^\s\"'`)<]*", text) if not link.startswith(known)]
        assert not links, (name, links)
        assert not re.search(r"(inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), name
