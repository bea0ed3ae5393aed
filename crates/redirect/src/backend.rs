//! Who puts packet rules into a namespace. There is one implementation today, over the programs of iptables in either
//! flavour; a native nft one can stand beside it.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use weft_netns::Netns;

use crate::desired::{Desired, Family, Phase, WayBack, desired};
use crate::error::{Drift, Error};
use crate::in_use::{self, Tables};
use crate::iptables::{self, Current};
use crate::tool::Tool;

/// The families to look at when it matters what is there, not what should be: IPv6 may have been switched off since.
const BOTH: [Family; 2] = [Family::V4, Family::V6];

/// The two kernels' interfaces behind the name iptables. A pod must never have rules in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Over nf_tables.
    Nft,
    /// Over x_tables.
    Legacy,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flavour::Nft => "nft",
            Flavour::Legacy => "legacy",
        })
    }
}

/// What was done to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The flavour that its rules are in.
    pub flavour: Flavour,
    /// Whether packet rules were changed; false when they were already right.
    pub changed: bool,
}

/// Puts packet rules into a namespace, takes them out, compares them. Calls for one namespace must not overlap.
pub trait RuleBackend: Send + Sync {
    /// Makes the pod's rules exactly as desired, each family in one step. A pod that was not captured before has no
    /// rules of ours after a failure.
    ///
    /// # Errors
    /// The rules cannot be read or are refused.
    fn apply(&self, ns: &Netns, desired: &Desired) -> Result<Applied, Error>;

    /// Takes the pod to [`Phase::Releasing`] or [`Phase::Released`]; ([`Phase::Captured`] is [`RuleBackend::apply`]'s
    /// and changes nothing here).
    ///
    /// # Errors
    /// The rules cannot be read or removed.
    fn remove(&self, ns: &Netns, phase: Phase) -> Result<Applied, Error>;

    /// The phase that the pod's rules amount to, whoever made them.
    ///
    /// # Errors
    /// The rules cannot be read.
    fn phase(&self, ns: &Netns) -> Result<Phase, Error>;

    /// The way back that the pod's rules were made for; none when it has no rules of ours.
    ///
    /// # Errors
    /// The rules cannot be read.
    fn way_back(&self, ns: &Netns) -> Result<Option<WayBack>, Error>;

    /// Compares the pod's rules with what is desired.
    ///
    /// # Errors
    /// They differ, or cannot be read.
    fn verify(&self, ns: &Netns, desired: &Desired) -> Result<(), Drift>;
}

/// The programs of iptables: `iptables-nft-save`, `ip6tables-legacy-restore` and so on, found by `PATH`.
#[derive(Clone, Debug)]
pub struct Iptables {
    usable: Vec<Flavour>,
    lock_dir: PathBuf,
}

/// What a pod has, in the one flavour that counts for it.
struct Found {
    flavour: Flavour,
    by_family: Vec<(Family, Current)>,
}

impl Iptables {
    /// Tries both flavours in an empty namespace that is thrown away, and keeps those that this node's kernel and
    /// programs can do. `lock_dir` (made if need be) holds one short-lived lock file per pod.
    ///
    /// # Errors
    /// Neither works (the message has both reasons), or the directory or namespace cannot be made.
    pub fn probe(lock_dir: PathBuf) -> Result<Self, Error> {
        fs::create_dir_all(&lock_dir).map_err(Error::Namespace)?;
        let attempt = |flavour| -> Result<(), Error> {
            let ns = Netns::scratch().map_err(Error::Namespace)?;
            let v6 = weft_netns::has_ipv6(&ns).map_err(Error::Namespace)?;
            Self::only(flavour, lock_dir.clone())
                .apply(&ns, &desired(&Default::default(), v6)?)
                .map(drop)
        };
        let (nft, legacy) = (attempt(Flavour::Nft), attempt(Flavour::Legacy));
        let tried = [(Flavour::Nft, &nft), (Flavour::Legacy, &legacy)];
        let usable: Vec<Flavour> = tried
            .iter()
            .filter(|(_, result)| result.is_ok())
            .map(|(flavour, _)| *flavour)
            .collect();
        if let (Err(nft), Err(legacy)) = (nft, legacy) {
            return Err(Error::NoFlavour {
                nft: nft.to_string(),
                legacy: legacy.to_string(),
            });
        }
        Ok(Self { usable, lock_dir })
    }

