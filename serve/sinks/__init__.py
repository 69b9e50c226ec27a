"""Forecasts written elsewhere, cycle by cycle: files, and brokers of messages."""
