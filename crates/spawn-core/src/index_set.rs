//! Which task indices an array has: what `--array` and `--tasks` say.
//!
//! | text | meaning |
//! |---|---|
//! | `100` | 100 tasks, indices 0 to 99 |
//! | `0-99` | the same, spelled as a range |
//! | `1-1000:5` | 1, 6, 11, ... 996 |
//! | `3,5,9` | three tasks with these indices |
//! | `0-9,20,30-40:2` | any mix |
//! | `100%8` | 100 tasks, at most 8 at a time |
//!
//! **A lone number is a count; a number in a list is an index.** `--array 5` is
//! five tasks, `--array 5-5` is the one task with index 5. In `--tasks`, which
//! picks from an array that exists, a lone number is an index.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most tasks one array may have.
pub const MAX_TASKS: u64 = 10_000_000;
/// The highest index a task may have (2^32 - 1).
pub const MAX_INDEX: u64 = u32::MAX as u64;

/// `first`, `first + step`, ... `last`; `last` is always reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stepped {
    first: u64,
    last: u64,
    step: u64,
}

impl Stepped {
    /// Normalises: `last` is a member, and a single index has step 1.
    fn new(first: u64, last: u64, step: u64) -> Self {
        let last = last - (last - first) % step;
        let step = if first == last { 1 } else { step };
        Self { first, last, step }
    }

    fn len(self) -> u64 {
        (self.last - self.first) / self.step + 1
    }

    fn position_of(self, index: u64) -> Option<u64> {
        let inside = (self.first..=self.last).contains(&index);
        (inside && (index - self.first).is_multiple_of(self.step))
            .then(|| (index - self.first) / self.step)
    }

    /// The lowest index in both, if any: the Chinese remainder of the two.
    fn meets(self, other: Self) -> Option<u64> {
        let low = i128::from(self.first.max(other.first));
        let high = i128::from(self.last.min(other.last));
        let (a, step_a) = (i128::from(self.first), i128::from(self.step));
        let (b, step_b) = (i128::from(other.first), i128::from(other.step));
        let (gcd, inverse) = gcd_and_inverse(step_a, step_b);
        if low > high || (b - a) % gcd != 0 {
            return None;
        }
        let modulus = step_b / gcd;
        let moves = ((b - a) / gcd * inverse).rem_euclid(modulus);
        let lcm = step_a * modulus;
        let meeting = a + step_a * moves;
        let meeting = low + (meeting - low).rem_euclid(lcm);
        (meeting <= high).then(|| u64::try_from(meeting).ok())?
    }
}

/// The greatest common divisor `g` of `a` and `b`, and `x` with `a * x = g (mod b)`.
fn gcd_and_inverse(a: i128, b: i128) -> (i128, i128) {
    let (mut r, mut next_r) = (a, b);
    let (mut x, mut next_x) = (1, 0);
    while next_r != 0 {
        let quotient = r / next_r;
        (r, next_r) = (next_r, r - quotient * next_r);
        (x, next_x) = (next_x, x - quotient * next_x);
    }
    (r, x)
}

/// A non-empty set of task indices, held as stepped ranges: a million indices
/// in a row take the room of one.
///
/// Each index has a *position*, 0 to `len() - 1`. Positions run range by range,
/// ranges ordered by their first index, so indices ascend with positions unless
/// the user wrote ranges that interleave (`0-10:2,1-11:2`).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IndexSet {
    ranges: Vec<Stepped>,
    len: u64,
}

/// What `--array` says: which indices, and how many may run at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayRequest {
    /// The indices of the array.
    pub indices: IndexSet,
    /// The number after `%`, as in Slurm: at most so many tasks at a time.
    pub max_concurrent: Option<u32>,
}

