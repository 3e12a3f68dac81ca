"""Clients of a service that runs in this process, without a socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx


def talk(app: Any, *conversations: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> list[Any]:
    """Starts a service, lets all clients talk to it at once, and stops it."""

    async def run() -> list[Any]:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://service", timeout=60) as client,
        ):
            return await asyncio.gather(*(conversation(client) for conversation in conversations))

    return asyncio.run(run())


def post(app: Any, *bodies: bytes | AsyncIterator[bytes], **options: Any) -> list[httpx.Response]:
    """Sends photographs one after another."""

    async def send(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.post("/predict", content=body, **options) for body in bodies]

    return talk(app, send)[0]


def post_form(app: Any, **files: bytes) -> httpx.Response:
    """Sends files as a form, each under its own name."""

    async def send(client: httpx.AsyncClient) -> httpx.Response:
        parts = [("file", (f"{name}.jpg", content)) for name, content in files.items()]
        return await client.post("/predict", files=parts)

    return talk(app, send)[0]
