use std::os::unix::fs::symlink;

use super::*;

const CART: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop}\nspec: {ports: [{port: 80}]}\n";
const CAKE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: cake, namespace: shop}\nspec: {ports: [{port: 80}]}\n";
/// `port` is no number.
const BROKEN_CART: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop}\nspec: {ports: [{port: many}]}\n";
const NO_YAML: &str = "apiVersion: v1\nkind: [Service\n";

struct Fixture {
    dir: tempfile::TempDir,
    files: Files,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(&[dir.path().to_owned()]).unwrap();
        Self { dir, files }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn scan(&mut self) -> bool {
        self.files.scan(&BTreeSet::new())
    }

    /// Names of all services.
    fn services(&self) -> Vec<String> {
        self.files
            .manifests()
            .snapshot
            .services
            .keys()
            .map(ToString::to_string)
            .collect()
    }

    fn errors(&self) -> Vec<String> {
        self.files
            .manifests()
            .errors
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

#[test]
fn files_come_change_and_go() {
    let mut fixture = Fixture::new();
    assert!(!fixture.scan());
    fixture.write("a.yaml", CART);
    fs::create_dir(fixture.path("sub")).unwrap();
    fixture.write("sub/b.yml", CAKE);
    assert!(fixture.scan());
    assert_eq!(fixture.services(), ["shop/cake", "shop/cart"]);
    assert!(!fixture.scan(), "nothing has changed");
    fs::remove_file(fixture.path("a.yaml")).unwrap();
    assert!(fixture.scan());
    assert_eq!(fixture.services(), ["shop/cake"]);
    fs::remove_dir_all(fixture.path("sub")).unwrap();
    assert!(fixture.scan());
    assert_eq!(fixture.services(), [""; 0]);
}

#[test]
fn a_broken_object_keeps_its_last_good_form_and_is_named() {
    let mut fixture = Fixture::new();
    fixture.write("a.yaml", &format!("{CART}---\n{CAKE}"));
    fixture.scan();
    fixture.write("a.yaml", &format!("{BROKEN_CART}---\n{CAKE}"));
    assert!(fixture.scan());
    assert_eq!(fixture.services(), ["shop/cake", "shop/cart"]);
    let errors = fixture.errors();
    assert_eq!(errors.len(), 1);
    for part in ["a.yaml:4", "Service shop/cart", "spec.ports[0].port"] {
        assert!(errors[0].contains(part), "{part:?} is not in {}", errors[0]);
    }
    // The document beside it is gone for good: its removal was no error.
    fixture.write("a.yaml", BROKEN_CART);
    assert!(fixture.scan());
    assert_eq!(fixture.services(), ["shop/cart"]);
    fixture.write("a.yaml", CART);
    assert!(fixture.scan());
    assert!(fixture.errors().is_empty());
}

#[test]
fn a_document_that_is_no_yaml_may_be_any_of_those_that_are_missing() {
    let mut fixture = Fixture::new();
    fixture.write("a.yaml", &format!("{CART}---\n{CAKE}"));
    fixture.scan();
    fixture.write("a.yaml", &format!("{NO_YAML}---\n{CAKE}"));
    fixture.scan();
    assert_eq!(fixture.services(), ["shop/cake", "shop/cart"]);
    assert!(
        fixture.errors()[0].contains("a.yaml:"),
        "{:?}",
        fixture.errors()
    );
}

#[test]
fn an_unreadable_file_keeps_its_objects() {
    let mut fixture = Fixture::new();
    fixture.write("a.yaml", CART);
    fixture.scan();
    fs::write(fixture.path("a.yaml"), b"apiVersion: v1\n# \xff\xfe\n").unwrap();
    assert!(fixture.scan());
    assert_eq!(fixture.services(), ["shop/cart"]);
    assert!(
        fixture.errors()[0].contains("UTF-8"),
        "{:?}",
        fixture.errors()
    );
    fixture.write("a.yaml", &" ".repeat(MAX_FILE_BYTES + 1));
    assert!(fixture.scan());
    assert_eq!(fixture.services(), ["shop/cart"]);
    assert!(
        fixture.errors()[0].contains("split it"),
        "{:?}",
        fixture.errors()
    );
}

#[test]
fn editors_leftovers_are_passed_over() {
    let mut fixture = Fixture::new();
    for name in [
        ".a.yaml.swp",
        ".#a.yaml",
        "#a.yaml#",
        "a.yaml~",
        "4913",
        "a.yaml.bak",
        "sedAbCdE",
        "a.yaml___jb_tmp___",
        ".hidden.yaml",
        "README.md",
    ] {
        fixture.write(name, CART);
    }
    fs::create_dir(fixture.path(".git")).unwrap();
    fixture.write(".git/a.yaml", CART);
    assert!(!fixture.scan());
    assert_eq!(fixture.services(), [""; 0]);
}

#[test]
fn a_save_by_rename_is_a_change() {
    let mut fixture = Fixture::new();
    fixture.write("a.yaml", CART);
    fixture.scan();
    fixture.write("a.tmp", CAKE);
    fs::rename(fixture.path("a.tmp"), fixture.path("a.yaml")).unwrap();
    assert!(fixture.scan());
    assert_eq!(fixture.services(), ["shop/cake"]);
}

#[test]
fn a_file_that_was_touched_is_read_even_when_its_stamp_is_the_same() {
    let mut fixture = Fixture::new();
    fixture.write("a.yaml", CART);
    fixture.scan();
    let path = fixture.path("a.yaml");
    let stamp = fixture.files.entries[&path].stamp;
    fixture.write("a.yaml", CAKE);
    // As if both writes had come within one tick of the file system's clock.
    fixture.files.entries.get_mut(&path).unwrap().stamp =
        Some(super::stamp(&fs::metadata(&path).unwrap()));
    assert!(stamp.is_some());
    assert!(!fixture.scan());
    assert!(fixture.files.scan(&BTreeSet::from([path])));
    assert_eq!(fixture.services(), ["shop/cake"]);
}

#[test]
fn a_later_directory_overrides_an_earlier_one() {
    let (user, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let text = |port: u16| CART.replace("80", &port.to_string());
    fs::write(user.path().join("z.yaml"), text(1)).unwrap();
    fs::write(state.path().join("a.yaml"), text(2)).unwrap();
    let mut files = Files::new(&[user.path().to_owned(), state.path().to_owned()]).unwrap();
    files.scan(&BTreeSet::new());
    let manifests = files.manifests();
    let service = manifests.snapshot.services.values().next().unwrap();
    assert_eq!(service.value.spec.ports[0].port, 2);
    assert!(
        manifests.snapshot.duplicates.is_empty(),
        "an override is no finding"
    );
}

#[test]
fn mounted_config_maps_and_loops_of_links() {
    let mut fixture = Fixture::new();
    fs::create_dir(fixture.path("..2026")).unwrap();
    fixture.write("..2026/a.yaml", CART);
    symlink("..2026", fixture.path("..data")).unwrap();
    symlink("..data/a.yaml", fixture.path("a.yaml")).unwrap();
    symlink(".", fixture.path("loop")).unwrap();
    fixture.scan();
    assert_eq!(fixture.services(), ["shop/cart"]);
    fs::create_dir(fixture.path("..2027")).unwrap();
    fixture.write("..2027/a.yaml", CAKE);
    fs::remove_file(fixture.path("..data")).unwrap();
    symlink("..2027", fixture.path("..data")).unwrap();
    assert!(fixture.scan());
    assert_eq!(fixture.services(), ["shop/cake"]);
}

#[test]
fn a_directory_that_vanishes_keeps_the_mesh() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("mesh");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.yaml"), CART).unwrap();
    let mut files = Files::new(std::slice::from_ref(&root)).unwrap();
    files.scan(&BTreeSet::new());
    fs::remove_dir_all(&root).unwrap();
    assert!(files.scan(&BTreeSet::new()));
    let manifests = files.manifests();
    assert_eq!(manifests.snapshot.services.len(), 1);
    assert!(
        manifests.errors[0].to_string().contains("cannot list"),
        "{:?}",
        manifests.errors
    );
    // It is back, and empty: now it is true.
    fs::create_dir(&root).unwrap();
    assert!(files.scan(&BTreeSet::new()));
    assert_eq!(files.manifests().snapshot.services.len(), 0);
}

#[test]
fn a_missing_directory_is_named_at_the_start() {
    let error = Files::new(&[PathBuf::from("/nonexistent/mesh")]).unwrap_err();
    assert!(
        error.to_string().contains("--manifests /nonexistent/mesh"),
        "{error}"
    );
}
