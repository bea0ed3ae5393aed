//! Network namespaces, file descriptor passing, original destinations: the only unsafe code.
