//! The list of who is in the mesh (`STATE/cni/namespaces`), from which the plugin decides without us that a pod passes.
//! It is written whole, synced and renamed, only when it differs, and never before the first tables.

use std::io;
use std::path::{Path, PathBuf};

use weft_wire::membership;

use crate::bound::Bound;

/// The list as text.
pub(crate) fn render(bound: &Bound) -> String {
    membership::list(&bound.namespaces, &bound.pods, None)
}

/// The file.
#[derive(Debug)]
pub(crate) struct ListFile {
    path: PathBuf,
    written: Option<String>,
}

impl ListFile {
    /// Below the state directory; what an earlier agent wrote stays until the first write.
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join(membership::FILE),
            written: None,
        }
    }

    /// Makes the file say what `bound` says.
    ///
    /// # Errors
    /// The disk refuses; the file is then as it was.
    pub(crate) fn write(&mut self, bound: &Bound) -> io::Result<()> {
        let text = render(bound);
        if bound.generation == 0 || self.written.as_ref() == Some(&text) {
            return Ok(());
        }
        crate::install::replace(&self.path, text.as_bytes(), 0o644)?;
        self.written = Some(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use weft_model::pod::Mode;

    use crate::bound::testing::pod;

    #[test]
    fn the_plugin_reads_what_we_write() {
        let in_mesh = Mode::Enabled;
        let out = Mode::Disabled("label".into());
        let bound = Bound {
            generation: 1,
            pods: [
                pod("shop", "web-1", in_mesh),
                pod("shop", "batch-1", out.clone()),
                pod("tools", "probe-1", out.clone()),
                pod("bad", "new\nline", out),
            ]
            .into(),
            namespaces: Arc::default(),
        };
        assert_eq!(
            render(&bound),
            include_str!("../../testdata/namespaces"),
            "the file that the plugin's tests read"
        );
    }

    #[test]
    fn namespaces_without_a_pod_here_are_listed() {
        let bound = Bound {
            generation: 1,
            pods: [pod("tools", "own-label", Mode::Enabled)].into(),
            namespaces: Arc::new(
                [("new", true), ("plain", false), ("tools", false)]
                    .map(|(name, inside)| (name.to_owned(), inside))
                    .into(),
            ),
        };
        let lines = "namespace new in\nnamespace plain out\nnamespace tools in\n";
        let text = render(&bound);
        assert!(text.contains(lines), "{text}");
        assert!(bound.is_outside("plain"));
        assert!(
            !bound.is_outside("new") && !bound.is_outside("tools") && !bound.is_outside("other")
        );
    }

    #[test]
    fn nothing_is_written_before_the_first_tables() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = ListFile::new(dir.path());
        file.write(&Bound::default()).unwrap();
        assert!(!file.path.exists());
        file.write(&Bound {
            generation: 1,
            ..Bound::default()
        })
        .unwrap();
        assert_eq!(
            std::fs::read_to_string(&file.path).unwrap(),
            "weft-mesh 1\nend 0\n"
        );
    }
}
