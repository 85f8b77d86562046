"""The settings that `start` takes. Written by `cargo run -p xtask -- gen`; do not edit."""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TypedDict

Setting = str | int | float | PathLike[str] | Iterable[str] | Mapping[str, str] | None
"""A value; `None` leaves the setting to the environment and the default."""


class Settings(TypedDict, total=False):
    """By option name; see docs/settings.md."""

    enabled: Setting
    dynamic_instrumentation_enabled: Setting
    probe_file: Setting
    capture_timeout_ms: Setting
    evaluation_timeout_ms: Setting
    upload_flush_interval: Setting
    upload_interval_seconds: Setting
    upload_timeout: Setting
    upload_batch_size: Setting
    diagnostics_interval: Setting
    max_payload_size: Setting
    metrics_enabled: Setting
    redacted_identifiers: Setting
    redaction_excluded_identifiers: Setting
    redacted_types: Setting
    poll_interval_seconds: Setting
    snapshot_url: Setting
    remote_configuration_enabled: Setting
    remote_config_trust_root: Setting
    service: Setting
    env: Setting
    version: Setting
    tags: Setting
    git_commit_sha: Setting
    git_repository_url: Setting
    git_metadata_enabled: Setting
    trace_agent_url: Setting
    agent_host: Setting
    trace_agent_port: Setting
    dogstatsd_url: Setting
    dogstatsd_host: Setting
    dogstatsd_port: Setting
    otlp_endpoint: Setting
    agentless_enabled: Setting
    api_key: Setting
    site: Setting
    external_env: Setting
    entity_id: Setting
    propagate_process_tags: Setting
    third_party_includes: Setting
    third_party_excludes: Setting
    symbol_database_upload_enabled: Setting
    symbol_database_force_upload: Setting
    symbol_database_includes: Setting
    cpu_budget: Setting
    capture: Setting
    capture_key: Setting
    rate_limits: Setting
    log_stack: Setting
    cache: Setting
    ndjson: Setting
    explain: Setting
    terminal: Setting
