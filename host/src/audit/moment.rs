//! Times as the log writes them: milliseconds since 1970, UTC, as `2026-01-31T23:59:59.123Z` (RFC 3339).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::{Date, Month, OffsetDateTime, Time};

/// Now.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A time as text.
#[must_use]
pub fn text(ms: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", at.millisecond())
}

/// A time from text: as [`text`] writes it, with or without its smaller parts, always UTC.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let text = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let (date, clock) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00"));
    let [year, month, day] = parts(date, '-')?;
    let month = Month::try_from(u8::try_from(month?).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(year?).ok()?, month, u8::try_from(day?).ok()?).ok()?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let [hour, minute, second] = parts(clock, ':')?;
    let part = |n: Option<u32>| u8::try_from(n.unwrap_or(0)).ok();
    let clock = Time::from_hms(part(Some(hour?))?, part(Some(minute?))?, part(second)?).ok()?;
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    let ms = thousandths.parse::<u16>().ok().filter(|_| fraction.bytes().all(|b| b.is_ascii_digit()))?;
    Some(date.with_time(clock).assume_utc().unix_timestamp() * 1000 + i64::from(ms))
}

/// Three numbers, of which the last may be missing.
fn parts(text: &str, between: char) -> Option<[Option<u32>; 3]> {
    let mut numbers = [None; 3];
    for (at, part) in text.split(between).enumerate() {
        *numbers.get_mut(at)? = Some(part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())??);
    }
    Some(numbers)
}

/// A span such as `90s`, `15m`, `24h`, `7d`, `4w`, in milliseconds.
#[must_use]
pub fn span(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    text.strip_suffix(unit)?.parse::<u32>().ok().map(|n| i64::from(n) * seconds * 1000)
}

/// A time, or a span before now.
///
/// # Errors
/// What was expected.
pub fn parse_or_ago(given: &str) -> Result<i64, String> {
    let ago = span(given).map(|span| now() - span);
    ago.or_else(|| parse(given))
        .ok_or_else(|| "expected a time such as 2026-01-31T12:00 (UTC), or a span such as 24h or 7d".to_owned())
}

/// The form that serde uses.
pub(super) mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
    pub(crate) fn serialize<S: Serializer>(ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::text(*ms))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        super::parse(&text).ok_or_else(|| D::Error::custom("expected a time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (ms, written) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_795_289_599_999, "2026-11-21T19:33:19.999Z"),
        ] {
            assert_eq!((text(ms).as_str(), parse(written)), (written, Some(ms)));
        }
        assert_eq!(parse("2026-11-21"), parse("2026-11-21T00:00:00Z"));
        assert_eq!(parse("2026-11-21 19:33"), parse("2026-11-21T19:33:00.000Z"));
        assert_eq!(parse("2026-11-21T19:33:00.5"), parse("2026-11-21T19:33:00.500Z"));
        for wrong in [
            "",
            "x",
            "2026",
            "2026-13-01",
            "2026-02-30",
            "2026-01-01T25:00",
            "2026-01-01T1:2:3:4",
            "2026-01-01T00:00:00.x",
            "-1-1-1",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(
            (span("90s"), span("2d"), span("d"), span("5"), span("-5m")),
            (Some(90_000), Some(172_800_000), None, None, None)
        );
    }
}
