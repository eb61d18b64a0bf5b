"""What the doctor finds: what was seen, what it means, and the line to change."""

from dataclasses import dataclass

GATEWAY = "the gateway's settings"
PROXY = "the proxy's configuration"
APPLICATION = "the application's settings"
COMMAND = "the call of this command"


@dataclass(frozen=True)
class Finding:
    """
    One fault.

    `fault` is its name in a word or two, `where` the file that `line` belongs to.
    """

    fault: str
    seen: str
    meaning: str
    where: str
    line: str

    def in_words(self) -> str:
        """Give it for people, in four lines."""
        return f"{self.seen}\n  meaning  {self.meaning}\n  where    {self.where}\n  change   {self.line}"

    def document(self) -> dict[str, str]:
        """Give it for programs."""
        return {
            "fault": self.fault,
            "seen": self.seen,
            "meaning": self.meaning,
            "where": self.where,
            "change": self.line,
        }
