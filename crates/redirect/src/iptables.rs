//! Text in, text out: what `iptables-save` printed becomes a `Current`, and the way from there to a phase becomes the
//! input of one `iptables-restore --noflush`, which the kernel takes whole or not at all.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::desired::{FamilyRules, Jump, OWN_CHAINS, Phase, Table};

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
    for table in [Table::Raw, Table::Nat] {
        let wanted = wanted
            .jumps
            .iter()
            .filter(|jump| jump.table == table)
            .count();
        if current.jumps(table).count() > wanted {
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
    for table in [Table::Raw, Table::Nat] {
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
    for table in [Table::Raw, Table::Nat] {
        let own = || {
            OWN_CHAINS
                .iter()
                .filter(move |&&(t, name)| t == table && current.chain(t, name).is_some())
        };
        if own().next().is_none() {
            continue;
        }
        let _ = writeln!(text, "*{}", table.name());
        delete_jumps(&mut text, current, table);
        for (_, name) in own() {
            let _ = writeln!(text, "-F {name}");
        }
        for (_, name) in own() {
            let _ = writeln!(text, "-X {name}");
        }
        text.push_str("COMMIT\n");
    }
    (!text.is_empty()).then_some(text)
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
