//! The state directory: what the controllers and kubelets of a cluster would have written into the API, one JSON
//! document a file (`pod.shop.cart-….yaml`; JSON is YAML), replaced atomically, removed when the object is gone.
//!
//! The operator reads the user's directory first and this one second: where both have an object, this one wins, for it
//! holds the user's fields and the cluster's.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::object::{Key, Objects};

/// Mirrors objects into a directory.
#[derive(Debug)]
pub(crate) struct StateDirectory {
    path: PathBuf,
    written: BTreeMap<Key, String>,
}

impl StateDirectory {
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self {
            path: path.to_owned(),
            written: BTreeMap::new(),
        })
    }

    /// Writes what changed, removes what is gone.
    pub(crate) fn sync(&mut self, objects: &Objects) -> io::Result<()> {
        for (key, object) in objects {
            let content = format!("{object:#}\n");
            if self.written.get(key) == Some(&content) {
                continue;
            }
            let file = self.path.join(file_name(key));
            // A name that starts with a dot and does not end in .yaml is no manifest to any reader.
            let temporary = self.path.join(format!(".{}.new", file_name(key)));
            fs::write(&temporary, &content)?;
            fs::rename(&temporary, &file)?;
            self.written.insert(key.clone(), content);
        }
        let gone: Vec<Key> = self
            .written
            .keys()
            .filter(|key| !objects.contains_key(key))
            .cloned()
            .collect();
        for key in gone {
            fs::remove_file(self.path.join(file_name(&key)))?;
            self.written.remove(&key);
        }
        Ok(())
    }
}

fn file_name(key: &Key) -> String {
    let kind = key.kind.to_ascii_lowercase();
    match key.namespace.as_str() {
        "" => format!("{kind}.{}.yaml", key.name),
        namespace => format!("{kind}.{namespace}.{}.yaml", key.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_directory_mirrors_the_objects() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = StateDirectory::new(dir.path()).unwrap();
        let key = Key::new("Pod", "shop", "cart");
        let mut objects: Objects = [(key.clone(), json!({"kind": "Pod"}))].into();
        state.sync(&objects).unwrap();
        let names = || -> Vec<_> {
            fs::read_dir(dir.path())
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect()
        };
        assert_eq!(names(), ["pod.shop.cart.yaml"]);
        objects.clear();
        state.sync(&objects).unwrap();
        assert!(names().is_empty());
    }
}
