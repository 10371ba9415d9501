//! The thresholds of `check`, in the notation of the
//! [Monitoring Plugins guidelines](https://www.monitoring-plugins.org/doc/guidelines.html#THRESHOLDFORMAT).

use std::fmt;
use std::str::FromStr;

/// The rule that decides whether a number is an alert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Threshold {
    /// Outside a range that includes its ends.
    Outside { low: f64, high: f64 },
    /// Inside a range that includes its ends.
    Inside { low: f64, high: f64 },
    /// Above a percentage of the whole. The guidelines have no such rule.
    AbovePercent(f64),
}

/// The text is no threshold.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number (alert above it), a percentage or a range is needed, as 5, 10%, 2:5, 10: or @2:5")]
pub(crate) struct BadThreshold;

impl Threshold {
    /// Whether `value` of `total` is an alert.
    pub(crate) fn alerts(self, value: usize, total: usize) -> bool {
        let value = value as f64;
        match self {
            Self::Outside { low, high } => value < low || value > high,
            Self::Inside { low, high } => low <= value && value <= high,
            Self::AbovePercent(percent) => value * 100.0 > percent * total as f64,
        }
    }

    /// Returns the same rule for `total` without a percentage, as performance data needs it.
    pub(crate) fn of(self, total: usize) -> Self {
        match self {
            Self::AbovePercent(percent) => {
                let high = (percent * total as f64 / 100.0).floor();
                Self::Outside { low: 0.0, high }
            }
            range => range,
        }
    }
}

impl FromStr for Threshold {
    type Err = BadThreshold;

    fn from_str(text: &str) -> Result<Self, BadThreshold> {
        let number =
            |text: &str| text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or(BadThreshold);
        if let Some(percent) = text.strip_suffix('%') {
            let percent = number(percent)?;
            let is_valid = (0.0..=100.0).contains(&percent);
            return is_valid.then_some(Self::AbovePercent(percent)).ok_or(BadThreshold);
        }
        let (inside, range) = match text.strip_prefix('@') {
            Some(range) => (true, range),
            None => (false, text),
        };
        let (low, high) = match range.split_once(':') {
            None => (0.0, number(range)?),
            Some((low, high)) => {
                let low = match low {
                    "~" => f64::NEG_INFINITY,
                    low => number(low)?,
                };
                (low, if high.is_empty() { f64::INFINITY } else { number(high)? })
            }
        };
        if low > high {
            return Err(BadThreshold);
        }
        Ok(if inside { Self::Inside { low, high } } else { Self::Outside { low, high } })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, low, high) = match *self {
            Self::AbovePercent(percent) => return write!(f, "{percent}%"),
            Self::Outside { low, high } => ("", low, high),
            Self::Inside { low, high } => ("@", low, high),
        };
        f.write_str(sign)?;
        if low == f64::NEG_INFINITY {
            f.write_str("~:")?;
        } else if low != 0.0 || high == f64::INFINITY {
            write!(f, "{low}:")?;
        }
        if high == f64::INFINITY { Ok(()) } else { write!(f, "{high}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alerts(text: &str) -> Vec<usize> {
        let threshold: Threshold = text.parse().unwrap();
        assert_eq!(threshold.to_string(), text, "it is written as it was read");
        (0..=12).filter(|&value| threshold.alerts(value, 100)).collect()
    }

    #[test]
    fn ranges_alert_as_the_guidelines_say() {
        assert_eq!(alerts("10"), [11, 12]);
        assert_eq!(alerts("0"), (1..=12).collect::<Vec<_>>());
        assert_eq!(alerts("10:"), (0..10).collect::<Vec<_>>());
        assert_eq!(alerts("~:10"), [11, 12]);
        assert_eq!(alerts("2:10"), [0, 1, 11, 12]);
        assert_eq!(alerts("@2:4"), [2, 3, 4]);
        assert_eq!(alerts("10%"), [11, 12]);
    }

    #[test]
    fn a_percentage_becomes_the_number_that_alerts_alike() {
        for total in [0, 1, 3, 128, 1000] {
            let percent: Threshold = "10%".parse().unwrap();
            let number = percent.of(total);
            for value in 0..=total {
                assert_eq!(percent.alerts(value, total), number.alerts(value, total), "{value} of {total}");
            }
        }
    }

    #[test]
    fn what_is_no_threshold_is_refused() {
        for text in ["", "x", "5:2", "-5%", "101%", "%", "nan", "inf", "1:2:3", "@", "1 2"] {
            assert_eq!(text.parse::<Threshold>(), Err(BadThreshold), "{text}");
        }
    }
}
