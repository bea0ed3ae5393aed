//! The node proxy: carries every captured pod's traffic.

fn main() {}