    /// One flavour, untried. `lock_dir` must exist.
    #[must_use]
    pub fn only(flavour: Flavour, lock_dir: PathBuf) -> Self {
        Self {
            usable: vec![flavour],
            lock_dir,
        }
    }

    /// The flavours in use, the preferred one first.
    #[must_use]
    pub fn flavours(&self) -> &[Flavour] {
        &self.usable
    }

    fn tool<'a>(&self, ns: &'a Netns, flavour: Flavour) -> Tool<'a> {
        let id = ns.id();
        Tool {
            ns,
            flavour,
            lock: self.lock_dir.join(format!("{}-{}.lock", id.dev, id.ino)),
        }
    }

    /// Reads the pod's rules and settles on its flavour: the one that has rules of ours, else the one that has rules at
    /// all, else the node's first.
    fn find(&self, ns: &Netns, families: &[Family]) -> Result<Found, Error> {
        let mut found = Vec::new();
        for flavour in [Flavour::Nft, Flavour::Legacy] {
            let tables = in_use::tables(ns, flavour)?;
            let used = |family: &Family| match &tables {
                None => true,
                Some(tables) => tables
                    .iter()
                    .any(|t| t.family == *family && !t.names.is_empty()),
            };
            let used: Vec<Family> = families.iter().copied().filter(used).collect();
            if used.is_empty() {
                continue;
            }
            match self.read(ns, flavour, families, &used) {
                Ok(by_family) => found.push(Found { flavour, by_family }),
                // Not installed, or not in this kernel: then nobody has made rules with it either.
                Err(_) if !self.usable.contains(&flavour) => {}
                Err(error) => return Err(error),
            }
        }
        let any = |f: &Found, is: fn(&Current) -> bool| {
            f.by_family.iter().any(|(_, current)| is(current))
        };
        let at = found.iter().position(|f| any(f, Current::is_ours));
        let at = at.or_else(|| found.iter().position(|f| any(f, Current::has_rules)));
        if let Some(at) = at {
            let found = found.swap_remove(at);
            let usable = self.usable.contains(&found.flavour);
            return if usable {
                Ok(found)
            } else {
                Err(Error::Unusable(found.flavour))
            };
        }
        let flavour = self.usable.first().copied().unwrap_or(Flavour::Nft);
        let empty = families
            .iter()
            .map(|&family| (family, Current::default()))
            .collect();
        Ok(Found {
            flavour,
            by_family: empty,
        })
    }

    /// Reads the families in `used`; the others of `families` have nothing to read.
    fn read(
        &self,
        ns: &Netns,
        flavour: Flavour,
        families: &[Family],
        used: &[Family],
    ) -> Result<Vec<(Family, Current)>, Error> {
        let saved = self.tool(ns, flavour).save(used)?;
        let read = |family: &Family| {
            let at = used.iter().position(|f| f == family);
            at.and_then(|at| saved.get(at))
                .map(|text| Current::parse(text))
        };
        let each = families.iter();
        Ok(each
            .map(|family| (*family, read(family).unwrap_or_default()))
            .collect())
    }

    /// Removes a capture of the usual kind without reading it first, which is half of the work: the kernel refuses when
    /// it is not as assumed. None: it was not tried, or not taken whole.
    fn remove_unread(&self, ns: &Netns) -> Result<Option<Applied>, Error> {
        let mut only = None;
        for flavour in [Flavour::Nft, Flavour::Legacy] {
            let Some(tables) = in_use::tables(ns, flavour)? else {
                return Ok(None);
            };
            if tables.iter().all(|t| t.names.is_empty()) {
                continue;
            }
            let usual = |t: &Tables| {
                let mut names: Vec<&str> = t.names.iter().map(String::as_str).collect();
                names.sort_unstable();
                names.is_empty() || names == ["nat", "raw"]
            };
            if only.is_some() || !self.usable.contains(&flavour) || !tables.iter().all(usual) {
                return Ok(None);
            }
            only = Some((flavour, tables));
        }
        let Some((flavour, tables)) = only else {
            return Ok(None);
        };
        let usual = desired(&Default::default(), true)?;
        let used = |family| {
            tables
                .iter()
                .any(|t| t.family == family && !t.names.is_empty())
        };
        let each = usual.families.iter().filter(|rules| used(rules.family));
        let transactions: Vec<(Family, String)> = each
            .filter_map(|rules| Some((rules.family, iptables::release(&Current::captured(rules))?)))
            .collect();
        let taken = self.restore(ns, flavour, &transactions).is_ok();
        Ok(taken.then_some(Applied {
            flavour,
            changed: true,
        }))
    }

    fn restore(
        &self,
        ns: &Netns,
        flavour: Flavour,
        transactions: &[(Family, String)],
    ) -> Result<(), Error> {
        let tool = self.tool(ns, flavour);
        let result = tool.restore(transactions);
        let _ = fs::remove_file(&tool.lock);
        result
    }
}

