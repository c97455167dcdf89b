"""Write examples/node/api.d.ts anew: TypeScript's types of the gateway's own API, made of its OpenAPI document.

    python scripts/node_types.py            # make node-types
    python scripts/node_types.py --check    # exit code 1 where the file is not what the document gives

openapi-typescript makes them; ``npm install`` in examples/node brings it. The routes of other APIs
(docs/http-dialects.md) are left out: who calls them has their makers' own types.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from audio_pool.config import HttpConfig
from audio_pool.gateway.app import create_app
from audio_pool.gateway.problems import MEDIA_TYPE

NODE = Path(__file__).parents[1] / "examples" / "node"
TYPES = NODE / "api.d.ts"
PROGRAM = NODE / "node_modules" / ".bin" / "openapi-typescript"
_PORT = 8080
_REF = "#/components/schemas/"


async def whole_document() -> dict[str, Any]:
    """Return the document as a gateway without keys serves it; no pool is needed for that."""
    app = create_app("ipc:///nowhere", HttpConfig(), ports=(_PORT,))
    # httpx and the application agree on ASGI, and each has types of its own for it
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{_PORT}") as client:
        answer = await client.get("/schema/openapi.json")
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document


def own_part(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the routes whose errors are our own, and the schemas that those need."""
    paths = {}
    for path, operations in document["paths"].items():
        defaults = [one["responses"].get("default", {}) for one in operations.values()]
        if any(MEDIA_TYPE in one.get("content", {}) for one in defaults):
            paths[path] = operations
    schemas, needed, todo = document["components"]["schemas"], set[str](), list(_named(paths))
    while todo:
        name = todo.pop()
        if name not in needed:
            needed.add(name)
            todo += _named(schemas[name])
    kept = {name: schemas[name] for name in sorted(needed)}
    return {**document, "paths": paths, "components": {"schemas": kept}}


def _named(part: Any) -> Iterator[str]:
    """Yield the schemas that a part of the document refers to."""
    if isinstance(part, dict):
        reference = part.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(_REF)
        for value in part.values():
            yield from _named(value)
    elif isinstance(part, list):
        for value in part:
            yield from _named(value)


def types_of(document: dict[str, Any]) -> str:
    """Return a document's types."""
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place) / "openapi.json", Path(place) / "api.d.ts"
        source.write_text(json.dumps(document))
        # else whoever asks must name all that has a default
        command = [str(PROGRAM), str(source), "--default-non-nullable=false", "--output", str(target)]
        done = subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise SystemExit(f"openapi-typescript: {done.stderr or done.stdout}")
        return target.read_text()


def main() -> int:
    parser = argparse.ArgumentParser(description="TypeScript's types of the gateway's own API")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where the file is another")
    asked = parser.parse_args()
    if not PROGRAM.exists():
        print("examples/node: openapi-typescript is not there; run 'npm install' there first", file=sys.stderr)
        return 2
    made = types_of(own_part(asyncio.run(whole_document())))
    if not asked.check:
        TYPES.write_text(made)
        print(f"{TYPES}: {len(made.splitlines()):,} lines")
        return 0
    if not TYPES.exists() or TYPES.read_text() != made:
        print(f"{TYPES} is not what the document gives; write it anew with 'make node-types'", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
