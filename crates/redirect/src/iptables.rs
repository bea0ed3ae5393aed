//! Text in, text out: what `iptables-save` printed becomes a `Current`, and the way from there to a phase becomes the
//! input of one `iptables-restore --noflush`, which the kernel takes whole or not at all.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::desired::{CHAIN_MARK, FamilyRules, Jump, OWN_CHAINS, Phase, Table, WayBack};

/// The rules of one family that a namespace has, as `iptables-save` prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current {
    /// By table and chain, in order; each rule without `-A CHAIN`.
    chains: BTreeMap<(String, String), Vec<String>>,
}

impl Current {
    /// Reads the output of `iptables-save`; lines that it does not know (comments, policies) are passed over.
    #[must_use]
    pub fn parse(saved: &str) -> Self {
        let mut chains: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        let mut table = "";
        for line in saved.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('*') {
                table = name;
            } else if let Some((name, _)) = line.strip_prefix(':').and_then(|l| l.split_once(' ')) {
                chains
                    .entry((table.to_owned(), name.to_owned()))
                    .or_default();
            } else if let Some((name, rule)) =
                line.strip_prefix("-A ").and_then(|l| l.split_once(' '))
            {
                chains
                    .entry((table.to_owned(), name.to_owned()))
                    .or_default()
                    .push(rule.to_owned());
            }
        }
        Self { chains }
    }

    /// What a namespace has that is captured as `wanted` and has no rules of anybody else.
    #[must_use]
    pub fn captured(wanted: &FamilyRules) -> Self {
        let mut chains: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        let key = |table: Table, name: &str| (table.name().to_owned(), name.to_owned());
        for chain in &wanted.chains {
            chains.insert(key(chain.table, chain.name), chain.rules.clone());
        }
        for Jump { table, hook, rule } in &wanted.jumps {
            let rules = chains.entry(key(*table, hook)).or_default();
            rules.insert(0, rule.clone());
        }
        Self { chains }
    }

    /// Whether there is any rule at all, ours or not. Chains alone do not count: they remain when rules go.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        self.chains.values().any(|rules| !rules.is_empty())
    }

    /// Whether there is anything of ours.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        OWN_CHAINS
            .iter()
            .any(|&(table, name)| self.chain(table, name).is_some())
    }

    /// The phase that these rules amount to.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if !self.is_ours() {
            Phase::Released
        } else if self.jumps(Table::Nat).next().is_some() {
            Phase::Captured
        } else {
            Phase::Releasing
        }
    }

    /// How answers find back; none when there is nothing of ours.
    #[must_use]
    pub fn way_back(&self) -> Option<WayBack> {
        if self.chain(Table::Mangle, CHAIN_MARK).is_some() {
            Some(WayBack::ByConnection)
        } else {
            self.is_ours().then_some(WayBack::BySocket)
        }
    }

    /// Our chains of a table that are there, but not among `wanted`.
    fn surplus<'a>(
        &self,
        table: Table,
        wanted: Option<&'a FamilyRules>,
    ) -> impl Iterator<Item = &'static str> + use<'a, '_> {
        let keeps = move |name: &str| {
            wanted.is_some_and(|w| w.chains.iter().any(|c| c.table == table && c.name == name))
        };
        OWN_CHAINS
            .iter()
            .filter(move |(t, name)| *t == table && self.chain(table, name).is_some())
            .map(|(_, name)| *name)
            .filter(move |name| !keeps(name))
    }

    fn chain(&self, table: Table, name: &str) -> Option<&Vec<String>> {
        self.chains.get(&(table.name().to_owned(), name.to_owned()))
    }

    /// Every rule of a table that leads to a chain of ours, with the chain it stands in.
    fn jumps(&self, table: Table) -> impl Iterator<Item = (&str, &str)> {
        let leads_to_us = move |rule: &str| {
            let target = rule
                .split(' ')
                .skip_while(|&w| w != "-j" && w != "-g")
                .nth(1);
            OWN_CHAINS
                .iter()
                .any(|&(t, name)| t == table && Some(name) == target)
        };
        let in_table = self
            .chains
            .iter()
            .filter(move |((t, _), _)| t == table.name());
        in_table
            .flat_map(|((_, chain), rules)| {
                rules
                    .iter()
                    .map(move |rule| (chain.as_str(), rule.as_str()))
            })
            .filter(move |(_, rule)| leads_to_us(rule))
    }
}

