//! Chunked bodies; the laws and their reasons stand at `weft_h1::fuzz::chunked`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weft_h1::fuzz::chunked(data).unwrap());
