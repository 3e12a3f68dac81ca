"""A web service that reads one photograph a request.

    pip install ".[cpu]" fastapi uvicorn
    uvicorn examples.service:app
    curl --data-binary @samples/ISIC_0000166.jpg http://127.0.0.1:8000/predict

Bind it to the machine itself or put it behind something that checks who asks: it does not.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from biounet_edge import ImageError, Predictor

MAX_BYTES = 50 * 1024**2
"""Largest photograph that is taken, in bytes."""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Loads the model before the first request and releases it after the last."""
    with Predictor() as predictor:
        app.state.predictor = predictor
        yield


app = FastAPI(title="biounet-edge", lifespan=lifespan)


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    """Read the photograph that is the request's body: probabilities, contributions, presence, areas.

    `present` and `area_pct` are null for an indicator without an operating point: probability only.
    """
    predictor: Predictor = request.app.state.predictor
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise HTTPException(413, f"the photograph is larger than {MAX_BYTES} bytes")
    try:
        prediction = await run_in_threadpool(predictor.predict, bytes(body))
    except ImageError as error:
        raise HTTPException(422, str(error)) from error
    return prediction.to_dict() | {"notice": predictor.bundle.manifest.notice}
