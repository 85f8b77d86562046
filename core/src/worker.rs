//! Refills gates, re-arms, applies changes, drains rings, renders. Never touches the network.
