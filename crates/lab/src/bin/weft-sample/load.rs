//! A steady stream of calls: so many a second, each due at its time whether or not the one before has been answered.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::HeaderMap;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;

use crate::upstream;

/// Most calls a second: this is a sample, not a bench.
const MAX_RATE: f64 = 10_000.0;
/// Most calls at once; more are left out, so that a service that hangs does not fill the memory here.
const MAX_AT_ONCE: usize = 256;

/// URL and time between two calls, of `http://frontend/ 30`.
pub(crate) fn parse(text: &str) -> anyhow::Result<(String, Duration)> {
    let (url, rate) = text
        .trim()
        .split_once(char::is_whitespace)
        .with_context(|| format!("LOAD: `{text}`: give a URL and calls a second"))?;
    let rate: f64 = rate
        .trim()
        .parse()
        .ok()
        .filter(|rate| *rate > 0.0 && *rate <= MAX_RATE)
        .with_context(|| {
            format!("LOAD: `{rate}` is no number of calls a second up to {MAX_RATE}")
        })?;
    Ok((url.to_owned(), Duration::from_secs_f64(1.0 / rate)))
}

/// Calls until the process ends. What comes of a call is seen by the mesh, not here.
pub(crate) async fn drive(url: String, period: Duration) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let free = Arc::new(Semaphore::new(MAX_AT_ONCE));
    let url: Arc<str> = url.into();
    loop {
        ticks.tick().await;
        let Ok(permit) = Arc::clone(&free).try_acquire_owned() else {
            continue;
        };
        let url = Arc::clone(&url);
        tokio::spawn(async move {
            let _ = upstream::call(&url, &HeaderMap::new()).await;
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_and_a_rate() {
        let (url, period) = parse("http://frontend/ 20").unwrap();
        assert_eq!(url, "http://frontend/");
        assert_eq!(period, Duration::from_millis(50));
        for bad in [
            "http://frontend/",
            "http://frontend/ many",
            "x 0",
            "x -1",
            "x inf",
        ] {
            assert!(
                parse(bad).unwrap_err().to_string().contains("LOAD"),
                "{bad}"
            );
        }
    }
}
