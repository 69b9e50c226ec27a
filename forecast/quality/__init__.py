"""What is wrong with a fleet's telemetry, and whether training should proceed on it."""
