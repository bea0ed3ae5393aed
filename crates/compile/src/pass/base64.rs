//! Base64, for bodies that are given as bytes.

/// Standard base64 with padding (RFC 4648, 4); `None` when it is not.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let text: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits: &[u8] = text
        .strip_suffix(b"==")
        .or_else(|| text.strip_suffix(b"="))
        .unwrap_or(&text);
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for digit in group {
            bits = (bits << 6) | u32::from(value(*digit)?);
        }
        bits <<= 6 * (4 - group.len() as u32);
        let [_, first, second, third] = bits.to_be_bytes();
        bytes.extend(
            [first, second, third]
                .into_iter()
                .take(group.len().checked_sub(1)?),
        );
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_strictly() {
        assert_eq!(decode("aGVsbG8=").unwrap(), b"hello");
        assert_eq!(decode("aGVsbA==").unwrap(), b"hell");
        assert_eq!(decode("aGVs\nbG8h").unwrap(), b"hello!");
        assert_eq!(decode("").unwrap(), b"");
        for wrong in ["a", "aGVsbG8", "aGV*", "a===", "===="] {
            assert!(decode(wrong).is_none(), "{wrong}");
        }
    }
}
