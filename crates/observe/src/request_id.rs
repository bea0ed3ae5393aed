//! Ids of requests that bring none. Two sources with different seeds never agree in practice, and no clock or dice are
//! asked for one: it costs a few nanoseconds.

/// Makes request ids: one source per worker, seeded differently.
#[derive(Clone, Debug)]
pub struct RequestIds {
    seed: u64,
    counter: u64,
}

/// A request id as text, in the shape of a random UUID (RFC 9562 version 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId([u8; 36]);

impl RequestIds {
    /// A source; two sources with the same seed give the same ids.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }

    /// The next id.
    pub fn next_id(&mut self) -> RequestId {
        self.counter = self.counter.wrapping_add(1);
        let high = mix(self
            .seed
            .wrapping_add(self.counter.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let low = mix(high ^ self.seed.rotate_left(32));
        // Version 4, variant 10 (RFC 9562 section 4).
        let high = high & !0xf000 | 0x4000;
        let low = low & !(0b11 << 62) | 0b10 << 62;
        RequestId(format_uuid(high, low))
    }
}

impl RequestId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only digits, letters and dashes were written.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes of the text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Mixes all bits and loses none (the finisher of splitmix64; Steele, Lea, Flood).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn format_uuid(high: u64, low: u64) -> [u8; 36] {
    let words = [high >> 32, high & 0xffff_ffff, low >> 32, low & 0xffff_ffff];
    let [a, [b, c, d, e, f, g, h, i], [j, k, l, m, n, o, p, q], z] = words.map(hex_digits);
    let mut text = [b'-'; 36];
    text[..8].copy_from_slice(&a);
    text[9..13].copy_from_slice(&[b, c, d, e]);
    text[14..18].copy_from_slice(&[f, g, h, i]);
    text[19..23].copy_from_slice(&[j, k, l, m]);
    text[24..28].copy_from_slice(&[n, o, p, q]);
    text[28..].copy_from_slice(&z);
    text
}

/// The eight digits of a 32-bit number, all at once: one nibble per byte, then `0` or `a` - 10 added to each.
fn hex_digits(number: u64) -> [u8; 8] {
    let spread = (number | number << 16) & 0x0000_ffff_0000_ffff;
    let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = ((nibbles + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (nibbles + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_distinct_version_four_uuids() {
        let mut seen = HashSet::new();
        for seed in [0, 1, u64::MAX] {
            let mut ids = RequestIds::new(seed);
            for _ in 0..20_000 {
                let id = ids.next_id();
                let text = id.as_str();
                let parts: Vec<usize> = text.split('-').map(str::len).collect();
                assert_eq!(parts, [8, 4, 4, 4, 12]);
                assert!(text.bytes().all(|byte| byte == b'-'
                    || byte.is_ascii_digit()
                    || (b'a'..=b'f').contains(&byte)));
                assert_eq!(&text[14..15], "4");
                assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"));
                assert!(seen.insert(text.to_owned()));
            }
        }
    }

    #[test]
    fn digits_are_those_of_format() {
        for number in [0u64, 1, 0x9abc_def0, 0x1234_5678, 0xffff_ffff] {
            assert_eq!(hex_digits(number), *format!("{number:08x}").as_bytes());
        }
    }
}
