//! Messages between the parts: the table stream, agent and proxy, plugin and agent.
