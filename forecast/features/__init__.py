"""Telemetry to model inputs: pure functions over lazy Polars frames, each looking only backwards in time."""
