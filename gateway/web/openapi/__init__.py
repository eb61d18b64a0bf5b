"""
What the gateway takes, gives and refuses, for programs and for people who write them (OpenAPI 3.1).

A table for each of the rooms whose handlers answer; everything else follows from the route table and the types.
"""

from gateway.web.openapi.serving import OPENAPI_PATH, openapi_document

__all__ = ["OPENAPI_PATH", "openapi_document"]
