//! Comparing numbers by value, whatever their type or notation.

use std::cmp::Ordering;

/// Compares an integer with a double exactly: `i64 as f64` would round beyond 2^53.
///
/// `None` if `real` is NaN.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the range was checked, and the fraction is compared apart")]
pub fn compare_int_real(int: i64, real: f64) -> Option<Ordering> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0; // 2^63
    if real.is_nan() {
        return None;
    }
    if real >= LIMIT {
        return Some(Ordering::Less);
    }
    if real < -LIMIT {
        return Some(Ordering::Greater);
    }
    let whole = real.trunc();
    Some(int.cmp(&(whole as i64)).then_with(|| 0.0_f64.partial_cmp(&(real - whole)).unwrap_or(Ordering::Equal)))
}

/// A decimal number as text, split so that equal values have equal parts: `1.50e3`, `1500` and `15e2` are all (+, `15`, 2).
#[derive(Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// Splits JSON number text. `None` if it is none (`NaN`, `Infinity`, garbage) or its exponent is beyond 64 bits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => {
                let e = &rest[at + 1..];
                (&rest[..at], e.strip_prefix('+').unwrap_or(e).parse::<i64>().ok()?)
            }
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let mut exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        while digits.last() == Some(&b'0') {
            digits.pop();
            exponent = exponent.checked_add(1)?;
        }
        let leading = digits.iter().take_while(|d| **d == b'0').count();
        digits.drain(..leading);
        if digits.is_empty() {
            return Some(Self { negative: false, digits, exponent: 0 });
        }
        Some(Self { negative, digits, exponent })
    }

    /// Appends bytes that are equal exactly if the numbers are.
    pub(crate) fn write_canonical(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.negative));
        out.extend_from_slice(&self.exponent.to_le_bytes());
        out.extend_from_slice(&(self.digits.len() as u64).to_le_bytes());
        out.extend_from_slice(&self.digits);
    }
}

/// Whether two JSON numbers have the same value. `NaN` and `Infinity`, which Python writes, equal themselves.
#[must_use]
pub fn same_number(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    match (Decimal::parse(a), Decimal::parse(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int_and_real_compare_by_value_beyond_the_precision_of_doubles() {
        assert_eq!(compare_int_real(9_007_199_254_740_993, 9_007_199_254_740_992.0), Some(Ordering::Greater));
        assert_eq!(compare_int_real(i64::MAX, 9_223_372_036_854_775_808.0), Some(Ordering::Less));
        assert_eq!(compare_int_real(i64::MIN, -9_223_372_036_854_775_808.0), Some(Ordering::Equal));
        assert_eq!(compare_int_real(-1, -1.5), Some(Ordering::Greater));
        assert_eq!(compare_int_real(1, 1.5), Some(Ordering::Less));
        assert_eq!(compare_int_real(0, f64::NAN), None);
    }

    #[test]
    fn decimal_notations_of_one_value_are_the_same() {
        for (a, b) in [("1.50e3", "1500"), ("15e2", "1500.0"), ("-0", "0"), ("0.0e9", "0"), ("1E+2", "100")] {
            assert!(same_number(a, b), "{a} {b}");
        }
        for (a, b) in [("1", "-1"), ("10", "1"), ("0.1", "0.10000000000000001"), ("NaN", "0")] {
            assert!(!same_number(a, b), "{a} {b}");
        }
        assert!(same_number("NaN", "NaN"));
    }
}
