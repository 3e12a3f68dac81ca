"""A web service that reads photographs: `create_app` makes it, `Limits` bounds it. Needs the extra `serve`.

    uvicorn --factory biounet_edge.service:create_app        # the demo bundle, on 127.0.0.1:8000
    curl --data-binary @samples/ISIC_0000166.jpg http://127.0.0.1:8000/predict

It does not ask who sends a photograph: bind it to the machine itself, or put it behind something that does.
"""

try:
    from biounet_edge.service.app import create_app
except ImportError as error:
    raise ImportError(
        f'the web service needs {error.name}, which is not installed: pip install "biounet-edge[serve]"',
        name=error.name,
    ) from error
from biounet_edge.service.limits import Limits

__all__ = ["Limits", "create_app"]
