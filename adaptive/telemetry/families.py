"""Metric families under construction: names with the prefix, labels in a fixed order, few lines each.

Histograms come with cumulative counts, one more than there are bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

PREFIX = "adaptive_"
OTHER = "other"  # what a bound on labels folds together

# Buckets of one histogram that are shown: each is a series for every endpoint.
_BUCKETS = 16


class Families:
    """Families by name, in the order in which they were first mentioned."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._families.values())

    def counter(self, name: str, text: str, value: float, /, **labels: str) -> None:
        """One sample of a counter; the exposition adds `_total`."""
        family = self._families.get(name)
        if not isinstance(family, CounterMetricFamily):
            family = self._families[name] = CounterMetricFamily(PREFIX + name, text, labels=list(labels))
        family.add_metric(list(labels.values()), value)

    def gauge(self, name: str, text: str, value: float, /, **labels: str) -> None:
        """One sample of a gauge."""
        family = self._families.get(name)
        if not isinstance(family, GaugeMetricFamily):
            family = self._families[name] = GaugeMetricFamily(PREFIX + name, text, labels=list(labels))
        family.add_metric(list(labels.values()), value)

    def histogram(
        self, name: str, text: str, bounds: Sequence[float], counts: Sequence[int], total: float, /, **labels: str
    ) -> None:
        """One histogram; of many buckets only every so-manieth is shown, which leaves those exact."""
        family = self._families.get(name)
        if not isinstance(family, HistogramMetricFamily):
            family = self._families[name] = HistogramMetricFamily(PREFIX + name, text, labels=list(labels))
        if len(counts) != len(bounds) + 1:
            return
        step = -(-len(bounds) // _BUCKETS) or 1
        buckets = [(f"{bounds[i]:.6g}", float(counts[i])) for i in range(0, len(bounds), step)]
        family.add_metric(list(labels.values()), [*buckets, ("+Inf", float(counts[-1]))], total)
