"""The API on an engine of rules."""

from __future__ import annotations

import pytest

from neuraltuning.serving.api.app import create_app
from tests.serving.api.fake_engine import FakeEngine
from tests.serving.api.serving import Caller, service


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def api(engine: FakeEngine) -> Caller:
    return Caller(create_app(service(engine)))
