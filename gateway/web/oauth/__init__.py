"""OAuth 2.0 for machines: tokens for clients, what a token says, and how it is taken back."""

__all__: list[str] = []
