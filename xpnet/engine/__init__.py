"""Faster ways to compute what `Network` computes, and the choice among them.

An engine has a network's `loss_and_gradient` and `predict`. What it gives equals what the network
gives, up to rounding; `xpnet.layers` stays the definition. Nobody outside this room needs to know
which one he has: all have the methods of `Engine`.
"""

from xpnet.arguments import checked
from xpnet.arrays import cuda as gpus
from xpnet.engine.base import Engine, Steps
from xpnet.engine.reference import ReferenceEngine
from xpnet.errors import ArgumentError, EngineError
from xpnet.models.network import Network
from xpnet.notice import notice

__all__ = ["ENGINES", "Engine", "ReferenceEngine", "Steps", "get_engine"]

ENGINES = ("auto", "reference", "cpu", "cuda")


@checked
def get_engine(
    network: Network,
    name: str = "auto",
    threads: int | None = None,
    *,
    precision: str | None = None,
    graph: bool = True,
    compiled: bool | None = None,
    skip_engine_check: bool = False,
) -> Engine:
    """The engine called `name` for a network.

    Parameters
    ----------
    name : "auto" for the fastest that can run the network; "reference" for its layers as they are;
        "cpu" or "cuda" for that engine and no other
    threads : of the CPU; one for each core if None
    precision : of the factors of products on a GPU: "tf32" or "bfloat16"; the network's own if None
    graph : whether a GPU's engine replays whole steps from a CUDA graph; if not, it launches their
        kernels one by one
    compiled : whether the CPU's engine uses loops compiled by numba; if None where it is installed
    skip_engine_check : do without the comparison that a GPU's engine makes at its first batch, of a
        step by its kernels with one by the layers on the host. Where they differ, or the kernels do
        not run, a line on standard error says so, and "auto" goes on with the layers on the GPU.

    Raises
    ------
    ArgumentError
        The name is unknown, there is not even one thread, numba is asked for and not there, or the
        engine that was asked for, or that
        has this precision or graphs, cannot run the network.
    EngineError
        The kernels of an engine that was asked for by name do not compile. Its first call raises
        the same if they fail their check.
    """
    if name == "eager":
        raise ArgumentError("there is no engine 'eager' any more: use 'cuda' with graph=False")
    if name not in ENGINES:
        raise ArgumentError(f"engine {name!r} is unknown; use {', '.join(ENGINES)}")
    place = network.device.kind
    kind = place if name == "auto" else name
    engine, reason = None, None
    if kind == "cpu":
        from xpnet.engine.cpu import CpuEngine

        reason = CpuEngine.obstacle(network)
        engine = CpuEngine(network, threads, compiled=compiled) if reason is None else None
    elif kind == "cuda":
        from xpnet.engine.cuda import CudaEngine

        def instead(failure: str) -> Engine:
            reason = f"the GPU's engine failed its check: {failure}"
            notice(
                f"{reason}; the layers as they are written compute instead, on the GPU. Please "
                "report this with what `xpnet info` prints"
            )
            return ReferenceEngine(network, threads, reason=reason, checked=f"failed: {failure}")

        reason = CudaEngine.obstacle(network) if place == kind else _apart(place)
        if reason is None:
            auto = name == "auto"
            try:
                return CudaEngine(
                    network,
                    graph=graph,
                    precision=precision,
                    check=not skip_engine_check,
                    instead=instead if auto else None,
                )
            except EngineError as error:
                if not auto:
                    raise
                return instead(str(error))
    if name == kind and reason is not None:
        raise ArgumentError(
            f"the {name} engine cannot run this network: {reason}; 'auto' takes what can"
        )
    if compiled and engine is None:
        why = f"engine {name!r} on {place}" if reason is None else f"the layers: {reason}"
        raise ArgumentError(
            f"compiled=True needs the CPU's engine, and what would compute is {why}; leave it out"
        )
    wanted = [] if graph else ["graph=False"]
    if precision not in (None, network.dtype):
        wanted.append(f"precision {precision!r}")
    for what in wanted:
        why = (
            f"engine {name!r} on {place}" if reason is None else f"the layers as they are: {reason}"
        )
        raise ArgumentError(
            f"{what} needs the kernels of a GPU, and what would compute is {why}; leave it out"
        )
    return engine or ReferenceEngine(network, threads, reason=reason)


def _apart(place: str) -> str:
    """Say why the GPU's engine has no network that is elsewhere, and what would give it one."""
    found = gpus.diagnose()
    remedy = ('use device="cuda"',) if found.usable else (found.problem, found.remedy)
    return "; ".join(filter(None, (f"it lives on {place}", *remedy)))