/// How `current` differs from captured as `wanted`; empty when it does not. Each entry names one object.
#[must_use]
pub fn differences(current: &Current, wanted: &FamilyRules) -> Vec<String> {
    let family = wanted.family;
    let mut found = Vec::new();
    for chain in &wanted.chains {
        let (table, name) = (chain.table.name(), chain.name);
        match current.chain(chain.table, name) {
            None => found.push(format!("{family} chain {name} of table {table} is gone")),
            Some(rules) if *rules != chain.rules => {
                found.push(format!("{family} chain {name} of table {table} differs"))
            }
            Some(_) => {}
        }
    }
    for jump in &wanted.jumps {
        let (table, hook) = (jump.table.name(), jump.hook);
        let rules = current
            .chain(jump.table, hook)
            .map(Vec::as_slice)
            .unwrap_or_default();
        match rules.iter().position(|rule| *rule == jump.rule) {
            None => found.push(format!(
                "{family} rule \"{}\" is gone from {hook} of table {table}",
                jump.rule
            )),
            Some(0) => {}
            Some(_) => found.push(format!(
                "{family} rules stand before ours in {hook} of table {table}"
            )),
        }
    }
    for table in Table::ALL {
        for name in current.surplus(table, Some(wanted)) {
            found.push(format!(
                "{family} chain {name} of table {} is not wanted",
                table.name()
            ));
        }
        let jumps = wanted
            .jumps
            .iter()
            .filter(|jump| jump.table == table)
            .count();
        if current.jumps(table).count() > jumps {
            found.push(format!(
                "{family} table {} leads to our chains more than once",
                table.name()
            ));
        }
    }
    found
}

/// The transaction that makes `current` captured as `wanted`; none when it already is.
#[must_use]
pub fn capture(current: &Current, wanted: &FamilyRules) -> Option<String> {
    if differences(current, wanted).is_empty() {
        return None;
    }
    let mut text = String::new();
    for table in Table::ALL {
        let surplus: Vec<&str> = current.surplus(table, Some(wanted)).collect();
        if surplus.is_empty() && !wanted.chains.iter().any(|chain| chain.table == table) {
            continue;
        }
        let _ = writeln!(text, "*{}", table.name());
        // To declare a chain is to make it, or to empty it.
        for chain in wanted.chains.iter().filter(|chain| chain.table == table) {
            let _ = writeln!(text, ":{} - [0:0]", chain.name);
        }
        for chain in wanted.chains.iter().filter(|chain| chain.table == table) {
            for rule in &chain.rules {
                let _ = writeln!(text, "-A {} {rule}", chain.name);
            }
        }
        delete_jumps(&mut text, current, table);
        for Jump { hook, rule, .. } in wanted.jumps.iter().filter(|jump| jump.table == table) {
            let _ = writeln!(text, "-I {hook} 1 {rule}");
        }
        remove_chains(&mut text, &surplus);
        text.push_str("COMMIT\n");
    }
    Some(text)
}

/// The transaction that stops new connections from being redirected; none when none are. Our chains stay, although
/// nothing leads to them: their rules hold the kernel's connection tracking, without which the connections that were
/// redirected would break.
#[must_use]
pub fn releasing(current: &Current) -> Option<String> {
    current.jumps(Table::Nat).next()?;
    let mut text = String::from("*nat\n");
    delete_jumps(&mut text, current, Table::Nat);
    text.push_str("COMMIT\n");
    Some(text)
}

/// The transaction that removes everything of ours and nothing else; none when there is nothing.
#[must_use]
pub fn release(current: &Current) -> Option<String> {
    let mut text = String::new();
    for table in Table::ALL {
        let own: Vec<&str> = current.surplus(table, None).collect();
        if own.is_empty() {
            continue;
        }
        let _ = writeln!(text, "*{}", table.name());
        delete_jumps(&mut text, current, table);
        remove_chains(&mut text, &own);
        text.push_str("COMMIT\n");
    }
    (!text.is_empty()).then_some(text)
}

fn remove_chains(text: &mut String, names: &[&str]) {
    for name in names {
        let _ = writeln!(text, "-F {name}");
    }
    for name in names {
        let _ = writeln!(text, "-X {name}");
    }
}

fn delete_jumps(text: &mut String, current: &Current, table: Table) {
    // Rules inside our own chains go with the chain.
    let outside = current
        .jumps(table)
        .filter(|(chain, _)| !OWN_CHAINS.iter().any(|(_, own)| own == chain));
    for (chain, rule) in outside {
        let _ = writeln!(text, "-D {chain} {rule}");
    }
}

#[cfg(test)]
pub(crate) mod tests;
