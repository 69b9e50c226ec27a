"""The retraining job: from a configuration to a published bundle."""
