//! The chained CNI plugin: one round trip to the agent.

fn main() {}
