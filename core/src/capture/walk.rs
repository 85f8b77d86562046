//! The bounded walk over host values, into a record.
