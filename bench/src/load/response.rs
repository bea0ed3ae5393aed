//! Just enough of a response to know that it is all there: status, content-length, body.

use anyhow::{Context, bail};

/// The status once head and body are complete; None while bytes are missing.
pub(crate) fn complete(bytes: &[u8]) -> anyhow::Result<Option<u16>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default()).context("odd head")?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .context("no status line")?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let Some(length) = length else {
        bail!("a response without content-length: {head}")
    };
    Ok((bytes.len() >= end + 4 + length).then_some(status))
}

#[cfg(test)]
mod tests {
    use super::complete;

    #[test]
    fn a_response_is_complete_with_its_last_byte() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        for end in 0..whole.len() {
            assert_eq!(complete(&whole[..end]).unwrap(), None, "{end}");
        }
        assert_eq!(complete(whole).unwrap(), Some(200));
        assert!(complete(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
