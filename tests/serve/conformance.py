"""A plugin of pytest that ends with a table of the protocol's cases by server: `make conformance`."""

from collections import defaultdict

import pytest
from protocol_peers import SERVERS, case_of

#: What a report is called in the table.
_WORDS = {"passed": "pass", "failed": "FAIL", "error": "ERROR", "skipped": "absent", "xfailed": "deviates"}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    reasons: dict[str, str] = {}
    for kind, word in _WORDS.items():
        for report in terminalreporter.stats.get(kind, []):
            path, _, name = report.nodeid.partition("::")
            case, server = case_of(name)
            if server:
                protocol = "gRPC" if "_grpc" in path else "HTTP"
                said = f"{protocol}  {case.removeprefix('test_').replace('_', ' ')}"
                found[said][server] = word
                reasons[said] = getattr(report, "wasxfail", reasons.get(said, ""))
    lines = [(case, *(by.get(server, "") for server in SERVERS), reasons[case]) for case, by in sorted(found.items())]
    width = max((len(line[0]) for line in lines), default=0)
    terminalreporter.section("conformance to the Open Inference Protocol, version 2")
    for case, ours, theirs, reason in [("case", *SERVERS, ""), *lines]:
        terminalreporter.write_line(f"{case:{width}}  {ours:9}  {theirs:8}  {reason}".rstrip())
    for server in SERVERS:
        words = [by.get(server) for by in found.values()]
        told = ", ".join(f"{words.count(word)} {word}" for word in _WORDS.values() if word in words)
        terminalreporter.write_line(f"{server}: {told} of {len(words)}")
