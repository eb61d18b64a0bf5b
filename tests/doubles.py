"""What stands in for a store with a bad connection."""

from typing import Any

from gateway.store.store import Store


class SendsTwice(Store):
    """Runs each script twice, as the client library does when the first answer is lost on the way from Redis."""

    async def run(self, *arguments: Any, **options: Any) -> Any:
        """Run it twice and give the second answer."""
        await super().run(*arguments, **options)
        return await super().run(*arguments, **options)
