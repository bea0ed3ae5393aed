//! Any endpoint with the same chance.

/// Uniform position below `len` from the high half of a random number.
pub(super) fn position(random: u64, len: usize) -> usize {
    // Below 2^32 endpoints the product cannot overflow and its high half is below `len`.
    (((random >> 32) * (len as u64 & 0xffff_ffff)) >> 32) as usize
}
