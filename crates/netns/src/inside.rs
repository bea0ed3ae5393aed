//! Questions to, and settings of, a namespace as a whole: its addresses, whether it speaks IPv6, its sysctls.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use nix::ifaddrs::getifaddrs;

use crate::Netns;

/// Every address of the namespace's interfaces but those of loopback; link-local ones included.
///
/// # Errors
/// The namespace cannot be entered or asked.
pub fn addresses(ns: &Netns) -> io::Result<Vec<IpAddr>> {
    let found = ns.run(getifaddrs)??;
    let mut addresses: Vec<IpAddr> = found
        .filter_map(|interface| interface.address)
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .filter(|ip| !ip.is_loopback())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// Whether the namespace can carry IPv6: it has an IPv6 address (loopback's counts), or IPv6 is not switched off.
///
/// # Errors
/// The namespace cannot be entered or asked.
pub fn has_ipv6(ns: &Netns) -> io::Result<bool> {
    let off = |key: &str| match read_sysctl(ns, key) {
        Ok(value) => Ok(value != "0"),
        // The kernel was booted without IPv6: the key does not exist.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(e),
    };
    if !off("net.ipv6.conf.all.disable_ipv6")? {
        return Ok(true);
    }
    // A single interface may have it although `all` was off when it came.
    let found = ns.run(getifaddrs)??;
    Ok(found
        .filter_map(|interface| interface.address)
        .any(|a| a.as_sockaddr_in6().is_some()))
}

/// The value of a `net.` sysctl in the namespace, without its line end.
///
/// # Errors
/// `InvalidInput` for a key outside `net.`, `NotFound` when the kernel does not know it.
pub fn read_sysctl(ns: &Netns, key: &str) -> io::Result<String> {
    let path = sysctl_path(key)?;
    let text = ns
        .run(|| fs::read_to_string(path))?
        .map_err(|e| named(key, &e))?;
    Ok(text.trim_end().to_owned())
}

/// Sets a `net.` sysctl in the namespace; where `/proc/sys` is mounted read-only, through a `/proc` of our own.
///
/// # Errors
/// `InvalidInput` for a key outside `net.`, `NotFound` when the kernel does not know it, `ReadOnlyFilesystem` or
/// `PermissionDenied` when settings may not be written here in either way.
pub fn write_sysctl(ns: &Netns, key: &str, value: &str) -> io::Result<()> {
    let path = sysctl_path(key)?;
    let inside_proc = path.strip_prefix("/proc").unwrap_or(&path);
    ns.run(|| match fs::write(&path, value) {
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            // Why the detour is closed too is of less use than why it was taken.
            crate::proc::write(inside_proc, value).map_err(|_| e)
        }
        other => other,
    })?
    .map_err(|e| named(key, &e))
}

/// `net.ipv4.x` → `/proc/sys/net/ipv4/x`: a path that the kernel resolves in the namespace of the thread that asks.
fn sysctl_path(key: &str) -> io::Result<PathBuf> {
    let plain = key
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if !key.starts_with("net.") || !plain || key.split('.').any(str::is_empty) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("sysctl {key}: only net.… keys are per pod"),
        ));
    }
    Ok(PathBuf::from("/proc/sys").join(key.replace('.', "/")))
}

fn named(key: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("sysctl {key}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_network_keys_become_paths() {
        assert_eq!(
            sysctl_path("net.ipv4.tcp_fwmark_accept").unwrap(),
            PathBuf::from("/proc/sys/net/ipv4/tcp_fwmark_accept")
        );
        for bad in [
            "kernel.hostname",
            "net.",
            "net..x",
            "net./etc",
            "net.ipv4.conf.../x",
            "",
        ] {
            assert!(sysctl_path(bad).is_err(), "{bad}");
        }
    }
}
