"""Fixtures that more than one folder of tests uses."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

DIGITS = {
    "name": "digits",
    "pretrain": {
        "objective": {"name": "simclr", "temperature": 0.2, "width": 16},
        "encoder": {"name": "conv", "width": 16, "stages": 1},
        "views": {"flip": 0.0, "blur": 0.0, "scale": [0.5, 1.0]},
        "batch": 32,
        "steps": 8,
        "workers": 0,
        "threads": 1,
        "precision": "fp32",
        "compile": False,
        "log_every": 2,
        "health_every": 4,
    },
}
"""A recipe that trains in a second; the corpus is the fixture `digits`."""


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local Ray cluster of three logical CPUs, started once and shared."""
    import ray

    from selfray import cluster

    cluster.start(cpus=3)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a real S3 server on this machine, held in memory."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """`s3://<a new bucket>` on the server, with the environment set up for it."""
    import boto3

    settings = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**settings, "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": s3_server}.items():
        monkeypatch.setenv(name, value)
    name = f"tests-{uuid4().hex}"
    client = boto3.client("s3", endpoint_url=s3_server)
    client.create_bucket(Bucket=name)
    client.close()
    return f"s3://{name}"


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared corpus of 600 real handwritten digits, 16 x 16 grey, a sixth of them held out."""
    from PIL import Image
    from sklearn.datasets import load_digits

    from selfray.corpus.ingest import prepare

    source, folder = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("corpora") / "digits"
    bunch = load_digits()
    for i, (picture, label) in enumerate(zip(bunch.images[:600], bunch.target[:600], strict=True)):
        (source / str(label)).mkdir(exist_ok=True)
        scaled = Image.fromarray((picture * 15.9).astype(np.uint8)).resize((16, 16), Image.Resampling.BICUBIC)
        scaled.save(source / str(label) / f"{i:04d}.png")
    prepare(source, folder, name="digits", holdout=1 / 6, rows_per_group=64, ray=False)
    return folder


@pytest.fixture
def recipe(digits: Path) -> Callable[..., Any]:
    """Makes a checked recipe on the digits: `recipe(objective={...}, steps=4)` changes settings of `pretrain`."""
    from selfray.recipe import parse

    def make(seed: int = 0, **pretrain: Any) -> Any:
        plain = {**DIGITS, "seed": seed, "corpus": {"path": str(digits)}}
        return parse({**plain, "pretrain": {**DIGITS["pretrain"], **pretrain}})

    return make


@pytest.fixture
def fit(digits: Path, tmp_path: Path) -> Callable[..., list[dict[str, float]]]:
    """Trains a recipe in this process and returns the rows that it reported."""
    from selfray.train.loop import Job, train

    def work(recipe: Any, run: Path | None = None, **options: Any) -> list[dict[str, float]]:
        rows: list[dict[str, float]] = []
        train(Job(recipe, str(digits), str(run or tmp_path / "run")), rows.append, **options)
        return rows

    return work
