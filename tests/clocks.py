"""What stands in for a clock."""


class FakeClock:
    """Seconds that stand still until a test moves them."""

    def __init__(self) -> None:
        self.now = 1_790_000_000

    def __call__(self) -> int:
        return self.now
