"""The OpenAPI 3.1 document, made of the routes and of the very structs that are decoded and encoded.

Owns: ``document``, and the route that serves it.
Must not know: any route; each says beside itself what it takes and answers (described.py).

The framework's own document is switched off: it leaves bounds of optional fields out, and knows nothing of answers
that are bytes.
"""

from __future__ import annotations

import asyncio
import http
import re
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from litestar import Response, Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import Method

from audio_pool import __version__
from audio_pool.gateway.accept import JSON
from audio_pool.gateway.described import KEY, Answer, Described
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.gateway.field_notes import notes_of
from audio_pool.gateway.problems import MEDIA_TYPE, Problem

__all__ = ["document", "router"]

Json = dict[str, Any]  # a JSON Schema, or a part of the document
_REF = "#/components/schemas/{name}"
_LEFT_OUT = ("OPTIONS",)
_LARGEST = 2**63 - 1
_SECRETS: Json = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "xi_api_key": {"type": "apiKey", "in": "header", "name": "xi-api-key"},
}


def router(door: Door) -> Router:
    """Return the route."""
    made: list[asyncio.Future[bytes]] = []

    def make(routes: Sequence[object]) -> bytes:
        return msgspec.json.encode(document(routes, keys=door.has_keys))

    @get("/schema/openapi.json", opt={"public": True, "undocumented": True}, summary="This API, for programs")
    async def openapi(request: HttpRequest) -> Response[bytes]:
        if not made:  # it takes a second, in which others are answered
            made.append(asyncio.ensure_future(asyncio.to_thread(make, request.app.routes)))
        return Response(await asyncio.shield(made[0]), media_type="application/vnd.oai.openapi+json")

    return Router("/", route_handlers=[openapi])


def document(routes: Iterable[object], *, keys: bool) -> Json:
    """Return the document.

    Args:
        routes: of the application.
        keys: a key must be shown, but by routes that are public.
    """
    operations = list(_operations(routes))
    kinds = [Problem, *(kind for _, _, handler in operations for kind in _types_in(_described(handler)))]
    schemas = _Schemas(kinds)
    paths: dict[str, Json] = {}
    for path, method, handler in operations:
        paths.setdefault(_plain(path), {})[method.lower()] = _operation(path, method, handler, schemas, keys=keys)
    whole: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "audio_pool",
            "version": __version__,
            "description": "Sound on demand: ask in words, get a finished audio file.",
        },
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": schemas.components},
    }
    if keys:
        whole["components"]["securitySchemes"] = _SECRETS
        whole["security"] = [{name: []} for name in _SECRETS]
    return whole


def _operations(routes: Iterable[object]) -> Iterator[tuple[str, Method, HTTPRouteHandler]]:
    for route in routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                if method not in _LEFT_OUT and not handler.opt.get("undocumented"):
                    yield route.path, method, handler


def _described(handler: HTTPRouteHandler) -> Described:
    found: Described = handler.opt.get(KEY) or Described(answers=(), errors=None)
    return found


def _types_in(described: Described) -> Iterator[Any]:
    for kind in (described.body, described.form, described.query, described.errors):
        if kind is not None and not isinstance(kind, dict):
            yield kind
    yield from (answer.body for answer in described.answers if answer.body is not None)


class _Schemas:
    """JSON Schemas of all types, those with a name as components."""

    def __init__(self, kinds: Sequence[Any]) -> None:
        unique = list({id(one): one for kind in kinds for one in _either(kind)}.values())
        schemas, components = msgspec.json.schema_components(unique, ref_template=_REF)
        self._by_type = {id(kind): schema for kind, schema in zip(unique, schemas, strict=True)}
        self.components: dict[str, Json] = {name: _portable(schema) for name, schema in sorted(components.items())}
        for kind in unique:
            self._note(kind)

    def of(self, kind: Any) -> Json:
        """Return a reference, or the schema of a type without a name."""
        found: list[Json] = [_portable(self._by_type[id(one)]) for one in _either(kind)]
        return found[0] if len(found) == 1 else {"anyOf": found}

    def named(self, kind: Any) -> Json:
        """Return the component that a struct is."""
        return self.components[self.of(kind)["$ref"].rpartition("/")[2]]

    def _note(self, kind: Any) -> None:
        """Write beside each field of a struct, and of those within it, what the sources say of it."""
        todo, seen = [kind], set()
        while todo:
            one = todo.pop()
            for part in _parts_of(one):
                if part not in seen:
                    seen.add(part)
                    todo += [field.type for field in msgspec.structs.fields(part)]
        for struct in seen:
            component = self.components.get(struct.__name__, {})
            for name, text in notes_of(struct).items() if component else ():
                wire = {field.name: field.encode_name for field in msgspec.structs.fields(struct)}.get(name, name)
                shown = component.get("properties", {}).get(wire)
                if shown is not None and "description" not in shown:
                    shown["description"] = re.sub(r"\bNone\b", "null", text).replace("``", "`")


