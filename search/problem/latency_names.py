"""Names of latencies: predicted ones, by table, and measured ones."""

LATENCY = "latency_ms"
_MEASURED = "measured_"


def latency_name(table: str) -> str:
    """Return the cost's name by a table, of several: `latency_ms@NAME`."""
    return f"{LATENCY}@{table}"


def is_latency(name: str) -> bool:
    """Return whether a cost is called `latency_ms` or `latency_ms@NAME`."""
    return name.partition("@")[0] == LATENCY


def measured_name(cost: str) -> str:
    """Return the name of the metric that measures a latency: `measured_latency_ms`."""
    return _MEASURED + cost


def predicted_name(metric: str) -> str | None:
    """Return the cost that a measured latency measures; None for other metrics."""
    cost = metric.removeprefix(_MEASURED)
    return cost if cost != metric and is_latency(cost) else None
