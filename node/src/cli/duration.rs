use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration as people write it: `500ms`, `5s`, `1.5m`, `2h`; a bare number is seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// The longest duration that can be given: more is a slip of the finger.
const MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// The shortest pause between two looks of `status --watch`: each look is four requests.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// Reads a pause between two looks.
pub(crate) fn interval(text: &str) -> Result<Span, String> {
    let span: Span = text.parse().map_err(|error: ParseSpanError| error.to_string())?;
    match span.0 < MIN_INTERVAL {
        true => Err(format!("at least {MIN_INTERVAL:?}")),
        false => Ok(span),
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration such as 500ms, 5s, 1.5m or 2h")]
pub(crate) struct ParseSpanError(String);

impl FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, ParseSpanError> {
        let fault = || ParseSpanError(text.to_owned());
        let trimmed = text.trim();
        let unit_at = trimmed.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(unit_at);
        let seconds = match unit {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return Err(fault()),
        };
        let plain = number.trim().bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let count: f64 = number.trim().parse().ok().filter(|_| plain).ok_or_else(fault)?;
        let span = Duration::try_from_secs_f64(count * seconds).map_err(|_| fault())?;
        if span > MAX { Err(fault()) } else { Ok(Self(span)) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_and_without_units() {
        for (text, ms) in [("500ms", 500), ("5s", 5_000), ("1.5m", 90_000), ("2", 2_000)] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(ms))), "{text}");
        }
        for text in ["", "s", "-1s", "5 days", "1e9", "inf", "9999999h", "1.2.3s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
