//! The orderly removal of Weft from a node (`--leave`): every pod leaves the mesh as if its namespace had lost the label, the
//! network configuration is the primary's again, and when the agent is stopped after that its files go too. Only the
//! plugin's binary stays, because runtimes call DEL with the configuration that a pod was started with.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use weft_service::ready::{Part, Up};

use crate::pods::Pods;

/// An agent that leaves.
pub(crate) struct Leave {
    released: Part,
    up: RefCell<Option<Up>>,
    dirs: [PathBuf; 2],
}

impl Leave {
    /// `released` is up while nothing of ours is in any pod; `dirs` hold nothing but our files.
    pub(crate) fn new(released: Part, dirs: [&Path; 2]) -> Rc<Self> {
        Rc::new(Self {
            released,
            up: RefCell::default(),
            dirs: dirs.map(Path::to_owned),
        })
    }

    /// Looks how far it is.
    pub(crate) fn look(&self, pods: &Pods) {
        let knows = pods.bound().generation > 0;
        let mut up = self.up.borrow_mut();
        if knows && pods.holds_nothing() {
            up.get_or_insert_with(|| self.released.up());
        } else {
            *up = None;
        }
    }

    /// Removes all files; not as long as a record of a pod is still needed.
    pub(crate) fn finish(&self) {
        if self.up.borrow().is_none() {
            tracing::warn!(
                "stopped before every pod was released; the records stay for the next agent"
            );
            return;
        }
        for dir in &self.dirs {
            // The directories themselves are mounted in a container.
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                let removed = if path.is_dir() {
                    fs::remove_dir_all(&path)
                } else {
                    fs::remove_file(&path)
                };
                if let Err(error) = removed {
                    tracing::warn!(path = %path.display(), %error, "cannot be removed");
                }
            }
        }
    }
}
