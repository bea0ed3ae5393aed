//! House rules on source text: what a pure crate must not say, order inside the proxy, no globals, no test code in
//! production. Text search is crude but cheap; it looks at code only (comments, strings of one line and the inline test
//! module are cut away).

use std::{fs, path::Path};

use anyhow::Context;

use super::{PROXY_LEVELS, PURE, Violation};
use crate::{
    sources::production_files,
    workspace::{Package, Workspace},
};

/// (text, why) that a pure crate must not contain.
const IMPURE_WORDS: &[(&str, &str)] = &[
    ("Instant::now", "reads a clock: take `now` as an argument"),
    (
        "SystemTime::now",
        "reads a clock: take `now` as an argument",
    ),
    ("std::fs", "touches files: bytes in, bytes out"),
    (
        "std::env",
        "reads the environment: take a value as an argument",
    ),
    ("std::process", "starts or ends processes"),
    ("std::thread", "starts threads or sleeps"),
    ("TcpStream", "opens sockets"),
    ("TcpListener", "opens sockets"),
    ("UdpSocket", "opens sockets"),
    ("UnixStream", "opens sockets"),
    (
        "RandomState",
        "is randomly seeded: use foldhash with a fixed seed or a BTreeMap",
    ),
    (
        "thread_rng",
        "rolls dice: take a random number as an argument",
    ),
    ("println!", "prints: return a value"),
];

/// (text, why) that no production file may contain.
const GLOBAL_WORDS: &[(&str, &str)] = &[
    ("static mut ", "is global state: pass it"),
    (
        "cfg(any(test",
        "is test code in production: inject through a seam",
    ),
    (
        "cfg(not(test",
        "behaves differently under test: inject through a seam",
    ),
    ("todo!(", "is unfinished"),
    ("unimplemented!(", "is unfinished"),
];

/// Types with interior mutability that make a `static` global state.
const CELLS: &[&str] = &[
    "Mutex<",
    "RwLock<",
    "OnceLock<",
    "OnceCell<",
    "LazyLock<",
    "Atomic",
    "RefCell<",
];

/// `static`s with such a type that are allowed, as (file, name).
const ALLOWED_STATICS: &[(&str, &str)] = &[
    // Thread-local: the namespace that the thread was born in, where every excursion ends.
    ("crates/netns/src/namespace.rs", "HOME"),
    // Thread-local: a /proc of the thread's own; a mount for each setting would cost more than the setting.
    ("crates/netns/src/proc.rs", "OWN"),
    // The sample application's connections; it is a guest of the mesh, no part of it.
    ("crates/lab/src/bin/weft-sample/upstream.rs", "POOL"),
];

/// Where the environment may be read by hand: the configuration loader, the chores, and what plays a container runtime.
const MAY_READ_ENVIRONMENT: &[&str] = &[
    "weft-service",
    "weft-cni",
    "weft-cli",
    "weft-lab",
    "weft-e2e",
    "weft-bench",
    "xtask",
    "weft-cluster",
];

/// Checks all production files of the workspace.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn check(workspace: &Workspace) -> anyhow::Result<Vec<Violation>> {
    let mut found = Vec::new();
    for package in &workspace.packages {
        for path in production_files(&package.directory().join("src"))? {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let file = path.strip_prefix(&workspace.root).unwrap_or(&path);
            found.extend(check_file(package, file, &text));
        }
    }
    Ok(found)
}

fn check_file(package: &Package, file: &Path, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let pure = PURE.contains(&package.name.as_str());
    // The rules quote what they look for.
    if package.name == "xtask" {
        return found;
    }
    for (number, line) in code_lines(text) {
        let mut report = |what: String| {
            let place = format!("{}:{number}", file.display());
            found.push(Violation { place, what });
        };
        if pure {
            for (word, why) in IMPURE_WORDS.iter().filter(|(word, _)| line.contains(word)) {
                report(format!("`{word}` in a pure crate {why}"));
            }
        }
        for (word, why) in GLOBAL_WORDS.iter().filter(|(word, _)| line.contains(word)) {
            report(format!("`{word}` {why}"));
        }
        if let Some(name) = global_cell(&line, file) {
            report(format!(
                "static {name} is global state: pass it, or allow it in sources.rs"
            ));
        }
        if line.contains("env::var") && !MAY_READ_ENVIRONMENT.contains(&package.name.as_str()) {
            report("reads the environment: take it from the configuration".to_owned());
        }
        if line.contains("allow(unsafe_code)") && package.name != "weft-netns" {
            report("unsafe code lives in crates/netns only".to_owned());
        }
        if package.name != "weft-wire" && line.contains("weft_wire::generated") {
            report("protobuf types do not leave crates/wire".to_owned());
        }
    }
    if package.name == "weft-proxy" {
        found.extend(upward_uses(file, text));
    }
    found
}

/// Lines of code with their numbers: without comments, string contents and everything after `#[cfg(test)]` at the left
/// margin (tests are last in a file).
fn code_lines(text: &str) -> impl Iterator<Item = (usize, String)> + '_ {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(index, line)| (index + 1, strip(line)))
}

/// A line without its comment and without the contents of its string literals.
fn strip(line: &str) -> String {
    let mut code = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' if quoted => {
                characters.next();
            }
            '"' => {
                quoted = !quoted;
                code.push('"');
            }
            '/' if !quoted && characters.peek() == Some(&'/') => break,
            other if !quoted => code.push(other),
            _ => {}
        }
    }
    code
}

