"""The audiences besides its own for which the gateway of these tests makes tokens."""

API, OTHER = "https://api.example.com", "urn:example:other"
