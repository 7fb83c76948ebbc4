//! A measured figure: its unit, the line in which a child hands it over, its form for people, the median.

use std::time::Duration;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Something per second, labelled for example `tasks/s`. More is better.
    Rate(&'static str),
    /// Microseconds. Less is better.
    Micros,
    /// Seconds. Less is better.
    Seconds,
    /// Nanoseconds. Less is better.
    Nanos,
    /// A share of what is possible, from 0 to 100. More is better.
    Percent,
    /// A number of something that costs, labelled for example `B/task`. Less is better, and none is a figure.
    Cost(&'static str),
}

impl Unit {
    /// The name used in JSON and in the line that a child prints.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Unit::Rate(label) | Unit::Cost(label) => label,
            Unit::Micros => "µs",
            Unit::Seconds => "s",
            Unit::Nanos => "ns",
            Unit::Percent => "%",
        }
    }

    /// Whether a value can be a figure of this unit. What takes no time was not measured.
    fn accepts(self, value: f64) -> bool {
        match self {
            Unit::Percent | Unit::Cost(_) => value.is_finite() && value >= 0.0,
            Unit::Rate(_) | Unit::Micros | Unit::Seconds | Unit::Nanos => value.is_finite() && value > 0.0,
        }
    }

    /// The value in the magnitude that reads best: `1.23 M/s`, `4.40 µs`, `1.90 s`.
    pub(crate) fn human(self, value: f64) -> String {
        match self {
            Unit::Rate(_) => scaled(value, &[(1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")]),
            Unit::Micros => human_seconds(value * 1e-6),
            Unit::Seconds => human_seconds(value),
            Unit::Nanos => human_seconds(value * 1e-9),
            Unit::Percent => format!("{value:.1} %"),
            Unit::Cost(label) => human_cost(value, label),
        }
    }
}

/// The line by which a measuring child hands its figure to its parent.
pub(crate) fn print(name: &str, value: f64, unit: Unit) -> String {
    format!("{name} {value} {}", unit.label())
}

/// The value in a line `name value unit`, if the line is one and its unit the expected one.
pub(crate) fn parse(line: &str, unit: Unit) -> Option<f64> {
    let mut fields = line.split_whitespace();
    let (_name, value, label) = (fields.next()?, fields.next()?, fields.next()?);
    let value: f64 = value.parse().ok()?;
    (fields.next().is_none() && label == unit.label() && unit.accepts(value)).then_some(value)
}

/// The median; of an even number of values the mean of the middle two. `None` of none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[middle - 1] + upper) / 2.0 })
}

/// The median of durations, in microseconds. `None` of none.
pub(crate) fn median_micros(samples: &[Duration]) -> Option<f64> {
    let micros: Vec<f64> = samples.iter().map(|sample| sample.as_secs_f64() * 1e6).collect();
    median(&micros)
}

/// The value below which the given share of the values lies. `None` of none.
pub(crate) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * share) as usize;
    sorted.get(rank.min(sorted.len().saturating_sub(1))).copied()
}

/// Whole numbers as such: `0 lost`, `126 B/task`, `0.13 ms/s`.
fn human_cost(value: f64, label: &str) -> String {
    let decimals = if value.fract() == 0.0 || value >= 99.95 { 0 } else { 1 + usize::from(value < 9.995) };
    format!("{value:.decimals$} {label}")
}

fn human_seconds(seconds: f64) -> String {
    scaled(seconds, &[(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")])
}

/// Three significant digits in the largest of the scales (largest first) that the value reaches.
fn scaled(value: f64, scales: &[(f64, &str)]) -> String {
    let reached = scales.iter().find(|(scale, _)| value >= *scale).or(scales.last());
    let Some((scale, suffix)) = reached else { return value.to_string() };
    let value = value / scale;
    let decimals = if value >= 99.95 { 0 } else { 1 + usize::from(value < 9.995) };
    format!("{value:.decimals$} {suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASKS: Unit = Unit::Rate("tasks/s");

    #[test]
    fn people_read_three_digits() {
        assert_eq!(TASKS.human(1_234_567.0), "1.23 M/s");
        assert_eq!(TASKS.human(53_100.0), "53.1 k/s");
        assert_eq!(TASKS.human(600.4), "600 /s");
        assert_eq!(TASKS.human(0.5), "0.50 /s");
        assert_eq!(Unit::Micros.human(4.4), "4.40 µs");
        assert_eq!(Unit::Micros.human(100_123.0), "100 ms");
        assert_eq!(Unit::Seconds.human(1.9), "1.90 s");
        assert_eq!(Unit::Nanos.human(950.0), "950 ns");
        assert_eq!(Unit::Percent.human(97.26), "97.3 %");
    }

    #[test]
    fn a_cost_may_be_nothing() {
        let bytes = Unit::Cost("B/task");
        assert_eq!(bytes.human(0.0), "0 B/task");
        assert_eq!(bytes.human(12.34), "12.3 B/task");
        assert_eq!(bytes.human(1234.5), "1234 B/task");
        assert_eq!(parse(&print("P6/memory", 0.0, bytes), bytes), Some(0.0));
        assert_eq!(parse("P6/memory -1 B/task", bytes), None);
    }

    #[test]
    fn a_printed_figure_parses_back() {
        assert_eq!(parse(&print("P1/ours", 12.5, TASKS), TASKS), Some(12.5));
        assert_eq!(parse(&print("P2/ours", 12.5, Unit::Micros), Unit::Micros), Some(12.5));
        assert_eq!(parse(&print("L2/left", 0.0, Unit::Cost("keys")), Unit::Cost("keys")), Some(0.0));
    }

    #[test]
    fn what_is_no_figure_is_refused() {
        for line in [
            "",
            "12",
            "x 12",
            "x twelve tasks/s",
            "x 12 s",
            "x 12 tasks/s more",
            "x NaN tasks/s",
            "x 0 tasks/s",
        ] {
            assert_eq!(parse(line, TASKS), None, "{line:?}");
        }
    }

    #[test]
    fn median_takes_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_quantile_counts_from_the_smallest() {
        let values: Vec<f64> = (0..200).rev().map(f64::from).collect();
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
        assert_eq!(quantile(&values, 0.5), Some(100.0));
        assert_eq!(quantile(&values, 0.99), Some(198.0));
        assert_eq!(quantile(&values, 1.0), Some(199.0));
    }
}
