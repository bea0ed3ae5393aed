//! Who else writes the directory of network configurations. One change by somebody else is repaired without a word; the
//! same again and again is a war that no repair ends, and which only a person can settle: so it is named, with what to do.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::conflist::{self, PLUGIN, Source};

/// So many repairs within `WAR_WINDOW` are a war.
const WAR_WRITES: usize = 5;
/// See `WAR_WRITES`.
const WAR_WINDOW: Duration = Duration::from_secs(60);
/// Cilium renames configurations that are not its own to a name that ends so.
const CILIUM: &str = ".cilium_bak";

/// What somebody else did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Foe {
    /// Our file was taken away.
    Removed,
    /// Our file was renamed to this.
    Renamed(String),
    /// Our file was changed; these types of plugins are in it that are not the primary's.
    Changed(Vec<String>),
    /// The primary's file of this name was written anew, with other content.
    Primary(String),
}

/// The repairs of the last minute.
#[derive(Debug, Default)]
pub(crate) struct War {
    repairs: VecDeque<(Instant, Foe)>,
}

impl War {
    /// One more repair was needed.
    pub(crate) fn note(&mut self, now: Instant, foe: Foe) {
        self.repairs.push_back((now, foe));
    }

    /// Who makes war, and what to do about it; none in peace.
    pub(crate) fn verdict(&mut self, now: Instant) -> Option<String> {
        let old = |at: &Instant| now.duration_since(*at) > WAR_WINDOW;
        while self.repairs.front().is_some_and(|(at, _)| old(at)) {
            self.repairs.pop_front();
        }
        let (_, last) = self.repairs.back()?;
        (self.repairs.len() >= WAR_WRITES).then(|| last.describe())
    }
}

impl Foe {
    /// What was done to our file `own`, whose content should have been `ours`: `found` is what it is now, if it is there,
    /// and `names` are all files of the directory.
    pub(crate) fn of(own: &str, ours: &str, found: Option<&Source>, names: &[String]) -> Self {
        match found {
            Some(found) => {
                let known = conflist::types(ours);
                let added = conflist::types(&found.text).into_iter();
                Self::Changed(added.filter(|kind| !known.contains(kind)).collect())
            }
            None => {
                let renamed = backups(names).find(|name| name.strip_suffix(CILIUM) == Some(own));
                renamed.map_or(Self::Removed, |name| Self::Renamed(name.clone()))
            }
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Removed => "another program keeps removing our conflist; find out which one \
                              manages this directory, and tell it to leave other programs' files"
                .to_owned(),
            Self::Renamed(to) => format!(
                "Cilium keeps renaming our conflist to {to}; set cni.exclusive=false in Cilium's values"
            ),
            Self::Changed(added) if added.is_empty() => {
                "another program keeps changing our conflist; tell it to use the primary's file"
                    .to_owned()
            }
            Self::Changed(added) => format!(
                "another program keeps adding {} to our conflist; tell it to use the primary's file, \
                 from which {PLUGIN} takes it over",
                added.join(", ")
            ),
            Self::Primary(name) => format!(
                "{name} is written again and again with other content; let one program alone write it"
            ),
        }
    }
}

/// What Cilium has made of files of ours: nobody else would take them away.
pub(crate) fn backups(names: &[String]) -> impl Iterator<Item = &String> {
    let own = |name: &&String| name.strip_suffix(CILIUM).is_some_and(conflist::is_own);
    names.iter().filter(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str =
        r#"{"cniVersion":"1.0.0","plugins":[{"type":"bridge"},{"type":"weft-cni"}]}"#;

    #[test]
    fn five_repairs_in_a_minute_are_a_war_that_ends_when_they_end() {
        let (mut war, start) = (War::default(), Instant::now());
        for second in 0..5 {
            assert_eq!(war.verdict(start), None);
            war.note(start + Duration::from_secs(second), Foe::Removed);
        }
        let now = start + Duration::from_secs(5);
        assert!(war.verdict(now).unwrap().contains("keeps removing"));
        assert_eq!(war.verdict(now + WAR_WINDOW), None);
    }

    #[test]
    fn whoever_it_is_gets_named() {
        let of = |found: Option<&str>, names: &[&str]| {
            let found = found.map(|text| Source {
                name: "00-weft.conflist".into(),
                text: text.into(),
            });
            let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
            Foe::of("00-weft.conflist", OURS, found.as_ref(), &names).describe()
        };
        let renamed = of(None, &["05-cilium.conflist", "00-weft.conflist.cilium_bak"]);
        assert!(renamed.contains("cni.exclusive=false"), "{renamed}");
        let others = of(None, &["10-aws.conflist.cilium_bak"]);
        assert!(others.contains("keeps removing"), "{others}");
        let chained = OURS.replace("]", r#",{"type":"istio-cni"}]"#);
        let added = of(Some(&chained), &[]);
        assert!(added.contains("adding istio-cni"), "{added}");
        assert!(of(Some("torn"), &[]).contains("keeps changing"));
        let primary = Foe::Primary("10-x.conf".into()).describe();
        assert!(primary.contains("10-x.conf"), "{primary}");
    }
}
