"""The web service: an ASGI application around one predictor.

Errors have the status code that says whose they are, and a sentence as `detail`: 400, 408, 413 and 422 of the
request, 503 and 504 of the machine at this moment.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request

from biounet_edge.errors import ImageError, UnfamiliarError
from biounet_edge.prediction import PredictionFailure
from biounet_edge.predictor import Predictor
from biounet_edge.service.limits import Limits
from biounet_edge.service.upload import BUSY, Upload, receive
from biounet_edge.version import __version__

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": schema}
            for kind, schema in {
                "application/octet-stream": {"type": "string", "format": "binary"},
                "multipart/form-data": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                },
            }.items()
        },
    }
}


def create_app(
    predictor: Predictor | Callable[[], Predictor] = Predictor, limits: Limits | None = None
) -> FastAPI:
    """Make the web service.

    Args:
        predictor: A loaded one, which whoever made it closes; or what makes one, called before the first
            request and closed after the last. The demo bundle if left out.
        limits: What a client may ask of it.

    Returns:
        An application for any ASGI server, such as uvicorn.
    """
    bounds = limits or Limits()
    requests = _Requests(bounds)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ThreadPoolExecutor(bounds.requests, thread_name_prefix="request") as requests.threads:
            if isinstance(predictor, Predictor):
                requests.predictor = predictor
                yield
                return
            with await asyncio.to_thread(predictor) as requests.predictor:
                yield

    # The pages that FastAPI makes of the schema would load scripts from elsewhere.
    app = FastAPI(title="biounet-edge", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.post("/predict", openapi_extra=_BODY)
    async def predict(request: Request) -> dict[str, Any]:
        """Read the photograph that is the request's body, or those that are the files of a form.

        Of a body: probabilities, contributions, presence, areas. Of a form: `predictions`, one per file, each
        with its `status` and, where that is "error", the reason. One that the model does not know has the
        status "unfamiliar", the reason and no numbers. `present` and `area_pct` are null for an indicator
        without an operating point: probability only.
        """
        return await requests.answer(request)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Say which model answers, and on what: the service takes requests once this does."""
        loaded = requests.predictor
        manifest = loaded.bundle.manifest
        return {
            "status": "ok",
            "model": manifest.name,
            "model_version": manifest.version,
            "bundle": loaded.bundle.checksum,
            "level": loaded.level,
            "device": loaded.selection,
            "notice": manifest.notice,
        }

    return app


class _Requests:
    """The requests that are being received or read, no more of them than allowed."""

    predictor: Predictor
    threads: ThreadPoolExecutor

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._count = 0

    async def answer(self, request: Request) -> dict[str, Any]:
        """Receive a request's photographs and read them."""
        if self._count >= self._limits.requests:
            raise HTTPException(
                503, f"{self._count} requests are being answered, and no more are taken: try again", BUSY
            )
        self._count += 1
        try:
            uploads = await receive(request, self._limits)
            reading = asyncio.get_running_loop().run_in_executor(self.threads, self._read, uploads)
        except BaseException:
            self._count -= 1
            raise
        reading.add_done_callback(self._done)  # its thread and memory are free only then
        try:
            return await asyncio.wait_for(asyncio.shield(reading), self._limits.predict_s)
        except TimeoutError as error:
            raise HTTPException(
                504,
                f"the answer takes more than {self._limits.predict_s:.0f} s: send fewer or smaller files",
            ) from error

    def _done(self, reading: "asyncio.Future[dict[str, Any]]") -> None:
        self._count -= 1
        if not reading.cancelled():
            reading.exception()  # whoever waited has raised it, or nobody waits any more

    def _read(self, uploads: list[Upload]) -> dict[str, Any]:
        notice = {"notice": self.predictor.bundle.manifest.notice}
        if uploads[0].name is not None:
            return {"predictions": [self._outcome(upload) for upload in uploads]} | notice
        data = bytes(uploads[0].data)
        try:
            return self.predictor.predict(data).to_dict() | notice
        except UnfamiliarError as error:  # an answer, no error of the request
            sha256 = hashlib.sha256(data).hexdigest()
            failure = PredictionFailure("<bytes>", str(error), sha256, error.category, error.familiarity)
            return failure.to_dict() | notice
        except ImageError as error:
            if error.is_of_content:
                raise HTTPException(422, str(error)) from error
            raise HTTPException(503, str(error), {"Retry-After": "1"}) from error

    def _outcome(self, upload: Upload) -> dict[str, Any]:
        """Read one file of a form; a failure is its own and no other file's."""
        data, upload.data = bytes(upload.data), bytearray()
        (outcome,) = self.predictor.stream([data], batch_size=1)
        return outcome.to_dict() | {"image": upload.name}
