"""Requests that schemathesis makes up from the OpenAPI document."""

from __future__ import annotations

import pytest


def operations(service):
    document = service.get("/openapi.json").json()
    return document, [
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    ]


def fuzz(service, home, examples):
    """Every operation gets made-up requests, valid and invalid; none may break the server."""
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.generation import GenerationMode

    document, listed = operations(service)
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=service.url)
    schema.config.generation.update(
        modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE], with_security_parameters=False
    )
    seen = 0
    for method, path in listed:
        strategy = schema[path][method].as_strategy()

        @given(case=strategy)
        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case):
            nonlocal seen
            where = f"{case.method} {case.path}"
            answer = case.call(timeout=60)
            assert answer.status_code < 500, (where, answer.text[:500])
            assert str(home.parent) not in answer.text, where
            if answer.status_code >= 400:
                kind = answer.headers["content-type"]
                kind = kind[0] if isinstance(kind, list) else kind
                assert kind == "application/problem+json", (where, answer.text[:300])
            seen += 1

        check()
    assert seen >= len(listed)
    good = service.post("/v1/indexes/photos/search", json={"text": "a cat", "k": 1})
    assert good.json()["hits"]


def test_made_up_requests_break_nothing(service, home):
    fuzz(service, home, examples=8)


@pytest.mark.slow
def test_many_made_up_requests_break_nothing(service, home):
    fuzz(service, home, examples=150)