impl RuleBackend for Iptables {
    fn apply(&self, ns: &Netns, desired: &Desired) -> Result<Applied, Error> {
        let families: Vec<Family> = desired.families.iter().map(|rules| rules.family).collect();
        let found = self.find(ns, &families)?;
        let pairs = found.by_family.iter().zip(&desired.families);
        let transactions: Vec<(Family, String)> = pairs
            .filter_map(|((family, current), wanted)| {
                Some((*family, iptables::capture(current, wanted)?))
            })
            .collect();
        let applied = Applied {
            flavour: found.flavour,
            changed: !transactions.is_empty(),
        };
        if !applied.changed {
            return Ok(applied);
        }
        let was_ours = found.by_family.iter().any(|(_, current)| current.is_ours());
        let result = self.restore(ns, found.flavour, &transactions);
        if result.is_err() && !was_ours {
            // One family may have been taken and the other refused: half a capture is none.
            self.remove(ns, Phase::Released)?;
        }
        result.map(|()| applied)
    }

    fn remove(&self, ns: &Netns, phase: Phase) -> Result<Applied, Error> {
        if phase == Phase::Released
            && let Some(applied) = self.remove_unread(ns)?
        {
            return Ok(applied);
        }
        let found = self.find(ns, &BOTH)?;
        let transaction = match phase {
            Phase::Captured => {
                return Ok(Applied {
                    flavour: found.flavour,
                    changed: false,
                });
            }
            Phase::Releasing => iptables::releasing,
            Phase::Released => iptables::release,
        };
        let each = found.by_family.iter();
        let transactions: Vec<(Family, String)> = each
            .filter_map(|(family, current)| Some((*family, transaction(current)?)))
            .collect();
        if !transactions.is_empty() {
            self.restore(ns, found.flavour, &transactions)?;
        }
        Ok(Applied {
            flavour: found.flavour,
            changed: !transactions.is_empty(),
        })
    }

    fn phase(&self, ns: &Netns) -> Result<Phase, Error> {
        let found = self.find(ns, &BOTH)?;
        let phases: Vec<Phase> = found
            .by_family
            .iter()
            .map(|(_, current)| current.phase())
            .collect();
        // One family that captures is a pod that is captured.
        let any = |phase| phases.contains(&phase);
        Ok([Phase::Captured, Phase::Releasing]
            .into_iter()
            .find(|&phase| any(phase))
            .unwrap_or(Phase::Released))
    }

    fn way_back(&self, ns: &Netns) -> Result<Option<WayBack>, Error> {
        let found = self.find(ns, &BOTH)?;
        let mut ways = found
            .by_family
            .iter()
            .filter_map(|(_, current)| current.way_back());
        let first = ways.next();
        // One family whose connections need it decides for both.
        Ok(if ways.any(|way| way == WayBack::ByConnection) {
            Some(WayBack::ByConnection)
        } else {
            first
        })
    }

    fn verify(&self, ns: &Netns, desired: &Desired) -> Result<(), Drift> {
        let families: Vec<Family> = desired.families.iter().map(|rules| rules.family).collect();
        let found = self.find(ns, &families)?;
        let pairs = found.by_family.iter().zip(&desired.families);
        let differences: Vec<String> = pairs
            .flat_map(|((_, current), wanted)| iptables::differences(current, wanted))
            .collect();
        if differences.is_empty() {
            Ok(())
        } else {
            Err(Drift::Changed(differences))
        }
    }
}
