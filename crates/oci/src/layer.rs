//! The file system of an image as one layer: parents before children, sorted, nothing twice.

use std::collections::BTreeSet;

use crate::tar::{Kind, Misfit, Tar};
use crate::{Content, Files, ImageError};

/// Permission bits of parents that nobody named.
const PARENT_MODE: u32 = 0o755;

/// The layer's tar file.
pub(crate) fn layer(image: &str, files: &Files) -> Result<Vec<u8>, ImageError> {
    let mut tar = Tar::default();
    let mut made = BTreeSet::new();
    for (path, content) in files {
        let relative = relative(image, path)?;
        parents(image, relative, files, &mut made, &mut tar)?;
        let (mode, kind) = match content {
            Content::File { bytes, mode } => (*mode, Kind::File(bytes)),
            Content::Link(target) => (0o777, Kind::Link(target)),
            Content::Directory(mode) => (*mode, Kind::Directory),
        };
        if kind == Kind::Directory && !made.insert(relative.to_owned()) {
            continue;
        }
        add(image, &mut tar, relative, (mode, kind))?;
    }
    Ok(tar.finish())
}

fn add(image: &str, tar: &mut Tar, path: &str, what: (u32, Kind<'_>)) -> Result<(), ImageError> {
    let (mode, kind) = what;
    let (image, named) = (image.to_owned(), format!("/{path}"));
    tar.add(path, mode, kind).map_err(|misfit| match misfit {
        Misfit::Name => ImageError::LongPath { image, path: named },
        Misfit::Size => ImageError::Size { image, path: named },
    })
}

/// The path as tar wants it.
fn relative<'p>(image: &str, path: &'p str) -> Result<&'p str, ImageError> {
    let odd = |part: &str| matches!(part, "" | "." | "..");
    match path.strip_prefix('/') {
        Some(rest) if !rest.split('/').any(odd) => Ok(rest),
        _ => Err(ImageError::Path {
            image: image.to_owned(),
            path: path.to_owned(),
        }),
    }
}

/// Makes the directories above `path` that are not there yet, with the permission bits that the caller gave them.
fn parents(
    image: &str,
    path: &str,
    files: &Files,
    made: &mut BTreeSet<String>,
    tar: &mut Tar,
) -> Result<(), ImageError> {
    for (at, _) in path.match_indices('/') {
        let (parent, _) = path.split_at(at);
        let mode = match files.get(&format!("/{parent}")) {
            None => PARENT_MODE,
            Some(Content::Directory(mode)) => *mode,
            Some(_) => {
                return Err(ImageError::NotADirectory {
                    image: image.to_owned(),
                    path: format!("/{parent}"),
                });
            }
        };
        if made.insert(parent.to_owned()) {
            add(image, tar, parent, (mode, Kind::Directory))?;
        }
    }
    Ok(())
}
