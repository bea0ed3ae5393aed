//! The less loaded of two endpoints chosen at random (Mitzenmacher, "The power of two choices in randomized load balancing").

use super::random;
use crate::service::EndpointList;

/// Position of the choice in a list of at least two.
pub(super) fn position(list: EndpointList<'_>, dice: u64) -> usize {
    let len = list.len();
    // Two independent halves of one random number; the second skips the first, so that two are always compared.
    let one = random::position(dice, len);
    let step = 1 + random::position(dice << 32, len - 1);
    let other = (one + step) % len;
    let load = |at| {
        list.get(at)
            .map_or(u32::MAX, |endpoint| endpoint.state.in_flight())
    };
    if load(other) < load(one) { other } else { one }
}
