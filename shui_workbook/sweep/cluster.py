"""Where the runs of a sweep are computed: in this process, on workers of this machine, of a scheduler, or of SLURM.

Every worker executes one notebook at a time. A worker that dies gives its run back, and another one goes on with it.
Dask sends its messages pickled: keep the port of a scheduler inside a network that you trust.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

RULES = {
    # Runs wait at the scheduler, not behind a run of hours at a worker that is busy.
    "distributed.scheduler.worker-saturation": 1.0,
    # A killed worker starts again; dask gives it up after 15 seconds, and on a busy machine it takes longer than that.
    "distributed.deploy.lost-worker-timeout": "10 minutes",
}
RETRIES = 1  # of a run that raises; one whose worker is killed gets `distributed.scheduler.allowed-failures` (3)
# Keep freed memory, as the Makefile says; dask would have it given back.
KEEP = {"MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "1000000000"}


def dask_is_there() -> bool:
    """Is the extra `cluster` installed?"""
    try:
        import distributed  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def client_for(
    workers: int = 0, *, scheduler: str = "", slurm: int = 0, options: Mapping[str, object] | None = None
) -> Iterator[Client | None]:
    """A Dask client; None where the runs are to be computed in this very process.

    Args:
        workers: on this machine; 0 for none.
        scheduler: address of a running one, tcp://host:8786, in place of workers.
        slurm: jobs to keep in SLURM's queue, in place of workers; each is one worker.
        options: of those jobs, as `dask_jobqueue.SLURMCluster` takes them.
    Raises:
        ModuleNotFoundError: dask is needed and not installed.
        ValueError: a worker of the scheduler would execute several notebooks at a time.
    """
    if not (workers or scheduler or slurm):
        yield None
        return
    if not dask_is_there():
        raise ModuleNotFoundError("several workers need Dask: pip install -e '.[cluster]', or leave them out")
    import dask
    from distributed import Client

    with dask.config.set(RULES):
        if scheduler:
            with Client(scheduler) as client:
                yield _one_at_a_time(client)
            return
        with _slurm(slurm, options or {}) if slurm else local_cluster(workers) as cluster, Client(cluster) as client:
            yield client


def local_cluster(workers: int):
    """Workers of this machine: each has a GPU of its own where there are some, and its share of the processor."""
    from distributed import Nanny, Scheduler, SpecCluster

    def one(number: int) -> dict[str, object]:
        quiet = {"host": "127.0.0.1", "dashboard_address": None}
        return {"cls": Nanny, "options": {"nthreads": 1, "memory_limit": 0, "env": share(number, workers), **quiet}}

    quiet = {"host": "127.0.0.1", "port": 0, "dashboard": False}
    return SpecCluster({k: one(k) for k in range(workers)}, scheduler={"cls": Scheduler, "options": quiet})


def share(number: int, workers: int) -> dict[str, str]:
    """What a worker's environment says about its part of the machine; what is set already stays.

    The GPUs that CUDA_VISIBLE_DEVICES names are dealt out one by one, and OMP_NUM_THREADS is an equal number of cores.
    """
    import torch  # a second, which who runs here alone need not wait for

    every = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    mine = {"CUDA_VISIBLE_DEVICES": every.split(",")[number % len(every.split(","))]} if every else {}
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    shown = {"SHUI_PROGRESS": "off"}  # the bars of several notebooks on one terminal are read by nobody
    return {**KEEP, **shown, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads), **mine}


def _slurm(jobs: int, options: Mapping[str, object]):
    """Jobs of one worker each, replaced when they end early; further options come from dask's own jobqueue.yaml."""
    from dask_jobqueue import SLURMCluster

    cluster = SLURMCluster(**{"cores": 1, "processes": 1, **options})  # cores: notebooks at a time; job_cpu: processors
    cluster.adapt(minimum=jobs, maximum=jobs)
    return cluster


def _one_at_a_time(client: Client) -> Client:
    client.wait_for_workers(1)
    busy = [address for address, threads in client.nthreads().items() if threads != 1]
    if busy:
        raise ValueError(f"worker {', '.join(busy)} has several threads: start it with `dask worker --nthreads 1`")
    return client


def outcomes(
    client: Client | None, do: Callable[..., Any], tasks: Mapping[str, Sequence[object]]
) -> Iterator[tuple[str, Any]]:
    """`do(*task)` for every task, as they end: the task's name, and its result or the exception that it raised."""
    if client is None:
        for name, task in tasks.items():
            try:
                yield name, do(*task)
            except Exception as error:  # whatever a notebook raises: the other runs go on
                yield name, error
        return
    from distributed import as_completed

    futures = {client.submit(do, *task, retries=RETRIES, pure=False): name for name, task in tasks.items()}
    for future in as_completed(futures):
        yield futures[future], future.exception() or future.result()
        future.release()
