//! What systemd hands a service: credentials.

use std::path::PathBuf;

/// The file that holds the credential of that name, if systemd gave us one (`LoadCredential=`).
pub fn credential(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY")?;
    let path = PathBuf::from(folder).join(name);
    path.is_file().then_some(path)
}
