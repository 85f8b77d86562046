//! The CPU budget: pauses the dearest probe while the whole costs too much.
