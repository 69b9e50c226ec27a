"""Forecasts from a published bundle: needs the base install only, no torch, lightning or hydra."""
