//! The report: one row for each rival, as an aligned table with notes, or as JSON.
//!
//! What was not measured is said, never left out: `not measured` (not installed) and `cannot` and `failed`
//! in the table, null in JSON, the reason in the notes.

use std::fmt::Write as _;

use serde::Serialize;

use crate::figure::Unit;
use crate::race::{NoFigure, Outcome, Placing};

/// One line of the report, with the keys that JSON has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    id: &'static str,
    what: &'static str,
    unit: &'static str,
    ours: Option<f64>,
    rival: Option<f64>,
    rival_name: Option<String>,
    limit: Option<f64>,
    /// ours / rival: for rates more than 1 means that we are ahead, for durations less than 1.
    ratio: Option<f64>,
}

/// Everything measured in one run.
#[derive(Debug)]
pub(crate) struct Report {
    rounds: u32,
    outcomes: Vec<Outcome>,
}

impl Row {
    /// One JSON object on one line.
    pub(crate) fn to_json(&self) -> String {
        // Only a map with keys that are no strings could fail, and here is none.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A row for each rival; one without a rival if there is none.
pub(crate) fn rows(outcome: &Outcome) -> Vec<Row> {
    let row = |rival: Option<&Placing>| {
        let ours = figure(&outcome.ours);
        let theirs = rival.and_then(figure);
        Row {
            id: outcome.id,
            what: outcome.what,
            unit: outcome.unit.label(),
            ours,
            rival: theirs,
            rival_name: rival.map(|rival| rival.name.clone()),
            limit: limit(outcome),
            ratio: quotient(ours, theirs),
        }
    };
    if outcome.rivals.is_empty() {
        return vec![row(None)];
    }
    outcome.rivals.iter().map(|rival| row(Some(rival))).collect()
}

impl Report {
    pub(crate) fn new(rounds: u32) -> Report {
        Report { rounds, outcomes: Vec::new() }
    }

    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// Whether a contender that is installed gave no figure.
    pub(crate) fn any_failed(&self) -> bool {
        let mut all = self.outcomes.iter().flat_map(placings);
        all.any(|placing| matches!(placing.result, Err(NoFigure::Failed(_))))
    }

    /// The table and, under it, the notes.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![["id", "what", "workfleet", "rival", "limit", "ratio"].map(str::to_owned)];
        for outcome in &self.outcomes {
            lines.extend(cells(outcome));
        }
        format!("{}\n{}", aligned(&lines), self.notes())
    }

    /// What was run, in which versions, how far from the limit we are, and why a figure is missing.
    pub(crate) fn notes(&self) -> String {
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        let mut text = format!(
            "Figures are medians of {} alternating runs, on {processors} processors. ratio = workfleet / rival: \
             for rates more than 1 means that workfleet is ahead, for durations less than 1.\n",
            self.rounds
        );
        for outcome in &self.outcomes {
            let against_limit = quotient(figure(&outcome.ours), limit(outcome));
            // Writing to a String cannot fail.
            let _ = match against_limit {
                Some(ratio) => writeln!(text, "{}: workfleet / limit = {}", outcome.id, ratio_text(ratio)),
                None => writeln!(text, "{}: workfleet / limit: none", outcome.id),
            };
            for placing in placings(outcome) {
                let _ = match &placing.result {
                    Ok(_) => writeln!(text, "  {}: {}", placing.name, placing.how),
                    Err(NoFigure::NotInstalled(why)) => {
                        writeln!(text, "  {}: not measured: {why}", placing.name)
                    }
                    Err(NoFigure::Unable(why)) => writeln!(text, "  {}: cannot: {why}", placing.name),
                    Err(NoFigure::Failed(why)) => writeln!(text, "  {}: failed: {why}", placing.name),
                };
            }
        }
        text
    }
}

fn placings(outcome: &Outcome) -> impl Iterator<Item = &Placing> {
    [&outcome.ours].into_iter().chain(&outcome.limit).chain(&outcome.rivals)
}

fn limit(outcome: &Outcome) -> Option<f64> {
    outcome.limit.as_ref().and_then(figure)
}

fn figure(placing: &Placing) -> Option<f64> {
    placing.result.as_ref().ok().copied()
}

fn quotient(dividend: Option<f64>, divisor: Option<f64>) -> Option<f64> {
    let quotient = dividend? / divisor?;
    // Nothing divided by nothing says nothing.
    quotient.is_finite().then_some(quotient)
}

fn cells(outcome: &Outcome) -> Vec<[String; 6]> {
    let ours = cell(&outcome.ours, outcome.unit);
    let limit = outcome.limit.as_ref().map_or("-".to_owned(), |limit| cell(limit, outcome.unit));
    let line = |rival: String, ratio: Option<f64>| {
        let ratio = ratio.map_or("-".to_owned(), ratio_text);
        [outcome.id.to_owned(), outcome.what.to_owned(), ours.clone(), rival, limit.clone(), ratio]
    };
    if outcome.rivals.is_empty() {
        return vec![line("-".to_owned(), None)];
    }
    let rivals = outcome.rivals.iter().map(|rival| {
        let text = format!("{} {}", rival.name, cell(rival, outcome.unit));
        line(text, quotient(figure(&outcome.ours), figure(rival)))
    });
    rivals.collect()
}

fn cell(placing: &Placing, unit: Unit) -> String {
    match placing.result {
        Ok(value) => unit.human(value),
        Err(NoFigure::NotInstalled(_)) => "not measured".to_owned(),
        Err(NoFigure::Unable(_)) => "cannot".to_owned(),
        Err(NoFigure::Failed(_)) => "failed".to_owned(),
    }
}

fn ratio_text(ratio: f64) -> String {
    match ratio {
        0.095..99.5 => format!("{ratio:.2}"),
        99.5.. => format!("{ratio:.0}"),
        0.0 => "0".to_owned(),
        _ => format!("{ratio:.2e}"),
    }
}

/// Columns as wide as their widest cell; a rule under the first line.
fn aligned(lines: &[[String; 6]]) -> String {
    let mut widths = [0; 6];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let padded: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(padded.join(" | ").trim_end());
        text.push('\n');
        if number == 0 {
            text.push_str(&widths.map(|width| "-".repeat(width)).join("-|-"));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placing(name: &str, result: Result<f64, NoFigure>) -> Placing {
        Placing { name: name.to_owned(), how: format!("{name} 1.0"), result }
    }

    fn report() -> Report {
        let mut report = Report::new(5);
        report.add(Outcome {
            id: "P1",
            what: "tasks",
            unit: Unit::Rate("tasks/s"),
            ours: placing("workfleet", Ok(1_000_000.0)),
            limit: Some(placing("socket", Ok(8_000_000.0))),
            rivals: vec![
                placing("slow", Ok(10_000.0)),
                placing("gone", Err(NoFigure::NotInstalled("no module".to_owned()))),
            ],
        });
        report.add(Outcome {
            id: "P2 µ",
            what: "latency",
            unit: Unit::Micros,
            ours: placing("workfleet", Err(NoFigure::Failed("it broke".to_owned()))),
            limit: Some(placing("ping-pong", Ok(4.4))),
            rivals: Vec::new(),
        });
        report.add(Outcome {
            id: "P4",
            what: "lost",
            unit: Unit::Cost("lost"),
            ours: placing("workfleet", Ok(0.0)),
            limit: None,
            rivals: vec![
                placing("loses", Ok(52.0)),
                placing("loses not", Ok(0.0)),
                placing("hangs", Err(NoFigure::Unable("it hangs".to_owned()))),
            ],
        });
        report
    }

    #[test]
    fn the_table_is_aligned_and_leaves_nobody_out() {
        let table = report().table();
        let lines: Vec<&str> = table.lines().take(8).collect();
        let expected = "\
id   | what    | workfleet | rival             | limit    | ratio
-----|---------|-----------|-------------------|----------|------
P1   | tasks   | 1.00 M/s  | slow 10.0 k/s     | 8.00 M/s | 100
P1   | tasks   | 1.00 M/s  | gone not measured | 8.00 M/s | -
P2 µ | latency | failed    | -                 | 4.40 µs  | -
P4   | lost    | 0 lost    | loses 52 lost     | -        | 0
P4   | lost    | 0 lost    | loses not 0 lost  | -        | -
P4   | lost    | 0 lost    | hangs cannot      | -        | -";
        assert_eq!(lines.join("\n"), expected);
        assert!(table.contains("gone: not measured: no module"), "{table}");
        assert!(table.contains("workfleet: failed: it broke"), "{table}");
        assert!(table.contains("hangs: cannot: it hangs"), "{table}");
        assert!(table.contains("P1: workfleet / limit = 0.12\n"), "{table}");
        assert!(table.contains("P4: workfleet / limit: none\n"), "{table}");
    }

    #[test]
    fn json_has_numbers_or_null() {
        let report = report();
        let lines: Vec<String> = report.outcomes.iter().flat_map(rows).map(|row| row.to_json()).collect();
        let expected = [
            r#"{"id":"P1","what":"tasks","unit":"tasks/s","ours":1000000.0,"rival":10000.0,"rival_name":"slow","limit":8000000.0,"ratio":100.0}"#,
            r#"{"id":"P1","what":"tasks","unit":"tasks/s","ours":1000000.0,"rival":null,"rival_name":"gone","limit":8000000.0,"ratio":null}"#,
            r#"{"id":"P2 µ","what":"latency","unit":"µs","ours":null,"rival":null,"rival_name":null,"limit":4.4,"ratio":null}"#,
            r#"{"id":"P4","what":"lost","unit":"lost","ours":0.0,"rival":52.0,"rival_name":"loses","limit":null,"ratio":0.0}"#,
            r#"{"id":"P4","what":"lost","unit":"lost","ours":0.0,"rival":0.0,"rival_name":"loses not","limit":null,"ratio":null}"#,
            r#"{"id":"P4","what":"lost","unit":"lost","ours":0.0,"rival":null,"rival_name":"hangs","limit":null,"ratio":null}"#,
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn only_a_failure_counts_as_one() {
        let mut report = report();
        assert!(report.any_failed());
        report.outcomes.remove(1);
        assert!(!report.any_failed());
    }
}
