//! Request heads and bodies; the laws and their reasons stand at `weft_h1::fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weft_h1::fuzz::request(data).unwrap());
