//! The mesh's vocabulary and the node tables that everything else speaks.
