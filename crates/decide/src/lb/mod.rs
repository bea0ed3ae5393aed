//! Choosing one endpoint of a list. One file per algorithm; what they share (avoiding endpoints that just failed) is here.

mod least_request;
mod random;
mod round_robin;

use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::HashMap;
use weft_model::policy::Balance;

use crate::service::{EndpointList, PreparedEndpoint};

/// Lists whose turn one worker remembers; beyond it all turns start anew.
const MAX_CURSORS: usize = 4096;

/// What one worker remembers for balancing. Not shared: weights and turns stay local (contracts.md §9).
#[derive(Debug, Default)]
pub struct LocalState {
    cursors: HashMap<u64, u32>,
}

impl LocalState {
    /// The turn of a list, which moves on by one. Begins where `random` says, so that workers do not march in step.
    fn turn(&mut self, key: u64, random: u64) -> u32 {
        if self.cursors.len() >= MAX_CURSORS && !self.cursors.contains_key(&key) {
            self.cursors.clear();
        }
        let cursor = self.cursors.entry(key).or_insert(random as u32);
        *cursor = cursor.wrapping_add(1);
        *cursor
    }
}

/// Chooses an endpoint. Addresses in `avoid` (earlier attempts of the same request) are chosen only when there is no
/// other; `random` is uniform over all of `u64`. None only for an empty list.
#[must_use]
pub fn pick<'t>(
    list: EndpointList<'t>,
    balance: Balance,
    local: &mut LocalState,
    random: u64,
    avoid: &[SocketAddr],
) -> Option<&'t Arc<PreparedEndpoint>> {
    let len = list.len();
    if len <= 1 {
        return list.get(0);
    }
    let first = match balance {
        Balance::LeastRequest => least_request::position(list, random),
        Balance::RoundRobin => round_robin::position(local.turn(list.key(), random), len),
        Balance::Random => random::position(random, len),
    };
    if avoid.is_empty() {
        return list.get(first);
    }
    // From the chosen one onwards, so that the avoided one's share does not all fall on the same neighbour.
    let start = if list
        .get(first)
        .is_some_and(|endpoint| avoid.contains(&endpoint.address))
    {
        random::position(random.rotate_left(32), len)
    } else {
        first
    };
    (0..len)
        .filter_map(|step| list.get((start + step) % len))
        .find(|endpoint| !avoid.contains(&endpoint.address))
        .or_else(|| list.get(first))
}

#[cfg(test)]
mod tests;
