"""Turns batches of utterances into parts of a feature file on the machines of a Ray cluster.

Ray Data hands tasks of a few batches to actors that each hold the encoder, and gives a task to another one when an
actor dies. A task ends with one part in the features folder, which all machines must see, written as on one machine;
so whatever ends the job, the same command goes on from there.
"""

import os
import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gia_mic.extract.address import mirror_of
from gia_mic.extract.cluster import connect, share_out
from gia_mic.extract.device import hand_back_freed
from gia_mic.extract.encoders.contract import EncodeJob, Encoder
from gia_mic.extract.errors import EncoderError, StoreError
from gia_mic.extract.parts import PART_BYTES, Builder, frame_bytes, write_part
from gia_mic.extract.pipeline import encode_all, side_by_side
from gia_mic.extract.progress import progress
from gia_mic.extract.store import FAILED, Header, Item

__all__ = ["RayEngine", "ray_engine"]

TASK_BATCHES = 16
"""Most batches in a task."""

TASKS_A_WORKER = 16
"""Fewest tasks that each worker gets, if there are as many batches, so that all end at about the same time."""


def ray_engine(address: str | None = None, *, workers: int | None = None, device: str | None = None) -> "RayEngine":
    """Return what `extract.run.extract` needs to encode on a Ray cluster.

    Args:
        address: The cluster, as `ray.init` takes it; by default what RAY_ADDRESS names, or this machine alone.
        workers: Number of actors, at least 1; by default one for each GPU, or for each four cores.
        device: cpu or cuda; by default cuda where the cluster has GPUs.

    Raises:
        MerError: Ray isn't installed, there is no such cluster, or it has no such device.
    """
    return RayEngine(*share_out(connect(address), workers, device))


@dataclass(frozen=True)
class RayEngine:
    """Encodes on the Ray cluster that this process is connected to.

    Attributes:
        workers: Most actors that encode side by side, at least 1.
        share: What each actor asks Ray for, such as {"num_cpus": 4}.
        kind: What each actor computes on: cpu or cuda.
    """

    workers: int
    share: Mapping[str, float]
    kind: str

    def __call__(
        self, builder: Builder, make: Callable[[], Encoder], batches: Sequence[Sequence[EncodeJob]], budget: int
    ) -> dict[str, Item]:
        """Encode batches into parts of the builder's feature file; return the utterances that failed, by id.

        Raises:
            StoreError: The features or recordings lie behind an address, and the cluster has several machines.
        """
        ray = connect()
        from ray import data

        library: Any = data  # its types ask for more than it does
        paths = [builder.path, *(job.path for job in batches[0] if job.path is not None)]
        if len(ray.nodes()) > 1 and any(mirror_of(path) is not None for path in paths):
            raise StoreError(
                "What lies behind an address is mirrored on one machine, and this Ray cluster has several: use a "
                "folder that they share, or --shard on each."
            )
        context = library.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        size = max(min(TASK_BATCHES, len(batches) // (TASKS_A_WORKER * self.workers)), 1)
        tasks = [{"batches": pickle.dumps(batches[first : first + size])} for first in range(0, len(batches), size)]
        results = library.from_items(tasks, override_num_blocks=len(tasks)).map(
            _Worker,
            fn_constructor_args=(Path.cwd(), make, builder.parts, builder.header, budget, self.kind),
            compute=library.ActorPoolStrategy(size=min(self.workers, len(tasks))),
            **self.share,
        )
        failed: dict[str, Item] = {}
        total = sum(map(len, batches))
        with progress(total, builder.title, "utterance") as bar:
            for row in results.iter_rows():
                failed.update({item.id: item for item in pickle.loads(row["failed"])})
                bar.update(row["utterances"])
        builder.refresh()
        return failed


class _Worker:
    """An actor with an encoder of its own; Ray may start one anew long after the others.

    Raises:
        EncoderError: The encoder isn't what it was when the command began.
    """

    def __init__(
        self,
        working_folder: Path,
        make: Callable[[], Encoder],
        parts: Path,
        header: Header,
        budget: int,
        device: str,
    ) -> None:
        os.chdir(working_folder)  # paths may be relative to it
        encoder = make()
        if encoder.header.fingerprint != header.fingerprint:
            raise EncoderError(
                f"The code or weights of {encoder.spec.name} have changed since the command began, or are others on "
                "this machine: run it again."
            )
        self._encoder, self._device, self._budget = encoder.to(device), device, budget
        self._parts, self._header = parts, header

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        batches = pickle.loads(row["batches"])
        encoders = side_by_side(self._encoder, self._device, len(batches))  # of the cores that Ray gave this actor
        failed: list[Item] = []
        waiting: list[Item] = []
        with closing(encode_all(encoders, batches, self._budget, threading.Event())) as results:
            for items in results:
                failed += [item for item in items if item.status == FAILED]
                waiting += items
                if frame_bytes(waiting) > PART_BYTES:
                    write_part(self._parts, self._header, waiting)
                    waiting = []
        if waiting:
            write_part(self._parts, self._header, waiting)
        hand_back_freed()
        return {"utterances": sum(map(len, batches)), "failed": pickle.dumps(failed)}
