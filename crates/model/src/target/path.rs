//! The canonical path: one scan for a path that is canonical already, a rewrite in two steps for one that is not.

use super::TargetError;

/// What a byte means in a path: the fast scan looks each up once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stays as it is.
    Plain,
    /// `/`.
    Slash,
    /// `.`, which begins a dot segment after a slash.
    Dot,
    /// `%` or `\`: the path must be rewritten.
    Rewrite,
    /// `?` ends the path.
    Query,
    /// `#`.
    Fragment,
    /// Control bytes, space, DEL, not ASCII.
    Refused,
}

const CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut table = [Class::Refused; 256];
    let mut b = 0x21;
    while b < 0x7f {
        table[b] = Class::Plain;
        b += 1;
    }
    table[b'/' as usize] = Class::Slash;
    table[b'.' as usize] = Class::Dot;
    table[b'%' as usize] = Class::Rewrite;
    table[b'\\' as usize] = Class::Rewrite;
    table[b'?' as usize] = Class::Query;
    table[b'#' as usize] = Class::Fragment;
    table
}

const fn class(b: u8) -> Class {
    CLASSES[b as usize]
}

/// Canonical path and query of `raw`, which begins with `/`, and the length of the path. A path that is canonical
/// already costs one scan and one copy.
pub(super) fn canonical_path(raw: &[u8]) -> Result<(String, usize), TargetError> {
    let mut path_len = raw.len();
    let mut rewrite = false;
    let mut before = Class::Plain;
    for (i, &b) in raw.iter().enumerate() {
        let now = class(b);
        match now {
            Class::Plain | Class::Slash => {}
            Class::Dot => rewrite |= before == Class::Slash,
            Class::Rewrite => rewrite = true,
            Class::Query => {
                path_len = i;
                break;
            }
            Class::Fragment => return Err(TargetError::Fragment),
            Class::Refused => return Err(TargetError::Byte),
        }
        before = now;
    }
    let (path, query) = raw.split_at(path_len);
    for &b in query {
        match class(b) {
            Class::Fragment => return Err(TargetError::Fragment),
            Class::Refused => return Err(TargetError::Byte),
            Class::Plain | Class::Slash | Class::Dot | Class::Rewrite | Class::Query => {}
        }
    }
    if !rewrite {
        let whole = str::from_utf8(raw).map_err(|_| TargetError::Byte)?;
        return Ok((whole.to_owned(), path_len));
    }
    let mut text = rewritten(path)?;
    let path_len = text.len();
    text.push_str(str::from_utf8(query).map_err(|_| TargetError::Byte)?);
    Ok((text, path_len))
}

/// The slow half of [`canonical_path`]: first the escapes, then the dot segments, so that `%2e%2e` is seen as `..`.
fn rewritten(path: &[u8]) -> Result<String, TargetError> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        match b {
            b'\\' => decoded.push('/'),
            b'%' => {
                let Some((&[high, low], after)) = rest.split_first_chunk() else {
                    return Err(TargetError::Escape);
                };
                rest = after;
                push_escape(&mut decoded, high, low)?;
            }
            _ => decoded.push(char::from(b)),
        }
    }
    let mut text = String::with_capacity(path.len());
    let mut segments = decoded
        .strip_prefix('/')
        .unwrap_or(&decoded)
        .split('/')
        .peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." if last => text.push('/'),
            "." => {}
            ".." => {
                text.truncate(text.rfind('/').ok_or(TargetError::AboveRoot)?);
                if last {
                    text.push('/');
                }
            }
            _ => {
                text.push('/');
                text.push_str(segment);
            }
        }
    }
    Ok(text)
}

/// Writes `%XY`: decoded where it stands for an unreserved character (RFC 3986 section 6.2.2.2), else in upper case.
fn push_escape(out: &mut String, high: u8, low: u8) -> Result<(), TargetError> {
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
            .ok_or(TargetError::Escape)
    };
    let value = digit(high)? << 4 | digit(low)?;
    match value {
        0 => return Err(TargetError::Escape),
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            out.push(char::from(value))
        }
        _ => {
            out.push('%');
            out.push(char::from(high.to_ascii_uppercase()));
            out.push(char::from(low.to_ascii_uppercase()));
        }
    }
    Ok(())
}
