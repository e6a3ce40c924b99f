//! The `like` operator.
//!
//! Text and pattern come from outside and may both be huge, so no pattern may cost their product. What stands between two `%` is
//! looked for once, from left to right, and never again: the leftmost place is always right. Without `_` in it that is the standard
//! library's linear search; with `_`, all its places are tried at once, as the bits of a word for every 64 characters of the pattern.

use std::collections::HashMap;

/// The longest pattern, in bytes, that a query may have.
pub const MAX_PATTERN: usize = 64 << 10;

/// Whether the whole `text` matches `pattern` (rule 4).
#[must_use]
pub fn like(text: &str, pattern: &str) -> bool {
    counted(text, pattern, &mut 0)
}

/// What one character of a text must be; `None`: anything.
type Wild = Option<char>;

/// The same, counting steps: characters looked at, or words of 64 of them.
fn counted(text: &str, pattern: &str, steps: &mut usize) -> bool {
    let Some(segments) = segments(pattern) else { return false };
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return false };
    let Some(rest) = without_start(text, first, steps) else { return false };
    if segments.len() == 1 {
        return rest.is_empty();
    }
    let Some(mut rest) = without_end(rest, last, steps) else { return false };
    for segment in segments[1..segments.len() - 1].iter().filter(|s| !s.is_empty()) {
        match behind(rest, segment, steps) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    true
}

/// What stands before, between and behind the `%` of a pattern; `None` if it ends in the middle of an escape.
fn segments(pattern: &str) -> Option<Vec<Vec<Wild>>> {
    let mut segments = Vec::new();
    let mut segment = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => segments.push(std::mem::take(&mut segment)),
            '_' => segment.push(None),
            '\\' => segment.push(Some(chars.next()?)),
            literal => segment.push(Some(literal)),
        }
    }
    segments.push(segment);
    Some(segments)
}

fn is(wild: Wild, c: char) -> bool {
    wild.is_none_or(|expected| expected == c)
}

fn without_start<'t>(text: &'t str, segment: &[Wild], steps: &mut usize) -> Option<&'t str> {
    let mut chars = text.chars();
    for wild in segment {
        *steps += 1;
        chars.next().filter(|c| is(*wild, *c))?;
    }
    Some(chars.as_str())
}

fn without_end<'t>(text: &'t str, segment: &[Wild], steps: &mut usize) -> Option<&'t str> {
    let mut chars = text.chars();
    for wild in segment.iter().rev() {
        *steps += 1;
        chars.next_back().filter(|c| is(*wild, *c))?;
    }
    Some(chars.as_str())
}

/// The text behind the leftmost place where the segment, which is not empty, stands.
fn behind<'t>(text: &'t str, segment: &[Wild], steps: &mut usize) -> Option<&'t str> {
    if let Some(literal) = segment.iter().copied().collect::<Option<String>>() {
        let at = text.find(&literal);
        *steps += at.unwrap_or(text.len()) + literal.len();
        return text.get(at? + literal.len()..);
    }
    let mut places = Places::of(segment);
    for (at, c) in text.char_indices() {
        if places.step(c, steps) {
            return text.get(at + c.len_utf8()..);
        }
    }
    None
}

/// Every place where a segment may have begun, at once: bit n says that its first n + 1 characters stand right here.
struct Places {
    any: Vec<u64>,
    /// Where in the segment a character stands: words and their bits.
    only: HashMap<char, Vec<(usize, u64)>>,
    now: Vec<u64>,
    shifted: Vec<u64>,
    last: (usize, u64),
}

impl Places {
    fn of(segment: &[Wild]) -> Self {
        let words = segment.len().div_ceil(64);
        let (mut any, mut only) = (vec![0; words], HashMap::<char, Vec<(usize, u64)>>::new());
        for (at, wild) in segment.iter().enumerate() {
            let (word, bit) = (at / 64, 1 << (at % 64));
            match wild {
                None => any[word] |= bit,
                Some(c) => match only.entry(*c).or_default() {
                    places if places.last().is_some_and(|(last, _)| *last == word) => {
                        places.iter_mut().last().into_iter().for_each(|(_, bits)| *bits |= bit);
                    }
                    places => places.push((word, bit)),
                },
            }
        }
        let end = segment.len().saturating_sub(1);
        Self { any, only, now: vec![0; words], shifted: vec![0; words], last: (end / 64, 1 << (end % 64)) }
    }