def _either(kind: Any) -> tuple[Any, ...]:
    """Return the types of a union one by one: untagged structs are none to msgspec, and may be in a description."""
    return kind.__args__ if isinstance(kind, types.UnionType) else (kind,)


def _parts_of(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """Yield the structs that a type is made of."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for part in getattr(kind, "__args__", ()):
        yield from _parts_of(part)


def _portable(schema: Any) -> Any:
    """Return a schema whose patterns are those of JSON Schema, not Python's."""
    if isinstance(schema, dict):
        return {
            key: value.replace(r"\A", "^").replace(r"\Z", "$") if key == "pattern" and isinstance(value, str)
            else _portable(value)
            for key, value in schema.items()
        }  # fmt: skip
    return [_portable(part) for part in schema] if isinstance(schema, list) else schema


# -- one operation


def _operation(path: str, method: Method, handler: HTTPRouteHandler, schemas: _Schemas, *, keys: bool) -> Json:
    described = _described(handler)
    name = handler.handler_name
    operation: Json = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}_{name}_{_plain(path)}").strip("_"),
        "summary": handler.summary or name,
        "parameters": [*_in_path(path), *_in_query(described, schemas), *_in_headers(described)],
        "responses": {str(answer.status): _response(answer, method, schemas) for answer in described.answers},
    }
    if handler.tags:
        operation["tags"] = sorted(handler.tags)
    if described.body is not None or described.form is not None:
        operation["requestBody"] = _body(described, schemas)
    if described.errors is not None:
        body = {} if method == "HEAD" else {"content": {MEDIA_TYPE: {"schema": schemas.of(described.errors)}}}
        operation["responses"]["default"] = {"description": "What came in the way", **body}
    else:
        operation["responses"].setdefault("default", {"description": "As that API answers"})
    if keys and handler.opt.get("public"):
        operation["security"] = []
    return operation


def _plain(path: str) -> str:
    """Return a path as OpenAPI writes it."""
    return re.sub(r"{(\w+):\w+}", r"{\1}", path)


def _in_path(path: str) -> Iterator[Json]:
    for name, kind in re.findall(r"{(\w+):(\w+)}", path):
        schema: Json = {"type": "string", "minLength": 1}
        if kind == "int":
            schema = {"type": "integer", "minimum": 1, "maximum": _LARGEST}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(described: Described, schemas: _Schemas) -> Iterator[Json]:
    if described.query is None:
        return
    component = schemas.named(described.query)
    for name, schema in component.get("properties", {}).items():
        given = {key: value for key, value in schema.items() if key != "description"}
        others = [one for one in given.pop("anyOf", []) if one.get("type") != "null"]
        if len(others) == 1:
            given |= others[0]
        elif others:
            given["anyOf"] = others
        if given.get("default", ...) is None:
            del given["default"]
        parameter: Json = {"name": name, "in": "query", "required": name in component.get("required", ())}
        if given.get("type") == "array":
            parameter |= {"style": "form", "explode": True}
        if "description" in schema:
            parameter["description"] = schema["description"]
        yield {**parameter, "schema": given}


def _in_headers(described: Described) -> Iterator[Json]:
    for name, says, *most in described.headers:
        schema = {"type": "string", "maxLength": most[0]} if most else {"type": "string"}
        yield {"name": name, "in": "header", "required": False, "description": says, "schema": schema}


def _body(described: Described, schemas: _Schemas) -> Json:
    content: Json = {}
    if described.body is not None:
        schema = schemas.of(described.body)
        content[JSON] = {"schema": _with_nulls(schemas.named(described.body)) if described.null_is_absent else schema}
    if described.form is not None:
        content["multipart/form-data"] = {"schema": _form(described, schemas)}
    return {"required": True, "content": content}


def _form(described: Described, schemas: _Schemas) -> Json:
    """Return the schema of a form. All of it is text, or a file: what a text may be, its description says."""
    if isinstance(described.form, dict):
        return described.form
    component = schemas.named(described.form)
    parts: Json = {}
    for name, schema in component["properties"].items():
        is_file = "contentEncoding" in schema
        told = {"description": schema.get("description", f"The {name} of the sound.")}
        parts[name] = {"type": "string", "format": "binary", **told} if is_file else told
    return {"type": "object", "properties": parts, "required": list(component.get("required", ()))}


def _with_nulls(component: Json) -> Json:
    """Return a struct's schema whose every optional field may be null, too."""
    needed = component.get("required", ())
    properties = {
        name: schema if name in needed else {"anyOf": [schema, {"type": "null"}]}
        for name, schema in component["properties"].items()
    }
    return {**component, "properties": properties}


def _response(answer: Answer, method: Method, schemas: _Schemas) -> Json:
    told: Json = {"description": answer.says or http.HTTPStatus(answer.status).phrase}
    if answer.headers:
        told["headers"] = {name: {"schema": {"type": "string"}} for name in answer.headers}
    if method == "HEAD":
        return told
    content: Json = {media: {} for media in answer.media}
    if answer.body is not None:
        content[JSON] = {"schema": schemas.of(answer.body)}
    return {**told, "content": content} if content else told
