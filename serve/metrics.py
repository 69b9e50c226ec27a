"""What the server counts of itself, for Prometheus: one registry per server, nothing global."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

#: Seconds; from a read out of memory to a deadline.
LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of the engine and of the HTTP server; whoever has more to tell registers a collector.

    Attributes:
        registry: what `/metrics` exposes.
    """

    def __init__(self) -> None:
        self.registry = of = CollectorRegistry()
        self.reloads = Counter(
            "fleetcast_reloads", "Bundles put into service, and refused", ["forecast", "result"], registry=of
        )
        self.rows = Counter("fleetcast_telemetry_rows", "Rows of telemetry taken in", ["forecast"], registry=of)
        self.aside = Counter(
            "fleetcast_telemetry_rows_set_aside", "Rows of telemetry set aside", ["forecast", "reason"], registry=of
        )
        self.cycle = Histogram(
            "fleetcast_cycle_seconds",
            "From telemetry to the newest forecast",
            ["forecast"],
            buckets=LATENCY_S,
            registry=of,
        )
        self.failures = Counter("fleetcast_failures", "Failures that somebody should look into", ["where"], registry=of)
        self.answered = Counter(
            "fleetcast_http_requests", "Requests answered", ["route", "method", "status"], registry=of
        )
        self.latency = Histogram(
            "fleetcast_http_request_seconds", "From headers to answer", ["route"], buckets=LATENCY_S, registry=of
        )
        self.in_flight = Gauge("fleetcast_http_requests_in_flight", "Requests being answered", registry=of)
        self.waiting = Gauge("fleetcast_inference_queue", "Inference requests that wait for a core", registry=of)
        self.batch_rows = Histogram(
            "fleetcast_inference_batch_rows", "Rows that ran together", buckets=(1, 4, 16, 64, 256, 1024), registry=of
        )
