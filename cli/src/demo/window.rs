//! The last seconds of the demo, and what to show of them.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use weft_lab::Lab;
use weft_lab::object::of_kind;

use crate::demo::news::News;
use crate::demo::reading::{Meter, Reading};
use crate::demo::report;

/// Shares of versions are those of this time, or of the time since the manifests changed.
const RECENT: Duration = Duration::from_secs(2);
/// Rates and latencies are those of this time.
const LENGTH: Duration = Duration::from_secs(10);

/// Readings of the last seconds, and what to show of them.
pub(crate) struct Window {
    meter: Meter,
    /// Older ones.
    readings: VecDeque<Reading>,
    pub(crate) newest: Reading,
    services: BTreeSet<(String, String)>,
    /// When the manifests were last read anew.
    changed: Instant,
    seen: u64,
    /// The newest reading is the first that shows a change of the manifests.
    pub(crate) just_changed: bool,
    waiting: bool,
    troubles: Vec<(Instant, String)>,
}

impl Window {
    pub(crate) fn new(meter: Meter, first: Reading, lab: &Lab) -> Self {
        Self {
            meter,
            changed: first.at,
            readings: [first.clone()].into(),
            newest: first,
            services: service_names(lab),
            seen: lab.view().readings,
            just_changed: false,
            waiting: false,
            troubles: Vec::new(),
        }
    }

    /// Takes a reading, starts daemons that died; gives what is wrong.
    pub(crate) async fn look(&mut self, lab: &Lab, told: &News) -> Vec<String> {
        let (reading, mut news) = self.meter.read(lab).await;
        let now = reading.at;
        self.readings
            .push_back(std::mem::replace(&mut self.newest, reading));
        while self.readings.len() > 1 && self.readings.front().is_some_and(|r| now - r.at > LENGTH)
        {
            self.readings.pop_front();
        }
        self.services = service_names(lab);
        self.just_changed = std::mem::take(&mut self.waiting);
        let readings = lab.view().readings;
        if readings != self.seen {
            (self.seen, self.changed, self.waiting) = (readings, now, true);
        }
        news.extend(told.collect());
        news.extend(lab.revive());
        self.troubles
            .retain(|(since, text)| now - *since < LENGTH && !news.contains(text));
        self.troubles
            .extend(news.iter().map(|text| (now, text.clone())));
        news
    }

    /// The troubles of the last seconds, in lines.
    pub(crate) fn troubles(&self) -> String {
        self.troubles
            .iter()
            .map(|(_, text)| format!("! {text}\n"))
            .collect()
    }

    pub(crate) fn table(&self) -> String {
        let newest = &self.newest;
        let oldest = self.readings.front().unwrap_or(newest);
        let seconds = newest.at.duration_since(oldest.at).as_secs_f64();
        let from = self
            .readings
            .iter()
            .rev()
            .take_while(|r| r.at >= self.changed && newest.at - r.at <= RECENT)
            .last()
            .unwrap_or(oldest);
        report::table(
            &newest.since(oldest),
            seconds,
            &newest.since(from),
            &self.services,
        )
    }
}

/// (namespace, name) of all Services.
pub(crate) fn service_names(lab: &Lab) -> BTreeSet<(String, String)> {
    let view = lab.view();
    let keys = of_kind(&view.objects, "Service").map(|(key, _)| key);
    keys.map(|key| (key.namespace.clone(), key.name.clone()))
        .collect()
}
