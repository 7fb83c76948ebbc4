//! Loom models are run: once a crate has one, there is a step for them.

use super::problem::{Problem, Text};

/// The name that the step must have.
const STEP: &str = "loom";

pub(super) fn check<'a>(texts: &[Text], mut steps: impl Iterator<Item = &'a str>) -> Vec<Problem> {
    if steps.any(|step| step == STEP) {
        return Vec::new();
    }
    let models = texts.iter().filter(|text| is_model(text));
    models
        .map(|text| {
            Problem::new(
                &text.path,
                format!("is a loom model, but no step `{STEP}` runs it: add one to STEPS in xtask"),
            )
        })
        .collect()
}

fn is_model(text: &Text) -> bool {
    let Some(path) = text.path.strip_prefix("crates/").filter(|path| path.ends_with(".rs")) else {
        return false;
    };
    path.contains("/tests/loom") || text.content.contains("workfleet_loom")
}

#[cfg(test)]
mod tests {
    use super::super::problem::text;
    use super::*;

    #[test]
    fn a_model_without_a_step_is_found() {
        let models = [
            text("crates/shared-lock/tests/loom_handover.rs", "//! Handover."),
            text("crates/shared-lock/src/slot.rs", "#[cfg(workfleet_loom)]"),
        ];
        assert_eq!(check(&models, ["tidy", "test"].into_iter()).len(), 2);
        assert_eq!(check(&models, ["tidy", "loom"].into_iter()), []);
    }

    #[test]
    fn other_files_are_not_models() {
        let texts =
            [text("Cargo.toml", "cfg(workfleet_loom)"), text("crates/wire/src/lib.rs", "//! Bloom filters.")];
        assert_eq!(check(&texts, ["tidy"].into_iter()), []);
    }
}
