//! `docs/reference/codes.md` is made from the table of codes. `UPDATE_GOLDEN=1` writes it.

use std::{fs, path::Path};

use weft_compile::Code;

#[test]
fn the_page_of_codes_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/codes.md");
    let page = page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap_or_default(),
        page,
        "run with UPDATE_GOLDEN=1"
    );
}

fn page() -> String {
    let mut page = String::from(
        "# Codes of findings\n\n<!-- Generated from crates/compile/src/code.rs: UPDATE_GOLDEN=1 cargo test -p weft-compile -->\n\n\
         `weft analyze` and the operator's diagnostics name each finding by one of these. A code never changes its meaning.\n\n\
         | code | level | what | in Istio |\n|---|---|---|---|\n",
    );
    for code in Code::ALL {
        let anchor = code.id().to_ascii_lowercase();
        page += &format!(
            "| [{}](#{anchor}) | {} | {} | {} |\n",
            code.id(),
            code.level(),
            code.title(),
            code.istio()
        );
    }
    for code in Code::ALL {
        page += &format!(
            "\n## {}\n\n{}: {}.\n\n{}\n",
            code.id(),
            code.level(),
            code.title(),
            code.doc()
        );
    }
    page
}
