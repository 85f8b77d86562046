//! Token buckets whose tokens stand in one 32-bit word per probe.
