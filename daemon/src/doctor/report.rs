//! What the doctor says: findings as values, and how they are printed. Pure.

use std::fmt;

use serde::Serialize;

use crate::text::{escape_hidden, printable};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It works, but it should not stay so.
    Warning,
    /// It does not work.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it; none where there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), remedy: None }
    }

    /// Worth knowing.
    pub fn note(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Note, found: found.into(), remedy: None }
    }

    /// It works, but it should not stay so.
    pub fn warning(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// It does not work.
    pub fn error(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Error, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Everything that was found, in the order of looking.
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

    /// The findings in the order of telling, each with the remedy that is told behind it: what is mended by the same thing
    /// stands together, and that thing once, behind the last.
    fn told(&self) -> Vec<(&Finding, Option<&str>)> {
        let is_alike = |one: &Finding, other: &Finding| {
            one.remedy.is_some()
                && (one.check, one.level, &one.remedy) == (other.check, other.level, &other.remedy)
        };
        let mut told: Vec<(&Finding, Option<&str>)> = Vec::with_capacity(self.findings.len());
        for finding in &self.findings {
            let remedy = finding.remedy.as_deref();
            match told.iter().rposition(|(other, _)| is_alike(other, finding)) {
                Some(last) => {
                    if let Some((_, remedy)) = told.get_mut(last) {
                        *remedy = None;
                    }
                    told.insert(last + 1, (finding, remedy));
                }
                None => told.push((finding, remedy)),
            }
        }
        told
    }

    /// 0 if there is nothing to do, else 1.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.findings.iter().any(|finding| finding.level >= Level::Warning))
    }

    /// As JSON, on lines for people who read it all the same.
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
        for (finding, remedy) in self.told() {
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
    fn what_the_same_thing_mends_stands_together_with_that_thing_once() {
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
    fn only_what_is_to_be_done_makes_the_exit_code_one() {
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
        // What the text hides is escaped.
        let json = report(Finding::note("rows", "\u{9b}2J\u{ad}")).json();
        assert!(json.contains(r"\u009b2J\u00ad"), "{json}");
    }
}
