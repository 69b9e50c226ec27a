"""More inference than there are cores: what fits waits and is answered, the rest is told when to come again."""

import json
import threading
from collections import Counter
from pathlib import Path

import numpy as np
from fleets import fleet, publish, write_bundle
from loopback import wait_until
from running import Reply, running
from test_open_inference import Target

from serve.settings import Limits

QUEUE, CLIENTS = 4, 20


def test_what_fits_is_answered_and_the_rest_is_told_to_come_back(tmp_path: Path) -> None:
    publish(tmp_path / "registry", write_bundle(tmp_path / "made", "made", fleet()), "k1")
    with running(tmp_path / "registry", limits=Limits(queue=QUEUE)) as server:
        workers, batcher, metrics = server.state.settings.workers, server.state.batcher, server.state.metrics.registry
        target = Target(server.address, "day-ahead")
        body = json.dumps(target.request(2)).encode()
        alone = target.ask("POST", f"{target.path}/infer", body)
        held = threading.Event()
        for _ in range(workers):
            batcher._pool.submit(held.wait, 60)
        replies: list[Reply] = []

        def ask() -> None:
            replies.append(target.ask("POST", f"{target.path}/infer", body))

        clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            refused = CLIENTS - workers - QUEUE
            wait_until(lambda: len(replies) == refused, "all that do not fit are refused")
            assert metrics.get_sample_value("fleetcast_inference_queue") == QUEUE
            assert server.ask("GET", "/v2/health/ready").status == 200
        finally:
            held.set()
            for client in clients:
                client.join()
        assert Counter(reply.status for reply in replies) == {200: workers + QUEUE, 503: refused}
        for reply in replies:
            if reply.status == 503:
                assert reply.headers["retry-after"] == "1"
                assert str(QUEUE) in reply.error
            else:
                for mine, ours in zip(reply.json["outputs"], alone.json["outputs"], strict=True):
                    np.testing.assert_allclose(mine["data"], ours["data"], rtol=1e-5)
        assert target.ask("POST", f"{target.path}/infer", body).status == 200
