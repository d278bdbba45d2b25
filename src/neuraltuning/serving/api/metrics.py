"""What the server counts, for Prometheus. Each server counts for itself, so that several can live in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from neuraltuning.serving.engine_types import EngineStatistics

SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
GAUGES = ("waiting", "running", "cache_bytes")
"""Figures of the engine that go up and down; the others only grow."""


class Metrics:
    """The figures of one server."""

    def __init__(self, statistics: Callable[[], EngineStatistics]) -> None:
        """Takes where the engine's own figures come from."""
        self._registry = registry = CollectorRegistry()
        self._answers = Counter(
            "neuraltuning_requests", "Answers by endpoint and status.", ("endpoint", "status"), registry=registry
        )
        self._seconds = Histogram(
            "neuraltuning_request_seconds",
            "Seconds from a request to the end of its answer.",
            ("endpoint",),
            buckets=SECONDS,
            registry=registry,
        )
        self._tokens = Counter(
            "neuraltuning_tokens", "Tokens of answered requests.", ("model", "kind"), registry=registry
        )
        registry.register(_EngineFigures(statistics))
        ProcessCollector(registry=registry)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """A response was sent to its end, or its client went away."""
        self._answers.labels(endpoint or "other", str(status)).inc()
        self._seconds.labels(endpoint or "other").observe(seconds)

    def counted(self, model: str, prompt: int, cached: int, completion: int) -> None:
        """A reply was finished; `cached` of its `prompt` tokens did not have to be read again."""
        for kind, count in (("prompt", prompt), ("cached", cached), ("completion", completion)):
            self._tokens.labels(model, kind).inc(count)

    def text(self) -> bytes:
        """All figures in Prometheus's text format."""
        return generate_latest(self._registry)


class _EngineFigures(Collector):
    """The engine's statistics, read when they are asked for."""

    def __init__(self, statistics: Callable[[], EngineStatistics]) -> None:
        self._statistics = statistics

    def collect(self) -> Iterable[Metric]:
        """One metric a figure."""
        for name, value in asdict(self._statistics()).items():
            kind = GaugeMetricFamily if name in GAUGES else CounterMetricFamily
            yield kind(f"neuraltuning_engine_{name}", f"The engine's {name.replace('_', ' ')}.", value=value)
