"""Whether the configured models load on this machine, tried in a process of its own before anything is started.

A replica that cannot start costs Ray Serve ten seconds and more to tell; and what a graph does to the process that
loads it must not happen to the driver.
"""

import multiprocessing
from functools import partial
from multiprocessing.connection import Connection

from greenserve import errors
from greenserve.config import Config
from greenserve.errors import DependencyMissing, GreenServeError
from greenserve.sections import Model
from greenserve.serve.engines.pick import engine_for
from greenserve.serve.models import EngineFactory, verified_manifest

LOAD_S = 300.0


def check_loads(config: Config) -> None:
    """Raise what prevents a model from being served here; models with GPUs of their own are left to their replicas."""
    models = [model for model in config.models if not (model.placement == "remote" and model.replicas.gpus)]
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_load_in_child, args=(models, config.server.threads_per_engine, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        fault = ours.recv() if ours.poll(LOAD_S) else ("GreenServeError", f"loading takes over {LOAD_S:g} s")
    except EOFError:
        child.join()
        fault = ("ManifestInvalid", f"loading the models ended the process that tried (exit code {child.exitcode})")
    finally:
        ours.close()
        if child.is_alive():
            child.kill()
        child.join()
    if fault is not None:
        kind, message = fault
        raise getattr(errors, kind, GreenServeError)(message)


def load_all(models: list[Model], engines: EngineFactory) -> None:
    """Load every variant once; raises ManifestInvalid, or DependencyMissing for a model of which none runs here."""
    for model in models:
        manifest = verified_manifest(model.manifest)
        left_out = []
        for variant in manifest.variants:
            try:
                engines(manifest, variant).load()
            except DependencyMissing as error:
                left_out.append(f"{variant.name}: {error}")
        if len(left_out) == len(manifest.variants):
            raise DependencyMissing(f"model {model.name}: no variant runs on this machine: {'; '.join(left_out)}")


def _load_in_child(models: list[Model], threads: int, answer: Connection) -> None:
    fault: tuple[str, str] | None = None
    try:
        load_all(models, partial(engine_for, threads=threads))
    except GreenServeError as error:
        fault = type(error).__name__, str(error)
    except Exception as error:  # an engine may raise anything
        fault = "GreenServeError", f"a model does not load: {type(error).__name__}: {error}"
    answer.send(fault)
