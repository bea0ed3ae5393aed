//! Nodes and pods as network namespaces on one machine: a small kubelet for demo, tests and bench.
