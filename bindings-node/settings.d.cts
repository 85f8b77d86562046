// The settings that `start` takes. Written by `cargo run -p xtask -- gen`; do not edit.

/** A value; `undefined` and `null` leave the setting to the environment and the default. */
export type Setting = string | number | boolean | URL | readonly string[] | ReadonlySet<string> | Record<string, string> | null;

/** By option name; see docs/settings.md. */
export interface Settings {
  enabled?: Setting;
  dynamicInstrumentationEnabled?: Setting;
  probeFile?: Setting;
  captureTimeoutMs?: Setting;
  evaluationTimeoutMs?: Setting;
  uploadFlushInterval?: Setting;
  uploadIntervalSeconds?: Setting;
  uploadTimeout?: Setting;
  uploadBatchSize?: Setting;
  diagnosticsInterval?: Setting;
  maxPayloadSize?: Setting;
  metricsEnabled?: Setting;
  redactedIdentifiers?: Setting;
  redactionExcludedIdentifiers?: Setting;
  redactedTypes?: Setting;
  pollIntervalSeconds?: Setting;
  snapshotUrl?: Setting;
  remoteConfigurationEnabled?: Setting;
  remoteConfigTrustRoot?: Setting;
  service?: Setting;
  env?: Setting;
  version?: Setting;
  tags?: Setting;
  gitCommitSha?: Setting;
  gitRepositoryUrl?: Setting;
  gitMetadataEnabled?: Setting;
  traceAgentUrl?: Setting;
  agentHost?: Setting;
  traceAgentPort?: Setting;
  dogstatsdUrl?: Setting;
  dogstatsdHost?: Setting;
  dogstatsdPort?: Setting;
  otlpEndpoint?: Setting;
  agentlessEnabled?: Setting;
  apiKey?: Setting;
  site?: Setting;
  externalEnv?: Setting;
  entityId?: Setting;
  propagateProcessTags?: Setting;
  thirdPartyIncludes?: Setting;
  thirdPartyExcludes?: Setting;
  symbolDatabaseUploadEnabled?: Setting;
  symbolDatabaseForceUpload?: Setting;
  symbolDatabaseIncludes?: Setting;
  cpuBudget?: Setting;
  capture?: Setting;
  captureKey?: Setting;
  rateLimits?: Setting;
  logStack?: Setting;
  cache?: Setting;
  ndjson?: Setting;
  explain?: Setting;
  terminal?: Setting;
}
