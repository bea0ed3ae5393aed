//! The sample shop travels in the binary, so that the demo runs from anywhere; it is written to a directory of the
//! room, where the user may edit it.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// The file that shifts the canary.
pub(crate) const CANARY: &str = "reviews-canary.yaml";

macro_rules! shop {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../deploy/samples/shop/", $name)))),*]
    };
}

const SHOP: &[(&str, &str)] = shop![
    "00-namespace.yaml",
    "ads.yaml",
    "cart.yaml",
    "catalog.yaml",
    "checkout.yaml",
    "frontend.yaml",
    "payment.yaml",
    "ratings.yaml",
    "recommendation-retries.yaml",
    "recommendation.yaml",
    "reviews-canary.yaml",
    "reviews.yaml",
    "shipping.yaml",
    "store.yaml",
    "visitors.yaml",
];

/// Writes the shop into a directory.
///
/// # Errors
/// The directory cannot be made or written.
pub(crate) fn write(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    for (name, text) in SHOP {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_shop_travels() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/samples/shop");
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            SHOP.iter().map(|(name, _)| *name).collect::<Vec<_>>()
        );
        assert!(names.contains(&CANARY.to_owned()));
    }
}
