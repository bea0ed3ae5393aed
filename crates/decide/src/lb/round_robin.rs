//! Each endpoint in turn.

/// Position of a turn.
pub(super) fn position(turn: u32, len: usize) -> usize {
    turn as usize % len.max(1)
}
