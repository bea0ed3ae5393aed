//! Request-time decisions: pure functions over one immutable table.
