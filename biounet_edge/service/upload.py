"""Photographs of a request, received into memory as far as the limits allow; nothing is written to disk."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import HTTPException, Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from biounet_edge.errors import ImageError
from biounet_edge.photographs.memory import check_fits
from biounet_edge.service.limits import Limits

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

CLOSE = {"Connection": "close"}
"""Header of an answer that is given before the request was received: the rest of it is not waited for."""

BUSY = CLOSE | {"Retry-After": "1"}
"""Headers of an answer after which a client may try again."""

_MEMORY_STEP_BYTES = 32 * 1024**2  # received bytes after which free memory is read again


@dataclass(slots=True)
class Upload:
    """One photograph as it was sent."""

    name: str | None
    """File name that the client gave; None where the request is the photograph."""
    data: bytearray = field(default_factory=bytearray, repr=False)
    """Bytes of the file."""


async def receive(request: Request, limits: Limits) -> list[Upload]:
    """Receive the photographs of a request: its body, or the files of a form.

    Args:
        request: The request, of which nothing was received.
        limits: What it may take.

    Returns:
        One upload without a name, or those of a form in their order.

    Raises:
        HTTPException: If it is larger or slower than allowed, no form though it says so, or does not fit into
            memory; the client is told why.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    chunks = _chunks(request, limits)
    if kind != b"multipart/form-data":
        upload = Upload(None)
        async for chunk in chunks:
            _extend(upload, chunk, limits)
        return [upload]
    form = _Form(limits)
    try:
        if not (boundary := options.get(b"boundary")):
            raise FormParserError("its header names no boundary")
        parser = MultipartParser(boundary, form.callbacks())
        async for chunk in chunks:
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise HTTPException(400, f"the form cannot be read: {error}", CLOSE) from error
    if not form.uploads:
        raise HTTPException(
            400, "the form has no file: send each photograph as a file, such as -F file=@a.jpg"
        )
    return form.uploads


async def _chunks(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """Yield what arrives, as long as it arrives fast enough and is not too much."""
    length = request.headers.get("content-length", "")
    _check_size(int(length) if length.isdecimal() else 0, limits)
    stream, start, received = request.stream(), time.monotonic(), 0
    while True:
        allowed = min(limits.upload_s, limits.stall_s + received / limits.bytes_per_s)
        try:
            remaining = min(start + allowed - time.monotonic(), limits.stall_s)
            chunk = await asyncio.wait_for(anext(stream), max(remaining, 0))
        except TimeoutError as error:
            raise HTTPException(
                408,
                f"the request arrives too slowly: {received:,} bytes in {time.monotonic() - start:.0f} s; "
                f"expected at least {limits.bytes_per_s:,} a second, and all within {limits.upload_s:.0f} s",
                CLOSE,
            ) from error
        except ClientDisconnect as error:  # nobody reads this answer
            raise HTTPException(400, "the request ended before it was whole", CLOSE) from error
        if not chunk:
            return
        before, received = received, received + len(chunk)
        _check_size(received, limits)
        if received // _MEMORY_STEP_BYTES > before // _MEMORY_STEP_BYTES:
            _check_memory()
        yield chunk


def _check_size(count: int, limits: Limits) -> None:
    if count > limits.request_bytes:
        raise HTTPException(
            413, f"the request has {count:,} bytes or more, at most {limits.request_bytes:,} are taken", CLOSE
        )


def _check_memory() -> None:
    try:
        check_fits(_MEMORY_STEP_BYTES, "the bytes of the request")
    except ImageError as error:
        raise HTTPException(503, f"{error}", BUSY) from error


def _extend(upload: Upload, data: bytes, limits: Limits) -> None:
    if len(upload.data) + len(data) > limits.photograph_bytes:
        raise HTTPException(413, f"the photograph is larger than {limits.photograph_bytes:,} bytes", CLOSE)
    upload.data += data


class _Form:
    """Collects the files of a form while it is parsed; fields that are no files are left out."""

    def __init__(self, limits: Limits) -> None:
        self.uploads: list[Upload] = []
        self._limits = limits
        self._name, self._value = b"", b""  # of the header that is being read
        self._file: Upload | None = None  # the part that is being read, where it is a file

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
        }

    def _begin(self) -> None:
        self._file = None

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        name, value, self._name, self._value = self._name.lower(), self._value, b"", b""
        if name != b"content-disposition":
            return
        _, options = parse_options_header(value)
        if (file := options.get(b"filename")) is None:
            return
        if len(self.uploads) == self._limits.photographs:
            raise HTTPException(
                413,
                f"the request has more than {self._limits.photographs} photographs: send fewer at once",
                CLOSE,
            )
        self._file = Upload(file.decode("utf-8", "backslashreplace"))
        self.uploads.append(self._file)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            _extend(self._file, data[start:end], self._limits)
