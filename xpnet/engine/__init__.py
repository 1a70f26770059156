"""Faster ways to compute what `Network` computes, and the choice among them.

An engine has a network's `loss_and_gradient` and `predict`. What it gives equals what the network
gives, up to rounding; `xpnet.layers` stays the definition.
"""

from xpnet.engine.base import Engine
from xpnet.engine.reference import ReferenceEngine
from xpnet.errors import ArgumentError, EngineError
from xpnet.models.network import Network
from xpnet.notice import notice

__all__ = ["ENGINES", "Engine", "ReferenceEngine", "get_engine"]

ENGINES = ("auto", "eager", "reference")


def get_engine(
    network: Network,
    name: str = "auto",
    threads: int | None = None,
    *,
    precision: str | None = None,
    skip_engine_check: bool = False,
) -> Engine:
    """The engine called `name` for a network.

    Parameters
    ----------
    name : "auto" for the fastest that can run the network, "reference" for its layers as they are;
        on a GPU also "eager", which launches the kernels of "auto" one by one instead of replaying
        whole steps
    threads : of the CPU; one for each core if None
    precision : of the factors of products on a GPU: "tf32" or "bfloat16"; the network's own if None
    skip_engine_check : do without the comparison that a GPU's engine makes at its first batch, of a
        step by its kernels with one by the layers on the host. Where they differ, or the kernels do
        not run, a line on standard error says so, and "auto" goes on with the layers on the GPU.

    Raises
    ------
    ArgumentError
        The name is unknown, there is not even one thread, or the engine that was asked for, or that
        can compute in this precision, cannot run the network.
    EngineError
        The kernels of an engine that was asked for by name do not compile. Its first call raises
        the same if they fail their check.
    """
    if name not in ENGINES:
        raise ArgumentError(f"engine {name!r} is unknown; use {', '.join(ENGINES)}")
    place = network.device.kind
    if name == "eager" and place != "cuda":
        raise ArgumentError(f"the eager engine is the GPU's, and the network is on {place}")
    engine, reason = None, None
    if name != "reference" and place == "cpu":
        from xpnet.engine.cpu import CpuEngine

        reason = CpuEngine.obstacle(network)
        engine = CpuEngine(network, threads) if reason is None else None
    elif name != "reference" and place == "cuda":
        from xpnet.engine.cuda import CudaEngine

        def instead(failure: str) -> Engine:
            reason = f"the GPU's engine failed its check: {failure}"
            notice(
                f"{reason}; the layers as they are written compute instead, on the GPU. Please "
                "report this with what `xpnet info` prints"
            )
            return ReferenceEngine(network, threads, reason=reason, check=f"failed: {failure}")

        reason = CudaEngine.obstacle(network)
        if reason is None:
            auto = name == "auto"
            try:
                return CudaEngine(
                    network,
                    graph=auto,
                    precision=precision,
                    check=not skip_engine_check,
                    instead=instead if auto else None,
                )
            except EngineError as error:
                if not auto:
                    raise
                return instead(str(error))
        if name == "eager":
            raise ArgumentError(f"the eager engine cannot run this network: {reason}")
    if precision not in (None, network.dtype):
        why = (
            f"engine {name!r} on {place}" if reason is None else f"the layers as they are: {reason}"
        )
        raise ArgumentError(
            f"precision {precision!r} needs the kernels of a GPU, and what would compute is {why}; "
            "leave it out"
        )
    return engine or ReferenceEngine(network, threads, reason=reason)
