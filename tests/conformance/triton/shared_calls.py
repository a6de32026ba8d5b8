"""The calls that tritonclient offers over both protocols."""

import re
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException

from tests.conformance.calls import Calls, check_equal, check_holds, refused, settled
from tests.conformance.triton.asking import (
    Array,
    Asking,
    check_array,
    check_simple,
    integers,
    texts,
    written_integers,
)

calls = Calls()
WIDTH = 16
KINDS = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


def every_type() -> dict[str, Array]:
    """The smallest and the largest value of every datatype, and two texts."""
    made: dict[str, Array] = {}
    for name, kind in KINDS.items():
        if name == "BOOL":
            pair: list[Any] = [False, True]
        else:
            limits = np.finfo(kind) if name.startswith("FP") else np.iinfo(kind)
            pair = [limits.min, limits.max]
        made[f"IN_{name}"] = np.array([pair], dtype=kind)
    return made | {"IN_BYTES": np.array([[b"", "grün €".encode()]], dtype=np.object_)}


@calls.named("server live")
async def _live(asking: Asking) -> None:
    check_equal(True, await settled(asking.client.is_server_live()))


@calls.named("server ready")
async def _ready(asking: Asking) -> None:
    check_equal(True, await settled(asking.client.is_server_ready()))


@calls.named("model ready")
async def _model_ready(asking: Asking) -> None:
    check_equal(True, await settled(asking.client.is_model_ready("simple")))
    check_equal(True, await settled(asking.client.is_model_ready("simple", "1")))


@calls.named("an unknown model or version is not ready")
async def _model_not_ready(asking: Asking) -> None:
    for name, version in (("nobody", ""), ("simple", "9")):
        try:
            check_equal(False, await settled(asking.client.is_model_ready(name, version)))
        except InferenceServerException as error:
            check_equal("StatusCode.NOT_FOUND", error.status())


@calls.named("server metadata")
async def _server_metadata(asking: Asking) -> None:
    metadata = await asking.document("get_server_metadata")

    check_equal("greenserve", metadata["name"])
    check_equal(True, bool(re.fullmatch(r"\d+\.\d+\.\d+.*", metadata["version"])))
    check_holds(metadata["extensions"], "binary_tensor_data", "statistics", "schedule_policy")


@calls.named("model metadata")
async def _model_metadata(asking: Asking) -> None:
    for version in ("", "1"):
        metadata = await asking.document("get_model_metadata", "simple", version)
        shown = [(one["name"], one["datatype"], [int(size) for size in one["shape"]]) for one in metadata["inputs"]]

        check_equal("simple", metadata["name"])
        check_equal(["1"], metadata["versions"])
        check_equal([("INPUT0", "INT32", [-1, WIDTH]), ("INPUT1", "INT32", [-1, WIDTH])], shown)
        check_equal(["OUTPUT0", "OUTPUT1"], [one["name"] for one in metadata["outputs"]])


@calls.named("metadata of an unknown model")
async def _no_metadata(asking: Asking) -> None:
    with refused(InferenceServerException, "nobody") as seen:
        await asking.document("get_model_metadata", "nobody")
    check_equal(asking.status("404", "NOT_FOUND"), seen.error.status())


@calls.named("model configuration")
async def _config(asking: Asking) -> None:
    found = await asking.document("get_model_config", "simple")
    config = found["config"] if asking.is_grpc else found

    check_equal("simple", config["name"])
    check_equal(8, int(config["max_batch_size"]))
    check_equal(["INPUT0", "INPUT1"], [one["name"] for one in config["input"]])
    check_equal("TYPE_INT32", config["input"][0]["data_type"])
    check_equal([str(WIDTH)], [str(size) for size in config["input"][0]["dims"]])


@calls.named("statistics of one model")
async def _statistics(asking: Asking) -> None:
    await asking.infer("simple", integers())
    found = await asking.document("get_inference_statistics", "simple")

    (one,) = found["model_stats"]
    check_equal(("simple", "1"), (one["name"], one["version"]))
    for part in ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"):
        check_holds(list(one["inference_stats"]), part)
    check_equal(True, int(one["inference_stats"]["success"]["count"]) >= 1)
    check_equal(True, int(one["inference_stats"]["success"]["ns"]) > 0)


@calls.named("statistics of all models")
async def _all_statistics(asking: Asking) -> None:
    found = await asking.document("get_inference_statistics")

    check_holds([one["name"] for one in found["model_stats"]], "simple", "tiny", "tiny-embed")


@calls.named("repository index")
async def _index(asking: Asking) -> None:
    found = await asking.document("get_model_repository_index")
    rows: Any = found["models"] if asking.is_grpc else found

    shown = {row["name"]: (row["version"], row["state"]) for row in rows}
    check_equal(("1", "READY"), shown["simple"])
    check_equal(7, len(shown))


