//! The lock file beside a socket: the process that locks it owns the socket.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::bind_error::BindError;
use super::socket::FileId;

/// More bytes than a process id and a newline have.
const LONGEST: u64 = 20;

/// A held lock. The operating system releases it even after `kill -9`. The file stays, because removing it would let two
/// daemons lock two files of the same name.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
    id: FileId,
}

impl Lock {
    /// Locks the file that belongs to this socket, and writes the process id into it.
    ///
    /// # Errors
    /// Another process holds the lock, or the path holds another file. That file stays as it is: in a folder where others
    /// may write, it may be a link to an important file.
    pub(super) fn take(socket: &Path) -> Result<Self, BindError> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let failed = |source| BindError::Io { path: socket.display().to_string(), source };
        let not_a_lock = |what| BindError::NotALock { path: path.display().to_string(), what };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        // Do not follow a link, and do not wait for the other end of a pipe.
        options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
        let mut file = options.open(&path).map_err(|source| match fs::symlink_metadata(&path) {
            Ok(there) if !there.is_file() => not_a_lock("no regular file"),
            _ => failed(source),
        })?;
        let found = file.metadata().map_err(failed)?;
        match () {
            () if !found.is_file() => return Err(not_a_lock("no regular file")),
            () if found.nlink() > 1 => return Err(not_a_lock("a second name of another file")),
            () => {}
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = socket.display().to_string();
                return Err(BindError::Owned { path, owner: owner(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // Read only after locking: another daemon may be writing its pid.
        if !holds_a_pid(&mut file) {
            return Err(not_a_lock("a file with something else in it"));
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { path, _file: file, id: FileId::of(&found) })
    }

    /// Whether the path still holds the locked file.
    pub(super) fn is_in_place(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|there: Metadata| FileId::of(&there) == self.id)
    }
}

/// Whether the file is empty or holds a process id.
fn holds_a_pid(file: &mut File) -> bool {
    let mut bytes = Vec::new();
    let read = file.take(LONGEST).read_to_end(&mut bytes);
    let is_pid = bytes.iter().all(|byte| byte.is_ascii_digit() || *byte == b'\n');
    read.is_ok_and(|length| (length as u64) < LONGEST) && is_pid
}

/// Names the process that holds the lock. The file is empty in the moment between locking and writing.
fn owner(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(LONGEST).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => format!("pid {}", text.trim()),
        _ => "which is just starting".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn p16_what_is_no_lock_file_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, lock) = (folder.path().join("s"), folder.path().join("s.lock"));
        let precious = folder.path().join("precious");
        let refused = |what: &str| {
            match Lock::take(&socket) {
                Err(BindError::NotALock { what: told, .. }) => assert_eq!(told, what),
                other => panic!("{what}: {other:?}"),
            }
            fs::remove_file(&lock).unwrap();
        };
        for text in ["my thesis", "4711\nand more"] {
            fs::write(&precious, text).unwrap();
            symlink(&precious, &lock).unwrap();
            refused("no regular file");
            fs::hard_link(&precious, &lock).unwrap();
            refused("a second name of another file");
            fs::copy(&precious, &lock).unwrap();
            refused("a file with something else in it");
            assert_eq!(fs::read_to_string(&precious).unwrap(), text);
        }
        symlink(folder.path().join("nothing"), &lock).unwrap();
        refused("no regular file");
        assert!(!folder.path().join("nothing").exists());
        nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused("no regular file");
    }

    #[test]
    fn p16_a_lock_file_of_a_dead_daemon_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, path) = (folder.path().join("s"), folder.path().join("s.lock"));
        for before in ["", "4194304\n", "1\n"] {
            fs::write(&path, before).unwrap();
            let lock = Lock::take(&socket).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
            assert!(lock.is_in_place());
            assert!(matches!(Lock::take(&socket), Err(BindError::Owned { .. })));
            fs::remove_file(&path).unwrap();
            assert!(!lock.is_in_place());
        }
    }
}
