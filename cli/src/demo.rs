//! The parts of `weft demo`: the sample shop, the traffic, and the numbers out of the proxies' metrics.

pub(crate) mod edges;
pub(crate) mod news;
pub(crate) mod numbers;
pub(crate) mod reading;
pub(crate) mod report;
pub(crate) mod samples;
pub(crate) mod traffic;
pub(crate) mod window;
