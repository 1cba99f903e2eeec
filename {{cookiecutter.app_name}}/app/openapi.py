"""The OpenAPI 3.1 description of the operations, made from the types they are declared with."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from app.api import JSON, Operation
from app.problems import MEDIA_TYPE, ProblemDetails

REF_TEMPLATE = "#/components/schemas/{name}"


def describe(title: str, version: str, operations: list[Operation]) -> bytes:
    """Return the OpenAPI document as JSON."""
    types: list[Any] = [ProblemDetails]
    for operation in operations:
        types += operation.path_parameters.values()
        types += [
            kind for kind in (operation.body, operation.query, operation.result) if kind not in (None, type(None))
        ]
    schemas, components = msgspec.json.schema_components(types, ref_template=REF_TEMPLATE)
    schema_of = {repr(kind): schema for kind, schema in zip(types, schemas, strict=True)}

    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        description: dict[str, Any] = {
            "operationId": operation.handler.__name__,
            "summary": operation.summary,
            "parameters": _parameters(operation, schema_of, components),
            "responses": _responses(operation, schema_of),
        }
        if operation.body is not None:
            description["requestBody"] = {
                "required": True,
                "content": {JSON: {"schema": schema_of[repr(operation.body)]}},
            }
        paths.setdefault(operation.path, {})[operation.method.lower()] = description

    # Structs that only describe a query string are spelled out as parameters.
    for operation in operations:
        if operation.query is not None:
            components.pop(operation.query.__name__, None)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": title, "version": version},
            "paths": paths,
            "components": {"schemas": components},
        }
    )


def _parameters(operation: Operation, schema_of: dict[str, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": schema_of[repr(kind)]}
        for name, kind in operation.path_parameters.items()
    ]
    if operation.query is not None:
        struct = components[operation.query.__name__]
        parameters += [
            {
                "name": name,
                "in": "query",
                "required": name in struct.get("required", []),
                "schema": schema,
            }
            for name, schema in struct["properties"].items()
        ]
    return parameters


def _responses(operation: Operation, schema_of: dict[str, Any]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": HTTPStatus(operation.status).phrase}
    if operation.result not in (None, type(None)):
        success["content"] = {JSON: {"schema": schema_of[repr(operation.result)]}}
    responses: dict[str, Any] = {str(operation.status): success}
    errors = {*operation.errors, 431}
    if operation.path_parameters or operation.query is not None:
        errors.add(422)
    if operation.body is not None:
        errors |= {400, 408, 413, 415, 422}
    for status in sorted(errors):
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema_of[repr(ProblemDetails)]}},
        }
    return responses
