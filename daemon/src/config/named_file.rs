//! Settings that name a file, and the secrets in such files.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::ConfigError;
use super::error::who_may_read;
use crate::model::Secret;

/// Refuses a value that names no file: it may be the secret itself, written in the wrong place, so it is not repeated. An
/// empty one says nothing.
pub(super) fn is_secret_file(key: &'static str, value: &str) -> Result<(), ConfigError> {
    is_absolute(key, value)?;
    if value.is_empty() {
        return Ok(());
    }
    let why = match fs::metadata(value) {
        Ok(there) if there.is_file() => return Ok(()),
        Ok(_) => "that is something else".to_owned(),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            format!("its folder cannot be entered{}", who_may_read(&error))
        }
        Err(_) => "there is none of that name".to_owned(),
    };
    Err(ConfigError::NamesNoFile { key, why })
}

/// Refuses a path that depends on the folder in which it is looked at; what it is instead may be a secret, too.
pub(super) fn is_absolute(key: &'static str, value: &str) -> Result<(), ConfigError> {
    match value.is_empty() || Path::new(value).is_absolute() {
        true => Ok(()),
        false => Err(ConfigError::NamesNoFile { key, why: "the value does not begin with /".to_owned() }),
    }
}

/// Reads a secret from a file that only its owner and group can read: one line. A newline at its end does not count.
pub(super) fn read_secret(key: &'static str, path: &Path) -> Result<Secret, ConfigError> {
    let file = path.display().to_string();
    let unreadable = |source| ConfigError::SecretUnreadable { key, file: file.clone(), source };
    let mut opened = fs::File::open(path).map_err(unreadable)?;
    let metadata = opened.metadata().map_err(unreadable)?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(ConfigError::SecretForAll { key, file });
    }
    let mut text = String::new();
    opened.read_to_string(&mut text).map_err(unreadable)?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(ConfigError::SecretEmpty { key, file }),
        secret if secret.contains(['\r', '\n']) => Err(ConfigError::SecretOfManyLines { key, file }),
        secret => Ok(Secret::new(secret)),
    }
}
