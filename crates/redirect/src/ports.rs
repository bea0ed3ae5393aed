//! Port lists as iptables can take them: sorted, without overlap, at most fifteen slots to a rule.

use weft_model::capture::{MAX_LIST, PortRange};

use crate::error::SpecError;

/// Slots of one `multiport` match; a range takes two.
const MULTIPORT_SLOTS: usize = 15;

/// The `--dports` arguments that cover `ranges`, none when there are none. Overlapping and adjacent ranges are joined, so
/// that equal sets of ports give equal rules.
pub(crate) fn arguments(
    list: &'static str,
    ranges: &[PortRange],
) -> Result<Vec<String>, SpecError> {
    if ranges.len() > MAX_LIST {
        return Err(SpecError::TooMany {
            list,
            count: ranges.len(),
            max: MAX_LIST,
        });
    }
    let mut arguments = Vec::new();
    let (mut line, mut slots) = (String::new(), 0);
    for range in joined(list, ranges)? {
        let (text, need) = if range.first == range.last {
            (range.first.to_string(), 1)
        } else {
            (format!("{}:{}", range.first, range.last), 2)
        };
        if slots + need > MULTIPORT_SLOTS {
            arguments.push(std::mem::take(&mut line));
            slots = 0;
        }
        if !line.is_empty() {
            line.push(',');
        }
        line.push_str(&text);
        slots += need;
    }
    if !line.is_empty() {
        arguments.push(line);
    }
    Ok(arguments)
}

fn joined(list: &'static str, ranges: &[PortRange]) -> Result<Vec<PortRange>, SpecError> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut joined: Vec<PortRange> = Vec::with_capacity(sorted.len());
    for range in sorted {
        if range.first == 0 || range.first > range.last {
            return Err(SpecError::Range {
                list,
                first: range.first,
                last: range.last,
            });
        }
        match joined.last_mut() {
            Some(before) if range.first <= before.last.saturating_add(1) => {
                before.last = before.last.max(range.last)
            }
            _ => joined.push(range),
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, last: u16) -> PortRange {
        PortRange { first, last }
    }

    #[test]
    fn overlapping_and_adjacent_ranges_become_one() {
        let given = [
            range(90, 95),
            range(80, 80),
            range(94, 100),
            range(81, 81),
            PortRange::one(65535),
        ];
        assert_eq!(arguments("l", &given).unwrap(), ["80:81,90:100,65535"]);
        assert_eq!(arguments("l", &[]).unwrap(), [""; 0]);
    }

    #[test]
    fn more_than_fifteen_slots_become_more_rules() {
        let singles: Vec<PortRange> = (1..=31).map(|i| PortRange::one(i * 2)).collect();
        let rules = arguments("l", &singles).unwrap();
        assert_eq!(
            rules
                .iter()
                .map(|r| r.split(',').count())
                .collect::<Vec<_>>(),
            [15, 15, 1]
        );
        let pairs: Vec<PortRange> = (1..=8).map(|i| range(i * 10, i * 10 + 1)).collect();
        let rules = arguments("l", &pairs).unwrap();
        assert_eq!(
            rules
                .iter()
                .map(|r| r.split(',').count())
                .collect::<Vec<_>>(),
            [7, 1]
        );
    }

    #[test]
    fn impossible_lists_name_their_field() {
        assert_eq!(
            arguments("l", &[range(5, 4)]),
            Err(SpecError::Range {
                list: "l",
                first: 5,
                last: 4
            })
        );
        assert_eq!(
            arguments("l", &[range(0, 4)]),
            Err(SpecError::Range {
                list: "l",
                first: 0,
                last: 4
            })
        );
        let many = vec![PortRange::one(1); MAX_LIST + 1];
        assert!(
            arguments("exclude_inbound_ports", &many)
                .unwrap_err()
                .to_string()
                .contains("exclude_inbound_ports")
        );
    }
}
