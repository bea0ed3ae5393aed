//! What a VirtualService's rule does beside routing: copies of requests, and failures made on purpose.

use weft_k8s::Percent;
use weft_k8s::istio::{Abort, Delay, HttpRoute};
use weft_k8s::percent::PerMillion;
use weft_model::route::{Fault, Mirror, Share};

use crate::code::Code;
use crate::pass::routes::Lowering;

impl Lowering<'_, '_> {
    /// Everybody who gets copies. Istio takes `mirrors` alone when both are there, and refuses such an object today.
    pub(crate) fn mirrors(&mut self, route: &HttpRoute, field: &str) -> Vec<Mirror> {
        if route.mirror.is_some() && !route.mirrors.is_empty() {
            let message = "mirror and mirrors exclude each other; mirrors is used";
            self.add(Code::InvalidMirror, &format!("{field}.mirror"), message);
        }
        if route.mirror_percent.is_some() {
            let message = "mirrorPercent is an old spelling; write mirrorPercentage: {value: ...}";
            self.add(Code::Deprecated, &format!("{field}.mirrorPercent"), message);
        }
        let old = route.mirror.iter().filter(|_| route.mirrors.is_empty());
        let old = old.map(|to| {
            let percentage = route.mirror_percentage.map(|percent| percent.value);
            let share = percentage.or(route.mirror_percent.map(whole));
            (format!("{field}.mirror"), to, share)
        });
        let listed = route.mirrors.iter().enumerate().map(|(index, given)| {
            let share = given.percentage.map(|percent| percent.value);
            let field = format!("{field}.mirrors[{index}].destination");
            (field, &given.destination, share)
        });
        let all: Vec<_> = old.chain(listed).collect();
        let mirrors = all.into_iter().filter_map(|(field, to, share)| {
            Some(Mirror {
                target: self.mirrored(to, &field)?,
                share: self::share(share.unwrap_or(PerMillion::WHOLE)),
                shadow: true,
            })
        });
        mirrors.collect()
    }

    /// Failures made on purpose; each half that is not valid is left out and found.
    pub(crate) fn fault(&mut self, route: &HttpRoute, field: &str) -> Option<Fault> {
        let given = route.fault.as_ref()?;
        let field = format!("{field}.fault");
        let fault = Fault {
            delay: given
                .delay
                .as_ref()
                .and_then(|delay| self.delay(delay, &format!("{field}.delay"))),
            abort: given
                .abort
                .as_ref()
                .and_then(|abort| self.abort(abort, &format!("{field}.abort"))),
        };
        (fault != Fault::default()).then_some(fault)
    }

    fn delay(&mut self, given: &Delay, field: &str) -> Option<(Share, std::time::Duration)> {
        let percent = given.percentage.or(given.percent.map(|percent| Percent {
            value: whole(percent),
        }));
        let share = self.part(percent, field)?;
        let Some(pause) = given.fixed_delay.filter(|pause| !pause.0.is_zero()) else {
            let message = "there is no fixedDelay, so nothing waits; write one";
            self.add(Code::InvalidFault, field, message);
            return None;
        };
        Some((share, pause.0))
    }

    fn abort(&mut self, given: &Abort, field: &str) -> Option<(Share, u16)> {
        let share = self.part(given.percentage, field)?;
        let status = given
            .http_status
            .and_then(|status| u16::try_from(status).ok());
        let Some(status) = status.filter(|status| (200..600).contains(status)) else {
            let message =
                "there is no httpStatus from 200 to 599, so nothing is aborted; write one";
            self.add(Code::InvalidFault, field, message);
            return None;
        };
        Some((share, status))
    }

    /// As in Istio, a fault without a percentage concerns nobody.
    fn part(&mut self, given: Option<Percent>, field: &str) -> Option<Share> {
        if given.is_none() {
            let message = "without a percentage no request is concerned, as in Istio; write percentage: {value: 100} for all";
            self.add(Code::InvalidFault, field, message);
        }
        given.map(|percent| share(percent.value))
    }
}

fn whole(percent: u32) -> PerMillion {
    PerMillion(percent.min(100) * 10_000)
}

fn share(part: PerMillion) -> Share {
    Share {
        numerator: part.0,
        denominator: PerMillion::WHOLE.0,
    }
}
