//! Manifests to per-node tables and diagnostics; pure and total.
