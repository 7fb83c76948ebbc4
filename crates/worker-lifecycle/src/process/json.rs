//! A status as JSON, for programs that monitor a process. It is written by hand: for so few fields, the probe needs no
//! serialiser among its dependencies, and a serialiser's form of durations and times is hard to read.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::status::Status;

/// One object for a worker, its children within it.
pub(super) fn of_status(status: &Status) -> String {
    let mut json = String::new();
    write_status(&mut json, status);
    json
}

fn write_status(json: &mut String, status: &Status) {
    json.push_str("{\"name\":");
    write_text(json, &status.name);
    json.push_str(",\"state\":");
    write_text(json, &status.state.to_string());
    json.push_str(",\"reason\":");
    write_text(json, &status.reason.to_string());
    json.push_str(",\"since\":");
    match status.since.and_then(rfc_3339) {
        Some(since) => write_text(json, &since),
        None => json.push_str("null"),
    }
    // Writing to a string does not fail.
    let _ = write!(json, ",\"lasted_seconds\":{}", status.lasted.as_millis() as f64 / 1_000.0);
    for (key, value) in [("running", status.running), ("stopping", status.stopping), ("ready", status.ready)]
    {
        let _ = write!(json, ",\"{key}\":{value}");
    }
    let _ = write!(json, ",\"restarts\":{}", status.restarts);
    match status.queue_size {
        Some(size) => drop(write!(json, ",\"queue_size\":{size}")),
        None => json.push_str(",\"queue_size\":null"),
    }
    json.push_str(",\"details\":{");
    for (number, (key, value)) in status.details.iter().enumerate() {
        json.push_str(if number == 0 { "" } else { "," });
        write_text(json, key);
        json.push(':');
        write_text(json, value);
    }
    json.push_str("},\"children\":[");
    for (number, child) in status.children.iter().enumerate() {
        json.push_str(if number == 0 { "" } else { "," });
        write_status(json, child);
    }
    json.push_str("]}");
}

/// A string of JSON: RFC 8259, section 7.
fn write_text(json: &mut String, text: &str) {
    json.push('"');
    for char in text.chars() {
        match char {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            // The others that may not stand in it.
            '\0'..='\x1f' => drop(write!(json, "\\u{:04x}", u32::from(char))),
            _ => json.push(char),
        }
    }
    json.push('"');
}

/// `2026-11-29T07:30:00.250Z`; none before 1970.
fn rfc_3339(time: SystemTime) -> Option<String> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    Some(format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_millis()
    ))
}

/// The date of a day since 1970, in the Gregorian calendar. Years are counted from March, so that a leap day is the last.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    /// From the first of March of the year 0.
    const DAYS_UNTIL_1970: u64 = 719_468;
    let days = days + DAYS_UNTIL_1970;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / (DAYS_OF_400_YEARS - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Five months have 153 days, from March on.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year, month + 3);
    if month > 12 { (year + 1, month - 12, day) } else { (year, month, day) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{lifecycle::WorkerState, reason::StatusReason};

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.250Z"),
            (951_782_399, "2000-02-28T23:59:59.250Z"),
            (951_782_400, "2000-02-29T00:00:00.250Z"),
            (951_868_800, "2000-03-01T00:00:00.250Z"),
            (1_704_067_199, "2023-12-31T23:59:59.250Z"),
            (1_709_164_800, "2024-02-29T00:00:00.250Z"),
            (1_795_937_400, "2026-11-29T07:30:00.250Z"),
            (4_107_542_400, "2100-03-01T00:00:00.250Z"),
        ] {
            let time = UNIX_EPOCH + Duration::new(seconds, 250_000_000);
            assert_eq!(rfc_3339(time).as_deref(), Some(expected));
        }
        assert_eq!(rfc_3339(UNIX_EPOCH - Duration::from_secs(1)), None);
    }

    #[test]
    fn each_day_of_eight_centuries_follows_the_one_before() {
        let mut before = (1969, 12, 31);
        for days in 0..800 * 366 {
            let (year, month, day) = civil(days);
            let is_next_day = (year, month, day) == (before.0, before.1, before.2 + 1);
            let is_next_month = (year, month, day) == (before.0, before.1 + 1, 1) && before.2 >= 28;
            let is_next_year = (year, month, day) == (before.0 + 1, 1, 1) && (before.1, before.2) == (12, 31);
            assert!(is_next_day || is_next_month || is_next_year, "{before:?} {:?}", (year, month, day));
            before = (year, month, day);
        }
    }

    #[test]
    fn whatever_a_worker_is_called_or_says_a_parser_reads_it() {
        let text: String = (0..0x2_000).filter_map(char::from_u32).chain("\u{2028}😀".chars()).collect();
        let child = Status { name: text.clone(), ..Status::default() };
        let status = Status {
            name: "a \"quoted\" one".into(),
            state: WorkerState::Failed,
            reason: StatusReason::Failed("run failed: C:\\no\nsuch".into()),
            since: Some(UNIX_EPOCH),
            lasted: Duration::from_millis(1_500),
            queue_size: Some(3),
            details: [(text.clone(), text.clone())].into(),
            children: vec![child, Status::default()],
            ..Status::default()
        };
        let read: serde_json::Value = serde_json::from_str(&of_status(&status)).expect("it is JSON");
        assert_eq!(read["name"], "a \"quoted\" one");
        assert_eq!((&read["state"], &read["since"]), (&"failed".into(), &"1970-01-01T00:00:00.000Z".into()));
        assert_eq!(read["reason"], "run failed: C:\\no\nsuch");
        assert_eq!((&read["lasted_seconds"], &read["queue_size"]), (&1.5.into(), &3.into()));
        assert_eq!(read["details"][&text], *text);
        assert_eq!(read["children"][0]["name"], *text);
        assert_eq!(
            (&read["children"][1]["since"], &read["children"][1]["queue_size"]),
            (&serde_json::Value::Null, &serde_json::Value::Null)
        );
        assert_eq!(read["children"].as_array().map(Vec::len), Some(2));
    }
}