fn global_cell<'l>(line: &'l str, file: &Path) -> Option<&'l str> {
    let declared = line
        .trim_start()
        .trim_start_matches("pub ")
        .trim_start_matches("pub(crate) ");
    let (name, kind) = declared.strip_prefix("static ")?.split_once(':')?;
    let allowed = ALLOWED_STATICS
        .iter()
        .any(|(path, allowed)| file == Path::new(path) && *allowed == name);
    (!allowed && CELLS.iter().any(|cell| kind.contains(cell))).then_some(name)
}

/// In the proxy: each `crate::x` and `crate::{x, …}` of a higher level than the file's own top module.
fn upward_uses(file: &Path, text: &str) -> Vec<Violation> {
    let level = |name: &str| {
        PROXY_LEVELS
            .iter()
            .find(|(module, _)| *module == name)
            .map(|(_, level)| *level)
    };
    let own = file
        .strip_prefix("node-proxy/src")
        .ok()
        .and_then(|path| path.components().next())
        .and_then(|top| Path::new(top.as_os_str()).file_stem()?.to_str());
    let Some((own, own_level)) = own.and_then(|own| Some((own, level(own)?))) else {
        return Vec::new();
    };
    let code: String = code_lines(text)
        .flat_map(|(_, line)| [line, "\n".to_owned()])
        .collect();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = code.get(at + "crate::".len()..).unwrap_or_default();
        for name in first_names(rest) {
            if level(name).is_some_and(|used| used > own_level) {
                let number = code.get(..at).unwrap_or_default().matches('\n').count() + 1;
                found.push(Violation {
                    place: format!("{}:{number}", file.display()),
                    what: format!("module {own} uses crate::{name}, which lies above it"),
                });
            }
        }
    }
    found
}

/// The first path segments after `crate::`: one, or those of a brace list.
fn first_names(rest: &str) -> Vec<&str> {
    let word = |text: &'_ str| {
        text.find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len())
    };
    let Some(list) = rest.strip_prefix('{') else {
        return vec![rest.get(..word(rest)).unwrap_or_default()];
    };
    let (mut names, mut depth, mut expects) = (Vec::new(), 0_usize, true);
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects = true,
            _ if expects && depth == 0 && character.is_alphabetic() => {
                let name = list.get(at..).unwrap_or_default();
                names.push(name.get(..word(name)).unwrap_or_default());
                expects = false;
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{check_file, strip};
    use crate::workspace::Package;

    fn found(package: &str, file: &str, text: &str) -> Vec<String> {
        let package = Package {
            name: package.to_owned(),
            manifest_path: "Cargo.toml".into(),
            dependencies: Vec::new(),
        };
        let found = check_file(&package, Path::new(file), text);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_clock_in_a_pure_crate_is_found_with_file_and_line() {
        let text = "//! Head.\nfn f() {\n    let now = std::time::Instant::now();\n}\n";
        let found = found("weft-decide", "crates/decide/src/x.rs", text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("crates/decide/src/x.rs:3: "),
            "{found:?}"
        );
    }

    #[test]
    fn a_clock_elsewhere_in_comments_strings_and_tests_is_not() {
        let text = "// Instant::now\nlet a = \"Instant::now\";\n#[cfg(test)]\nmod tests { Instant::now(); }";
        assert!(found("weft-decide", "x.rs", text).is_empty());
        assert!(found("weft-lab", "x.rs", "Instant::now()").is_empty());
    }

    #[test]
    fn global_state_is_found_and_a_constant_table_is_not() {
        let found = found(
            "weft-proxy",
            "x.rs",
            "pub static A: AtomicU64 = AtomicU64::new(0);\nstatic B: [u8; 2] = [1, 2];\nstatic C: LazyLock<X>",
        );
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn an_upward_use_in_the_proxy_is_found() {
        let upward = found(
            "weft-proxy",
            "node-proxy/src/net/copy.rs",
            "use crate::l7::Exchange;",
        );
        assert_eq!(upward.len(), 1, "{upward:?}");
        assert!(
            upward[0].contains("module net uses crate::l7"),
            "{upward:?}"
        );
        let level = found(
            "weft-proxy",
            "node-proxy/src/l7/mod.rs",
            "use crate::{l4, net::Dial};",
        );
        assert!(level.is_empty(), "{level:?}");
        let listed = "use crate::{\n    l4::{x, y},\n    app,\n};";
        let listed = found("weft-proxy", "node-proxy/src/l7/mod.rs", listed);
        assert_eq!(listed.len(), 1, "{listed:?}");
        let module = found(
            "weft-proxy",
            "node-proxy/src/config.rs",
            "x(crate::app::Wiring)",
        );
        assert_eq!(module.len(), 1, "{module:?}");
    }

    #[test]
    fn environment_unsafe_and_unfinished_code_are_found() {
        assert_eq!(
            found("weft-operator", "x.rs", "std::env::var(\"X\")").len(),
            1
        );
        assert!(found("weft-service", "x.rs", "std::env::var(\"X\")").is_empty());
        assert_eq!(
            found("weft-agent", "x.rs", "#![allow(unsafe_code)]").len(),
            1
        );
        assert_eq!(found("weft-agent", "x.rs", "    todo!()").len(), 1);
    }

    #[test]
    fn strings_and_comments_are_cut() {
        assert_eq!(strip("let a = \"b \\\" // c\"; // d"), "let a = \"\"; ");
    }
}
