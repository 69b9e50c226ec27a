"""The simulated sites that pretrained models learn from: small and large, cold and hot, idle and busy.

Two of them serve only, each rack a service of its own: few services do not teach how services are.
"""

from forecast.simulator.config import CapConfig, ClimateConfig, CoolingConfig, RowConfig, SimulatorConfig, WorkConfig

#: Days of a record, and of one at the pace of a thermal transient.
_DAYS, _DAYS_OF_SECONDS = 63, 2


def fleets(step_s: int) -> list[SimulatorConfig]:
    """Sites whose seeds no test and no other configuration uses, sampled every `step_s` where that is below 5 min."""
    return [
        _fleet(101, "2025-01-06", [_gpus(4, 4), _trays(2, 9), _cpus(2, 12)], step_s),
        _fleet(102, "2025-03-03", [_gpus(6, 4, inference=1.0)], step_s, ClimateConfig(mean_c=12.0, seasonal_k=9.0)),
        _fleet(103, "2025-05-05", [_gpus(6, 4, inference=0.0)], step_s, work=WorkConfig(0.35, 0.3)),
        _fleet(104, "2025-07-07", [_trays(4, 9)], step_s, ClimateConfig(mean_c=28.0), water_c=24.0),
        _fleet(105, "2025-08-04", [_cpus(3, 16, inference=0.0)], step_s, work=WorkConfig(0.5, 0.2), zone="Asia/Tokyo"),
        _fleet(106, "2025-10-06", [_cpus(3, 16, inference=1.0), _gpus(2, 2)], step_s, zone="Europe/Berlin"),
        _fleet(107, "2025-11-03", [_gpus(3, 4), _trays(2, 9, inference=1.0)], step_s, cap=CapConfig(0.8, 16.0, 20.0)),
        _fleet(108, "2025-06-02", [_gpus(8, 1, inference=0.25)], step_s, work=WorkConfig(0.9, 0.9, 2.0e-4)),
        _fleet(109, "2025-02-03", [_gpus(32, 1, inference=1.0)], step_s),
        _fleet(110, "2025-09-01", [_cpus(16, 1, inference=1.0), _trays(16, 1, inference=1.0)], step_s),
    ]


def _fleet(
    seed: int,
    start: str,
    rows: list[RowConfig],
    step_s: int,
    climate: ClimateConfig | None = None,
    work: WorkConfig | None = None,
    water_c: float = 30.0,
    cap: CapConfig | None = None,
    zone: str = "America/New_York",
) -> SimulatorConfig:
    fine = step_s < 300
    return SimulatorConfig(
        seed=seed,
        start=start,
        days=_DAYS_OF_SECONDS if fine else _DAYS,
        step_s=step_s if fine else 300,
        site=f"site-{seed}",
        time_zone=zone,
        rows=rows,
        climate=climate or ClimateConfig(),
        work=work or WorkConfig(),
        cooling=CoolingConfig(coolant_setpoint_c=water_c),
        cap=cap or CapConfig(),
    )


def _gpus(racks: int, servers: int, inference: float = 0.5) -> RowConfig:
    return RowConfig("hall-a", "h100-air", racks, servers, inference)


def _trays(racks: int, servers: int, inference: float = 0.5) -> RowConfig:
    return RowConfig("hall-b", "gb200-tray", racks, servers, inference)


def _cpus(racks: int, servers: int, inference: float = 0.5) -> RowConfig:
    return RowConfig("hall-a", "cpu-2s", racks, servers, inference)
