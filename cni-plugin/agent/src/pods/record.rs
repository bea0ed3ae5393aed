//! What we have touched, on disk (`RUN/pods/UID`): one small file per pod, there from before its namespace is touched
//! until nothing of ours is in it. A restarted agent learns from it which container a pod belongs to, and finds rules
//! that no proxy tells it of. It lies in the run directory because namespaces do not survive a reboot either.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weft_netns::NetnsId;
use weft_wire::cni::Key;

/// The runtime's name for an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    /// Container (sandbox) id.
    pub(crate) container_id: String,
    /// Interface.
    pub(crate) ifname: String,
    /// Network; empty in what an older agent wrote.
    #[serde(default)]
    pub(crate) network: String,
}

impl Attachment {
    /// Whether the runtime means this one.
    pub(crate) fn is(&self, key: &Key) -> bool {
        self.container_id == key.container_id && self.ifname == key.ifname
    }
}

/// One pod that we touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Kubernetes uid.
    pub(crate) uid: String,
    /// Namespace.
    pub(crate) namespace: String,
    /// Pod name.
    pub(crate) name: String,
    /// Its addresses.
    pub(crate) ips: Vec<IpAddr>,
    /// Device of its network namespace.
    pub(crate) dev: u64,
    /// Inode of its network namespace.
    pub(crate) ino: u64,
    /// The attachment, when the pod came by ADD.
    pub(crate) attachment: Option<Attachment>,
}

impl Record {
    /// The namespace.
    pub(crate) fn netns(&self) -> NetnsId {
        NetnsId {
            dev: self.dev,
            ino: self.ino,
        }
    }
}

/// The directory of records.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    dir: PathBuf,
}

impl Records {
    /// Opens (and makes) the directory.
    pub(crate) fn open(run_dir: &Path) -> io::Result<Self> {
        let dir = run_dir.join("pods");
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// Writes one record, whole or not at all.
    pub(crate) fn write(&self, record: &Record) -> io::Result<()> {
        let path = self.path(&record.uid);
        let staged = path.with_extension("new");
        fs::write(&staged, serde_json::to_vec(record)?)?;
        fs::rename(&staged, &path)
    }

    /// Removes one; it may be gone already.
    pub(crate) fn remove(&self, uid: &str) -> io::Result<()> {
        match fs::remove_file(self.path(uid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// All records that can be read; the others are named and removed.
    pub(crate) fn all(&self) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            match fs::read(&path).map(|bytes| serde_json::from_slice(&bytes)) {
                Ok(Ok(record)) => records.push(record),
                unreadable => {
                    tracing::warn!(path = %path.display(), ?unreadable, "removed a record that cannot be read");
                    let _ = fs::remove_file(&path);
                }
            }
        }
        Ok(records)
    }

    /// Anything but letters, digits and '-' is written as %XX: a uid is outside data, and this is a path.
    fn path(&self, uid: &str) -> PathBuf {
        let name: String = uid
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            })
            .collect();
        self.dir.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(uid: &str) -> Record {
        Record {
            uid: uid.into(),
            namespace: "shop".into(),
            name: "web".into(),
            ips: vec!["10.0.0.1".parse().unwrap()],
            dev: 4,
            ino: 77,
            attachment: Some(Attachment {
                container_id: "c".into(),
                ifname: "eth0".into(),
                network: "net".into(),
            }),
        }
    }

    #[test]
    fn records_come_back_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        let hostile = record("../../etc/x y");
        records.write(&hostile).unwrap();
        records.write(&record("u-1")).unwrap();
        records.write(&record("u-1")).unwrap();
        let mut all = records.all().unwrap();
        all.sort_by(|a, b| a.uid.cmp(&b.uid));
        assert_eq!(all, [hostile, record("u-1")]);
        for _repeated in 0..2 {
            records.remove("u-1").unwrap();
        }
        fs::write(dir.path().join("pods/torn"), b"{").unwrap();
        assert_eq!(records.all().unwrap().len(), 1);
    }
}
