from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetReceiptRequest(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("schema", "request_id", "state", "rounded", "tenant", "project", "key_id", "model", "variant", "variant_digest", "region", "emulated", "protocol", "outcome", "code", "cache", "reason", "rows", "batch_rows", "tokens_in", "ended", "charged", "attempt", "energy", "carbon", "factors", "flags", "method", "unknown_reasons", "history", "proof", "slots", "power_models", "devices")
    class Energy(_message.Message):
        __slots__ = ("energy_joules", "energy_low_joules", "energy_high_joules", "active_joules", "held_joules", "host_joules", "idle_joules", "overhead_joules", "alone_joules", "facility_joules", "tier")
        ENERGY_JOULES_FIELD_NUMBER: _ClassVar[int]
        ENERGY_LOW_JOULES_FIELD_NUMBER: _ClassVar[int]
        ENERGY_HIGH_JOULES_FIELD_NUMBER: _ClassVar[int]
        ACTIVE_JOULES_FIELD_NUMBER: _ClassVar[int]
        HELD_JOULES_FIELD_NUMBER: _ClassVar[int]
        HOST_JOULES_FIELD_NUMBER: _ClassVar[int]
        IDLE_JOULES_FIELD_NUMBER: _ClassVar[int]
        OVERHEAD_JOULES_FIELD_NUMBER: _ClassVar[int]
        ALONE_JOULES_FIELD_NUMBER: _ClassVar[int]
        FACILITY_JOULES_FIELD_NUMBER: _ClassVar[int]
        TIER_FIELD_NUMBER: _ClassVar[int]
        energy_joules: str
        energy_low_joules: str
        energy_high_joules: str
        active_joules: str
        held_joules: str
        host_joules: str
        idle_joules: str
        overhead_joules: str
        alone_joules: str
        facility_joules: str
        tier: str
        def __init__(self, energy_joules: _Optional[str] = ..., energy_low_joules: _Optional[str] = ..., energy_high_joules: _Optional[str] = ..., active_joules: _Optional[str] = ..., held_joules: _Optional[str] = ..., host_joules: _Optional[str] = ..., idle_joules: _Optional[str] = ..., overhead_joules: _Optional[str] = ..., alone_joules: _Optional[str] = ..., facility_joules: _Optional[str] = ..., tier: _Optional[str] = ...) -> None: ...
    class Carbon(_message.Message):
        __slots__ = ("loc_lifecycle_gco2e", "loc_direct_gco2e", "market_gco2e", "embodied_gco2e")
        LOC_LIFECYCLE_GCO2E_FIELD_NUMBER: _ClassVar[int]
        LOC_DIRECT_GCO2E_FIELD_NUMBER: _ClassVar[int]
        MARKET_GCO2E_FIELD_NUMBER: _ClassVar[int]
        EMBODIED_GCO2E_FIELD_NUMBER: _ClassVar[int]
        loc_lifecycle_gco2e: str
        loc_direct_gco2e: str
        market_gco2e: str
        embodied_gco2e: str
        def __init__(self, loc_lifecycle_gco2e: _Optional[str] = ..., loc_direct_gco2e: _Optional[str] = ..., market_gco2e: _Optional[str] = ..., embodied_gco2e: _Optional[str] = ...) -> None: ...
    class Factor(_message.Message):
        __slots__ = ("factor", "zone", "provider", "origin", "basis", "kind", "gco2e_per_kwh", "start", "end", "region", "pue")
        FACTOR_FIELD_NUMBER: _ClassVar[int]
        ZONE_FIELD_NUMBER: _ClassVar[int]
        PROVIDER_FIELD_NUMBER: _ClassVar[int]
        ORIGIN_FIELD_NUMBER: _ClassVar[int]
        BASIS_FIELD_NUMBER: _ClassVar[int]
        KIND_FIELD_NUMBER: _ClassVar[int]
        GCO2E_PER_KWH_FIELD_NUMBER: _ClassVar[int]
        START_FIELD_NUMBER: _ClassVar[int]
        END_FIELD_NUMBER: _ClassVar[int]
        REGION_FIELD_NUMBER: _ClassVar[int]
        PUE_FIELD_NUMBER: _ClassVar[int]
        factor: str
        zone: str
        provider: str
        origin: str
        basis: str
        kind: str
        gco2e_per_kwh: str
        start: str
        end: str
        region: str
        pue: str
        def __init__(self, factor: _Optional[str] = ..., zone: _Optional[str] = ..., provider: _Optional[str] = ..., origin: _Optional[str] = ..., basis: _Optional[str] = ..., kind: _Optional[str] = ..., gco2e_per_kwh: _Optional[str] = ..., start: _Optional[str] = ..., end: _Optional[str] = ..., region: _Optional[str] = ..., pue: _Optional[str] = ...) -> None: ...
    class Device(_message.Message):
        __slots__ = ("device", "energy_joules", "active_joules", "held_joules", "host_joules", "tier")
        DEVICE_FIELD_NUMBER: _ClassVar[int]
        ENERGY_JOULES_FIELD_NUMBER: _ClassVar[int]
        ACTIVE_JOULES_FIELD_NUMBER: _ClassVar[int]
        HELD_JOULES_FIELD_NUMBER: _ClassVar[int]
        HOST_JOULES_FIELD_NUMBER: _ClassVar[int]
        TIER_FIELD_NUMBER: _ClassVar[int]
        device: str
        energy_joules: str
        active_joules: str
        held_joules: str
        host_joules: str
        tier: str
        def __init__(self, device: _Optional[str] = ..., energy_joules: _Optional[str] = ..., active_joules: _Optional[str] = ..., held_joules: _Optional[str] = ..., host_joules: _Optional[str] = ..., tier: _Optional[str] = ...) -> None: ...
    class Step(_message.Message):
        __slots__ = ("index", "attempt", "revision", "state", "energy_joules", "tier", "loc_lifecycle_gco2e")
        INDEX_FIELD_NUMBER: _ClassVar[int]
        ATTEMPT_FIELD_NUMBER: _ClassVar[int]
        REVISION_FIELD_NUMBER: _ClassVar[int]
        STATE_FIELD_NUMBER: _ClassVar[int]
        ENERGY_JOULES_FIELD_NUMBER: _ClassVar[int]
        TIER_FIELD_NUMBER: _ClassVar[int]
        LOC_LIFECYCLE_GCO2E_FIELD_NUMBER: _ClassVar[int]
        index: int
        attempt: int
        revision: int
        state: str
        energy_joules: str
        tier: str
        loc_lifecycle_gco2e: str
        def __init__(self, index: _Optional[int] = ..., attempt: _Optional[int] = ..., revision: _Optional[int] = ..., state: _Optional[str] = ..., energy_joules: _Optional[str] = ..., tier: _Optional[str] = ..., loc_lifecycle_gco2e: _Optional[str] = ...) -> None: ...
    class Slot(_message.Message):
        __slots__ = ("start", "zone", "provider", "origin", "basis", "gco2e_per_kwh", "energy_joules", "loc_lifecycle_gco2e", "loc_direct_gco2e")
        START_FIELD_NUMBER: _ClassVar[int]
        ZONE_FIELD_NUMBER: _ClassVar[int]
        PROVIDER_FIELD_NUMBER: _ClassVar[int]
        ORIGIN_FIELD_NUMBER: _ClassVar[int]
        BASIS_FIELD_NUMBER: _ClassVar[int]
        GCO2E_PER_KWH_FIELD_NUMBER: _ClassVar[int]
        ENERGY_JOULES_FIELD_NUMBER: _ClassVar[int]
        LOC_LIFECYCLE_GCO2E_FIELD_NUMBER: _ClassVar[int]
        LOC_DIRECT_GCO2E_FIELD_NUMBER: _ClassVar[int]
        start: str
        zone: str
        provider: str
        origin: str
        basis: str
        gco2e_per_kwh: str
        energy_joules: str
        loc_lifecycle_gco2e: str
        loc_direct_gco2e: str
        def __init__(self, start: _Optional[str] = ..., zone: _Optional[str] = ..., provider: _Optional[str] = ..., origin: _Optional[str] = ..., basis: _Optional[str] = ..., gco2e_per_kwh: _Optional[str] = ..., energy_joules: _Optional[str] = ..., loc_lifecycle_gco2e: _Optional[str] = ..., loc_direct_gco2e: _Optional[str] = ...) -> None: ...
    class PowerModel(_message.Message):
        __slots__ = ("state", "device", "version", "sha256", "tier", "reason")
        STATE_FIELD_NUMBER: _ClassVar[int]
        DEVICE_FIELD_NUMBER: _ClassVar[int]
        VERSION_FIELD_NUMBER: _ClassVar[int]
        SHA256_FIELD_NUMBER: _ClassVar[int]
        TIER_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        state: str
        device: str
        version: int
        sha256: str
        tier: str
        reason: str
        def __init__(self, state: _Optional[str] = ..., device: _Optional[str] = ..., version: _Optional[int] = ..., sha256: _Optional[str] = ..., tier: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
    class Proof(_message.Message):
        __slots__ = ("index", "salt", "leaf_hash", "body_sha256")
        INDEX_FIELD_NUMBER: _ClassVar[int]
        SALT_FIELD_NUMBER: _ClassVar[int]
        LEAF_HASH_FIELD_NUMBER: _ClassVar[int]
        BODY_SHA256_FIELD_NUMBER: _ClassVar[int]
        index: int
        salt: str
        leaf_hash: str
        body_sha256: str
        def __init__(self, index: _Optional[int] = ..., salt: _Optional[str] = ..., leaf_hash: _Optional[str] = ..., body_sha256: _Optional[str] = ...) -> None: ...
    class UnknownReasonsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ROUNDED_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    VARIANT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    EMULATED_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BATCH_ROWS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_IN_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    CHARGED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ENERGY_FIELD_NUMBER: _ClassVar[int]
    CARBON_FIELD_NUMBER: _ClassVar[int]
    FACTORS_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_REASONS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    POWER_MODELS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    schema: str
    request_id: str
    state: str
    rounded: bool
    tenant: str
    project: str
    key_id: str
    model: str
    variant: str
    variant_digest: str
    region: str
    emulated: bool
    protocol: str
    outcome: str
    code: str
    cache: str
    reason: str
    rows: int
    batch_rows: int
    tokens_in: int
    ended: str
    charged: bool
    attempt: int
    energy: Receipt.Energy
    carbon: Receipt.Carbon
    factors: _containers.RepeatedCompositeFieldContainer[Receipt.Factor]
    flags: _containers.RepeatedScalarFieldContainer[str]
    method: str
    unknown_reasons: _containers.ScalarMap[str, str]
    history: _containers.RepeatedCompositeFieldContainer[Receipt.Step]
    proof: Receipt.Proof
    slots: _containers.RepeatedCompositeFieldContainer[Receipt.Slot]
    power_models: _containers.RepeatedCompositeFieldContainer[Receipt.PowerModel]
    devices: _containers.RepeatedCompositeFieldContainer[Receipt.Device]
    def __init__(self, schema: _Optional[str] = ..., request_id: _Optional[str] = ..., state: _Optional[str] = ..., rounded: _Optional[bool] = ..., tenant: _Optional[str] = ..., project: _Optional[str] = ..., key_id: _Optional[str] = ..., model: _Optional[str] = ..., variant: _Optional[str] = ..., variant_digest: _Optional[str] = ..., region: _Optional[str] = ..., emulated: _Optional[bool] = ..., protocol: _Optional[str] = ..., outcome: _Optional[str] = ..., code: _Optional[str] = ..., cache: _Optional[str] = ..., reason: _Optional[str] = ..., rows: _Optional[int] = ..., batch_rows: _Optional[int] = ..., tokens_in: _Optional[int] = ..., ended: _Optional[str] = ..., charged: _Optional[bool] = ..., attempt: _Optional[int] = ..., energy: _Optional[_Union[Receipt.Energy, _Mapping]] = ..., carbon: _Optional[_Union[Receipt.Carbon, _Mapping]] = ..., factors: _Optional[_Iterable[_Union[Receipt.Factor, _Mapping]]] = ..., flags: _Optional[_Iterable[str]] = ..., method: _Optional[str] = ..., unknown_reasons: _Optional[_Mapping[str, str]] = ..., history: _Optional[_Iterable[_Union[Receipt.Step, _Mapping]]] = ..., proof: _Optional[_Union[Receipt.Proof, _Mapping]] = ..., slots: _Optional[_Iterable[_Union[Receipt.Slot, _Mapping]]] = ..., power_models: _Optional[_Iterable[_Union[Receipt.PowerModel, _Mapping]]] = ..., devices: _Optional[_Iterable[_Union[Receipt.Device, _Mapping]]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("model", "tokens", "rows", "p95_ms", "min_quality", "policy", "regions", "variant", "intensity_gco2e_per_kwh")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    P95_MS_FIELD_NUMBER: _ClassVar[int]
    MIN_QUALITY_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    INTENSITY_GCO2E_PER_KWH_FIELD_NUMBER: _ClassVar[int]
    model: str
    tokens: int
    rows: int
    p95_ms: float
    min_quality: float
    policy: str
    regions: _containers.RepeatedScalarFieldContainer[str]
    variant: str
    intensity_gco2e_per_kwh: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, model: _Optional[str] = ..., tokens: _Optional[int] = ..., rows: _Optional[int] = ..., p95_ms: _Optional[float] = ..., min_quality: _Optional[float] = ..., policy: _Optional[str] = ..., regions: _Optional[_Iterable[str]] = ..., variant: _Optional[str] = ..., intensity_gco2e_per_kwh: _Optional[_Iterable[float]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("model", "tenant", "padded_tokens", "latency_s", "emulated_regions", "grids")
    class GridIntensity(_message.Message):
        __slots__ = ("gco2e_per_kwh", "basis", "kind", "origin", "provider", "start", "end", "retrieved", "age_s")
        GCO2E_PER_KWH_FIELD_NUMBER: _ClassVar[int]
        BASIS_FIELD_NUMBER: _ClassVar[int]
        KIND_FIELD_NUMBER: _ClassVar[int]
        ORIGIN_FIELD_NUMBER: _ClassVar[int]
        PROVIDER_FIELD_NUMBER: _ClassVar[int]
        START_FIELD_NUMBER: _ClassVar[int]
        END_FIELD_NUMBER: _ClassVar[int]
        RETRIEVED_FIELD_NUMBER: _ClassVar[int]
        AGE_S_FIELD_NUMBER: _ClassVar[int]
        gco2e_per_kwh: str
        basis: str
        kind: str
        origin: str
        provider: str
        start: str
        end: str
        retrieved: str
        age_s: int
        def __init__(self, gco2e_per_kwh: _Optional[str] = ..., basis: _Optional[str] = ..., kind: _Optional[str] = ..., origin: _Optional[str] = ..., provider: _Optional[str] = ..., start: _Optional[str] = ..., end: _Optional[str] = ..., retrieved: _Optional[str] = ..., age_s: _Optional[int] = ...) -> None: ...
    class Candidate(_message.Message):
        __slots__ = ("region", "variant", "quality", "eta_s", "energy_j", "tier", "emissions_g", "capacity_g", "quality_g", "latency_g", "score_g", "picked", "verdict")
        REGION_FIELD_NUMBER: _ClassVar[int]
        VARIANT_FIELD_NUMBER: _ClassVar[int]
        QUALITY_FIELD_NUMBER: _ClassVar[int]
        ETA_S_FIELD_NUMBER: _ClassVar[int]
        ENERGY_J_FIELD_NUMBER: _ClassVar[int]
        TIER_FIELD_NUMBER: _ClassVar[int]
        EMISSIONS_G_FIELD_NUMBER: _ClassVar[int]
        CAPACITY_G_FIELD_NUMBER: _ClassVar[int]
        QUALITY_G_FIELD_NUMBER: _ClassVar[int]
        LATENCY_G_FIELD_NUMBER: _ClassVar[int]
        SCORE_G_FIELD_NUMBER: _ClassVar[int]
        PICKED_FIELD_NUMBER: _ClassVar[int]
        VERDICT_FIELD_NUMBER: _ClassVar[int]
        region: str
        variant: str
        quality: float
        eta_s: float
        energy_j: float
        tier: str
        emissions_g: float
        capacity_g: float
        quality_g: float
        latency_g: float
        score_g: float
        picked: bool
        verdict: str
        def __init__(self, region: _Optional[str] = ..., variant: _Optional[str] = ..., quality: _Optional[float] = ..., eta_s: _Optional[float] = ..., energy_j: _Optional[float] = ..., tier: _Optional[str] = ..., emissions_g: _Optional[float] = ..., capacity_g: _Optional[float] = ..., quality_g: _Optional[float] = ..., latency_g: _Optional[float] = ..., score_g: _Optional[float] = ..., picked: _Optional[bool] = ..., verdict: _Optional[str] = ...) -> None: ...
    class Grid(_message.Message):
        __slots__ = ("intensity", "picked", "reason", "flags", "refusal", "candidates")
        class IntensityEntry(_message.Message):
            __slots__ = ("key", "value")
            KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            key: str
            value: Explanation.GridIntensity
            def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Explanation.GridIntensity, _Mapping]] = ...) -> None: ...
        INTENSITY_FIELD_NUMBER: _ClassVar[int]
        PICKED_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        FLAGS_FIELD_NUMBER: _ClassVar[int]
        REFUSAL_FIELD_NUMBER: _ClassVar[int]
        CANDIDATES_FIELD_NUMBER: _ClassVar[int]
        intensity: _containers.MessageMap[str, Explanation.GridIntensity]
        picked: str
        reason: str
        flags: _containers.RepeatedScalarFieldContainer[str]
        refusal: str
        candidates: _containers.RepeatedCompositeFieldContainer[Explanation.Candidate]
        def __init__(self, intensity: _Optional[_Mapping[str, Explanation.GridIntensity]] = ..., picked: _Optional[str] = ..., reason: _Optional[str] = ..., flags: _Optional[_Iterable[str]] = ..., refusal: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Explanation.Candidate, _Mapping]]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    PADDED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_S_FIELD_NUMBER: _ClassVar[int]
    EMULATED_REGIONS_FIELD_NUMBER: _ClassVar[int]
    GRIDS_FIELD_NUMBER: _ClassVar[int]
    model: str
    tenant: str
    padded_tokens: int
    latency_s: float
    emulated_regions: _containers.RepeatedScalarFieldContainer[str]
    grids: _containers.RepeatedCompositeFieldContainer[Explanation.Grid]
    def __init__(self, model: _Optional[str] = ..., tenant: _Optional[str] = ..., padded_tokens: _Optional[int] = ..., latency_s: _Optional[float] = ..., emulated_regions: _Optional[_Iterable[str]] = ..., grids: _Optional[_Iterable[_Union[Explanation.Grid, _Mapping]]] = ...) -> None: ...

class StreamIntensityRequest(_message.Message):
    __slots__ = ("zones",)
    ZONES_FIELD_NUMBER: _ClassVar[int]
    zones: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, zones: _Optional[_Iterable[str]] = ...) -> None: ...

class Intensity(_message.Message):
    __slots__ = ("zone", "mg_per_kwh", "kind", "basis", "origin", "provider", "start_us", "end_us", "retrieved_us")
    ZONE_FIELD_NUMBER: _ClassVar[int]
    MG_PER_KWH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    BASIS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    START_US_FIELD_NUMBER: _ClassVar[int]
    END_US_FIELD_NUMBER: _ClassVar[int]
    RETRIEVED_US_FIELD_NUMBER: _ClassVar[int]
    zone: str
    mg_per_kwh: int
    kind: str
    basis: str
    origin: str
    provider: str
    start_us: int
    end_us: int
    retrieved_us: int
    def __init__(self, zone: _Optional[str] = ..., mg_per_kwh: _Optional[int] = ..., kind: _Optional[str] = ..., basis: _Optional[str] = ..., origin: _Optional[str] = ..., provider: _Optional[str] = ..., start_us: _Optional[int] = ..., end_us: _Optional[int] = ..., retrieved_us: _Optional[int] = ...) -> None: ...