impl IndexSet {
    /// Reads what `--array` says; see the table at the top of this module.
    ///
    /// # Errors
    /// [`IndexError`], which names the text and what was expected.
    pub fn parse(text: &str) -> Result<ArrayRequest, IndexError> {
        let fail = |kind| IndexError::new("--array", text, kind);
        let (indices, max_concurrent) = match text.split_once('%') {
            None => (text, None),
            Some((indices, limit)) => (indices, Some(parse_limit(limit).map_err(fail)?)),
        };
        let indices = parse_pieces(indices, LoneNumber::Count).map_err(fail)?;
        Ok(ArrayRequest {
            indices,
            max_concurrent,
        })
    }

    /// Reads what `--tasks` says: indices to pick from `whole`. A lone number
    /// is an index here, and `%K` has no meaning.
    ///
    /// # Errors
    /// [`IndexError`]; [`IndexErrorKind::NotInArray`] names the lowest-placed
    /// index that `whole` lacks.
    pub fn parse_subset(text: &str, whole: &IndexSet) -> Result<IndexSet, IndexError> {
        let fail = |kind| IndexError::new("--tasks", text, kind);
        let set = parse_pieces(text, LoneNumber::Index).map_err(fail)?;
        let missing = set.iter().find(|index| !whole.contains(*index));
        match missing {
            None => Ok(set),
            Some(index) => Err(fail(IndexErrorKind::NotInArray {
                index,
                whole: shorten(&whole.to_string()),
            })),
        }
    }

    /// The indices 0 to `count - 1`; `None` if `count` is 0 or above [`MAX_TASKS`].
    pub fn first(count: u64) -> Option<Self> {
        (1..=MAX_TASKS)
            .contains(&count)
            .then(|| Self::of(vec![Stepped::new(0, count - 1, 1)]))
    }

    /// The one index `index`; `None` above [`MAX_INDEX`].
    pub fn single(index: u64) -> Option<Self> {
        (index <= MAX_INDEX).then(|| Self::of(vec![Stepped::new(index, index, 1)]))
    }

    /// Collects indices in any order, duplicates folded; `None` if there are
    /// none, too many, or one above [`MAX_INDEX`].
    pub fn from_indices(indices: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut indices: Vec<u64> = indices.into_iter().collect();
        indices.sort_unstable();
        indices.dedup();
        if indices.len() as u64 > MAX_TASKS || indices.last()? > &MAX_INDEX {
            return None;
        }
        let singles = indices.into_iter().map(|i| Stepped::new(i, i, 1));
        Some(Self::of(join_neighbours(singles)))
    }

    fn of(ranges: Vec<Stepped>) -> Self {
        let len = ranges.iter().map(|range| range.len()).sum();
        Self { ranges, len }
    }

    /// How many indices there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The index at `position`, counted from 0; `None` past the end.
    pub fn get(&self, mut position: u64) -> Option<u64> {
        for range in &self.ranges {
            if position < range.len() {
                return Some(range.first + position * range.step);
            }
            position -= range.len();
        }
        None
    }

    /// Where `index` stands; the inverse of [`get`](Self::get).
    pub fn position_of(&self, index: u64) -> Option<u64> {
        let mut before = 0;
        for range in &self.ranges {
            if let Some(position) = range.position_of(index) {
                return Some(before + position);
            }
            before += range.len();
        }
        None
    }

    /// Whether `index` is one of them.
    pub fn contains(&self, index: u64) -> bool {
        self.position_of(index).is_some()
    }

    /// All indices, in the order of their positions.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.ranges
            .iter()
            .flat_map(|range| (0..range.len()).map(|nth| range.first + nth * range.step))
    }
}

/// Reads back with [`IndexSet::parse`]: a single index prints as `5-5`, since a
/// lone `5` is a count.
impl fmt::Display for IndexSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, range) in self.ranges.iter().enumerate() {
            if nth > 0 {
                f.write_str(",")?;
            }
            let Stepped { first, last, step } = *range;
            match (first == last, step) {
                (true, _) if self.ranges.len() > 1 => write!(f, "{first}")?,
                (_, 1) => write!(f, "{first}-{last}")?,
                _ => write!(f, "{first}-{last}:{step}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for IndexSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexSet({self})")
    }
}

