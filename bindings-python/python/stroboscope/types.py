"""Types of what the functions return, for annotations."""

from typing import Literal, NotRequired, TypedDict


class ProbeStatus(TypedDict):
    """What one probe is doing."""

    id: str
    version: int
    state: Literal["received", "waiting", "installed", "emitting", "paused", "error", "blocked", "expired"]
    reason: str
    file: NotRequired[str]
    lines: NotRequired[list[int]]
    type: NotRequired[str]
    method: NotRequired[str]
    hits: int
    hits_exact: bool
    rejected: int
    failed: int
    failure: str | None
    emitted: int
    measured: NotRequired[int]
    traced: NotRequired[int]
    pending: int
    dropped: dict[str, int]
    last_reject: str | None
    nanoseconds_per_hit: int | None
    nanoseconds_p50: int | None
    nanoseconds_p99: int | None
    queued_bytes: int
    uploaded: int
    seconds_since_upload: float | None
    disarmed: bool
    note: NotRequired[str]


class Stats(TypedDict):
    """What became of hits, events and uploads, of all probes together."""

    hits: int
    emitted: int
    pending: int
    dropped: dict[str, int]
    queued_bytes: int
    unreadable: int
    measured: int
    metrics: "MetricStats | None"
    uploads: "UploadStats | None"


class MetricStats(TypedDict):
    """What became of the values of metric probes. Of a count one a second is sent; `lost` are those nobody took."""

    sent: int
    datagrams: int
    lost: int


class UploadStats(TypedDict):
    """What became of uploads. `lost` counts events by reason: `rejected`, `transport`, `breakerOpen`, `stopped`."""

    events: int
    statuses: int
    batches: int
    bytes: int
    retries: int
    lost: dict[str, int]
    statuses_lost: int
    symbols: int
    seconds_since_success: float | None
