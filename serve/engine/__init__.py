"""What runs whether anybody asks or not: telemetry in, a forecast of the whole fleet on a cadence, the newest kept."""
