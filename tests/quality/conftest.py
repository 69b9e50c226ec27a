import pytest
from records import Record, record


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Nothing is wrong with it."""
    return record(tmp_path_factory.mktemp("clean") / "fleet")


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Some of most faults."""
    rates = {
        "duplicate": 0.1,
        "conflicting_duplicate": 0.1,
        "out_of_order": 0.1,
        "skewed_clock": 0.05,
        "stuck_sensor": 0.1,
        "spike": 0.3,
        "sentinel": 0.1,
        "gap": 0.1,
    }
    return record(tmp_path_factory.mktemp("faulty") / "fleet", **rates)


@pytest.fixture(scope="session")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Entities come and go."""
    return record(tmp_path_factory.mktemp("moving") / "fleet", new_entity=0.3, removed_entity=0.1)