@calls.named("infer")
async def _infer(asking: Asking) -> None:
    result = await asking.infer("simple", integers())

    check_simple(result)


@calls.named("infer several rows at once")
async def _rows(asking: Asking) -> None:
    many = {
        name: np.repeat(array, 5, axis=0) + np.arange(5, dtype=np.int32)[:, None] for name, array in integers().items()
    }
    result = await asking.infer("simple", many)

    check_array(many["INPUT0"] + many["INPUT1"], result.as_numpy("OUTPUT0"))


@calls.named("infer one output of two, named")
async def _one_output(asking: Asking) -> None:
    result = await asking.infer("simple", integers(), outputs=asking.wanted(["OUTPUT1"]))

    check_array(integers()["INPUT0"] - integers()["INPUT1"], result.as_numpy("OUTPUT1"))
    check_equal(None, result.as_numpy("OUTPUT0"))


@calls.named("infer with a request id, which is echoed")
async def _request_id(asking: Asking) -> None:
    result = await asking.infer("simple", integers(), request_id="my-17")
    response = result.get_response()

    check_equal("my-17", response.id if asking.is_grpc else response["id"])


@calls.named("infer a version")
async def _version(asking: Asking) -> None:
    check_simple(await asking.infer("simple", integers(), model_version="1"))
    with refused(InferenceServerException, "9") as seen:
        await asking.infer("simple", integers(), model_version="9")
    check_equal(asking.status("404", "NOT_FOUND"), seen.error.status())


@calls.named("infer BYTES tensors")
async def _bytes(asking: Asking) -> None:
    result = await asking.infer("simple_string", written_integers())

    sums = (integers()["INPUT0"] + integers()["INPUT1"]).astype(str)
    check_array(np.char.encode(sums).astype(np.object_), result.as_numpy("OUTPUT0"))


@calls.named("infer every datatype at its limits")
async def _every_type(asking: Asking) -> None:
    given = every_type()
    result = await asking.infer("every_type", given)

    for name, array in given.items():
        check_array(array, result.as_numpy(name.replace("IN_", "OUT_")))


@calls.named("infer texts with a classifier")
async def _classify(asking: Asking) -> None:
    result = await asking.infer("tiny", texts("great", "awful", "nothing"))

    check_array(np.array([b"positive", b"negative", b"neutral"], dtype=np.object_), result.as_numpy("label"))
    check_equal((3, 3), result.as_numpy("probabilities").shape)
    check_equal(True, np.allclose(1.0, result.as_numpy("probabilities").sum(axis=1), atol=1e-5))


@calls.named("infer texts with an embedding model")
async def _embed(asking: Asking) -> None:
    result = await asking.infer("tiny-embed", texts("good", "bad"))
    vectors = result.as_numpy("sentence_embedding")

    check_equal((2, 8), vectors.shape)
    check_equal(True, np.allclose(1.0, np.linalg.norm(vectors, axis=1), atol=1e-5))


@calls.named("the answer tells energy and carbon")
async def _facts(asking: Asking) -> None:
    result = await asking.infer("simple", integers(), parameters={"greenserve_variant": "fp32"})
    response = result.get_response()

    parameters = response.parameters if asking.is_grpc else response["parameters"]
    check_holds(
        list(parameters), "greenserve_energy_uj", "greenserve_carbon_ng", "greenserve_tier", "greenserve_request_id"
    )


@calls.named("infer with a priority")
async def _priority(asking: Asking) -> None:
    for priority in (1, 2, 3):
        check_simple(await asking.infer("simple", integers(), priority=priority))
    with refused(InferenceServerException, "priority", "7") as seen:
        await asking.infer("simple", integers(), priority=7)
    check_equal(asking.status("400", "INVALID_ARGUMENT"), seen.error.status())


@calls.named("infer with a timeout that is kept")
async def _timeout(asking: Asking) -> None:
    check_simple(await asking.infer("simple", integers(), timeout=5_000_000))


@calls.named("infer with a timeout that cannot be kept")
async def _timeout_passed(asking: Asking) -> None:
    row = np.random.default_rng().random((1, WIDTH), dtype=np.float32)
    with refused(InferenceServerException, "deadline") as seen:
        await asking.infer("slow", {"INPUT0": row}, timeout=20_000)
    check_equal(asking.status("504", "DEADLINE_EXCEEDED"), seen.error.status())


@calls.named("error: unknown model")
async def _unknown_model(asking: Asking) -> None:
    with refused(InferenceServerException, "nobody", "simple") as seen:
        await asking.infer("nobody", integers())
    check_equal(asking.status("404", "NOT_FOUND"), seen.error.status())


