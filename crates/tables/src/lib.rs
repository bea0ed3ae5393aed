//! The node's end of the table stream: session, last good state on disk, first use.
