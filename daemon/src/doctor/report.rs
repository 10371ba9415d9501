//! The report of the doctor: findings, and how they are printed. Pure.

use std::fmt;

use serde::Serialize;

use crate::text::{escape_hidden, printable};

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Correct.
    Ok,
    /// Worth knowing.
    Note,
    /// It works, but should be changed.
    Warning,
    /// It does not work.
    Error,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the check.
    pub check: &'static str,
    /// The severity.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do; none if nothing needs to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// Creates a finding that is correct.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), remedy: None }
    }

    /// Creates a finding that is worth knowing.
    pub fn note(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Note, found: found.into(), remedy: None }
    }

    /// Creates a finding that works, but should be changed.
    pub fn warning(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// Creates a finding that does not work.
    pub fn error(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Error, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// All findings, in the order of the checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The store, for people.
    pub store: String,
    /// The findings.
    pub findings: Vec<Finding>,
}

impl Report {
    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// Groups findings with the same remedy, and returns each with the remedy to print after it: the last of a group has it.
    fn group_by_remedy(&self) -> Vec<(&Finding, Option<&str>)> {
        let is_alike = |one: &Finding, other: &Finding| {
            one.remedy.is_some()
                && (one.check, one.level, &one.remedy) == (other.check, other.level, &other.remedy)
        };
        let mut grouped: Vec<(&Finding, Option<&str>)> = Vec::with_capacity(self.findings.len());
        for finding in &self.findings {
            let remedy = finding.remedy.as_deref();
            match grouped.iter().rposition(|(other, _)| is_alike(other, finding)) {
                Some(last) => {
                    if let Some((_, remedy)) = grouped.get_mut(last) {
                        *remedy = None;
                    }
                    grouped.insert(last + 1, (finding, remedy));
                }
                None => grouped.push((finding, remedy)),
            }
        }
        grouped
    }

    /// Returns 0 if nothing needs to be done, else 1.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.findings.iter().any(|finding| finding.level >= Level::Warning))
    }

    /// Returns the report as indented JSON.
    pub fn json(&self) -> String {
        let mut text = escape_hidden(&serde_json::to_string_pretty(self).unwrap_or_default());
        text.push('\n');
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tbtokend {}: {}", env!("CARGO_PKG_VERSION"), printable(&self.store))?;
        let width = self.findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
        for (finding, remedy) in self.group_by_remedy() {
            let level = match finding.level {
                Level::Ok => "ok     ",
                Level::Note => "note   ",
                Level::Warning => "WARNING",
                Level::Error => "ERROR  ",
            };
            writeln!(f, "{level}  {:<width$}  {}", finding.check, printable(&finding.found))?;
            if let Some(remedy) = remedy {
                writeln!(f, "         {:<width$}  -> {}", "", printable(remedy))?;
            }
        }
        match (self.count(Level::Error), self.count(Level::Warning)) {
            (0, 0) => writeln!(f, "Nothing to do."),
            (errors, warnings) => writeln!(f, "{errors} error(s), {warnings} warning(s)."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_with_the_same_remedy_are_grouped() {
        let findings = vec![
            Finding::ok("configuration", "it can be used"),
            Finding::error("permission", "missing: one", "GRANT"),
            Finding::error("permission", "missing: other", "OTHER"),
            Finding::error("permission", "missing: two", "GRANT"),
            Finding::warning("permission", "so to say", "GRANT"),
            Finding::note("rows", "none"),
        ];
        let report = Report { store: "x\ny".to_owned(), findings };
        let text = report.to_string();
        let lines: Vec<&str> = text.lines().skip(1).map(|line| line.split_at(24).1.trim()).collect();
        let expected = [
            "it can be used",
            "missing: one",
            "missing: two",
            "-> GRANT",
            "missing: other",
            "-> OTHER",
            "so to say",
            "-> GRANT",
            "none",
        ];
        assert_eq!(lines[..lines.len() - 1], expected, "{text}");
        assert!(text.ends_with("3 error(s), 1 warning(s).\n"), "{text}");
        assert!(text.contains(": x\u{fffd}y\n"), "{text}");
    }

    #[test]
    fn only_warnings_and_errors_make_the_exit_code_one() {
        let report = |finding| Report { store: String::new(), findings: vec![finding] };
        assert_eq!(report(Finding::ok("a", "b")).exit_code(), 0);
        assert_eq!(report(Finding::note("a", "b")).exit_code(), 0);
        assert_eq!(report(Finding::warning("a", "b", "c")).exit_code(), 1);
        assert_eq!(report(Finding::error("a", "b", "c")).exit_code(), 1);
        assert!(report(Finding::note("a", "b")).to_string().ends_with("Nothing to do.\n"));
        let json: serde_json::Value =
            serde_json::from_str(&report(Finding::error("a", "b", "c")).json()).unwrap();
        assert_eq!(json["findings"][0]["remedy"], "c");
        assert_eq!(json["findings"][0]["level"], "error");
        // JSON escapes the characters that the text replaces.
        let json = report(Finding::note("rows", "\u{9b}2J\u{ad}")).json();
        assert!(json.contains(r"\u009b2J\u00ad"), "{json}");
    }
}