impl FromStr for IndexSet {
    type Err = IndexError;

    /// As [`IndexSet::parse`], with `%K` refused.
    fn from_str(text: &str) -> Result<Self, IndexError> {
        parse_pieces(text, LoneNumber::Count).map_err(|kind| IndexError::new("--array", text, kind))
    }
}

/// Stored as the string that [`Display`](fmt::Display) gives.
impl Serialize for IndexSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IndexSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum LoneNumber {
    Count,
    Index,
}

fn parse_limit(text: &str) -> Result<u32, IndexErrorKind> {
    let bad = || IndexErrorKind::Limit {
        text: shorten(text),
    };
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    match text.parse::<u32>() {
        Ok(0) => Err(IndexErrorKind::LimitZero),
        Ok(limit) => Ok(limit),
        Err(_) => Err(bad()),
    }
}

fn parse_pieces(text: &str, lone: LoneNumber) -> Result<IndexSet, IndexErrorKind> {
    if text.is_empty() {
        return Err(IndexErrorKind::Empty);
    }
    if text.contains(char::is_whitespace) {
        return Err(IndexErrorKind::Space);
    }
    if text.contains('%') {
        return Err(IndexErrorKind::LimitMisplaced);
    }
    if lone == LoneNumber::Count && !text.contains([',', '-', ':']) {
        let count = parse_number(text, text)?;
        return match IndexSet::first(count) {
            Some(set) => Ok(set),
            None if count == 0 => Err(IndexErrorKind::Zero),
            None => Err(IndexErrorKind::TooMany),
        };
    }
    let mut ranges = text
        .split(',')
        .map(parse_piece)
        .collect::<Result<Vec<_>, _>>()?;
    ranges.sort_unstable_by_key(|range| (range.first, range.last));
    if ranges.iter().map(|range| range.len()).sum::<u64>() > MAX_TASKS {
        return Err(IndexErrorKind::TooMany);
    }
    refuse_overlap(&ranges)?;
    Ok(IndexSet::of(join_neighbours(ranges)))
}

fn parse_piece(piece: &str) -> Result<Stepped, IndexErrorKind> {
    if piece.is_empty() {
        return Err(IndexErrorKind::EmptyPiece);
    }
    let (range, step) = match piece.split_once(':') {
        None => (piece, None),
        Some((range, step)) => (range, Some(parse_number(step, piece)?)),
    };
    if step == Some(0) {
        return Err(IndexErrorKind::StepZero {
            piece: shorten(piece),
        });
    }
    let (first, last) = match range.split_once('-') {
        Some((first, last)) => (parse_number(first, piece)?, parse_number(last, piece)?),
        // A step needs a range to walk.
        None if step.is_some() => {
            return Err(IndexErrorKind::NotARange {
                piece: shorten(piece),
            });
        }
        None => {
            let only = parse_number(range, piece)?;
            (only, only)
        }
    };
    if first > last {
        return Err(IndexErrorKind::Reversed { first, last });
    }
    if last > MAX_INDEX {
        return Err(IndexErrorKind::IndexTooHigh {
            index: last.to_string(),
        });
    }
    Ok(Stepped::new(first, last, step.unwrap_or(1)))
}

fn parse_number(digits: &str, piece: &str) -> Result<u64, IndexErrorKind> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(IndexErrorKind::NotARange {
            piece: shorten(piece),
        });
    }
    // All digits, so the only way to fail is to be too large.
    digits.parse().map_err(|_| IndexErrorKind::IndexTooHigh {
        index: shorten(digits),
    })
}

/// Expects `ranges` sorted by first index.
fn refuse_overlap(ranges: &[Stepped]) -> Result<(), IndexErrorKind> {
    let mut open: Vec<Stepped> = Vec::new();
    for range in ranges {
        open.retain(|earlier| earlier.last >= range.first);
        if let Some(index) = open.iter().find_map(|earlier| earlier.meets(*range)) {
            return Err(IndexErrorKind::Twice { index });
        }
        open.push(*range);
    }
    Ok(())
}

