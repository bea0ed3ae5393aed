//! The labels and annotations of one object with the place they are written at: a pod's own, or a template's.

use weft_k8s::meta::Metadata;

use crate::code::Code;
use crate::diagnostic::{Findings, Subject};

/// Labels and annotations of an object or of the pods that it makes.
#[derive(Clone, Copy)]
pub(crate) struct Marks<'a> {
    pub(crate) subject: Subject<'a>,
    /// Path of what has the metadata; empty for the object itself.
    pub(crate) prefix: &'static str,
    pub(crate) metadata: &'a Metadata,
}

impl<'a> Marks<'a> {
    /// Those of the object itself.
    pub(crate) fn own(subject: Subject<'a>, metadata: &'a Metadata) -> Self {
        Self {
            subject,
            prefix: "",
            metadata,
        }
    }

    /// Those of the pods that the object makes.
    pub(crate) fn template(subject: Subject<'a>, metadata: &'a Metadata) -> Self {
        Self {
            subject,
            prefix: "spec.template.",
            metadata,
        }
    }

    pub(crate) fn label(&self, key: &str) -> Option<&'a str> {
        self.metadata.labels.get(key).map(String::as_str)
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<&'a str> {
        self.metadata.annotations.get(key).map(String::as_str)
    }

    /// A finding about a label.
    pub(crate) fn about_label(
        &self,
        key: &str,
        code: Code,
        message: String,
        findings: &mut Findings,
    ) {
        let field = format!("{}metadata.labels[\"{key}\"]", self.prefix);
        findings.add(code, self.subject, &field, message);
    }

    /// A finding about an annotation.
    pub(crate) fn about_annotation(
        &self,
        key: &str,
        code: Code,
        message: String,
        findings: &mut Findings,
    ) {
        let field = format!("{}metadata.annotations[\"{key}\"]", self.prefix);
        findings.add(code, self.subject, &field, message);
    }

    /// A finding if a key that is read as an annotation stands among the labels.
    pub(crate) fn no_label(&self, key: &str, findings: &mut Findings) {
        if self.label(key).is_some() {
            let message =
                format!("{key} is read as an annotation, not as a label; move it to annotations");
            self.about_label(key, Code::WrongPlace, message, findings);
        }
    }

    /// A finding if a key that is read as a label stands among the annotations.
    pub(crate) fn no_annotation(&self, key: &str, findings: &mut Findings) {
        if self.annotation(key).is_some() {
            let message =
                format!("{key} is read as a label, not as an annotation; move it to labels");
            self.about_annotation(key, Code::WrongPlace, message, findings);
        }
    }

    /// Findings if any of these keys stands here at all.
    pub(crate) fn none_of(&self, keys: &[&str], place: &str, findings: &mut Findings) {
        for key in keys {
            let message = || {
                format!(
                    "{key} has no effect on a {}; move it to {place}",
                    self.subject.kind
                )
            };
            if self.label(key).is_some() {
                self.about_label(key, Code::WrongPlace, message(), findings);
            }
            if self.annotation(key).is_some() {
                self.about_annotation(key, Code::WrongPlace, message(), findings);
            }
        }
    }
}
