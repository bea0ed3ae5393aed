//! `weft analyze`: what is wrong with manifests, found by the compiler itself, before anything runs.
//!
//! The exit code is 0 when nothing reached the threshold, 79 when something did (as `istioctl analyze`), 1 when the
//! manifests could not be read at all.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use weft_compile::{Diagnostic, Level, Settings, compile};
use weft_k8s::{Snapshot, parse_file};

use self::files::File;
use self::suppression::Suppression;
use crate::render::{self, Format};

pub(super) mod files;
mod suppression;

/// Exit code when a finding reaches the threshold.
const FOUND: u8 = 79;

/// Flags of `weft analyze`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Files and directories of manifests (YAML or JSON); `-` reads standard input.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Findings from this level on make the exit code 79.
    #[arg(long, value_enum, default_value_t)]
    failure_threshold: Threshold,
    /// Leaves findings out, as in `WFT0301=Service shop/db` or `WFT0006=*`; may be repeated.
    #[arg(short = 'S', long = "suppress", value_name = "CODE=OBJECT")]
    suppress: Vec<Suppression>,
    /// How to print the findings.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Suffix of service names.
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    /// Namespace whose DestinationRules hold for the whole mesh.
    #[arg(long, default_value = "weft-system")]
    root_namespace: String,
}

/// From which level on the command fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Threshold {
    /// Anything.
    Info,
    /// Warnings and errors.
    Warning,
    /// Errors.
    #[default]
    Error,
}

impl Threshold {
    fn level(self) -> Level {
        match self {
            Self::Info => Level::Info,
            Self::Warning => Level::Warning,
            Self::Error => Level::Error,
        }
    }
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let files = match files::read(&args.paths) {
        Ok(files) => files,
        Err(message) => {
            render::note(&message);
            return ExitCode::FAILURE;
        }
    };
    let report = analyze(&files, args);
    match args.output {
        Format::Table => render::raw(report.text().as_bytes()),
        format => render::value(format, &report.json()),
    }
    ExitCode::from(report.exit_code(args.failure_threshold))
}

/// What came out.
struct Report {
    findings: Vec<Diagnostic>,
    files: usize,
    objects: usize,
    suppressed: usize,
}

fn analyze(files: &[File], args: &Args) -> Report {
    let settings = Settings {
        cluster_domain: args.cluster_domain.clone(),
        root_namespace: args.root_namespace.clone(),
        ..Settings::default()
    };
    let mut snapshot = Snapshot::default();
    let (mut findings, mut objects) = (Vec::new(), 0);
    for file in files {
        let (read, errors) = parse_file(&file.name, &file.text);
        objects += read.len();
        read.into_iter()
            .for_each(|object| snapshot.insert(object.in_layer(file.layer)));
        findings.extend(errors.iter().map(Diagnostic::from));
    }
    findings.extend(compile(&snapshot, &settings).diagnostics);
    findings.sort();
    let all = findings.len();
    findings.retain(|finding| !args.suppress.iter().any(|rule| rule.covers(finding)));
    Report {
        suppressed: all - findings.len(),
        findings,
        files: files.len(),
        objects,
    }
}

impl Report {
    fn exit_code(&self, threshold: Threshold) -> u8 {
        let reached = |finding: &Diagnostic| finding.level >= threshold.level();
        if self.findings.iter().any(reached) {
            FOUND
        } else {
            0
        }
    }

    fn text(&self) -> String {
        let mut text: String = self
            .findings
            .iter()
            .map(|finding| format!("{finding}\n"))
            .collect();
        let looked_at = format!(
            "{} in {}",
            count(self.objects, "object"),
            count(self.files, "file")
        );
        let suppressed = match self.suppressed {
            0 => String::new(),
            number => format!(", {number} suppressed"),
        };
        text += &match self.findings.len() {
            0 => format!("no findings: {looked_at}{suppressed}\n"),
            number => format!("{}: {looked_at}{suppressed}\n", count(number, "finding")),
        };
        text
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "findings": self.findings,
            "suppressed": self.suppressed,
            "objects": self.objects,
            "files": self.files,
        })
    }
}

fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    const ROUTE: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: web, namespace: shop}\n\
                         spec:\n  hosts: [web]\n  http:\n  - route: [{destination: {host: wbe}}]\n";
    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {ports: [{port: 80}]}\n";

    fn analyzed(dir: &Path, flags: &[&str]) -> (String, u8) {
        let path = dir.to_str().unwrap();
        let command = Command::try_parse_from(["weft", path].iter().chain(flags)).unwrap();
        let files = files::read(&command.args.paths).unwrap();
        let report = analyze(&files, &command.args);
        assert_eq!(
            report.json()["findings"].as_array().unwrap().len(),
            report.findings.len()
        );
        let text = report.text().replace(path, "DIR");
        (text, report.exit_code(command.args.failure_threshold))
    }

    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("deep")).unwrap();
        fs::write(dir.path().join("deep/route.yaml"), ROUTE).unwrap();
        fs::write(dir.path().join("web.yml"), SERVICE).unwrap();
        fs::write(dir.path().join("notes.txt"), "kind: [").unwrap();
        fs::write(dir.path().join(".hidden.yaml"), "kind: [").unwrap();
        dir
    }

    #[test]
    fn a_missing_host_is_one_line_and_exit_code_79() {
        let dir = directory();
        let (text, code) = analyzed(dir.path(), &[]);
        assert_eq!(
            text,
            "Error [WFT0101] (VirtualService shop/web DIR/deep/route.yaml:7) spec.http[0].route[0].destination.host: \
             there is no Service wbe.shop.svc.cluster.local; its requests are answered with 503\n\
             Info [WFT0301] (Service shop/web DIR/web.yml:4) spec.ports[0]: port 80 has no name and does not say what \
             it speaks; set appProtocol: http, or name it http-…, grpc-…, tcp-…\n\
             2 findings: 2 objects in 2 files\n"
        );
        assert_eq!(code, FOUND);
    }

    #[test]
    fn suppression_and_threshold_decide_the_exit_code() {
        let dir = directory();
        let (text, code) = analyzed(dir.path(), &["-S", "WFT0101=VirtualService shop/web"]);
        assert!(
            text.contains("1 finding: 2 objects in 2 files, 1 suppressed"),
            "{text}"
        );
        assert_eq!(code, 0);
        let (_, code) = analyzed(
            dir.path(),
            &["-S", "WFT0101=*", "--failure-threshold", "info"],
        );
        assert_eq!(code, FOUND);
        let (text, code) = analyzed(dir.path(), &["-S", "IST0101=*.shop", "-S", "WFT0301=*"]);
        assert_eq!(text, "no findings: 2 objects in 2 files, 2 suppressed\n");
        assert_eq!(code, 0);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let missing = files::read(&[PathBuf::from("/nowhere/at/all")]).unwrap_err();
        assert!(missing.contains("/nowhere/at/all"), "{missing}");
        let empty = tempfile::tempdir().unwrap();
        let message = files::read(&[empty.path().to_owned()]).unwrap_err();
        assert!(
            message.contains("no .yaml, .yml or .json file"),
            "{message}"
        );
        assert!(Command::try_parse_from(["weft", "x", "-S", "WFT9999=*"]).is_err());
        assert!(Command::try_parse_from(["weft", "x", "-S", "WFT0101"]).is_err());
    }
}
