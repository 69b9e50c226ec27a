"""Fleetcast: calibrated forecasts of the load and the thermal headroom of compute fleets."""

__version__ = "0.1.0"
