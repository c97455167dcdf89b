"""The protocol's server: its tools and its resources, for whoever is at the other end.

Owns: how the protocol's requests become calls of Tools, and errors its answers.
Must not know: pipes and HTTP (stdio.py, http_app.py), what a tool does.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from mcp import MCPError
from mcp.server import Server, ServerRequestContext
from mcp_types import (
    INVALID_PARAMS,
    BlobResourceContents,
    CallToolRequestParams,
    CallToolResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    Tool,
    ToolAnnotations,
)

from audio_pool import __version__
from audio_pool.agents import content
from audio_pool.agents.addresses import MEDIA_TYPES, SOUND_TEMPLATE, sound_uri
from audio_pool.agents.asker import Asker
from audio_pool.agents.catalogue import LISTED, Listed
from audio_pool.agents.tools import Tools
from audio_pool.errors import AudioPoolError, nearest_name
from audio_pool.gateway.told import public_error

__all__ = ["AskerOf", "agents_server"]

log = logging.getLogger(__name__)

# opaque: the library's own, of a lifespan and a request that it knows
Context: TypeAlias = "ServerRequestContext[Any, Any]"
AskerOf = Callable[[Any], Asker]  # opaque: the HTTP request that a call came with, as the library has it; None
"""Says who calls."""

_INSTRUCTIONS = (
    "Sounds from words: effects, ambiences, loops. Look with search_sounds for what is kept before making much; "
    "text_to_sound_effects makes one sound, variants several of the same words. Each answer begins with the path of "
    "the file, or with the address to read it by."
)
_RESOURCES = 20


def agents_server(tools: Tools, asker_of: AskerOf) -> Server[Any]:
    """Return the server; it serves one end of a pipe, or any number of HTTP clients."""

    async def list_tools(ctx: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[_tool(one) for one in LISTED.values()])

    async def call_tool(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
        if params.name not in LISTED:
            near = nearest_name(params.name, list(LISTED))
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(LISTED)}"
            raise MCPError(INVALID_PARAMS, f"no tool {params.name!r}; {hint}")
        asker = asker_of(ctx.request)
        try:
            return await tools.call(params.name, params.arguments or {}, asker, ctx.session.report_progress)
        except AudioPoolError as exc:
            return content.failure(public_error(exc) if asker.elsewhere else exc)
        except Exception:
            log.exception("%s", params.name)
            return content.failure(AudioPoolError("this server has met a bug; its log says more"))

    async def list_resources(ctx: Context, params: PaginatedRequestParams | None) -> ListResourcesResult:
        asker = asker_of(ctx.request)
        after = (params.cursor if params else None) or ""
        try:
            await asker.reach()
            page = await asker.client.library.search(limit=_RESOURCES, after=after, namespace=asker.namespace)
        except AudioPoolError as exc:
            raise _refused(exc, asker) from None
        listed = [
            Resource(
                name=f"sound {one.id}", title=one.prompt, uri=sound_uri(one.id, "wav"), mime_type=MEDIA_TYPES["wav"]
            )
            for one in page.sounds
        ]
        return ListResourcesResult(resources=listed, next_cursor=page.next)

    async def list_templates(ctx: Context, params: PaginatedRequestParams | None) -> ListResourceTemplatesResult:
        template = ResourceTemplate(
            name="sound",
            title="A kept sound as a file",
            description=f"format is one of {', '.join(MEDIA_TYPES)}",
            uri_template=SOUND_TEMPLATE,
        )
        return ListResourceTemplatesResult(resource_templates=[template])

    async def read_resource(ctx: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        asker = asker_of(ctx.request)
        try:
            data, media = await tools.read(params.uri, asker)
        except AudioPoolError as exc:
            raise _refused(exc, asker) from None
        blob = base64.b64encode(data).decode()
        return ReadResourceResult(contents=[BlobResourceContents(uri=params.uri, mime_type=media, blob=blob)])

    return Server(
        "audio-pool",
        version=__version__,
        title="audio_pool",
        instructions=_INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )


def _tool(one: Listed) -> Tool:
    hints = ToolAnnotations(
        title=one.title, read_only_hint=one.reads_only, destructive_hint=False, open_world_hint=False
    )
    return Tool(
        name=one.name,
        title=one.title,
        description=one.description,
        input_schema=one.takes_schema,
        output_schema=one.answers_schema,
        annotations=hints,
    )


def _refused(error: AudioPoolError, asker: Asker) -> MCPError:
    error = public_error(error) if asker.elsewhere else error
    hint = f" ({error.hint})" if error.hint else ""
    return MCPError(INVALID_PARAMS, f"{error.code}: {error.message}{hint}")
