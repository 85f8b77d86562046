//! Start, stop, fork: owns the registry, the rings, the worker and the sender.
