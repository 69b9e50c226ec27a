"""The words of the house: levels of the fleet tree, signals, targets and their units.

Physical ranges bound what a sensor can mean, not what is healthy; a value outside is not an observation.
"""

from dataclasses import dataclass

#: From the leaf that is measured to the root that buys power.
LEVELS = ("gpu", "server", "rack", "row", "hall", "site", "fleet")


@dataclass(frozen=True)
class Signal:
    """One measured quantity.

    Attributes:
        name: column name; its suffix is the unit.
        unit: SI unit as printed.
        low, high: physical range, inclusive; values outside are sentinels or glitches.
        typical_scale: a change of this size matters, in the signal's unit; None when the entity's nameplate says so.
    """

    name: str
    unit: str
    low: float
    high: float
    typical_scale: float | None


#: Ranges: -40 °C is the coldest storage rating. Temperatures reach as far as °F of what is possible in °C (100 °C above
#: any silicon's shutdown, constants.md §2; 50 °C in air), so that a wrong unit can still be seen and named;
#: 2 GW exceeds the largest announced campus; utilisation allows 2 % of sensor overshoot. Small server fans turn at up
#: to 38,000 rpm; what moves most air turns at a few thousand [K]. Field names say fan speed in rpm (constants.md §7).
SIGNALS = {
    signal.name: signal
    for signal in (
        Signal("power_w", "W", 0.0, 2e9, None),
        Signal("temperature_c", "°C", -40.0, 212.0, 10.0),
        Signal("inlet_c", "°C", -40.0, 122.0, 5.0),
        Signal("utilization_ratio", "1", 0.0, 1.02, 0.5),
        Signal("cooling_power_w", "W", 0.0, 2e9, None),
        Signal("fan_speed_rpm", "rpm", 0.0, 60_000.0, 3000.0),
    )
}


@dataclass(frozen=True)
class Target:
    """A signal that is forecast.

    Attributes:
        signal: its name in SIGNALS.
        limit: the topology's column with its limit.
        headroom: the name of the room left below the limit.
        overshoot: how far above its limit a governor lets it go, in the signal's unit; None where nothing stops it.
    """

    signal: str
    limit: str
    headroom: str
    overshoot: float | None

    @property
    def unit(self) -> str:
        return SIGNALS[self.signal].unit


#: Clocks fall at the slowdown temperature: 2 to 4 °C above the limit on A100, H100, GH200 and B200 (constants.md §2).
TARGETS = {
    target.signal: target
    for target in (
        Target("power_w", "power_limit_w", "power_headroom_w", overshoot=None),
        Target("temperature_c", "temperature_limit_c", "thermal_headroom_c", overshoot=4.0),
    )
}

#: Two values nearer than this share of a limit are one: no sensor tells them apart.
RESOLUTION = 2e-3
