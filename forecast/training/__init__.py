"""Fitting a model: the loss, the Lightning module around it, and the loop."""
