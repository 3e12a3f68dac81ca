"""A web service that reads photographs.

    pip install ".[cpu,serve]"
    uvicorn examples.service:app
    curl --data-binary @samples/ISIC_0000166.jpg http://127.0.0.1:8000/predict

Bind it to the machine itself or put it behind something that checks who asks: it does not.
"""

from biounet_edge import Predictor
from biounet_edge.service import Limits, create_app

app = create_app(Predictor, Limits(requests=4))
