//! Hardens the process before it reads a secret.

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};

/// Keeps passwords and tokens in memory out of core dumps, and away from other processes of the same user.
///
/// Both calls are needed. The limit does not apply to a core that the kernel pipes to a program. A process that changes its
/// user may become dumpable again (`fs.suid_dumpable`).
///
/// # Errors
/// The operating system refuses.
pub fn forbid_core_dumps() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    set_dumpable(false)
}

#[cfg(test)]
mod tests {
    use nix::sys::prctl::get_dumpable;
    use nix::sys::resource::getrlimit;

    use super::*;

    #[test]
    fn p29_a_process_is_not_dumpable_and_cannot_lift_its_limit() {
        forbid_core_dumps().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_CORE), Ok((0, 0)));
        assert_eq!(get_dumpable(), Ok(false));
    }
}
