"""Faults of the object store that holds a run's checkpoints: a real S3 server on this machine, behind a proxy."""

import logging
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

from . import proxy as proxies
from .runs import EVERY, Run, recipe

OUTAGE = 15.0  # seconds


@contextmanager
def server() -> Iterator[proxies.Proxy]:
    """A proxy before an S3 server; what is started meanwhile talks to the proxy."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    host, port = store.get_host_and_port()
    known = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1"}
    known |= {"AWS_EC2_METADATA_DISABLED": "true"}
    try:
        with proxies.before(f"http://{host}:{port}") as proxy, patch.dict(os.environ, known):
            os.environ["AWS_ENDPOINT_URL"] = proxy.address
            yield proxy
    finally:
        store.stop()


def stored(folder: Path, corpus: Path, pause: float) -> Run:
    """A run without Ray whose checkpoints are in a bucket of its own."""
    import boto3

    bucket = f"faults-{uuid4().hex}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=bucket)
    client.close()
    slow = {"name": "tests.faults.slow", "pause": pause}
    store = {"every_steps": EVERY, "storage": f"s3://{bucket}"}
    return Run(recipe(folder, corpus, 0, objective=slow, checkpoint=store), folder / "run")


def out(proxy: proxies.Proxy) -> None:
    """Every request fails for `OUTAGE` seconds."""
    proxy.rule = lambda method, path: "busy"
    time.sleep(OUTAGE)
    proxy.rule = lambda method, path: None


def cutting(proxy: proxies.Proxy, seed: int = 0) -> None:
    """From now on every third upload is cut in its middle."""
    draw = random.Random(seed)
    proxy.rule = lambda method, path: "half_request" if method == "PUT" and draw.random() < 1 / 3 else None