@calls.named("error: unknown, missing or repeated input")
async def _wrong_inputs(asking: Asking) -> None:
    one = integers()["INPUT0"]
    for inputs in ({"INPUT0": one, "INPUT7": one}, {"INPUT0": one}, {**integers(), "INPUT7": one}):
        with refused(InferenceServerException, "INPUT") as seen:
            await asking.infer("simple", inputs)
        check_equal(asking.status("400", "INVALID_ARGUMENT"), seen.error.status())
    with refused(InferenceServerException, "INPUT0") as seen:
        twice = [asking.tensor("INPUT0", one), asking.tensor("INPUT0", one)]
        await settled(asking.client.infer("simple", twice, headers=asking.target.bearer()))
    check_equal(asking.status("400", "INVALID_ARGUMENT"), seen.error.status())


@calls.named("error: wrong datatype")
async def _wrong_datatype(asking: Asking) -> None:
    wrong = integers() | {"INPUT1": integers()["INPUT1"].astype(np.float32)}
    with refused(InferenceServerException, "INPUT1", "INT32", "FP32") as seen:
        await asking.infer("simple", wrong)
    check_equal(asking.status("400", "INVALID_ARGUMENT"), seen.error.status())


@calls.named("error: wrong shape")
async def _wrong_shape(asking: Asking) -> None:
    short = {name: array[:, :4] for name, array in integers().items()}
    uneven = integers() | {"INPUT1": np.repeat(integers()["INPUT1"], 2, axis=0)}
    for inputs in (short, uneven):
        with refused(InferenceServerException, "1", "4" if inputs is short else "2") as seen:
            await asking.infer("simple", inputs)
        check_equal(asking.status("400", "INVALID_ARGUMENT"), seen.error.status())


@calls.named("error: unknown output")
async def _unknown_output(asking: Asking) -> None:
    with refused(InferenceServerException, "OUTPUT9", "OUTPUT0") as seen:
        await asking.infer("simple", integers(), outputs=asking.wanted(["OUTPUT9"]))
    check_equal(asking.status("400", "INVALID_ARGUMENT"), seen.error.status())


@calls.named("error: no key, a foreign key")
async def _no_key(asking: Asking) -> None:
    for headers in ({}, {"authorization": "Bearer not-a-key"}):
        with refused(InferenceServerException, "key") as seen:
            await asking.infer("simple", integers(), headers=headers)
        check_equal(asking.status("401", "UNAUTHENTICATED"), seen.error.status())


@calls.named("error: over the rate limit")
async def _rate_limited(asking: Asking) -> None:
    with refused(InferenceServerException, "paced", "0.5/s") as seen:
        for _ in range(8):
            await asking.infer("simple", integers(), headers=asking.target.bearer("paced"))
    check_equal(asking.status("429", "RESOURCE_EXHAUSTED"), seen.error.status())


@calls.named("error: loading and unloading models is not offered")
async def _no_load(asking: Asking) -> None:
    for method in (asking.client.load_model, asking.client.unload_model):
        with refused(InferenceServerException) as seen:
            await settled(method("simple"))
        check_equal(True, seen.error.status() in {"404", "501", "StatusCode.UNIMPLEMENTED"})
        check_equal(True, len(seen.error.message()) > 20)


@calls.named("error: shared memory and trace settings are not offered")
async def _no_shared_memory(asking: Asking) -> None:
    for method in ("get_system_shared_memory_status", "get_cuda_shared_memory_status", "get_trace_settings"):
        with refused(InferenceServerException) as seen:
            await settled(getattr(asking.client, method)())
        check_equal(True, seen.error.status() in {"404", "501", "StatusCode.UNIMPLEMENTED"})


@calls.named("error: sequences of stateful models are not offered")
async def _no_sequence(asking: Asking) -> None:
    with refused(InferenceServerException, "sequence_id") as seen:
        await asking.infer("simple", integers(), sequence_id=5, sequence_start=True)
    check_equal(asking.status("400", "INVALID_ARGUMENT"), seen.error.status())


@calls.named("error: a class_count, which would change what an output holds")
async def _no_classification(asking: Asking) -> None:
    output = asking.library.InferRequestedOutput("OUTPUT0", class_count=2)
    with refused(InferenceServerException, "classification") as seen:
        await asking.infer("simple", integers(), outputs=[output])
    check_equal(asking.status("400", "INVALID_ARGUMENT"), seen.error.status())


@calls.named("error: tensors in shared memory, which is not read")
async def _no_shared_tensors(asking: Asking) -> None:
    output = asking.library.InferRequestedOutput("OUTPUT0")
    output.set_shared_memory("region", 64)
    with refused(InferenceServerException, "shared_memory") as seen:
        await asking.infer("simple", integers(), outputs=[output])
    check_equal(asking.status("400", "INVALID_ARGUMENT"), seen.error.status())
    elsewhere = [asking.tensor(name, array) for name, array in integers().items()]
    elsewhere[0].set_shared_memory("region", 64)
    with refused(InferenceServerException, "shared_memory") as seen:
        await settled(asking.client.infer("simple", elsewhere, headers=asking.target.bearer()))
    check_equal(asking.status("400", "INVALID_ARGUMENT"), seen.error.status())
