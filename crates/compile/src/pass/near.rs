//! Which word was probably meant by one that does not exist: for messages only, nothing is ever guessed into force.

/// The nearest of these words, if one is near: other case or underscores count as equal.
pub(crate) fn nearest<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    const MAX_WORD: usize = 64;
    let fold = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
    if word.len() > MAX_WORD {
        return None;
    }
    let ranked = words
        .iter()
        .map(|near| (distance(&fold(word), &fold(near)), *near));
    ranked
        .filter(|(far, near)| *far <= 2 && *far < near.len() / 2)
        .min()
        .map(|(_, near)| near)
}

/// Levenshtein's distance.
pub(crate) fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (index, a) in one.chars().enumerate() {
        let mut previous = index;
        let mut next = vec![index + 1];
        for (b, above) in two.iter().zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or_default();
            next.push(
                (previous + usize::from(a != *b))
                    .min(above + 1)
                    .min(left + 1),
            );
            previous = *above;
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
