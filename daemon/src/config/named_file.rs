//! Settings that name a file, and the secrets in such files.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::error::remedy_for_unreadable;
use super::text::Text;
use super::{ConfigError, bad_value};
use crate::model::Secret;

/// Checks that a value is empty or names a file. The error does not quote the value, which may be the secret itself.
pub(super) fn is_secret_file(text: Text<'_>) -> Result<(), ConfigError> {
    is_absolute(text)?;
    let Some(path) = text.given() else { return Ok(()) };
    let why = match fs::metadata(path) {
        Ok(there) if there.is_file() => return Ok(()),
        Ok(_) => "the path is not that of a file".to_owned(),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            format!("its folder cannot be entered{}", remedy_for_unreadable(&error))
        }
        Err(_) => "there is no file of that name".to_owned(),
    };
    Err(names_no_file(text.key, &why))
}

/// Checks that a path is empty or absolute. The error does not quote the value, which may be a secret.
pub(super) fn is_absolute(text: Text<'_>) -> Result<(), ConfigError> {
    match text.path().is_none_or(|path| path.is_absolute()) {
        true => Ok(()),
        false => Err(names_no_file(text.key, "the value does not begin with /")),
    }
}

fn names_no_file(key: &str, why: &str) -> ConfigError {
    ConfigError::Setting(format!(
        "{key} does not name a file: {why}; write the absolute path of one (the value is not shown, because it may be a secret)"
    ))
}

/// Reads a secret of one line from a file that only its owner and group can read. A final newline does not count.
pub(super) fn read_secret(key: &'static str, path: &Path) -> Result<Secret, ConfigError> {
    let secret = read_secrets(key, path)?;
    if secret.expose().contains(['\r', '\n']) {
        let why = "the file has more than one line; write only the secret to it, on one line";
        return Err(bad_value(key, &path.display().to_string(), why));
    }
    Ok(secret)
}

/// Reads a secret as [`read_secret`], or several, one a line.
pub(super) fn read_secrets(key: &'static str, path: &Path) -> Result<Secret, ConfigError> {
    let file = path.display().to_string();
    let wrong = |why: &str| bad_value(key, &file, why);
    let unreadable =
        |error| wrong(&format!("the file cannot be read{}: {error}", remedy_for_unreadable(&error)));
    let mut opened = fs::File::open(path).map_err(unreadable)?;
    let metadata = opened.metadata().map_err(unreadable)?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(wrong(&format!("all users can read this file; run chmod o-rwx {file}")));
    }
    let mut text = String::new();
    opened.read_to_string(&mut text).map_err(unreadable)?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(wrong("the file is empty; write the secret to it, on one line")),
        secret => Ok(Secret::new(secret)),
    }
}
