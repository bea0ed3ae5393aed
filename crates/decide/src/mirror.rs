//! Which requests are copied to whom, and under which name.

use weft_model::reason::Reason;
use weft_model::route::{Mirror, Share};
use weft_model::target::RequestTarget;

use crate::policy::{PreparedBackend, PreparedRule};

/// What a copy's host has behind its name where the rule asks for it (Istio, Envoy).
const SHADOW: &str = "-shadow";

/// Whether `random`, uniform over all of `u64`, falls into a share.
#[must_use]
pub fn falls(share: Share, random: u64) -> bool {
    // The high half of random × denominator is uniform below the denominator without a division.
    let point = (u128::from(random) * u128::from(share.denominator)) >> 64;
    point < u128::from(share.numerator)
}

/// Everybody who may get a copy of a request: the rule's mirrors, then the backend's.
pub fn mirrors<'t>(
    rule: &'t PreparedRule,
    backend: Option<&'t PreparedBackend>,
) -> impl Iterator<Item = &'t Mirror> {
    let of_backend = backend.map_or(&[][..], |backend| &backend.mirrors);
    rule.mirrors.iter().chain(of_backend)
}

/// Gives the target of a copy the name that the mirror asks for.
///
/// # Errors
/// `BadRequest` where the name would be too long.
pub fn rename(mirror: &Mirror, target: &mut RequestTarget) -> Result<(), Reason> {
    if !mirror.shadow {
        return Ok(());
    }
    let name = match target.port() {
        Some(port) => format!("{}{SHADOW}:{port}", target.host()),
        None => format!("{}{SHADOW}", target.host()),
    };
    target.set_authority(&name).map_err(|_| Reason::BadRequest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn share(numerator: u32, denominator: u32) -> Share {
        Share {
            numerator,
            denominator,
        }
    }

    #[test]
    fn shares_are_exact_over_evenly_spread_randoms() {
        for (numerator, denominator) in [(0, 100), (1, 3), (37, 1000), (100, 100), (7, 5)] {
            let parts = 30_000u64;
            let hits = (0..parts)
                .filter(|step| {
                    let random = ((u128::from(*step) * 2 + 1) << 63) / u128::from(parts);
                    falls(share(numerator, denominator), random as u64)
                })
                .count() as u64;
            let wanted = parts * u64::from(numerator.min(denominator)) / u64::from(denominator);
            assert_eq!(hits, wanted, "{numerator}/{denominator}");
        }
        assert!(falls(Share::WHOLE, u64::MAX) && falls(Share::WHOLE, 0));
        assert!(!falls(share(0, 1), 0));
    }

    #[test]
    fn a_shadow_says_so_before_its_port() {
        let mirror = |shadow| Mirror {
            target: crate::fixture::target("copy"),
            share: Share::WHOLE,
            shadow,
        };
        for (host, renamed) in [
            ("web", "web-shadow"),
            ("web.shop:8080", "web.shop-shadow:8080"),
        ] {
            let parse =
                || RequestTarget::parse(&Method::GET, b"/a", Some(host.as_bytes())).unwrap();
            let mut target = parse();
            rename(&mirror(true), &mut target).unwrap();
            assert_eq!(target.authority(), renamed);
            let mut target = parse();
            rename(&mirror(false), &mut target).unwrap();
            assert_eq!(target.authority(), host);
        }
    }
}
