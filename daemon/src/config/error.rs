//! The errors of the configuration.

use std::io;

use crate::text::with_causes;
use crate::thingsboard::ClientError;

/// Why the configuration cannot be used. The text names the key and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {file} cannot be read{}", remedy_for_unreadable(source))]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{file} is not valid TOML: {why}")]
    NotToml {
        /// The file.
        file: String,
        /// The line and the cause.
        why: String,
    },
    /// A key that does not exist.
    #[error("{file}: unknown key {key}{}", did_you_mean(nearest.as_deref()))]
    UnknownKey {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// The most similar known key.
        nearest: Option<String>,
    },
    /// A value of the wrong type.
    #[error("{file}: {key} must be {wanted}, but is {found}")]
    WrongType {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// The type that the key has.
        wanted: &'static str,
        /// The type that was given.
        found: &'static str,
    },
    /// A value that cannot be used.
    #[error("{key} = {value:?}: {why}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// The value, never a secret.
        value: String,
        /// What is wrong, and what is right.
        why: String,
    },
    /// A required value is missing.
    #[error("{key} is missing: {what}")]
    Missing {
        /// The key.
        key: &'static str,
        /// How to set it.
        what: &'static str,
    },
    /// A setting with which the ThingsBoard client cannot be built.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An environment variable that is not UTF-8.
    #[error(
        "the environment variable {variable} is not UTF-8; set it in UTF-8, or use the configuration file instead"
    )]
    NotUtf8 {
        /// Its name.
        variable: &'static str,
    },
    /// A file with a secret that all users can read.
    #[error("{key} = {file:?}: all users can read this file; run chmod o-rwx {file}")]
    SecretForAll {
        /// The key.
        key: &'static str,
        /// The file.
        file: String,
    },
    /// A file for a secret that is empty.
    #[error("{key} = {file:?}: the file is empty; write the secret to it, on one line")]
    SecretEmpty {
        /// The key.
        key: &'static str,
        /// The file.
        file: String,
    },
    /// A file for a secret that has several lines.
    #[error("{key} = {file:?}: the file has more than one line; write only the secret to it, on one line")]
    SecretOfManyLines {
        /// The key.
        key: &'static str,
        /// The file.
        file: String,
    },
    /// A value that should be a path and may be a secret instead.
    #[error(
        "{key} does not name a file: {why}; write the absolute path of one (the value is not shown, because it may be a secret)"
    )]
    NamesNoFile {
        /// The key.
        key: &'static str,
        /// What is wrong, without the value.
        why: String,
    },
    /// An error with the file in which it occurred.
    #[error("{place}: {what}")]
    In {
        /// The file.
        place: String,
        /// What is wrong with its causes.
        what: String,
    },
    /// A file with a secret that cannot be read.
    #[error("{key} = {file:?}: the file cannot be read{}", remedy_for_unreadable(source))]
    SecretUnreadable {
        /// The key.
        key: &'static str,
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ConfigError {
    /// Adds the origin of a bad value that is not from the file, so that the operator does not search the file for it.
    pub(super) fn with_origin(self, origins: &[(String, String)]) -> Self {
        match self {
            Self::BadValue { key, value, why } => {
                // The last origin wins.
                let place = origins.iter().rev().find(|(set, _)| set == key).map(|(_, place)| place);
                let place = place.map(|place| format!(" (this value comes from {place}, not from the file)"));
                Self::BadValue { key, value, why: why + &place.unwrap_or_default() }
            }
            other => other,
        }
    }

    /// Adds the file, or that there is none, unless the error names it already.
    pub(super) fn in_file(self, place: String) -> Self {
        match self {
            Self::Unreadable { .. }
            | Self::NotToml { .. }
            | Self::UnknownKey { .. }
            | Self::WrongType { .. }
            | Self::In { .. } => self,
            Self::BadValue { .. }
            | Self::Missing { .. }
            | Self::Client(_)
            | Self::NotUtf8 { .. }
            | Self::SecretForAll { .. }
            | Self::SecretEmpty { .. }
            | Self::SecretOfManyLines { .. }
            | Self::NamesNoFile { .. }
            | Self::SecretUnreadable { .. } => Self::In { place, what: with_causes(&self) },
        }
    }
}

/// Returns the remedy for a file that this user may not read.
pub(super) fn remedy_for_unreadable(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (the service runs as the user tbtokend, which must be able to read it: chgrp tbtokend and chmod g+r; by hand, use sudo)"
        }
        _ => "",
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default()
}
