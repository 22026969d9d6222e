"""Ray clusters on this machine, for tests; Ray is optional and large."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.grid.processes import ROOT

STORE_BYTES = 150 * 2**20


@contextmanager
def two_nodes() -> Iterator[Any]:
    """A head and another node, of one CPU each; nodes can be added and removed."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'abcrl[ray]'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))  # workers find the workload
        patch.delenv("RAY_ADDRESS", raising=False)
        node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        try:
            cluster.add_node(**node)
            cluster.wait_for_nodes()
            yield cluster
        finally:
            cluster.shutdown()
