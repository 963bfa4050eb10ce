"""Work spread over processes: all cores of this machine, or a Dask or Ray cluster, by joblib's own backends.

Results come in the order of the work, so that what is written does not depend on who was faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, TypeVar

Backend = Literal["loky", "dask", "ray"]
W = TypeVar("W")
R = TypeVar("R")
AT_ONCE = 4  # pieces of work a process, where a backend gives results in lots only
# What `pip install` must have brought for each backend.
NEEDS = {"dask": "distributed (adaptive[cluster])", "ray": "ray"}


class SpreadError(Exception):
    """The work cannot be spread as asked; the message says why."""


def spread(
    what: Callable[[W], R], work: Sequence[W], jobs: int = -1, backend: Backend = "loky", address: str = ""
) -> Iterator[R]:
    """Results in the order of the work. `jobs`: processes, -1 one a core; of a cluster, all its workers.

    `address`: the cluster's scheduler; "": one of its own on this machine. Raises SpreadError.
    """
    if jobs == 0:
        raise SpreadError("no process is no help: jobs are a number of them, or -1 for one a core")
    if not work or (backend == "loky" and (jobs == 1 or len(work) < 2)):
        yield from map(what, work)
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    with _cluster(backend, address, jobs) as processes:
        whole = backend != "ray"
        parallel = Parallel(n_jobs=jobs if backend == "loky" else -1, return_as="generator" if whole else "list")
        size = len(work) if whole else AT_ONCE * processes
        try:
            for begin in range(0, len(work), max(1, size)):
                yield from parallel(delayed(what)(one) for one in work[begin : begin + size])
        except (OSError, RuntimeError) as error:  # a worker that was killed, a scheduler that has gone
            raise SpreadError(f"{backend}: {_said(error)}") from None
        except (GeneratorExit, KeyboardInterrupt, SystemExit):
            if backend == "loky":  # or its processes would wait for more work after us
                get_reusable_executor().shutdown(wait=True, kill_workers=True)
            raise


def _cluster(backend: Backend, address: str, jobs: int) -> AbstractContextManager[int]:
    """The backend in force, and how many processes there are."""
    if backend == "loky":
        if address:
            raise SpreadError("an address is a cluster's: name its kind, dask or ray")
        return nullcontext(1)
    try:
        return _dask(address, jobs) if backend == "dask" else _ray(address)
    except ImportError:
        raise SpreadError(f"{backend} is not installed: pip install {NEEDS[backend]}") from None
    except (OSError, RuntimeError, ValueError) as error:
        where = address or "this machine"
        raise SpreadError(f"{backend}, {where}: {_said(error)}") from None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")


def _dask(address: str, jobs: int) -> AbstractContextManager[int]:
    import distributed
    from joblib import parallel_config

    kinds: Any = distributed  # its classes are not typed

    local = None
    if not address:
        local = kinds.LocalCluster(
            n_workers=None if jobs < 1 else jobs, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        )
    try:
        client = kinds.Client(address or local, timeout="10s")
    except BaseException:
        if local is not None:
            local.close()
        raise

    @contextmanager
    def held() -> Iterator[int]:
        try:
            with parallel_config(backend="dask", client=client):
                yield sum(client.nthreads().values())
        finally:
            client.close()
            if local is not None:
                local.close()

    return held()


def _ray(address: str) -> AbstractContextManager[int]:
    import ray
    from joblib import parallel_config
    from ray.util.joblib import register_ray

    ray.init(address=address or None, include_dashboard=False, log_to_driver=False, logging_level="WARNING")
    register_ray()

    @contextmanager
    def held() -> Iterator[int]:
        try:
            with parallel_config(backend="ray"):
                yield int(ray.cluster_resources().get("CPU", 1))
        finally:
            ray.shutdown()

    return held()


__all__ = ["Backend", "SpreadError", "spread"]
