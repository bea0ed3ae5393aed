//! The POSIX ustar format (IEEE Std 1003.1, `pax`), as little of it as images need: files, directories and links of
//! root, dated to the epoch, so that equal content is equal bytes.

/// Header and padding unit.
const BLOCK: usize = 512;
/// Longest last part of a path, and longest target of a link.
const NAME_BYTES: usize = 100;
/// Longest directory part of a path.
const PREFIX_BYTES: usize = 155;
/// One more than the largest size in eleven octal digits.
const SIZE_LIMIT: u64 = 1 << 33;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    File(&'a [u8]),
    Link(&'a str),
    Directory,
}

/// Why an entry does not fit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    Name,
    Size,
}

/// Entries one after the other.
#[derive(Default)]
pub(crate) struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    /// Adds an entry; `path` is relative, a directory's without a trailing slash.
    pub(crate) fn add(&mut self, path: &str, mode: u32, kind: Kind<'_>) -> Result<(), Misfit> {
        let (flag, data, target): (u8, &[u8], &str) = match kind {
            Kind::File(data) => (b'0', data, ""),
            Kind::Link(target) => (b'2', &[], target),
            Kind::Directory => (b'5', &[], ""),
        };
        let (prefix, name) = split(path, kind == Kind::Directory).ok_or(Misfit::Name)?;
        let size = data.len() as u64;
        if target.len() > NAME_BYTES {
            return Err(Misfit::Name);
        }
        if size >= SIZE_LIMIT {
            return Err(Misfit::Size);
        }
        let mut head = Header::default();
        head.text(0, name.as_bytes());
        head.text(100, format!("{:07o}", mode & 0o7777).as_bytes());
        head.text(108, b"0000000"); // uid
        head.text(116, b"0000000"); // gid
        head.text(124, format!("{size:011o}").as_bytes());
        head.text(136, b"00000000000"); // time of change
        head.text(156, &[flag]);
        head.text(157, target.as_bytes());
        head.text(257, b"ustar\x0000");
        head.text(329, b"0000000"); // device numbers
        head.text(337, b"0000000");
        head.text(345, prefix.as_bytes());
        self.bytes.extend_from_slice(&head.sealed());
        self.bytes.extend_from_slice(data);
        self.pad();
        Ok(())
    }

    /// The archive with its end mark.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }

    fn pad(&mut self) {
        self.bytes
            .resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }
}

struct Header([u8; BLOCK]);

impl Default for Header {
    fn default() -> Self {
        Self([0; BLOCK])
    }
}

impl Header {
    fn text(&mut self, at: usize, text: &[u8]) {
        for (cell, byte) in self.0.iter_mut().skip(at).zip(text) {
            *cell = *byte;
        }
    }

    /// With its checksum: the sum of all bytes, those of the checksum itself as blanks.
    fn sealed(mut self) -> [u8; BLOCK] {
        self.text(148, b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.text(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

/// A path in its two header fields. The slash between them is in neither.
fn split(path: &str, directory: bool) -> Option<(String, String)> {
    let ending = if directory { "/" } else { "" };
    let whole = format!("{path}{ending}");
    if whole.len() <= NAME_BYTES {
        return Some((String::new(), whole));
    }
    path.match_indices('/')
        .map(|(at, _)| path.split_at(at))
        .map(|(prefix, rest)| (prefix, rest.trim_start_matches('/')))
        .find(|(prefix, rest)| {
            prefix.len() <= PREFIX_BYTES && rest.len() + ending.len() <= NAME_BYTES
        })
        .map(|(prefix, rest)| (prefix.to_owned(), format!("{rest}{ending}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_split_at_a_slash_or_refused() {
        let path = format!("{}/{}", "d".repeat(90), "f".repeat(90));
        let (prefix, name) = split(&path, false).unwrap();
        assert_eq!((prefix.len(), name.len()), (90, 90));
        assert_eq!(split(&"x".repeat(101), false), None);
        assert_eq!(split(&"x".repeat(100), true), None);
        assert!(split(&"x".repeat(100), false).is_some());
    }

    #[test]
    fn entries_fill_whole_blocks() {
        let mut tar = Tar::default();
        tar.add("a", 0o644, Kind::File(b"x")).unwrap();
        assert_eq!(tar.finish().len(), 2 * BLOCK + 2 * BLOCK);
    }
}
