"""Turns an address, or none, into a connection to a Ray cluster; the only module that starts Ray."""

import logging
import math
import os
from typing import Any

from gia_mic.extract.device import kind_of
from gia_mic.extract.errors import MerError, first_line

__all__ = ["connect", "share_out"]


def connect(address: str | None = None) -> Any:
    """Connect to a Ray cluster, unless this process already is, and return the module `ray`.

    Every machine needs the same environment, with this package installed in it.

    Args:
        address: As `ray.init` takes it; by default what RAY_ADDRESS names, or else this machine alone.

    Raises:
        MerError: Ray isn't installed, or there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise MerError("This engine needs Ray, which isn't installed: run `pip install 'gia-mic[ray]'`.") from None
    if not ray.is_initialized():
        try:
            ray.init(
                address,
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            cluster, why = address or "RAY_ADDRESS", first_line(error)
            raise MerError(f"There is no Ray cluster at {cluster} ({why}): check it.") from error
    return ray


def share_out(ray: Any, workers: int | None, device: str | None) -> tuple[int, dict[str, float], str]:
    """Divide a cluster among workers: a GPU each where there are some, otherwise a few cores each.

    Args:
        ray: The module `ray`, connected to the cluster.
        workers: Number of workers, at least 1; by default one for each GPU, or for each four cores.
        device: cpu or cuda; by default cuda where the cluster has GPUs.

    Returns:
        Number of workers, what each of them asks Ray for, and the device that each computes on.
    """
    resources = ray.cluster_resources()
    cores, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
    kind = kind_of(device or ("cuda" if gpus else "cpu"))
    if kind == "cpu":
        count = workers or max(cores // 4, 1)
        return count, {"num_cpus": max(cores // count, 1)}, kind
    if kind != "cuda" or not gpus:
        usable = "cpu or cuda" if gpus else "cpu"
        raise MerError(f"The Ray cluster has no GPU for the device {device!r}: choose {usable}.")
    count = workers or gpus
    # Ray takes whole GPUs or a part of one; each worker decodes on the cores it asks for
    return count, {"num_cpus": max(cores // count, 1), "num_gpus": 1 / math.ceil(count / gpus)}, kind
