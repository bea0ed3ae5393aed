//! Cutting a delta into messages and putting it together again. The node applies a delta only when all its parts have
//! arrived in order, agree with each other and parse: half a delta is never used (hardening V109).

use bytes::Bytes;
use weft_model::delta::Delta;

use super::{DeltaHeader, DeltaPart, Digest, MAX_MESSAGE};

/// Bytes of payload in one part: a whole message less the envelope.
pub const PART: usize = MAX_MESSAGE - 1024;
/// Largest number of parts, so that a broken operator cannot make a node collect for ever (512 MiB).
pub const MAX_PARTS: u32 = 512;

/// A delta is too big to be sent.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The JSON has more bytes than [`MAX_PARTS`] parts hold.
    #[error("the delta has {0} bytes, more than {MAX_PARTS} parts of {PART} bytes; split the mesh")]
    TooBig(usize),
    /// A value cannot be written as JSON.
    #[error("the delta cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Parts that do not make a delta.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A part came out of order, or its header differs from the first part's.
    #[error("part {found} of generation {generation} arrived where part {expected} was due")]
    OutOfOrder {
        /// Generation of the part.
        generation: u64,
        /// Its number.
        found: u32,
        /// The number that was due.
        expected: u32,
    },
    /// More parts than we collect, or none.
    #[error("a delta of {0} parts; between 1 and {MAX_PARTS} are taken")]
    Parts(u32),
    /// A part is bigger than a message may be.
    #[error("a part of {0} bytes; at most {PART} are taken")]
    Size(usize),
}

/// A delta with all its parts, not yet parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The parts' common fields.
    pub header: DeltaHeader,
    /// The JSON.
    pub json: Vec<u8>,
}

impl Whole {
    /// Parses the changes.
    ///
    /// # Errors
    /// When the JSON is not a delta of a version that this program knows.
    pub fn changes(&self) -> Result<Delta, serde_json::Error> {
        serde_json::from_slice(&self.json)
    }
}

/// Writes a delta as messages.
///
/// # Errors
/// When it is too big.
pub fn split(
    generation: u64,
    base: Option<u64>,
    digest: Option<Digest>,
    delta: &Delta,
) -> Result<Vec<DeltaPart>, EncodeError> {
    let json = Bytes::from(serde_json::to_vec(delta)?);
    let count = json.len().div_ceil(PART).max(1);
    let parts = u32::try_from(count).unwrap_or(u32::MAX);
    if parts > MAX_PARTS {
        return Err(EncodeError::TooBig(json.len()));
    }
    let header = DeltaHeader {
        generation,
        base,
        digest,
        parts,
    };
    let cut = |part: u32| {
        let start = part as usize * PART;
        let payload = json.slice(start..json.len().min(start + PART));
        DeltaPart {
            header,
            part,
            payload,
        }
    };
    Ok((0..parts).map(cut).collect())
}

/// Collects parts.
#[derive(Debug, Default)]
pub struct Assembler {
    unfinished: Option<(Whole, u32)>,
}

impl Assembler {
    /// Takes the next part; gives the delta when this was its last one. After an error the stream must be given up.
    ///
    /// # Errors
    /// When the part does not follow the one before.
    pub fn push(&mut self, part: DeltaPart) -> Result<Option<Whole>, DecodeError> {
        let header = part.header;
        if header.parts == 0 || header.parts > MAX_PARTS {
            return Err(DecodeError::Parts(header.parts));
        }
        if part.payload.len() > PART {
            return Err(DecodeError::Size(part.payload.len()));
        }
        let (mut whole, due) = self.unfinished.take().unwrap_or_else(|| {
            (
                Whole {
                    header,
                    json: Vec::new(),
                },
                0,
            )
        });
        if part.part != due || whole.header != header {
            let (generation, found) = (header.generation, part.part);
            return Err(DecodeError::OutOfOrder {
                generation,
                found,
                expected: due,
            });
        }
        whole.json.extend_from_slice(&part.payload);
        if due + 1 == header.parts {
            return Ok(Some(whole));
        }
        self.unfinished = Some((whole, due + 1));
        Ok(None)
    }
}
