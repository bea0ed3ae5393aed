//! The process kit: logging, readiness, signals, metrics and admin endpoints.
