"""The stages of a run, in order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from greenserve.carbon.power_model import CpuPower
from greenserve.inputs import TextEncoder
from greenserve.optimize.assemble import Run, assemble
from greenserve.optimize.build import Builder, export_encoders
from greenserve.optimize.cost import RunMeter
from greenserve.optimize.data import load_data
from greenserve.optimize.finish import finisher_for
from greenserve.optimize.kinds import kind_named
from greenserve.optimize.measure import Ran, answer_all, load_all, measured_all, profile_all
from greenserve.optimize.order import Order
from greenserve.optimize.packages import host_isa, require_packages
from greenserve.optimize.plan import BASELINE, buckets_for, expected_seconds, plan_variants
from greenserve.optimize.profile import EngineFactory
from greenserve.optimize.progress import Stages, Tell
from greenserve.optimize.publish import previous_version, publish, staging
from greenserve.optimize.setting import Setting
from greenserve.optimize.sources import Source, resolve
from greenserve.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The published manifest; `passed` names the recommended variant, None where only the baseline stands.

    `broken` says of each variant that could not be built why.
    """

    document: Mapping[str, Any]
    passed: str | None
    broken: Mapping[str, str]


def optimize(order: Order, *, engine_for: EngineFactory, power: CpuPower, clock: Clock, tell: Tell) -> Outcome:
    """Build, judge, measure and publish the variants of a model; raises GreenServeError with what to do.

    `engine_for` makes the engine that will serve, `power` turns its CPU time into joules with their tier.
    """
    require_packages()
    version = previous_version(order.out) + 1
    meter = RunMeter(power=power, intensity=order.intensity)
    stages = Stages(expected_s=expected_seconds(order.preset, families=order.families), clock=clock, tell=tell)

    stages.enter("source", order.model)
    source = resolve(order.model)
    shape = source.architecture
    planned = plan_variants(layers=shape.layers, hidden=shape.hidden, families=order.families)

    stages.enter("data", order.data)
    setting = _setting(order, source, power)

    with staging(order.out) as folder, staging(order.out) as scratch:
        stages.enter("export", "to ONNX, checked against torch")
        encoders = export_encoders(source, planned, scratch)

        stages.enter("build", ", ".join(one.name for one in planned))
        finisher = finisher_for(setting)
        made = Builder(
            setting=setting, finisher=finisher, encoders=encoders, folder=folder, scratch=scratch, isa=host_isa()
        ).build_all(planned)
        loaded = load_all(made.built, engine_for)

        stages.enter("evaluate", f"{len(setting.dataset.splits.test.texts):,} test rows per variant")
        answers = answer_all(loaded, setting)

        stages.enter("profile", f"{order.preset.windows} windows of {order.preset.window_s:g} s per cell and variant")
        profiled = profile_all(loaded, setting)

        stages.enter("publish", order.out.name)
        ran = Ran(loaded=loaded, answers=answers, judged=finisher.judge(answers), profiled=profiled)
        measured = measured_all(made.built, ran, folder=folder, setting=setting)
        run = Run(
            order=order,
            source=source,
            setting=setting,
            made=made,
            parameters=encoders[shape.layers].parameters,
            version=version,
            cost=meter.read(),
            ended_us=clock.unix_us(),
        )
        document = assemble(run, measured, folder=folder)
        publish(folder, order.out, document)
    passed = document["recommended"]
    return Outcome(
        document=document,
        passed=None if passed == BASELINE else passed,
        broken={one.planned.name: one.reason for one in made.broken},
    )


def _setting(order: Order, source: Source, power: CpuPower) -> Setting:
    dataset = load_data(
        order.data,
        text_column=order.text_column,
        label_column=order.label_column,
        sizes=order.preset.sizes,
        seed=order.seed,
    )
    return Setting(
        kind=kind_named(order.task),
        dataset=dataset,
        encoder=TextEncoder(tokenizer_file=source.tokenizer_file, max_length=source.max_length, truncate="end"),
        buckets=buckets_for(source.max_length),
        vocab=source.architecture.vocab,
        preset=order.preset,
        power=power,
        max_drop_points=order.max_drop_points,
        seed=order.seed,
    )
