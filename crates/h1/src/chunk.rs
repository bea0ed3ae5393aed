//! The chunk-size line (RFC 9112 section 7.1), read by its grammar and nothing looser: a reader that takes a bare LF, a
//! sign or junk in an extension cuts the stream elsewhere than its neighbour (V4 to V6).

use crate::body::BodyError;

/// Hexadecimal digits of a chunk size; more could overflow (V4).
const MAX_DIGITS: usize = 16;

/// A token byte (RFC 9110 section 5.6.2).
pub(crate) const fn is_token(b: u8) -> bool {
    matches!(b, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// Reads a line without its CRLF: the size, and how many bytes of extensions followed it.
pub(crate) fn size_line(line: &[u8]) -> Result<(u64, usize), BodyError> {
    let mut size = 0_u64;
    let mut digits = 0;
    for &b in line {
        let Some(digit) = char::from(b).to_digit(16) else {
            break;
        };
        digits += 1;
        if digits > MAX_DIGITS {
            return Err(BodyError::ChunkSize);
        }
        size = size << 4 | u64::from(digit);
    }
    let extensions = line.get(digits..).unwrap_or_default();
    if digits == 0 {
        return Err(BodyError::ChunkSize);
    }
    if !extensions.is_empty() {
        check_extensions(extensions)?;
    }
    Ok((size, extensions.len()))
}

/// `*( BWS ";" BWS name [ BWS "=" BWS value ] )`. Read only to be sure where it ends; never passed on.
fn check_extensions(mut rest: &[u8]) -> Result<(), BodyError> {
    let bad = BodyError::ChunkExtension;
    while !rest.is_empty() {
        rest = skip_space(skip_space(rest).strip_prefix(b";").ok_or(bad)?);
        rest = skip_token(rest).ok_or(bad)?;
        if let Some(value) = skip_space(rest).strip_prefix(b"=") {
            let value = skip_space(value);
            rest = match value.strip_prefix(b"\"") {
                Some(quoted) => skip_quoted(quoted).ok_or(bad)?,
                None => skip_token(value).ok_or(bad)?,
            };
        }
    }
    Ok(())
}

fn skip_space(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .position(|b| !matches!(b, b' ' | b'\t'))
        .unwrap_or(text.len());
    text.get(end..).unwrap_or_default()
}

fn skip_token(text: &[u8]) -> Option<&[u8]> {
    let end = text
        .iter()
        .position(|&b| !is_token(b))
        .unwrap_or(text.len());
    if end == 0 { None } else { text.get(end..) }
}

/// The rest after a quoted-string whose opening quote is already gone.
fn skip_quoted(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (&b, after) = rest.split_first()?;
        rest = match b {
            b'"' => return Some(after),
            b'\\' => {
                let (&escaped, after) = after.split_first()?;
                if !is_text(escaped) {
                    return None;
                }
                after
            }
            b if is_text(b) => after,
            _ => return None,
        };
    }
}

const fn is_text(b: u8) -> bool {
    matches!(b, b'\t' | b' '..=b'~' | 0x80..)
}
