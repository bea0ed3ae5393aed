//! Control groups of a node: a child of the caller's own group in each version 1 hierarchy, so that limits set from
//! outside stay in force, and a node's kubelet sees that child as the root.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Controllers without which kubelet or runc refuse to work.
const NEEDED: [&str; 5] = ["cpu", "cpuset", "memory", "devices", "pids"];

/// One hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Mount options that show it: `cpu,cpuacct`, or `none,name=systemd`.
    pub(crate) options: String,
    /// The caller's own group.
    pub(crate) own: PathBuf,
}

/// All version 1 hierarchies of this machine.
///
/// # Errors
/// A needed controller is not mounted as version 1.
pub(crate) fn hierarchies() -> anyhow::Result<Vec<Hierarchy>> {
    let read = |file: &str| fs::read_to_string(file).with_context(|| format!("cannot read {file}"));
    let found = parse(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?);
    let has = |name: &str| {
        found
            .iter()
            .any(|hierarchy| hierarchy.options.split(',').any(|option| option == name))
    };
    let missing: Vec<&str> = NEEDED.into_iter().filter(|name| !has(name)).collect();
    if !missing.is_empty() {
        bail!(
            "no version 1 control group hierarchy for {}: the cluster's nodes need version 1 \
             (boot with systemd.unified_cgroup_hierarchy=0), or set KUBECONFIG to a cluster that \
             is there",
            missing.join(", ")
        );
    }
    Ok(found)
}

/// `groups` is `/proc/self/cgroup`, `mounts` is `/proc/self/mountinfo`.
fn parse(groups: &str, mounts: &str) -> Vec<Hierarchy> {
    let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
    groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let mount = mounts.iter().find(|mount| {
                !controllers.is_empty()
                    && controllers
                        .split(',')
                        .all(|wanted| mount.options.iter().any(|option| option == wanted))
            })?;
            let below = Path::new(path).strip_prefix(&mount.root).ok()?;
            let named = controllers.starts_with("name=");
            let options = if named {
                format!("none,{controllers}")
            } else {
                controllers.to_owned()
            };
            Some(Hierarchy {
                options,
                own: mount.point.join(below),
            })
        })
        .collect()
}

struct Mount {
    root: PathBuf,
    point: PathBuf,
    options: Vec<String>,
}

impl Mount {
    /// proc(5): `36 35 98:0 ROOT POINT options [optional…] - TYPE SOURCE SUPER`.
    fn parse(line: &str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let mut back = back.split(' ');
        if back.next()? != "cgroup" {
            return None;
        }
        Some(Self {
            root: front.next()?.into(),
            point: front.next()?.into(),
            options: back.nth(1)?.split(',').map(str::to_owned).collect(),
        })
    }
}

/// Makes group `name` (which may be `a/b`) in every hierarchy; gives the directories.
///
/// # Errors
/// One cannot be made.
pub(crate) fn make(hierarchies: &[Hierarchy], name: &str) -> anyhow::Result<Vec<PathBuf>> {
    hierarchies
        .iter()
        .map(|hierarchy| {
            let mut directory = hierarchy.own.clone();
            for part in Path::new(name) {
                let parent = directory.clone();
                directory.push(part);
                fs::create_dir_all(&directory)
                    .with_context(|| format!("cannot make {}", directory.display()))?;
                inherit(&parent, &directory)?;
            }
            Ok(directory)
        })
        .collect()
}

/// A new cpuset is empty and takes no process.
fn inherit(parent: &Path, child: &Path) -> anyhow::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (parent.join(file), child.join(file));
        if from.exists() {
            fs::read(&from)
                .and_then(|value| fs::write(&to, value))
                .with_context(|| format!("cannot write {}", to.display()))?;
        }
    }
    Ok(())
}

/// Removes groups and all groups in them; true when none is left. Their processes must have ended.
pub(crate) fn remove(directories: &[PathBuf]) -> bool {
    directories.iter().fold(true, |gone, directory| {
        remove_tree(directory);
        gone && !directory.exists()
    })
}

fn remove_tree(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(directory);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_groups_are_found_below_their_mounts() {
        let groups = "9:name=systemd:/\n4:memory:/box/a\n1:cpu,cpuacct:/\n0::/\n";
        let mounts = "\
26 25 0:20 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
27 25 0:21 /box /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
28 25 0:22 / /sys/fs/cgroup/systemd rw shared:3 - cgroup cgroup rw,xattr,name=systemd
29 25 0:23 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found = parse(groups, mounts);
        let expected = [
            ("none,name=systemd", "/sys/fs/cgroup/systemd"),
            ("memory", "/sys/fs/cgroup/memory/a"),
            ("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"),
        ];
        let expected = expected.map(|(options, own)| Hierarchy {
            options: options.to_owned(),
            own: own.into(),
        });
        assert_eq!(found, expected);
    }
}
