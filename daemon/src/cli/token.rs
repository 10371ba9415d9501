//! `tbtokend http-token`: makes a token for the HTTP listener, which never appears on a command line or a screen.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, fchown};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::unistd::{User, geteuid};
use zeroize::Zeroizing;

use crate::doctor::owner::USER;

/// The file that the unit passes as a credential.
pub(super) const DEFAULT_FILE: &str = "/etc/tbtokend/http-token";

/// The folder whose files belong to root; systemd passes them to the service.
const CREDENTIALS: &str = "/etc/tbtokend";

/// The number of random bytes in a token.
const BYTES: usize = 32;

#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("{file} exists already: to replace its token, remove it first")]
    Exists { file: String },
    #[error("{file} cannot be written")]
    Io { file: String, source: io::Error },
}

/// Writes a new token to a new file, and returns a text that says what to do with it.
pub(super) fn write(path: &Path) -> Result<String, TokenError> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let file = path.display().to_string();
    let failed = |source: io::Error| match source.kind() {
        ErrorKind::AlreadyExists => TokenError::Exists { file: file.clone() },
        _ => TokenError::Io { file: file.clone(), source },
    };
    let new = File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    // A partial file would block the next attempt.
    fill(new, &path).map_err(failed).inspect_err(|_| drop(fs::remove_file(&path)))?;
    let what_next = match path.parent() == Some(Path::new(CREDENTIALS)) {
        true => "Restart the service to use it: systemctl restart tbtokend".to_owned(),
        false => format!("Name it in http.token_file or http.read_token_file: \"{file}\""),
    };
    Ok(format!("{file} holds a new token. {what_next}\n"))
}

fn fill(mut file: File, path: &Path) -> io::Result<()> {
    let bytes = Zeroizing::new(rand::random::<[u8; BYTES]>());
    let token = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
    writeln!(file, "{}", token.as_str())?;
    if geteuid().is_root()
        && !path.starts_with(CREDENTIALS)
        && let Some(user) = User::from_name(USER)?
    {
        fchown(&file, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::http::TOKEN_LENGTHS;

    #[test]
    fn a_token_is_long_random_private_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let token = |name: &str| {
            let said = write(&path(name)).unwrap();
            let token = fs::read_to_string(path(name)).unwrap().trim().to_owned();
            assert!(said.contains(name) && !said.contains(&token), "{said}");
            assert_eq!(fs::metadata(path(name)).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(TOKEN_LENGTHS.contains(&token.len()), "{}", token.len());
            token
        };
        let first = token("a");
        assert_ne!(first, token("b"));
        assert!(matches!(write(&path("a")), Err(TokenError::Exists { .. })));
        assert_eq!(fs::read_to_string(path("a")).unwrap().trim(), first);
        assert!(matches!(write(&path("none/a")), Err(TokenError::Io { .. })));
    }
}
