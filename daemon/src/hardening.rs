//! What the process does to itself before it learns a secret.

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};

/// Keeps the memory, with its passwords and tokens, out of core dumps and out of reach of other processes of the same user.
///
/// It takes both: a core that the kernel pipes into a program knows no limit, and a process that changes its user may become
/// dumpable again (`fs.suid_dumpable`).
///
/// # Errors
/// The operating system does not let us.
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
