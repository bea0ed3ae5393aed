//! Facts about a request turned into labels, metric cells and access log lines.
