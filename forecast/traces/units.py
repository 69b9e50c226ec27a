"""Units as sources write them, and what they are in SI."""

#: Per SI unit, the units as written in YAML to (factor, offset) into it: si = raw · factor + offset.
UNITS = {
    "W": {"W": (1.0, 0.0), "mW": (1e-3, 0.0), "kW": (1e3, 0.0), "MW": (1e6, 0.0)},
    "°C": {"degC": (1.0, 0.0), "degF": (5 / 9, -160 / 9), "K": (1.0, -273.15)},
    "1": {"ratio": (1.0, 0.0), "percent": (0.01, 0.0)},
    "rpm": {"rpm": (1.0, 0.0), "krpm": (1e3, 0.0)},
    "J": {"J": (1.0, 0.0), "mJ": (1e-3, 0.0), "kJ": (1e3, 0.0), "Wh": (3600.0, 0.0), "kWh": (3.6e6, 0.0)},
}
