//! Seeded inputs for the replays: real messages, mutated. The same seed gives the same inputs, so that a failure names
//! all that is needed to see it again.

/// A xorshift generator; good enough to vary tests, and the same everywhere.
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % bound.max(1)
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// Requests that touch each rule; some are refused as they are.
pub(crate) const REQUESTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a/../b%2e?c=d HTTP/1.1\r\nHost: Shop.Example:80\r\nAccept: */*\r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /next HTTP/1.0\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;e=\"f\"\r\nhello\r\n0\r\nX-T: v\r\nHost: z\r\n\r\n",
    b"PUT http://a/p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\nConnection: X, close\r\nX: y\r\n\r\nz",
    b"GET /ws HTTP/1.1\r\nHost: [::1]:80\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nX_Forwarded_For: 1\r\nx-weft-a: b\r\nCookie: c=d; e=f\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\nHEAD /q HTTP/1.0\r\nHost: a\r\n\r\n",
    b"\r\nDELETE /%41%2f HTTP/1.1\r\nhost: a.b.\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \t\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n\x16\x03\x01",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nZ\r\n0\r\n\r\n",
];

/// Responses, likewise.
pub(crate) const RESPONSES: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: x\r\n\r\nokHTTP/1.1",
    b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\nConnection: close\r\n\r\nuntil the end",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x=\r\n\r\n\x81\x00",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\nETag: \"x\"\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
    b"HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: a/2\r\nContent-Length: 0\r\n\r\n",
];

/// Chunked bodies, likewise.
pub(crate) const CHUNKED: &[&[u8]] = &[
    b"0\r\n\r\n",
    b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET",
    b"a;b=c;d=\"e\\\"\" ; f\r\n0123456789\r\n1\r\n\n\r\n00\r\nA: b\r\nC:\td \r\nHost: x\r\n\r\n",
    b"ffffffffffffffff\r\nendless",
];

/// Host, LF, target.
pub(crate) const TARGETS: &[&[u8]] = &[
    b"a\n/",
    b"a.b:80\n/x/./y/%2e%2E/%41?q#",
    b"[::1]:8\n/\\a//b/..;/c",
    b"a\nhttp://A.:80/x?y",
    b"a\n*",
    b"a:1\na:1",
];

/// Pieces that matter to a parser.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b"\0",
    b"\x7f",
    b"\x80",
    b"\xff",
    b",",
    b";",
    b"\"",
    b"=",
    b"/",
    b"\\",
    b"%",
    b"..",
    b"%2e",
    b"%00",
    b"#",
    b"?",
    b"@",
    b"[",
    b"]",
    b"0",
    b"00",
    b"f",
    b"0x",
    b"+",
    b"-",
    b"_",
    b"chunked",
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"HTTP/2.0",
    b"identity",
    b"18446744073709551616",
    b"\r\n\r\n",
    b"X: y\r\n",
    b" \r\n ",
    b"h2c",
    b"a",
];

/// One of `seeds` after none to four mutations.
pub(crate) fn mutant(seed: &mut Seed, seeds: &[&[u8]]) -> Vec<u8> {
    let mut bytes = seed.pick(seeds).to_vec();
    for _ in 0..seed.below(5) {
        let at = seed.below(bytes.len() + 1);
        let end = (at + 1 + seed.below(6)).min(bytes.len());
        match seed.below(6) {
            0 if at < bytes.len() => bytes[at] = u8::try_from(seed.below(256)).unwrap(),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            3 => {
                let other = seed.pick(seeds);
                let from = seed.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            4 => drop(bytes.splice(at..end, seed.pick(PIECES).iter().copied())),
            _ => drop(bytes.splice(at..at, seed.pick(PIECES).iter().copied())),
        }
    }
    bytes
}
