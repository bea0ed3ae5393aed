//! Container images from files, without a container engine: an [`Image`] describes one root file system and how it is
//! started, [`Image::archive`] gives the bytes of an OCI layout in a tar file, which `ctr image import`, Docker and
//! skopeo read.
//!
//! The same description always gives the same bytes: entries are sorted, owned by root and dated to the epoch, digests
//! name everything. Nothing is read from disk, clock or environment, so that an image can be compared, cached and signed.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

mod config;
mod image;
mod layer;
mod layout;
mod tar;

use std::collections::BTreeMap;

pub use config::Architecture;
pub use image::{Image, archive};

/// What is in one file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// An ordinary file.
    File {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Its permission bits, 0o755 for a program.
        mode: u32,
    },
    /// A symbolic link to this path.
    Link(String),
    /// An empty directory with these permission bits; the parents of every entry exist without being named.
    Directory(u32),
}

/// Files by absolute path inside the image (`/usr/bin/weft-agent`).
pub type Files = BTreeMap<String, Content>;

impl Content {
    /// A program that everybody may execute.
    #[must_use]
    pub fn program(bytes: Vec<u8>) -> Self {
        Self::File { bytes, mode: 0o755 }
    }

    /// A file that everybody may read.
    #[must_use]
    pub fn text(bytes: impl Into<Vec<u8>>) -> Self {
        Self::File {
            bytes: bytes.into(),
            mode: 0o644,
        }
    }
}

/// Why an image cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImageError {
    /// A path does not start with `/`, or has an empty, `.` or `..` component.
    #[error("image {image}: path `{path}` must be absolute, without empty, `.` or `..` parts")]
    Path {
        /// The image's name.
        image: String,
        /// The path as given.
        path: String,
    },
    /// The tar format (POSIX ustar) has no room for a path or a link's target.
    #[error(
        "image {image}: `{path}` is too long for a tar header; a directory part of at most 155 \
         bytes and a name of at most 100, and 100 for the target of a link, fit"
    )]
    LongPath {
        /// The image's name.
        image: String,
        /// The path as given.
        path: String,
    },
    /// One path is a file or a link, and another lies below it.
    #[error("image {image}: `{path}` is no directory, but another file lies below it")]
    NotADirectory {
        /// The image's name.
        image: String,
        /// The path that should be a directory.
        path: String,
    },
    /// Nothing to put into the archive, or two images of one name for one architecture.
    #[error(
        "an archive needs one image or more of one name, each of another architecture: {found}"
    )]
    Variants {
        /// What was given.
        found: String,
    },
    /// A file of 8 GiB or more.
    #[error("image {image}: `{path}` is larger than a tar header can say (8 GiB)")]
    Size {
        /// The image's name.
        image: String,
        /// The path as given.
        path: String,
    },
}
