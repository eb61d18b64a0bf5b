"""Machines: personal tokens for the scripts of people, and clients for services that call services."""

__all__: list[str] = []
