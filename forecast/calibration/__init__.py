"""Quantiles that keep their promise: offsets fitted on data the model was not trained on."""
