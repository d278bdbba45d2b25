"""Requests made from the OpenAPI schema: none breaks the server, and every answer is what the schema says."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi import checks

from neuraltuning.serving.api.app import create_app
from tests.serving.api.serving import Caller, data_url, png, service

KEY = {"authorization": "Bearer a-key-of-the-test"}
APP = create_app(service(), key=KEY["authorization"].partition(" ")[2])
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP, headers=KEY)
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]


@SCHEMA.hook
def map_body(context: Any, body: Any) -> Any:
    """Texts that a schema can't describe, names of models and pictures, mostly get a meaning."""
    return meaningful(body)


def meaningful(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: meaningful(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [meaningful(inner) for inner in value]
    if isinstance(value, str) and len(value) % 4:
        return {"model": "scenes", "url": data_url(png()), "image": data_url(png()), "text": "segment"}.get(name, value)
    return value


@SCHEMA.parametrize()
@settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_requests_made_from_the_schema(case: schemathesis.Case) -> None:
    case.call_and_validate(checks=CHECKS, headers=KEY)


def test_the_schema_is_valid_and_names_every_endpoint() -> None:
    SCHEMA.validate()
    described = Caller(APP, **KEY).get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/v1/chat/completions",
        "/v1/images/generations",
        "/v1/models",
        "/v1/models/{model}",
        "/v1/segment",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    assert "HTTPValidationError" not in described["components"]["schemas"]
    answers = described["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert set(answers) == {"200", "4XX", "5XX"}
    assert set(answers["200"]["content"]) == {"application/json", "text/event-stream"}
    assert described["paths"]["/v1/segment"]["post"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in described["paths"]["/healthz"]["get"]
    keyless = Caller(create_app(service())).get("/openapi.json").json()
    assert "securitySchemes" not in keyless["components"]
