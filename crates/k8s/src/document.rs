//! Splits a file into its YAML documents, so that each is read by itself and a broken one hides no other.

/// One document and the number of lines before it.
pub(crate) struct Document<'a> {
    pub(crate) text: &'a str,
    pub(crate) lines_before: u32,
}

/// Documents of a file. `---` at the start of a line separates them even inside block scalars (YAML 1.2, 9.1.2).
pub(crate) fn split(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut documents, mut start, mut start_line) = (Vec::new(), 0, 0);
    let (mut offset, mut line) = (0, 0u32);
    for part in text.split_inclusive('\n') {
        if is_separator(part) {
            push(&mut documents, text.get(start..offset), start_line);
            // What follows the dashes on their own line belongs to the new document.
            (start, start_line) = (offset + 3, line);
        }
        offset += part.len();
        line = line.saturating_add(1);
    }
    push(&mut documents, text.get(start..), start_line);
    documents
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn push<'a>(documents: &mut Vec<Document<'a>>, text: Option<&'a str>, lines_before: u32) {
    let Some(text) = text else { return };
    let says_something = text.lines().map(str::trim).any(|line| {
        let silent =
            line.is_empty() || line.starts_with('#') || line.starts_with('%') || line == "...";
        !silent
    });
    if says_something {
        documents.push(Document { text, lines_before });
    }
}
