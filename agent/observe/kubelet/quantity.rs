//! The small languages inside configuration values: Go durations, Kubernetes quantities, eviction thresholds.

use crate::facts::kubelet::ThresholdValue;

/// Nanoseconds of a duration as Go's `time.ParseDuration` reads it: `1m30s`, `1.5h`, `0`, `-2s`.
pub(super) fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (if text.starts_with('-') { -1.0 } else { 1.0 }, rest),
        None => (1.0, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    while !rest.is_empty() || total == 0.0 {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end)?;
        let factor = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    let total: f64 = total * sign;
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // within i64, and a nanosecond more or less does not matter
    (total.abs() <= i64::MAX as f64).then_some(total as i64)
}

/// The value of a quantity (apimachinery `resource.ParseQuantity`): `100Mi`, `1.5G`, `12e6`, `500m`.
pub(super) fn quantity(text: &str) -> Option<f64> {
    let split = text.char_indices().find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && matches!(c, '+' | '-')))).map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at_checked(split)?;
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E'])?;
            let power: i32 = digits.strip_prefix('+').unwrap_or(digits).parse().ok()?;
            10f64.powi(power.clamp(-400, 400))
        }
    };
    Some(number * factor).filter(|value| value.is_finite())
}

/// A percentage with its sign, as `strconv.ParseFloat` reads what is before `%`.
pub(super) fn percent(text: &str) -> Option<f32> {
    text.strip_suffix('%')?.parse().ok().filter(|percent: &f32| percent.is_finite())
}

/// An eviction threshold; `None`: this signal is switched off (`pkg/kubelet/eviction/helpers.go` `parseThresholdStatement`).
///
/// # Errors
/// What the kubelet expects there.
pub(super) fn threshold(text: &str) -> Result<Option<ThresholdValue>, &'static str> {
    let expected = "a quantity above 0 (100Mi) or a percentage from 0% to 100%";
    if text.ends_with('%') {
        let percent = percent(text).filter(|percent| (0.0..=100.0).contains(percent)).ok_or(expected)?;
        return Ok((percent > 0.0 && percent < 100.0).then_some(ThresholdValue::Percent(percent)));
    }
    let value = quantity(text).filter(|value| *value > 0.0).ok_or(expected)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // not negative; saturates
    Ok(Some(ThresholdValue::Quantity(value.ceil() as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_reads_them() {
        for (text, nanoseconds) in
            [("0", 0), ("0s", 0), ("1m30s", 90_000_000_000), ("1.5h", 5_400_000_000_000), ("-2s", -2_000_000_000), ("100ms", 100_000_000)]
        {
            assert_eq!(duration(text), Some(nanoseconds), "{text}");
        }
        for bad in ["", "1", "s", "1d", "1 s", "1s2", "abc", ".s", "--1s", "9999999999h"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn quantities_as_kubernetes_reads_them() {
        for (text, value) in [("100Mi", 104_857_600.0), ("1.5G", 1.5e9), ("500m", 0.5), ("12e6", 12e6), ("1E", 1e18), ("-1", -1.0), ("5", 5.0)] {
            assert_eq!(quantity(text), Some(value), "{text}");
        }
        for bad in ["", "Mi", "100MB", "100 Mi", "1e", "ten", "1..2", "1e999"] {
            assert_eq!(quantity(bad), None, "{bad}");
        }
    }

    #[test]
    fn thresholds_as_the_kubelet_reads_them() {
        assert_eq!(threshold("10%"), Ok(Some(ThresholdValue::Percent(10.0))));
        assert_eq!(threshold("100Mi"), Ok(Some(ThresholdValue::Quantity(104_857_600))));
        assert_eq!(threshold("0%"), Ok(None));
        assert_eq!(threshold("100%"), Ok(None));
        for bad in ["", "%", "110%", "-5%", "0", "-1Gi", "a lot", "NaN%", "5 %"] {
            assert!(threshold(bad).is_err(), "{bad}");
        }
    }
}
