//! Secrets come from files that are not for everyone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::ConfigError;
use crate::model::Secret;

/// Reads a secret from a file that only its owner and group can read; a newline at its end does not count.
pub(super) fn read(key: &'static str, path: &Path) -> Result<Secret, ConfigError> {
    let file = path.display().to_string();
    let unreadable = |source| ConfigError::SecretUnreadable { key, file: file.clone(), source };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(ConfigError::SecretForAll { key, file });
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(ConfigError::SecretEmpty { key, file }),
        secret => Ok(Secret::new(secret)),
    }
}
