//! The errors of the configuration.

use std::io;

use crate::text::with_causes;
use crate::thingsboard::ClientError;

/// Why the configuration cannot be used. The text names the key and says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each error explains its fields")]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {file} cannot be read{}", remedy_for_unreadable(source))]
    Unreadable { file: String, source: io::Error },
    /// The file is not TOML.
    #[error("{file} is not valid TOML: {why}")]
    NotToml { file: String, why: String },
    /// A value that cannot be used. It is never a secret.
    #[error("{key} = {value:?}: {why}")]
    BadValue { key: &'static str, value: String, why: String },
    /// Any other error of a setting, without its value: the value is missing or may be a secret.
    #[error("{0}")]
    Setting(String),
    /// A setting with which the ThingsBoard client cannot be built.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An error with the file in which it occurred.
    #[error("{place}: {what}")]
    In { place: String, what: String },
}

impl ConfigError {
    /// Adds the origin of a bad value that is not from the file, so that the operator does not search the file for it.
    pub(super) fn with_origin(self, origins: &[(&'static str, String)]) -> Self {
        match self {
            Self::BadValue { key, value, why } => {
                // The last origin wins.
                let place = origins.iter().rev().find(|(set, _)| *set == key).map(|(_, place)| place);
                let place = place.map(|place| format!(" (this value comes from {place}, not from the file)"));
                Self::BadValue { key, value, why: why + &place.unwrap_or_default() }
            }
            other => other,
        }
    }

    /// Adds the file, or that there is none, unless the error names it already.
    pub(super) fn in_file(self, place: String) -> Self {
        match self {
            Self::Unreadable { .. } | Self::NotToml { .. } | Self::In { .. } => self,
            Self::BadValue { .. } | Self::Setting(_) | Self::Client(_) => {
                Self::In { place, what: with_causes(&self) }
            }
        }
    }
}

/// Makes the error for a required value that is missing; `what` says how to set it.
pub(super) fn missing(key: &str, what: &str) -> ConfigError {
    ConfigError::Setting(format!("{key} is missing: {what}"))
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
