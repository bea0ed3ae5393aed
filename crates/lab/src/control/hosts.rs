//! Names without a DNS server: a hosts file per pod, in which a Service has the names that cluster DNS would give it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

/// Addresses of each Service: (namespace, name) → addresses.
pub(crate) type Names = BTreeMap<(String, String), Vec<IpAddr>>;

/// The file for a pod of `namespace`: short names for its own namespace's Services, longer ones for all.
pub(crate) fn render(names: &Names, namespace: &str, own: &[(IpAddr, String)]) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    for (ip, name) in own {
        let _ = writeln!(text, "{ip} {name}");
    }
    for ((ns, name), ips) in names {
        for ip in ips {
            let _ = write!(
                text,
                "{ip} {name}.{ns} {name}.{ns}.svc {name}.{ns}.svc.cluster.local"
            );
            let _ = writeln!(
                text,
                "{}",
                if ns == namespace {
                    format!(" {name}")
                } else {
                    String::new()
                }
            );
        }
    }
    text
}

/// Writes in place, because the file is mounted into running pods by its inode; never shows an empty file.
pub(crate) fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

/// The address of a name as a pod of `namespace` would resolve it, IPv4 first.
pub(crate) fn resolve(names: &Names, namespace: &str, host: &str) -> Option<IpAddr> {
    if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
        return Some(ip);
    }
    let mut parts = host.trim_end_matches('.').splitn(3, '.');
    let name = parts.next()?;
    let ns = parts.next().unwrap_or(namespace);
    if !matches!(parts.next(), None | Some("svc" | "svc.cluster.local")) {
        return None;
    }
    let ips = names.get(&(ns.to_owned(), name.to_owned()))?;
    ips.iter().find(|ip| ip.is_ipv4()).or(ips.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_cluster_dns() {
        let ip: IpAddr = "10.96.0.7".parse().unwrap();
        let names: Names = [(("shop".to_owned(), "cart".to_owned()), vec![ip])].into();
        assert!(render(&names, "shop", &[]).contains("cart.shop.svc.cluster.local cart\n"));
        assert!(!render(&names, "other", &[]).contains("local cart"));
        for good in [
            "cart",
            "cart.shop",
            "cart.shop.svc",
            "cart.shop.svc.cluster.local.",
            "10.96.0.7",
        ] {
            assert_eq!(resolve(&names, "shop", good), Some(ip), "{good}");
        }
        for bad in ["cart.other", "cart.shop.example", "nope", ""] {
            assert_eq!(resolve(&names, "shop", bad), None, "{bad}");
        }
        assert_eq!(resolve(&names, "other", "cart"), None);
    }

    #[test]
    fn a_shorter_file_keeps_its_inode() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        write(&path, "a long line\n").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        write(&path, "short\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "short\n");
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
    }
}
