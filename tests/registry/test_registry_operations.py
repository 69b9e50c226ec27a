"""Any sequence of publishing, rolling back and pruning leaves a registry that its own checks find sound."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from forecast.registry.store import Registry
from forecast.registry.verify import registry_problems

KEYS = st.sampled_from(["k1", "k2", "k3", "k4", "k5"])


class Operations(RuleBasedStateMachine):
    """`served` is what a person who watched would say: the versions in service, latest last."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.registry = Registry(self.root, "day-ahead", keep=3)
        self.served: list[str] = []

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def there(self) -> set[str]:
        return {version.name for version in self.registry.versions()}

    @rule(key=KEYS)
    def publish(self, key: str) -> None:
        with self.registry.lock():
            staged = self.registry.staging()
            (staged / "manifest.json").write_text(key)
            self.registry.publish(staged, key)
        if self.served[-1:] != [key]:
            self.served.append(key)

    @precondition(lambda self: self.registry.previous() is not None)
    @rule()
    def rollback_twice(self) -> None:
        before = self.registry.current(), self.registry.previous()
        for _ in range(2):
            with self.registry.lock():
                self.registry.rollback()
        assert (self.registry.current(), self.registry.previous()) == before
        self.served += [before[1].name, before[0].name]

    @precondition(lambda self: self.served)
    @rule(data=st.data())
    def rollback_to(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.there() - {self.served[-1]}) or [self.served[-1]]))
        with self.registry.lock():
            self.registry.rollback(key)
        self.served.append(key)

    @precondition(lambda self: self.served)
    @rule(keep=st.integers(1, 4))
    def prune(self, keep: int) -> None:
        registry = Registry(self.root, "day-ahead", keep)
        in_service = {registry.current(), registry.previous()} - {None}
        kept = {*registry.versions()[:keep], *in_service}
        told = registry.superfluous()
        with registry.lock():
            assert registry.prune() == told
        assert set(registry.versions()) == kept
        assert not kept & set(told)

    @invariant()
    def the_last_served_is_in_service_and_all_is_sound(self) -> None:
        current, previous = self.registry.current(), self.registry.previous()
        assert list(registry_problems(self.registry)) == []
        assert ([current.name] if current else []) == self.served[-1:]
        if current is not None:
            assert (current / "manifest.json").read_text() == current.name
        others = [key for key in self.served if key != self.served[-1]]
        assert ([previous.name] if previous else []) == others[-1:]
        assert previous is None or previous.is_dir()


TestOperations = Operations.TestCase
TestOperations.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
