//! The last good state on disk. One header line (format, schema, length, checksum), then JSON that people can read: the
//! same that travelled. A file is replaced whole (fsync, rename) and used whole: any damage makes it unusable, by name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};
use weft_model::table::{Interest, Tables};
use weft_wire::table::digest::Checksum;
use weft_wire::table::{Digest, SCHEMA};

use crate::session::Snapshot;

/// Name of the file in `<state-dir>/<kind>`.
pub const FILE: &str = "tables.json";
/// First words of the header: what it is and the version of the header.
const MAGIC: &str = "weft-tables 1";
/// Longest header that is looked for, bytes.
const MAX_HEADER: usize = 128;
/// Largest file that is read, bytes.
const MAX_FILE: u64 = 1 << 30;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    /// It does not begin with our header.
    #[error("not a file of ours, or of another version: remove it")]
    Header,
    /// Cut off, extended or changed.
    #[error("damaged ({0}): remove it")]
    Damaged(&'static str),
    /// The JSON is not what this version knows.
    #[error("written by another version: {0}")]
    Json(#[from] serde_json::Error),
    /// It belongs to another node.
    #[error("it belongs to node {0:?}: was --node-name or --state-dir changed?")]
    OtherNode(String),
    /// It is larger than any tables.
    #[error("it has {0} bytes, more than {MAX_FILE}")]
    TooBig(u64),
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Schema of the program that wrote it.
    pub schema: u32,
    /// Node whose tables these are.
    pub node: String,
    /// Generation.
    pub generation: u64,
    /// Digest that the operator had for them.
    pub digest: Digest,
    /// What the node had asked for.
    pub interest: Interest,
    /// The tables.
    pub tables: Tables,
}

#[derive(Serialize)]
struct BodyOut<'a> {
    node: &'a str,
    generation: u64,
    digest: String,
    interest: &'a Interest,
    tables: &'a Tables,
}

#[derive(Deserialize)]
struct BodyIn {
    node: String,
    generation: u64,
    digest: String,
    interest: Interest,
    tables: Tables,
}

/// The bytes of a file.
///
/// # Errors
/// Only when a value cannot be written as JSON.
pub(crate) fn encode(snapshot: &Snapshot) -> Result<Vec<u8>, serde_json::Error> {
    let json = serde_json::to_vec(&BodyOut {
        node: &snapshot.node,
        generation: snapshot.state.generation,
        digest: snapshot.digest.to_string(),
        interest: &snapshot.interest,
        tables: &snapshot.state.tables,
    })?;
    let mut bytes = header(SCHEMA, json.len(), Checksum::of(&json)).into_bytes();
    bytes.push(b'\n');
    bytes.extend_from_slice(&json);
    Ok(bytes)
}

/// Reads the bytes of a file; `weft tables` uses it too.
///
/// # Errors
/// When anything at all is wrong with them.
pub fn decode(bytes: &[u8]) -> Result<Saved, DiskError> {
    let end = bytes
        .iter()
        .take(MAX_HEADER)
        .position(|byte| *byte == b'\n')
        .ok_or(DiskError::Header)?;
    let (header, rest) = bytes.split_at(end);
    let header = std::str::from_utf8(header).map_err(|_| DiskError::Header)?;
    let mut fields = header.split(' ').skip(MAGIC.split(' ').count());
    let mut field = || fields.next().ok_or(DiskError::Header);
    let schema: u32 = field()?.parse().map_err(|_| DiskError::Header)?;
    let length: usize = field()?.parse().map_err(|_| DiskError::Header)?;
    let checksum = u128::from_str_radix(field()?, 16).map_err(|_| DiskError::Header)?;
    if header != self::header(schema, length, checksum) {
        return Err(DiskError::Header);
    }
    let json = rest.get(1..).unwrap_or_default();
    if json.len() != length {
        return Err(DiskError::Damaged("its length is wrong"));
    }
    if Checksum::of(json) != checksum {
        return Err(DiskError::Damaged("its checksum is wrong"));
    }
    let body: BodyIn = serde_json::from_slice(json)?;
    let digest = body
        .digest
        .parse()
        .map_err(|_| DiskError::Damaged("its digest is no number"))?;
    Ok(Saved {
        schema,
        node: body.node,
        generation: body.generation,
        digest,
        interest: body.interest,
        tables: body.tables,
    })
}

fn header(schema: u32, length: usize, checksum: u128) -> String {
    format!("{MAGIC} {schema} {length} {checksum:032x}")
}

/// Makes the directory, for us alone: tables tell who may talk to whom.
pub(crate) fn prepare(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

/// Reads the last good state; `None` when there is none yet.
pub(crate) fn load(dir: &Path, node: &str) -> Result<Option<Saved>, DiskError> {
    let path = dir.join(FILE);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
        Ok(found) if found.len() > MAX_FILE => return Err(DiskError::TooBig(found.len())),
        Ok(_) => {}
    }
    let saved = decode(&fs::read(&path)?)?;
    if saved.node != node {
        return Err(DiskError::OtherNode(saved.node));
    }
    Ok(Some(saved))
}

/// Replaces the file. Two programs may do so at once (an upgrade): each writes under a name of its own, the last rename
/// counts, and either content is whole.
pub(crate) fn store(dir: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let bytes = encode(snapshot)?;
    let staged = dir.join(format!("{FILE}.{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&staged)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&staged, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
