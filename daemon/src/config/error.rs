//! What can be wrong with the configuration.

use std::io;

use crate::text::with_causes;
use crate::thingsboard::ClientError;

/// Why the configuration cannot be used. The text names the key and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {file} cannot be read{}", who_may_read(source))]
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
        /// Where and why.
        why: String,
    },
    /// A key that does not exist.
    #[error("{file}: unknown key {key}{}", did_you_mean(nearest.as_deref()))]
    UnknownKey {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// The known one that looks most like it.
        nearest: Option<String>,
    },
    /// A value of the wrong type.
    #[error("{file}: {key} must be {wanted}, but is {found}")]
    WrongType {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// The type that it has.
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
        /// What is wrong and what would be right.
        why: String,
    },
    /// A value that is needed and not there.
    #[error("{key} is missing: {what}")]
    Missing {
        /// The key.
        key: &'static str,
        /// How to give it.
        what: &'static str,
    },
    /// A setting with which no client of ThingsBoard can be built.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A variable of the environment that is no text.
    #[error(
        "the environment variable {variable} is not UTF-8; write it so, or use the configuration file instead"
    )]
    NotUtf8 {
        /// Its name.
        variable: &'static str,
    },
    /// A file with a secret that others can read.
    #[error("{key} = {file:?}: others can read this file; take that away with chmod o-rwx {file}")]
    SecretForAll {
        /// The key.
        key: &'static str,
        /// The file.
        file: String,
    },
    /// A file for a secret in which there is none.
    #[error("{key} = {file:?}: the file is empty; write the secret into it, on one line")]
    SecretEmpty {
        /// The key.
        key: &'static str,
        /// The file.
        file: String,
    },
    /// A file for a secret in which there is more than that.
    #[error("{key} = {file:?}: the file has more than one line; write the secret alone into it, on one line")]
    SecretOfManyLines {
        /// The key.
        key: &'static str,
        /// The file.
        file: String,
    },
    /// A value that should be a path and may be a secret instead.
    #[error(
        "{key} does not name a file: {why}; write the absolute path of one (the value is not shown, for it may be a secret)"
    )]
    NamesNoFile {
        /// The key.
        key: &'static str,
        /// What is wrong, without the value.
        why: String,
    },
    /// Something that is wrong in a file, or although there is none.
    #[error("{place}: {what}")]
    In {
        /// The file.
        place: String,
        /// What is wrong with its causes.
        what: String,
    },
    /// A file with a secret that we cannot read.
    #[error("{key} = {file:?}: the file cannot be read{}", who_may_read(source))]
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
    /// Who looks for a bad value in the file must not look in vain: says where it comes from instead, if it does.
    pub(super) fn coming_from(self, elsewhere: &[(String, String)]) -> Self {
        match self {
            Self::BadValue { key, value, why } => {
                // The last one has won.
                let place = elsewhere.iter().rev().find(|(set, _)| set == key).map(|(_, place)| place);
                let place = place.map(|place| format!(" (this value comes from {place}, not from the file)"));
                Self::BadValue { key, value, why: why + &place.unwrap_or_default() }
            }
            other => other,
        }
    }

    /// Says which file was read, or that there is none, unless it is said already.
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

/// What to do about a file that somebody else may read.
pub(super) fn who_may_read(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (the service runs as the user tbtokend, who needs to read it: chgrp tbtokend and chmod g+r; by hand, use sudo)"
        }
        _ => "",
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default()
}
