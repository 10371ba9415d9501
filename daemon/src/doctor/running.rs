//! The daemon that runs now: whether it has read the configuration that the doctor looks at. Pure.

use std::path::Path;

use super::report::Finding;
use crate::text::printable;

/// What the daemon said that answers at the control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The configuration file that it has read, if it has read one.
    pub config_file: Option<String>,
}

pub(super) fn judge(ours: Option<&Path>, read: Option<&str>) -> Finding {
    let check = "configuration";
    let shown = match read {
        Some(file) => format!("the running daemon has read {}", printable(file)),
        None => "the running daemon has read no file".to_owned(),
    };
    match ours.map(|file| file.display().to_string()).as_deref() == read {
        true => Finding::ok(check, shown),
        false => Finding::warning(
            check,
            format!("{shown}, and the doctor another one"),
            "Name the daemon's file with --config, or restart the daemon with this one.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Level;
    use super::*;

    #[test]
    fn another_file_than_the_daemons_is_told() {
        let level = |ours: Option<&str>, read| judge(ours.map(Path::new), read).level;
        assert_eq!(level(Some("/etc/a.toml"), Some("/etc/a.toml")), Level::Ok);
        assert_eq!(level(None, None), Level::Ok);
        assert_eq!(level(Some("/etc/a.toml"), Some("/etc/b.toml")), Level::Warning);
        assert_eq!(level(Some("/etc/a.toml"), None), Level::Warning);
    }
}
