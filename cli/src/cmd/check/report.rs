//! Sections of lines, each good, worth a look, or failing with what is wrong and what to do; as text and as JSON, both in
//! Linkerd's shape.

use serde_json::{Value, json};

/// Most details that a line shows; a cluster of a thousand nodes can be wrong a thousand times.
const SHOWN: usize = 10;

/// How a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// Fails the check.
    Bad,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    what: String,
    verdict: Verdict,
    details: Vec<String>,
    hint: String,
}

/// Lines about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    name: &'static str,
    lines: Vec<Line>,
}

impl Section {
    pub(super) fn new(name: &'static str, lines: Vec<Line>) -> Self {
        Self { name, lines }
    }
}

impl Line {
    /// A line that fails when there are problems; `hint` says what to do about them.
    pub(super) fn must(what: impl Into<String>, problems: Vec<String>, hint: &str) -> Self {
        Self::new(what, Verdict::Bad, problems, hint)
    }

    /// A line that warns when there are problems.
    pub(super) fn should(what: impl Into<String>, problems: Vec<String>, hint: &str) -> Self {
        Self::new(what, Verdict::Warning, problems, hint)
    }

    /// A line about facts that may not be known: then it fails with the reason.
    pub(super) fn about<T>(
        what: &str,
        facts: &Result<T, String>,
        judge: impl FnOnce(&T) -> Self,
    ) -> Self {
        match facts {
            Ok(facts) => judge(facts),
            Err(reason) => Self::must(what, vec![reason.clone()], ""),
        }
    }

    fn new(what: impl Into<String>, worst: Verdict, mut details: Vec<String>, hint: &str) -> Self {
        let verdict = match details.is_empty() {
            true => Verdict::Good,
            false => worst,
        };
        if details.len() > SHOWN {
            let more = details.len() - SHOWN;
            details.truncate(SHOWN);
            details.push(format!("and {more} more"));
        }
        Self {
            what: what.into(),
            verdict,
            details,
            hint: hint.to_owned(),
        }
    }

    #[cfg(test)]
    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Report(Vec<Section>);

impl Report {
    pub(super) fn new(sections: Vec<Section>) -> Self {
        Self(sections)
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.0.iter().flat_map(|section| &section.lines)
    }

    /// The first failing line, in one line.
    pub(super) fn first_failure(&self) -> Option<String> {
        let line = self.lines().find(|line| line.verdict == Verdict::Bad)?;
        let detail = line.details.first().map(String::as_str).unwrap_or_default();
        let detail = detail.lines().next().unwrap_or_default();
        Some(format!("{}: {detail}", line.what))
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for section in &self.0 {
            text.push_str(section.name);
            text.push('\n');
            text.push_str(&"-".repeat(section.name.len()));
            text.push('\n');
            for line in &section.lines {
                let sign = match line.verdict {
                    Verdict::Good => '√',
                    Verdict::Warning => '‼',
                    Verdict::Bad => '×',
                };
                text.push_str(&format!("{sign} {}\n", line.what));
                let details = line.details.iter().flat_map(|detail| detail.lines());
                details.for_each(|detail| text.push_str(&format!("    {detail}\n")));
                if line.verdict != Verdict::Good && !line.hint.is_empty() {
                    text.push_str(&format!("    → {}\n", line.hint));
                }
            }
            text.push('\n');
        }
        let sign = if self.first_failure().is_some() {
            '×'
        } else {
            '√'
        };
        text.push_str(&format!("Status check results are {sign}\n"));
        text
    }

    /// For programs; the keys are those of `linkerd check -o json`.
    pub(super) fn json(&self) -> Value {
        let line = |line: &Line| {
            let mut shown = json!({
                "description": line.what,
                "result": match line.verdict {
                    Verdict::Good => "success",
                    Verdict::Warning => "warning",
                    Verdict::Bad => "error",
                },
            });
            if line.verdict != Verdict::Good {
                shown["error"] = json!(line.details.join("\n"));
                shown["hint"] = json!(line.hint);
            }
            shown
        };
        let sections = self.0.iter().map(|section| {
            let checks: Vec<Value> = section.lines.iter().map(line).collect();
            json!({"categoryName": section.name, "checks": checks})
        });
        json!({
            "success": self.first_failure().is_none(),
            "categories": sections.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_linkerds() {
        let lines = vec![
            Line::must("can query the API server", Vec::new(), "x"),
            Line::should(
                "versions match",
                vec!["node-1: 0.0.9".to_owned()],
                "upgrade",
            ),
            Line::about(
                "nodes",
                &Err::<(), _>("forbidden".to_owned()),
                |()| unreachable!(),
            ),
        ];
        let report = Report::new(vec![Section::new("kubernetes-api", lines)]);
        assert_eq!(
            report.text(),
            "kubernetes-api\n--------------\n√ can query the API server\n‼ versions match\n    node-1: 0.0.9\n    \
             → upgrade\n× nodes\n    forbidden\n\nStatus check results are ×\n"
        );
        let json = report.json();
        assert_eq!(json["success"], false);
        assert_eq!(json["categories"][0]["checks"][1]["result"], "warning");
        assert_eq!(json["categories"][0]["checks"][2]["error"], "forbidden");
        assert_eq!(report.first_failure().unwrap(), "nodes: forbidden");
    }

    #[test]
    fn a_thousand_problems_are_ten_lines() {
        let line = Line::must("nodes", (0..1000).map(|n| n.to_string()).collect(), "");
        assert_eq!(line.details.len(), SHOWN + 1);
        assert_eq!(line.details[SHOWN], "and 990 more");
        assert_eq!(line.verdict(), Verdict::Bad);
    }
}