/// Joins `0-4,5-9` to `0-9`. Expects ranges sorted by first index.
fn join_neighbours(ranges: impl IntoIterator<Item = Stepped>) -> Vec<Stepped> {
    let mut joined: Vec<Stepped> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(before)
                if before.step == 1 && range.step == 1 && before.last + 1 == range.first =>
            {
                before.last = range.last;
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// Keeps messages to a line whatever was typed.
fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

/// Why a text is no set of indices.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.render())]
pub struct IndexError {
    /// The flag the text was given to: `--array` or `--tasks`.
    pub flag: &'static str,
    /// The text, cut short if it is very long.
    pub text: String,
    /// What is wrong with it.
    pub kind: IndexErrorKind,
}

impl IndexError {
    fn new(flag: &'static str, text: &str, kind: IndexErrorKind) -> Self {
        Self {
            flag,
            text: shorten(text),
            kind,
        }
    }

    fn render(&self) -> String {
        let Self { flag, text, kind } = self;
        match kind {
            IndexErrorKind::Zero => format!("`{flag} {text}` {kind}"),
            _ => format!("`{flag} {text}`: {kind}"),
        }
    }
}

/// What is wrong with a text that should name task indices.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexErrorKind {
    /// Nothing at all.
    #[error("expected a count such as `100` or indices such as `0-99`")]
    Empty,
    /// A count of 0.
    #[error("asks for no tasks; `--array N` runs N tasks with indices 0 to N-1")]
    Zero,
    /// White space anywhere.
    #[error("spaces are not allowed; write `0-9,20` with none")]
    Space,
    /// Two commas in a row, or one at an end.
    #[error("a piece between commas is empty; expected pieces such as `0-9` or `20`")]
    EmptyPiece,
    /// Not a number, a range or a stepped range.
    #[error("`{piece}` is not understood; expected `N`, `FIRST-LAST` or `FIRST-LAST:STEP`")]
    NotARange {
        /// The piece between commas.
        piece: String,
    },
    /// `5-1`.
    #[error("`{first}-{last}` runs backwards; did you mean `{last}-{first}`?")]
    Reversed {
        /// What was written first, the larger.
        first: u64,
        /// What was written last, the smaller.
        last: u64,
    },
    /// `0-9:0`.
    #[error("the step of `{piece}` is 0; expected 1 or more")]
    StepZero {
        /// The piece between commas.
        piece: String,
    },
    /// An index that two pieces name.
    #[error("index {index} is named twice; expected each index once")]
    Twice {
        /// The index.
        index: u64,
    },
    /// `%0`.
    #[error("`%0` lets no task run; expected `%K` with K of 1 or more")]
    LimitZero,
    /// `%x`.
    #[error("`%{text}` is not understood; expected `%K`, the most tasks to run at a time")]
    Limit {
        /// What follows the `%`.
        text: String,
    },
    /// `%` where it cannot be.
    #[error("`%K` is not expected here")]
    LimitMisplaced,
    /// More than [`MAX_TASKS`].
    #[error("too many tasks; an array has at most {MAX_TASKS}")]
    TooMany,
    /// Above [`MAX_INDEX`].
    #[error(
        "{index} is too high; an index is at most {MAX_INDEX}, and an array has at most {MAX_TASKS} tasks"
    )]
    IndexTooHigh {
        /// The number as written, cut short if it is very long.
        index: String,
    },
    /// `--tasks` names an index the array lacks.
    #[error("the array has no index {index}; its indices are {whole}")]
    NotInArray {
        /// The index.
        index: u64,
        /// The array's indices, cut short if they are many pieces.
        whole: String,
    },
}

#[cfg(test)]
#[path = "index_set_tests.rs"]
mod tests;
