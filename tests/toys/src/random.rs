//! Random vectors.
