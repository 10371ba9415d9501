//! What the doctor says: findings as values, and how they are printed. Pure.

use std::fmt;

use serde::Serialize;

use crate::text::printable;

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

    /// 0 if there is nothing to do, else 1.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.findings.iter().any(|finding| finding.level >= Level::Warning))
    }

    /// As JSON, on lines for people who read it all the same.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tbtokend {}: {}", env!("CARGO_PKG_VERSION"), printable(&self.store))?;
        let width = self.findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
        for finding in &self.findings {
            let level = match finding.level {
                Level::Ok => "ok     ",
                Level::Note => "note   ",
                Level::Warning => "WARNING",
                Level::Error => "ERROR  ",
            };
            writeln!(f, "{level}  {:<width$}  {}", finding.check, printable(&finding.found))?;
            if let Some(remedy) = &finding.remedy {
                writeln!(f, "         {:<width$}  -> {}", "", printable(remedy))?;
            }
        }
        match (self.count(Level::Error), self.count(Level::Warning)) {
            (0, 0) => writeln!(f, "Nothing to do."),
            (errors, warnings) => writeln!(f, "{errors} error(s), {warnings} warning(s)."),
        }
    }
}
