"""What the fleet's tests share: the engines, providers that count, and replicas of the real binary.

Everything listens on loopback and keeps its files in a folder of its own, which goes with the session."""

import pytest
import support


@pytest.fixture(scope="session")
def engines(tmp_path_factory):
    """The engines that were started, ended after the last test."""
    started = support.Engines(tmp_path_factory.mktemp("engines"))
    yield started
    started.stop()


@pytest.fixture
def postgres(engines):
    """A fresh database on a running server."""
    return engines.postgres().database()


@pytest.fixture
def redis(engines):
    """A running server without any keys."""
    return engines.redis().flushed()


@pytest.fixture
def fleet(tmp_path):
    """Starts providers and replicas, which end with the test."""
    started = support.Fleet(tmp_path)
    yield started
    started.stop()
