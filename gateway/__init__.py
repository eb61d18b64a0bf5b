"""The token gateway: logs people in, rotates refresh tokens, lets everybody verify access tokens offline."""

__version__ = "0.1.0"
