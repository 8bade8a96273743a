"""Fixtures that more than one folder of tests uses."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local Ray cluster of three logical CPUs, started once and shared."""
    import ray

    from selfray import cluster

    cluster.start(cpus=3)
    yield
    ray.shutdown()
