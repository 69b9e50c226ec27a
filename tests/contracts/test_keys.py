"""Keys of content: the same for the same content, another for any other."""

import random

from hypothesis import given
from hypothesis import strategies as st

from forecast.contracts.version import code_version, key_of

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), PLAIN, max_size=6), st.randoms(use_true_random=False))
def test_a_key_does_not_know_the_order_of_a_mapping(data: dict[str, object], shuffler: random.Random) -> None:
    items = list(data.items())
    shuffler.shuffle(items)
    assert key_of(dict(items)) == key_of(data)


def test_a_key_knows_values_names_order_of_parts_and_nesting() -> None:
    keys = [
        key_of(1, 2),
        key_of(2, 1),
        key_of([1, 2]),
        key_of({"a": 1}),
        key_of({"b": 1}),
        key_of({"a": "1"}),
        key_of(),
    ]
    assert len(set(keys)) == len(keys)


def test_a_key_is_the_one_it_was_before_a_restart() -> None:
    # sha256 of '[{"a": 1, "b": [true, null]}]', by sha256sum
    assert key_of({"b": [True, None], "a": 1}) == "d08818a8b5fc2c3e"


def test_rooms_have_versions_of_their_own() -> None:
    versions = {code_version("traces"), code_version("features"), code_version("traces", "features"), code_version()}
    assert len(versions) == 4
