import type { Settings } from './settings.d.cts';

export type { Settings };

/** What a probe is doing, or did. */
export interface ProbeStatus {
  id: string;
  version: number;
  state: 'received' | 'waiting' | 'installed' | 'emitting' | 'paused' | 'error' | 'blocked' | 'expired';
  /** Why, in a sentence; empty if there is nothing to say. */
  reason: string;
  file?: string;
  /** The lines used; of a function the one at which it begins. */
  lines?: number[];
  /** The function, of a probe in one. */
  method?: string;
  /** Why it is there and not where it was asked for. */
  note?: string;
  hits: number;
  /** False if there may have been more hits. */
  hitsExact: boolean;
  /** Hits whose condition was false. */
  rejected: number;
  /** Hits whose condition, or the value of their metric, failed, … */
  failed: number;
  /** … and why. */
  failure: string | null;
  emitted: number;
  /** Values measured, of a metric probe. */
  measured?: number;
  /** Hits and events dropped, by reason. */
  dropped: Record<string, number>;
  /** Why a hit last came to nothing: a reason of `dropped`, `conditionFalse` or `evaluationError`. */
  lastReject: string | null;
  nanosecondsPerHit: number | null;
  /** How long hits took that made an event: half of those that were timed took no longer, … */
  nanosecondsP50: number | null;
  /** … and 99 of 100. */
  nanosecondsP99: number | null;
  /** Bytes of its events that wait for their place in an upload. */
  queuedBytes: number;
  /** Events that the Agent has taken, … */
  uploaded: number;
  /** … and how long ago the last was. */
  secondsSinceUpload: number | null;
  disarmed: boolean;
}

/** What became of hits, events and uploads, of all probes together. */
export interface Stats {
  hits: number;
  emitted: number;
  dropped: Record<string, number>;
  queuedBytes: number;
  unreadable: number;
  /** Values that metric probes have measured. */
  measured: number;
  /** What became of them; of a count one a second is sent. */
  metrics: { sent: number; datagrams: number; lost: number } | null;
  uploads: {
    events: number;
    statuses: number;
    batches: number;
    bytes: number;
    retries: number;
    lost: Record<string, number>;
    statusesLost: number;
    /** Modules whose symbols the Agent took. */
    symbols: number;
    secondsSinceSuccess: number | null;
  } | null;
}

/** The version of the package. */
export const version: string;

/**
 * Starts. Settings go before the environment.
 * @returns settings and probe files that could not be used, or why it is off
 * @throws if it is started already
 */
export function start(settings?: Settings): string[];

/**
 * Delivers what was captured and stops.
 * @param seconds how long that may take; 2 if it is not said
 * @returns false if something captured did not arrive: `stats()` says what became of it
 */
export function stop(seconds?: number): Promise<boolean>;

/**
 * Puts a probe in force: a definition, or its JSON text.
 * @returns its id; `status()` says what became of it
 */
export function addProbe(definition: object | string): string;

/**
 * Removes a probe.
 * @returns false if there is none with this id
 */
export function removeProbe(id: string): boolean;

/**
 * Waits until everything captured so far has left the process.
 * @param seconds how long that may take; 2 if it is not said
 * @returns false if it took longer, or something was lost on the way
 */
export function flush(seconds?: number): Promise<boolean>;

/** Says what every probe is doing, with a reason where there is one; after `stop()`, what it did. */
export function status(): ProbeStatus[];

/**
 * Says in sentences why a probe did or did not fire: what was searched and found, which lines near the one asked for have code,
 * whether that code ran since, what became of its hits, and what they have cost.
 * @throws if there is no probe with this id
 */
export function explain(id: string): string[];

/** Counts hits, events and uploads of all probes together; after `stop()` too. */
export function stats(): Stats;
