//! End-to-end tests: the real binaries, two nodes, real redirection.
