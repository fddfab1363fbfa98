"""Runs beside a client: alerts as a callback, Prometheus, OpenTelemetry."""
