from dataclasses import replace

import numpy as np
import pytest

from forecast.simulator.config import DAY_S, SimulatorConfig
from forecast.simulator.fleet import Fleet
from forecast.simulator.jobs import Job
from forecast.simulator.power import nominal_wall_w
from forecast.simulator.scheduler import Segment
from forecast.simulator.services import Services, Traffic
from forecast.simulator.workload import Workload, computing_level


def test_training_starts_slowly_and_dips_at_every_checkpoint() -> None:
    job = Job("j", "training", 0, 1, 9e9, 9e9, 0.9, 0.9, checkpoint_s=3600)
    level = computing_level(Segment(job, np.array([0]), 600.0, 9e9), np.arange(600, 600 + 3 * 3600, 60))
    assert level[:7] == pytest.approx(0.3)
    assert (level[7:60] == 0.9).all()
    assert level[60:63] == pytest.approx([0.15, 0.15, 0.9])
    assert level[120:123] == pytest.approx([0.15, 0.15, 0.9])


def test_the_servers_of_one_job_move_together_and_idle_ones_do_nothing(small: SimulatorConfig) -> None:
    fleet = Fleet.of(small)
    workload = Workload(fleet)
    level = workload.day(0)
    assert level.shape == (1440, 18)
    assert level.min() >= 0.0
    assert level.max() <= 1.0
    busy = {server for s in workload.segments if s.end_s > 0 and s.start_s < DAY_S for server in s.servers}
    serving = {server for rack in fleet.racks if rack.inference for server in rack.servers}
    for server in set(range(18)) - busy - serving:
        assert (level[:, server] == 0).all()
    rack = next(rack for rack in fleet.racks if rack.inference)
    assert np.corrcoef(level[:, rack.servers[0]], level[:, rack.servers[1]])[0, 1] > 0.95


def test_two_sides_of_a_day_boundary_belong_to_the_same_job(small: SimulatorConfig) -> None:
    workload = Workload(Fleet.of(replace(small, days=4)))
    days = [workload.day(day) for day in range(4)]
    across = [
        (int(segment.start_s // DAY_S), segment)
        for segment in workload.segments
        if 0 <= segment.start_s < 3 * DAY_S - 3600 and segment.start_s // DAY_S + 1 == segment.end_s // DAY_S
    ]
    checked = 0
    for day, segment in across:
        before, after = days[day][-1, segment.servers], days[day + 1][0, segment.servers]
        midnight = np.array([(day + 1) * DAY_S - 60, (day + 1) * DAY_S])
        wanted = computing_level(segment, midnight)
        assert before == pytest.approx(wanted[0], rel=0.1)
        assert after == pytest.approx(wanted[1], rel=0.1)
        checked += 1
    assert checked >= 3


def test_services_follow_the_local_clock_through_daylight_saving() -> None:
    """In 2026 New York moves its clocks on 8 March: the same local shape comes an hour earlier in UTC."""
    config = SimulatorConfig(start="2026-03-06", days=6)
    shape = [_mean_day(config, day) for day in (0, 4)]  # Friday before, Tuesday after
    lags = range(-180, 181, 15)
    best = max(lags, key=lambda lag: float(np.corrcoef(shape[0], np.roll(shape[1], lag))[0, 1]))
    assert best == pytest.approx(60, abs=15)


def _mean_day(config: SimulatorConfig, day: int) -> np.ndarray:
    services = Services(config, 60)
    for before in range(day):
        services.day(before)
    return services.day(day).mean(axis=1)


def test_weekends_are_quieter_and_services_differ() -> None:
    traffic = Traffic.draw(SimulatorConfig(), 200)
    hours = np.arange(24.0)
    weekday = traffic.expected(hours, np.zeros(24, dtype=bool))
    weekend = traffic.expected(hours, np.ones(24, dtype=bool))
    assert weekend.mean() < 0.95 * weekday.mean()
    assert ((weekday > 0) & (weekday < 1)).all()
    peaks = weekday.argmax(axis=0)
    assert len(set(peaks.tolist())) > 4
    assert set(peaks.tolist()) <= set(range(10, 24)) | {0, 1}


def test_traffic_wanders_around_its_expectation() -> None:
    config = SimulatorConfig(days=20)
    services = Services(config, 50)
    days = np.concatenate([services.day(day) for day in range(20)])
    assert days.mean() == pytest.approx(services.traffic.mean.mean(), rel=0.05)
    same_hour = days.reshape(20, 24, 60, 50)[[1, 2, 3, 8, 9, 10, 15, 16, 17]]  # Tuesdays to Thursdays
    surprise = same_hour - same_hour.mean(axis=0)
    after_20_min = np.corrcoef(surprise[:, :, 10].ravel(), surprise[:, :, 30].ravel())[0, 1]
    assert 0.7 < after_20_min < 0.95  # exp(-20/90) = 0.80 of the noise, exp(-20/30) = 0.51 of a burst


def test_planned_power_is_the_data_sheet_at_the_declared_load(small: SimulatorConfig) -> None:
    fleet = Fleet.of(small)
    schedule = Workload(fleet).schedule()
    ids = {entity: index for index, entity in enumerate(fleet.server_ids)}
    servers = np.array([ids[entity] for entity in schedule["entity_id"]])
    low, high = (nominal_wall_w(fleet, servers, np.full(len(servers), u)) for u in (0.0, 1.0))
    planned_w = schedule["planned_power_w"].to_numpy()
    assert ((planned_w > low) & (planned_w <= high + 1)).all()
