//! Programs that are built from Go modules: Kubernetes itself, CoreDNS, helm, cnitool. Sources are pinned by the
//! `go.mod` and `go.sum` of the folders in `programs/`; what is built lies in the user's cache under a key made of all
//! that decides about it, so that a second build does not happen and a changed pin is never missed.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sha2::{Digest as _, Sha256};

use crate::config::{Progress, cache};
use crate::needs;

/// Between two lines about a build.
const REPORT_PERIOD: Duration = Duration::from_secs(15);
/// Lines of the compiler that an error quotes.
const QUOTED_LINES: usize = 30;
/// Kubernetes' version, which its programs report; the module says the same in its `go.mod`.
const KUBE_FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 \
                          -X k8s.io/component-base/version.gitMajor=1 \
                          -X k8s.io/component-base/version.gitMinor=34";

/// One Go module and the programs that are built of it.
#[derive(Debug)]
pub struct Module {
    /// Its folder in `programs/`.
    pub name: &'static str,
    /// (file, package) of each program.
    pub programs: &'static [(&'static str, &'static str)],
    /// Linker flags.
    flags: &'static str,
    /// What a person is told.
    takes: &'static str,
    /// A package of tests, compiled to a program, instead of a program.
    test: bool,
}

const fn module(name: &'static str, programs: &'static [(&'static str, &'static str)]) -> Module {
    Module {
        name,
        programs,
        flags: "-s -w",
        takes: "a minute",
        test: false,
    }
}

/// API server, controllers, scheduler, kubelet, kube-proxy and kubectl in one program, `kube`.
pub const KUBE: Module = Module {
    flags: KUBE_FLAGS,
    takes: "5 to 10 minutes",
    ..module("kube", &[("kube", ".")])
};
/// The cluster's DNS.
pub const COREDNS: Module = Module {
    ..module("coredns", &[("coredns", ".")])
};
/// The package manager that installs Weft.
pub const HELM: Module = module("helm", &[("helm", "helm.sh/helm/v4/cmd/helm")]);
/// Prometheus' discovery of Kubernetes' pods, which Debian's Prometheus is built without.
pub const DISCOVERY: Module = module("discovery", &[("discovery", ".")]);
/// `cnitool`, and the plugins in a version that speaks CNI 1.1.0.
pub const CNI: Module = module(
    "cni",
    &[
        ("cnitool", "github.com/containernetworking/cni/cnitool"),
        (
            "bridge",
            "github.com/containernetworking/plugins/plugins/main/bridge",
        ),
        (
            "loopback",
            "github.com/containernetworking/plugins/plugins/main/loopback",
        ),
        (
            "host-local",
            "github.com/containernetworking/plugins/plugins/ipam/host-local",
        ),
        (
            "portmap",
            "github.com/containernetworking/plugins/plugins/meta/portmap",
        ),
    ],
);
/// The backends of the Gateway API's mesh tests: Istio's echo.
pub const ECHO: Module = module(
    "echo",
    &[
        ("client", "istio.io/istio/pkg/test/echo/cmd/client"),
        ("server", "istio.io/istio/pkg/test/echo/cmd/server"),
    ],
);
/// The Gateway API's conformance suite, as a test program.
pub const CONFORMANCE: Module = Module {
    takes: "2 minutes",
    test: true,
    ..module("conformance", &[("conformance", ".")])
};

impl Module {
    /// The folder of its `go.mod`.
    #[must_use]
    pub fn source(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("programs")
            .join(self.name)
    }

    /// Builds unless it is in the cache; gives the directory of its programs.
    ///
    /// # Errors
    /// Go is missing, or the build fails; the compiler's words are in the message.
    pub fn ensure(&self, progress: &Progress) -> anyhow::Result<PathBuf> {
        let go = needs::go()?;
        let source = self.source();
        let shelf = cache()?.join("programs");
        let place = shelf.join(format!("{}-{}", self.name, self.key(&source, &go)?));
        if self.is_whole(&place) {
            return Ok(place);
        }
        fs::create_dir_all(&shelf).with_context(|| format!("cannot make {}", shelf.display()))?;
        // Two test binaries may want the same program at once; the second finds it made.
        let lock = File::create(shelf.join(format!("{}.lock", self.name)))
            .context("cannot make a lock file")?;
        lock.lock().context("cannot lock")?;
        if self.is_whole(&place) {
            return Ok(place);
        }
        progress.say(format!(
            "{}: building from its Go module, once; about {} on two cores",
            self.name, self.takes
        ));
        let started = Instant::now();
        let fresh = shelf.join(format!("{}.new", self.name));
        let _ = fs::remove_dir_all(&fresh);
        for (file, package) in self.programs {
            self.build(&go, &source, &fresh.join(file), package, progress)?;
        }
        let _ = fs::remove_dir_all(&place);
        fs::rename(&fresh, &place).with_context(|| format!("cannot make {}", place.display()))?;
        let took = started.elapsed().as_secs();
        progress.say(format!("{}: built in {took} s", self.name));
        Ok(place)
    }

    fn is_whole(&self, place: &Path) -> bool {
        self.programs
            .iter()
            .all(|(file, _)| place.join(file).is_file())
    }

    /// All that decides about the result.
    fn key(&self, source: &Path, go: &Path) -> anyhow::Result<String> {
        let mut files: Vec<PathBuf> = fs::read_dir(source)
            .with_context(|| format!("cannot read {}", source.display()))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_file())
            .collect();
        files.sort();
        let mut hash = Sha256::new();
        for file in files {
            hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
            hash.update(
                fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?,
            );
        }
        let version = Command::new(go)
            .arg("version")
            .current_dir(source)
            .output()
            .context("cannot run `go version`")?;
        hash.update(version.stdout);
        hash.update(format!("{:?} {}", self.programs, self.flags));
        let digest = hash.finalize();
        Ok(digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect())
    }

    fn build(
        &self,
        go: &Path,
        source: &Path,
        to: &Path,
        package: &str,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let verb: &[&str] = if self.test {
            &["test", "-c"]
        } else {
            &["build"]
        };
        let mut child = Command::new(go)
            .args(verb)
            .args([
                "-v",
                "-trimpath",
                "-buildvcs=false",
                "-ldflags",
                self.flags,
                "-o",
            ])
            .arg(to)
            .arg(package)
            .current_dir(source)
            // Programs go into images without a C library, and into nodes.
            .env("CGO_ENABLED", "0")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", go.display()))?;
        let other = self.watch(&mut child, progress);
        let status = child.wait().context("cannot wait for go")?;
        if !status.success() {
            let quoted = other.len().saturating_sub(QUOTED_LINES);
            bail!(
                "{}: go build failed: {status}\n{}",
                self.name,
                other.get(quoted..).unwrap_or_default().join("\n")
            );
        }
        Ok(())
    }

    /// Counts the packages that go names, and keeps everything else that it says.
    fn watch(&self, child: &mut Child, progress: &Progress) -> Vec<String> {
        let (mut packages, mut other) = (0_u32, Vec::new());
        let started = Instant::now();
        let mut told = started;
        let lines = child.stderr.take().map(BufReader::new);
        for line in lines
            .into_iter()
            .flat_map(BufReader::lines)
            .map_while(Result::ok)
        {
            if line.contains([' ', ':', '\t']) {
                other.push(line);
            } else {
                packages += 1;
            }
            if told.elapsed() > REPORT_PERIOD {
                told = Instant::now();
                progress.say(format!(
                    "{}: {packages} packages compiled, {} s",
                    self.name,
                    started.elapsed().as_secs()
                ));
            }
        }
        other
    }
}
