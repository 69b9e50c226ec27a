"""The mix of requests that a server is measured under."""

from benchmarks.dispatch_reads import reads


def test_of_each_seventeen_requests_one_asks_for_the_tightest() -> None:
    asked = reads("day-ahead", [f"rack-{at}" for at in range(100)], "PT6H")
    assert asked[:2] == [
        b"GET /v1/forecasts/day-ahead/headroom?entity=rack-0&until=PT6H HTTP/1.1\r\nhost: benchmark\r\n\r\n",
        b"GET /v1/forecasts/day-ahead?entity=rack-1 HTTP/1.1\r\nhost: benchmark\r\n\r\n",
    ]
    words = (b"/headroom?", b"day-ahead?", b"/tightest?")
    for first in range(0, len(asked) - 16, 17):
        assert [sum(word in one for one in asked[first : first + 17]) for word in words] == [8, 8, 1]
