//! The fuzz bodies over seeded mutants, and over each seed cut at every byte, so that fuzz targets can neither rot nor
//! break between two runs of a fuzzer.

use crate::generate::{CHUNKED, REQUESTS, RESPONSES, Seed, TARGETS, mutant};
use weft_h1::{Limits, fuzz, parse_request, parse_response};

fn replay(seeds: &[&[u8]], rounds: u64, body: fn(&[u8]) -> Result<(), String>) {
    let mut seed = Seed::new(rounds);
    for round in 0..rounds {
        let input = mutant(&mut seed, seeds);
        if let Err(broken) = body(&input) {
            panic!("round {round}, input {}: {broken}", input.escape_ascii());
        }
    }
}

#[test]
fn requests() {
    replay(REQUESTS, 100_000, fuzz::request);
}

#[test]
fn responses() {
    replay(RESPONSES, 40_000, fuzz::response);
}

#[test]
fn chunked_bodies() {
    replay(CHUNKED, 40_000, fuzz::chunked);
}

#[test]
fn targets() {
    replay(TARGETS, 40_000, fuzz::target);
}

#[test]
fn no_prefix_contradicts_its_whole() {
    let limits = Limits::default();
    for bytes in REQUESTS {
        let whole = parse_request(bytes, &limits);
        for cut in 0..bytes.len() {
            let part = parse_request(&bytes[..cut], &limits);
            assert!(
                part == Ok(None) || part == whole,
                "{} at {cut}",
                bytes.escape_ascii()
            );
        }
    }
    for bytes in RESPONSES {
        let whole = parse_response(bytes, &http::Method::GET, &limits);
        for cut in 0..bytes.len() {
            let part = parse_response(&bytes[..cut], &http::Method::GET, &limits);
            assert!(
                part == Ok(None) || part == whole,
                "{} at {cut}",
                bytes.escape_ascii()
            );
        }
    }
    for bytes in CHUNKED {
        let framing = weft_h1::Framing::Chunked;
        let whole = fuzz::decode_in_pieces(framing, bytes, &[], &limits);
        let every: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(
            fuzz::decode_in_pieces(framing, bytes, &every, &limits),
            whole
        );
        for cut in every {
            assert_eq!(
                fuzz::decode_in_pieces(framing, bytes, &[cut], &limits),
                whole
            );
        }
    }
}
