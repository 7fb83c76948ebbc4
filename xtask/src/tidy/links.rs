//! Relative links in Markdown files point at files that are tracked, so that they work in every clone.

use std::collections::BTreeSet;

use super::problem::{Problem, Text};

/// `files` are the paths of all tracked files.
pub(super) fn check(texts: &[Text], files: &[String]) -> Vec<Problem> {
    let mut targets: BTreeSet<&str> = files.iter().map(String::as_str).collect();
    for file in files {
        targets.extend(file.match_indices('/').map(|(end, _)| &file[..end]));
    }
    targets.insert("");
    let mut problems = Vec::new();
    for text in texts.iter().filter(|text| text.path.ends_with(".md")) {
        for (number, link) in links(text) {
            let exists = match resolve(&text.path, &link) {
                Target::Elsewhere => continue,
                Target::Path(path) => targets.contains(path.as_str()),
                Target::Outside => false,
            };
            if !exists {
                let message = format!("the link `{link}` points at no tracked file");
                problems.push(Problem::new(format!("{}:{number}", text.path), message));
            }
        }
    }
    problems
}

/// The targets of inline links, images and reference definitions outside code, with their lines' numbers.
fn links(text: &Text) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut fence: Option<&str> = None;
    for (number, line) in text.lines() {
        let start = line.trim_start();
        let marker = ["```", "~~~"].into_iter().find(|marker| start.starts_with(marker));
        match (fence, marker) {
            (None, Some(marker)) => fence = Some(marker),
            (Some(open), Some(marker)) if open == marker => fence = None,
            (Some(_), _) => {}
            (None, None) => {
                links.extend(links_in(&without_code(line)).into_iter().map(|link| (number, link)))
            }
        }
    }
    links
}

fn links_in(line: &str) -> Vec<String> {
    let mut links: Vec<String> = line
        .match_indices("](")
        .filter_map(|(start, opening)| target(&line[start + opening.len()..]))
        .collect();
    // `[name]: target`, but not the footnote `[^name]: text`.
    let definition = line.trim_start().strip_prefix('[').filter(|rest| !rest.starts_with('^'));
    if let Some((name, rest)) = definition.and_then(|rest| rest.split_once("]:"))
        && !name.contains(']')
    {
        links.extend(rest.split_whitespace().next().map(|link| link.trim_matches(['<', '>']).to_owned()));
    }
    links
}

/// What stands before the parenthesis that closes a link, without its title.
fn target(rest: &str) -> Option<String> {
    if let Some(bracketed) = rest.strip_prefix('<') {
        return bracketed.split_once('>').map(|(link, _)| link.to_owned());
    }
    let mut depth = 0_usize;
    let end = rest.find(|c| {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return true,
            ')' => depth -= 1,
            _ => {}
        }
        false
    })?;
    rest[..end].split_whitespace().next().map(str::to_owned)
}

/// The line without its `code`.
fn without_code(line: &str) -> String {
    let mut rest = line;
    let mut plain = String::new();
    while let Some(start) = rest.find('`') {
        let ticks = rest[start..].len() - rest[start..].trim_start_matches('`').len();
        let (before, after) = (&rest[..start], &rest[start + ticks..]);
        plain.push_str(before);
        match after.find(&rest[start..start + ticks]) {
            Some(end) => rest = &after[end + ticks..],
            None => rest = after,
        }
    }
    plain + rest
}

pub(super) enum Target {
    /// An address, or a place in the same file.
    Elsewhere,
    /// A path from the root.
    Path(String),
    /// A path that leaves the repository.
    Outside,
}

pub(super) fn resolve(from: &str, link: &str) -> Target {
    let path = link.split(['#', '?']).next().unwrap_or_default();
    let scheme = path.split_once(':').map(|(scheme, _)| scheme);
    if path.is_empty() || scheme.is_some_and(|scheme| scheme.chars().all(|c| c.is_ascii_alphanumeric())) {
        return Target::Elsewhere;
    }
    let mut parts: Vec<&str> = match path.starts_with('/') {
        true => Vec::new(),
        false => {
            from.rsplit_once('/').map(|(directory, _)| directory.split('/').collect()).unwrap_or_default()
        }
    };
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return Target::Outside,
            ".." => {}
            part => parts.push(part),
        }
    }
    Target::Path(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::super::problem::{shown, text};
    use super::*;

    fn problems(path: &str, content: &str) -> Vec<String> {
        let files = ["README.md", "LICENSE-MIT", "crates/wire/src/lib.rs", "crates/wire/README.md"];
        shown(&check(&[text(path, content)], &files.map(str::to_owned)))
    }

    #[test]
    fn links_to_files_and_directories_pass() {
        let content = "
            [licence](LICENSE-MIT), [wire](crates/wire), [with title](./LICENSE-MIT \"title\"), [root](/LICENSE-MIT),
            ![image](crates/wire/src/lib.rs#L3), [brackets](<LICENSE-MIT>), [`code`](crates/wire/)";
        assert_eq!(problems("README.md", content), [""; 0]);
        assert_eq!(problems("crates/wire/README.md", "[a](../../README.md) [b](src/lib.rs)"), [""; 0]);
        assert_eq!(problems("README.md", "[reference]: LICENSE-MIT\n[^note]: nothing.md here"), [""; 0]);
    }

    #[test]
    fn addresses_and_places_in_the_file_are_not_checked() {
        assert_eq!(
            problems("README.md", "[a](https://example.org/x.md) [b](#part) [c](mailto:a@example.org)"),
            [""; 0]
        );
    }

    #[test]
    fn links_in_code_are_not_checked() {
        let content =
            "`[a](nothing.md)` ``[`b`](nothing.md)``\n```text\n[c](nothing.md)\n~~~\n```\n[d](LICENSE-MIT)";
        assert_eq!(problems("README.md", content), [""; 0]);
    }

    #[test]
    fn links_to_nothing_are_found_with_their_line() {
        let content =
            "[a](LICENSE-MIT)\n```\n```\n[b](LICENCE-MIT) `code` [c](crates/wires)\n[d]: nothing.md";
        assert_eq!(
            problems("README.md", content),
            [
                "README.md:4: the link `LICENCE-MIT` points at no tracked file",
                "README.md:4: the link `crates/wires` points at no tracked file",
                "README.md:5: the link `nothing.md` points at no tracked file",
            ]
        );
        assert_eq!(problems("crates/wire/README.md", "[a](LICENSE-MIT)").len(), 1);
        assert_eq!(problems("README.md", "[a](../LICENSE-MIT)").len(), 1);
    }

    #[test]
    fn only_markdown_files_are_read() {
        assert_eq!(problems("crates/wire/src/lib.rs", "//! [a](nothing.md)"), [""; 0]);
    }
}