    /// Takes a character of the text; whether the segment ends with it.
    fn step(&mut self, c: char, steps: &mut usize) -> bool {
        let mut carry = 1;
        for ((now, shifted), any) in self.now.iter_mut().zip(&mut self.shifted).zip(&self.any) {
            *shifted = (*now << 1) | carry;
            carry = *now >> 63;
            *now = *shifted & any;
        }
        let only = self.only.get(&c).map_or(&[][..], Vec::as_slice);
        for (word, bits) in only {
            self.now[*word] |= self.shifted[*word] & bits;
        }
        *steps += self.now.len() + only.len();
        self.now[self.last.0] & self.last.1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_is_case_sensitive_with_two_wildcards_and_an_escape() {
        for (text, pattern, expected) in [
            ("kitchen", "k%n", true),
            ("Kitchen", "k%n", false),
            ("", "%", true),
            ("", "", true),
            ("a", "", false),
            ("", "_", false),
            ("é", "_", true),
            ("100%", "100\\%", true),
            ("100x", "100\\%", false),
            ("a\\b", "a\\\\b", true),
            ("ab", "ab\\", false),
            ("abcabc", "%abc", true),
            ("aaab", "%a_b", true),
            ("a\0b", "a_b", true),
            ("abc", "ab", false),
            ("aba", "ab%ba", false),
            ("abba", "ab%ba", true),
            ("xéyéz", "%é_é%", true),
            ("xéyéz", "%é__é%", false),
            ("abc", "%%b%%", true),
            ("abc", "%____%", false),
        ] {
            assert_eq!(like(text, pattern), expected, "{text:?} like {pattern:?}");
        }
    }

    /// The operator as its rule says it, too slow for anything but this.
    fn naive(text: &[char], pattern: &[char]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            (['%', rest @ ..], _) => (0..=text.len()).any(|n| naive(&text[n..], rest)),
            (['\\', c, rest @ ..], [t, more @ ..]) => c == t && naive(more, rest),
            (['_', rest @ ..], [_, more @ ..]) => naive(more, rest),
            ([c, rest @ ..], [t, more @ ..]) if *c != '\\' => c == t && naive(more, rest),
            _ => false,
        }
    }

    #[test]
    fn every_short_pattern_means_what_the_rule_says() {
        let all = |letters: &[char], most: u32| -> Vec<Vec<char>> {
            let mut all = vec![Vec::new()];
            for length in 1..=most {
                all.extend((0..letters.len().pow(length)).map(|mut n| {
                    let letter = |_| {
                        let c = letters[n % letters.len()];
                        n /= letters.len();
                        c
                    };
                    (0..length).map(letter).collect()
                }));
            }
            all
        };
        let texts = all(&['a', 'b', '_'], 4);
        for pattern in all(&['a', 'b', '%', '_', '\\'], 5) {
            let written: String = pattern.iter().collect();
            for text in &texts {
                let read: String = text.iter().collect();
                assert_eq!(like(&read, &written), naive(text, &pattern), "{read:?} like {written:?}");
            }
        }
    }

    #[test]
    fn a_segment_longer_than_a_word_is_found_across_its_words() {
        let segment = format!("{}_{}", "a".repeat(100), "b".repeat(100));
        let text = format!("{}c{}", "a".repeat(150), "b".repeat(150));
        assert!(like(&text, &format!("%{segment}%")));
        assert!(!like(&text, &format!("%c{segment}%")));
    }

    #[test]
    fn a_huge_text_and_a_huge_pattern_do_not_cost_their_product() {
        let text = "a".repeat(20_000);
        let half = MAX_PATTERN / 2 - 8;
        for pattern in [
            format!("{}b", "%a".repeat(half)),
            format!("%{}b%", "a".repeat(2 * half)),
            format!("%{}_b%", "a".repeat(half)),
            format!("%{}b%", "a_".repeat(half / 2)),
            format!("%{}%b%", "%a_".repeat(half / 4)),
        ] {
            let mut steps = 0;
            assert!(!counted(&text, &pattern, &mut steps));
            let most = 2 * (text.len() + pattern.len()) + 2 * text.len() * pattern.len().div_ceil(64);
            assert!(steps <= most, "{steps} steps for {} characters, at most {most}", pattern.len());
        }
    }
}
