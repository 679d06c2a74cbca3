"""Names of latencies: predicted `latency_ms`, `latency_ms@NAME` of a table, and measured ones."""

LATENCY = "latency_ms"
_MEASURED = "measured_"


def latency_of(table: str) -> str:
    """Return the cost's name where there are several tables: `latency_ms@NAME`."""
    return f"{LATENCY}@{table}"


def is_latency(name: str) -> bool:
    """Return whether a cost is called `latency_ms` or `latency_ms@NAME`."""
    return name.partition("@")[0] == LATENCY


def measured_name(cost: str) -> str:
    """Return the metric's name of a latency that was measured: `measured_latency_ms`."""
    return _MEASURED + cost


def predicted_name(metric: str) -> str | None:
    """Return the cost that a measured latency is of; None for other metrics."""
    cost = metric.removeprefix(_MEASURED)
    return cost if cost != metric and is_latency(cost) else None
