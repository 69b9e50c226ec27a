"""Raw source to telemetry: one file per kind of source."""
