//! Verdicts from the suite's log, which is what `go test -v` writes.

use std::collections::BTreeMap;

/// The one test function that all others are subtests of.
const ROOT: &str = "TestConformance/";

/// Verdicts by test.
#[derive(Debug, Default)]
pub(crate) struct Results(BTreeMap<String, Verdict>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Fail,
    Skip,
}

impl Results {
    /// Remembers the verdict that the line may hold.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some((name, verdict)) = verdict(line) {
            self.0.insert(name.to_owned(), verdict);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count(Verdict::Pass) + self.count(Verdict::Fail) == 0
    }

    /// True when all tests passed but the `known` ones, and none of those did: a list of failures that is not kept short
    /// hides the next one.
    pub(crate) fn as_expected(&self, known: &[String]) -> bool {
        let mut surprises = self.0.iter().filter(|(name, verdict)| {
            let expected = if known.contains(name) {
                Verdict::Fail
            } else {
                Verdict::Pass
            };
            **verdict != Verdict::Skip && **verdict != expected
        });
        !self.is_empty() && surprises.next().is_none()
    }

    /// Names of what failed, known or not, of what was known and passed, and a last line with the counts.
    pub(crate) fn summary(&self, known: &[String]) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for (name, verdict) in &self.0 {
            match (verdict, known.contains(name)) {
                (Verdict::Fail, false) => lines.push(format!("FAILED  {name}")),
                (Verdict::Fail, true) => lines.push(format!("failed  {name}, as is known")),
                (Verdict::Pass, true) => {
                    lines.push(format!("PASSED  {name}: it is no longer a known failure"));
                }
                (Verdict::Pass, false) | (Verdict::Skip, _) => {}
            }
        }
        lines.push(format!(
            "{} passed, {} failed",
            self.count(Verdict::Pass),
            self.count(Verdict::Fail)
        ));
        lines
    }

    fn count(&self, wanted: Verdict) -> usize {
        self.0
            .values()
            .filter(|verdict| **verdict == wanted)
            .count()
    }
}

/// `--- PASS: TestConformance/MeshBasic (0.10s)`, about a whole test.
fn verdict(line: &str) -> Option<(&str, Verdict)> {
    let (word, rest) = line.trim_start().strip_prefix("--- ")?.split_once(": ")?;
    let verdict = match word {
        "PASS" => Verdict::Pass,
        "FAIL" => Verdict::Fail,
        "SKIP" => Verdict::Skip,
        _ => return None,
    };
    Some((whole_test(rest.split(' ').next()?)?, verdict))
}

/// Name of the mesh test that begins with this line. Those for gateways, hundreds, begin too and skip themselves.
pub(crate) fn begun(line: &str) -> Option<&str> {
    let name = line.strip_prefix("=== RUN")?.trim_start();
    whole_test(name).filter(|name| name.starts_with("Mesh"))
}

fn whole_test(path: &str) -> Option<&str> {
    path.strip_prefix(ROOT).filter(|name| !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::{Results, begun};

    #[test]
    fn tests_are_counted_and_their_parts_are_not() {
        let mut results = Results::default();
        let log = "\
=== RUN   TestConformance
--- FAIL: TestConformance (9.00s)
    --- PASS: TestConformance/MeshBasic (0.10s)
        --- PASS: TestConformance/MeshBasic/sub (0.10s)
    --- FAIL: TestConformance/MeshPorts (5.00s)
    --- SKIP: TestConformance/GatewayClass (0.00s)";
        log.lines().for_each(|line| results.read(line));
        assert!(!results.as_expected(&[]));
        assert_eq!(
            results.summary(&[]),
            ["FAILED  MeshPorts", "1 passed, 1 failed"]
        );
        assert_eq!(
            begun("=== RUN   TestConformance/MeshPorts"),
            Some("MeshPorts")
        );
        assert_eq!(begun("=== RUN   TestConformance/MeshPorts/sub"), None);
        assert_eq!(begun("=== RUN   TestConformance/GatewayClass"), None);
        assert!(
            !Results::default().as_expected(&[]),
            "no test is no success"
        );
    }

    #[test]
    fn a_known_failure_is_allowed_and_has_to_fail() {
        let mut results = Results::default();
        results.read("    --- FAIL: TestConformance/MeshPorts (5.00s)");
        results.read("    --- PASS: TestConformance/MeshBasic (5.00s)");
        let known = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        assert!(results.as_expected(&known(&["MeshPorts"])));
        assert!(!results.as_expected(&known(&["MeshPorts", "MeshBasic"])));
        assert_eq!(
            results.summary(&known(&["MeshPorts", "MeshBasic"])),
            [
                "PASSED  MeshBasic: it is no longer a known failure",
                "failed  MeshPorts, as is known",
                "1 passed, 1 failed"
            ]
        );
    }
}
