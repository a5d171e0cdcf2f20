//! How close two names are, for what a slip of the hand may have meant.

/// The known name that a text is closest to, at most two slips away.
pub(crate) fn closest<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    let typed = letters(text);
    let near = known
        .iter()
        .map(|name| (distance(&typed, &letters(name)), *name));
    // Two slips in a word of three letters leave nothing of it.
    near.filter(|(slips, name)| *slips <= 2 && slips * 2 < name.len())
        .min()
        .map(|(_, name)| name)
}

/// What counts of a name: its letters and digits, in small.
pub(crate) fn letters(key: &str) -> Vec<char> {
    let chars = key.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    // Longer than any name and two slips: the rest does not matter.
    chars.flat_map(char::to_lowercase).take(24).collect()
}

/// How many letters are added, left out, changed or swapped with a neighbour.
pub(crate) fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = a[i - 1] == b[j - 1];
            let mut best = (last[j - 1] + usize::from(!same))
                .min(last[j] + 1)
                .min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_of_a_few_is_suggested() {
        let known = ["defaults", "params", "grid"];
        assert_eq!(closest("param", &known), Some("params"));
        assert_eq!(closest("default", &known), Some("defaults"));
        assert_eq!(closest("gird", &known), Some("grid"));
        assert_eq!(closest("rows", &known), None);
        assert_eq!(closest("id", &known), None);
    }

    #[test]
    fn slips_are_counted() {
        for (a, b, slips) in [
            ("", "", 0),
            ("", "ab", 2),
            ("spot", "spot", 0),
            ("spot", "sopt", 1),
            ("spot", "spt", 1),
            ("spot", "spott", 1),
            ("spot", "spat", 1),
            ("kitten", "sitting", 3),
        ] {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            assert_eq!(distance(&chars(a), &chars(b)), slips, "{a} {b}");
            assert_eq!(distance(&chars(b), &chars(a)), slips, "{b} {a}");
        }
    }
}
