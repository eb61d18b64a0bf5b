"""Reads the metrics of a gateway as Prometheus does."""

from collections import Counter
from collections.abc import Callable

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from tests.harness import GatewayProcess, wait_until

Series = tuple[str, frozenset[tuple[str, str]]]
SETTLED_SECONDS = 15.0


class Scrape:
    """One reading of `/metrics`: the value of each series, and the types of the families."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.values: dict[Series, float] = {}
        self.types: dict[str, str] = {}
        for family in text_string_to_metric_families(text):
            self.types[family.name] = family.type
            for sample in family.samples:
                series = sample.name, frozenset(sample.labels.items())
                assert series not in self.values, series
                self.values[series] = sample.value

    @classmethod
    def of(cls, gateway: GatewayProcess) -> "Scrape":
        """Read those of a gateway."""
        answer = httpx2.get(f"http://{gateway.env['GATEWAY_METRICS_ADDRESS']}/metrics", timeout=10)
        assert answer.status_code == 200
        return cls(answer.text)

    def get(self, name: str, **labels: str) -> float:
        """Give the value of one series; 0 where there is none."""
        return self.values.get((name, frozenset(labels.items())), 0.0)

    def has(self, name: str) -> bool:
        """Tell whether there is any series of a name."""
        return any(series[0] == name for series in self.values)

    def total(self, name: str, **labels: str) -> float:
        """Give the sum of all series of a name with these labels and any others."""
        return sum(
            value for (one, of), value in self.values.items() if one == name and labels.items() <= dict(of).items()
        )

    def labels(self) -> dict[str, set[str]]:
        """Give all values of each label."""
        found: dict[str, set[str]] = {}
        for _, labels in self.values:
            for name, value in labels:
                found.setdefault(name, set()).add(value)
        return found

    def since(self, before: "Scrape", *names: str) -> dict[Series, float]:
        """Give by how much the series of these names have grown, those that have."""
        grown = Counter[Series]()
        for series, value in self.values.items():
            if series[0] in names and value != before.values.get(series, 0.0):
                grown[series] = value - before.values.get(series, 0.0)  # type: ignore[assignment]
        return dict(grown)


def settled(gateway: GatewayProcess, is_so: Callable[[Scrape], bool], what: str) -> Scrape:
    """Wait until all workers have reported what makes a scrape so, and give it."""
    last: list[Scrape] = []

    def look() -> bool:
        last[:] = [Scrape.of(gateway)]
        return is_so(last[0])

    try:
        wait_until(look, SETTLED_SECONDS, what)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{last[0].text}") from None
    return last[0]
