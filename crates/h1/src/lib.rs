//! A strict HTTP/1 codec: bytes to heads and bodies and back; no sockets.
