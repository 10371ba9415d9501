//! Whether the service may do with a file what whoever asks the doctor may: the doctor is mostly asked by root, who may do
//! everything.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{User, geteuid};

use super::report::Finding;

/// The unit's `User=`.
const USER: &str = "tbtokend";

/// Looks at the file of the service and its folder with the eyes of the service's user, if root asks and there is such a
/// user.
pub(super) fn look(file: &Path) -> Vec<Finding> {
    let user = User::from_name(USER).ok().flatten().filter(|_| geteuid().is_root());
    let Some(user) = user else { return Vec::new() };
    let places = [Some(file), file.parent()].into_iter().flatten();
    let seen = places.filter_map(|place| Some((place, std::fs::metadata(place).ok()?)));
    seen.filter(|(_, there)| !may_write(&Mode::of(there), user.uid.as_raw(), user.gid.as_raw()))
        .map(|(place, there)| {
            let place = place.display();
            Finding::error(
                "permission",
                format!(
                    "{place} cannot be read and written by the service's user {USER} (mode {:04o})",
                    there.mode() & 0o777
                ),
                format!("chown {USER}: {place} && chmod u+rw {place}"),
            )
        })
        .collect()
}

/// Who owns a file, and what others may do with it.
#[derive(Debug, Clone, Copy)]
struct Mode {
    uid: u32,
    gid: u32,
    bits: u32,
}

impl Mode {
    fn of(there: &Metadata) -> Self {
        Self { uid: there.uid(), gid: there.gid(), bits: there.mode() }
    }
}

/// Whether this user may read and write, by the first of the three triples that is about him.
fn may_write(file: &Mode, uid: u32, gid: u32) -> bool {
    let shift = match (file.uid == uid, file.gid == gid) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    (file.bits >> shift) & 0o6 == 0o6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_triple_that_is_about_the_user_counts() {
        let file = |uid, gid, bits| Mode { uid, gid, bits };
        for (owner, group, bits, may) in [
            (7, 7, 0o100_600, true),
            (7, 7, 0o100_400, false),
            (7, 7, 0o100_066, false),
            (0, 7, 0o100_660, true),
            (0, 7, 0o100_640, false),
            (0, 7, 0o100_606, false),
            (0, 0, 0o100_666, true),
            (0, 0, 0o100_644, false),
            (0, 0, 0o100_660, false),
        ] {
            assert_eq!(may_write(&file(owner, group, bits), 7, 7), may, "{owner}:{group} {bits:o}");
        }
    }
}
