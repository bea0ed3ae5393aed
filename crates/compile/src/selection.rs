//! Finds what label selectors select without looking at everything: thousands of services meet tens of thousands of
//! pods in each compile.

use std::collections::BTreeMap;

use weft_k8s::meta::contains;

/// Labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

type Entry<'a, T> = (&'a Labels, T);

/// Things by namespace and label.
pub(crate) struct LabelIndex<'a, T> {
    by_namespace: BTreeMap<&'a str, Vec<Entry<'a, T>>>,
    /// By namespace, key and value.
    by_label: BTreeMap<(&'a str, &'a str, &'a str), Vec<Entry<'a, T>>>,
}

impl<'a, T: Copy> LabelIndex<'a, T> {
    /// Indexes things with their namespace and labels; they are found in this order.
    pub(crate) fn new(things: impl Iterator<Item = (&'a str, &'a Labels, T)>) -> Self {
        let mut index = Self {
            by_namespace: BTreeMap::new(),
            by_label: BTreeMap::new(),
        };
        for (namespace, labels, thing) in things {
            index
                .by_namespace
                .entry(namespace)
                .or_default()
                .push((labels, thing));
            for (key, value) in labels {
                index
                    .by_label
                    .entry((namespace, key, value))
                    .or_default()
                    .push((labels, thing));
            }
        }
        index
    }

    /// Whether the namespace has anything at all.
    pub(crate) fn has_namespace(&self, namespace: &str) -> bool {
        self.by_namespace.contains_key(namespace)
    }

    /// Things of the namespace that carry all the labels of all the selectors.
    pub(crate) fn find<'b>(
        &'b self,
        namespace: &'b str,
        selectors: &'b [&'b Labels],
    ) -> impl Iterator<Item = T> + 'b {
        let pairs = selectors.iter().flat_map(|selector| selector.iter());
        let lists = pairs.map(|(key, value)| {
            self.by_label
                .get(&(namespace, key.as_str(), value.as_str()))
                .map_or(&[][..], Vec::as_slice)
        });
        let fewest = lists.min_by_key(|list| list.len());
        let all = || {
            self.by_namespace
                .get(namespace)
                .map_or(&[][..], Vec::as_slice)
        };
        let candidates = fewest.unwrap_or_else(all).iter();
        let carries = |labels: &Labels| selectors.iter().all(|wanted| contains(labels, wanted));
        candidates
            .filter(move |(labels, _)| carries(labels))
            .map(|(_, thing)| *thing)
    }
}
