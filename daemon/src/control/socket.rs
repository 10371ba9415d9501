//! Making a socket: never open to more than its mode says, never two owners.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use nix::unistd::Group;
use tokio::net::UnixListener;

/// The longest path that the operating system lets a socket have, in bytes.
const LONGEST_PATH: usize = 107;

/// Where a socket shall be and who may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Its path.
    pub path: PathBuf,
    /// Its mode, as for `chmod`.
    pub mode: u32,
    /// The group that it shall belong to, unless the daemon's own.
    pub group: Option<String>,
}

/// A socket that is ours. It is taken away when this is dropped, unless systemd made it.
#[derive(Debug)]
pub struct Bound {
    made: Option<PathBuf>,
    /// Held for as long as the socket is ours; the operating system lets go of it even after `kill -9`.
    _lock: File,
}

/// Why a socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon has it.
    #[error("another tbtokend ({owner}) owns {path}: stop it first, or choose another control.socket")]
    Owned {
        /// The socket.
        path: String,
        /// The other process.
        owner: String,
    },
    /// The path has too many bytes for a socket.
    #[error("{path} is too long for a socket ({most} bytes at most): choose another control.socket")]
    PathTooLong {
        /// The path.
        path: String,
        /// The longest that it may be, in that folder's place.
        most: usize,
    },
    /// The group does not exist.
    #[error("there is no group {group}: create it, or change control.group")]
    NoGroup {
        /// Its name.
        group: String,
    },
    /// The socket may not be given to the group.
    #[error(
        "{path} cannot be given to the group {group}: the daemon's user must be a member of it; under systemd, put SupplementaryGroups={group} and PrivateUsers=no below [Service] with \"systemctl edit tbtokend\""
    )]
    NotAMember {
        /// The socket.
        path: String,
        /// The group.
        group: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody can say whether the group exists.
    #[error("the group {group} cannot be looked up: try `getent group {group}`, or change control.group")]
    GroupUnknown {
        /// Its name.
        group: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something else is at that path.
    #[error("{path} exists and is no socket: move it away, or choose another control.socket")]
    NotASocket {
        /// The path.
        path: String,
    },
    /// systemd made the socket and lets more people in than the configuration.
    #[error(
        "{path} was made by systemd with mode {found:04o}, more than the {allowed:04o} of the configuration: set SocketMode={allowed:04o} in tbtokend.socket"
    )]
    TooOpen {
        /// The socket.
        path: String,
        /// Its mode.
        found: u32,
        /// What the configuration lets it have.
        allowed: u32,
    },
    /// systemd passes a socket that the configuration does not know.
    #[error(
        "systemd passes the socket {path}, which is neither control.socket nor control.monitor_socket: change ListenStream in tbtokend.socket, or the configuration"
    )]
    NotInConfiguration {
        /// The socket.
        path: String,
    },
    /// The operating system says no.
    #[error(
        "failed to make the socket {path} (its folder must exist and be writable for the daemon's user; under systemd that is /run/tbtokend)"
    )]
    Io {
        /// The socket.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Binding {
    /// Makes the socket. One that a dead daemon left behind is replaced.
    ///
    /// It comes into being in a folder that nobody else can enter, gets its mode and group there, and is then moved to
    /// its place: at no moment can more people connect than may.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(&self) -> Result<(UnixListener, Bound), BindError> {
        let failed = |source| BindError::Io { path: self.display(), source };
        // The socket comes into being under a path that may be longer than its own.
        let own = self.path.as_os_str().len();
        let longest = own.max(Nursery::socket_of(&self.path).as_os_str().len());
        if longest > LONGEST_PATH {
            return Err(BindError::PathTooLong {
                path: self.display(),
                most: LONGEST_PATH - (longest - own),
            });
        }
        let group = self.group()?;
        let lock = self.lock()?;
        match fs::symlink_metadata(&self.path) {
            Ok(there) if !is_socket(&there) => {
                return Err(BindError::NotASocket { path: self.display() });
            }
            _ => {}
        }
        let nursery = Nursery::new(&self.path).map_err(failed)?;
        // The mode that matters from the first moment on is that of the folder.
        let listener = UnixListener::bind(nursery.socket()).map_err(failed)?;
        chown(nursery.socket(), None, group).map_err(|source| self.not_given(source))?;
        fs::set_permissions(nursery.socket(), Permissions::from_mode(self.mode)).map_err(failed)?;
        fs::rename(nursery.socket(), &self.path).map_err(failed)?;
        Ok((listener, Bound { made: Some(self.path.clone()), _lock: lock }))
    }

    /// Takes this socket out of those that systemd has made, if it is among them, and [makes](Self::bind) it otherwise.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn claim(&self, inherited: &mut Vec<StdListener>) -> Result<(UnixListener, Bound), BindError> {
        match inherited.iter().position(|listener| path_of(listener) == self.path) {
            Some(index) => self.adopt(inherited.swap_remove(index)),
            None => self.bind(),
        }
    }

    fn adopt(&self, listener: StdListener) -> Result<(UnixListener, Bound), BindError> {
        let failed = |source| BindError::Io { path: self.display(), source };
        let lock = self.lock()?;
        let found = fs::symlink_metadata(&self.path).map_err(failed)?.permissions().mode() & 0o777;
        if found & !self.mode != 0 {
            return Err(BindError::TooOpen { path: self.display(), found, allowed: self.mode });
        }
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        Ok((listener, Bound { made: None, _lock: lock }))
    }

    /// A group of which the daemon is no member, or which its user namespace does not know.
    fn not_given(&self, source: io::Error) -> BindError {
        let group = self.group.clone().unwrap_or_default();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => {
                BindError::NotAMember { path: self.display(), group, source }
            }
            _ => BindError::Io { path: self.display(), source },
        }
    }

    fn display(&self) -> String {
        self.path.display().to_string()
    }

    /// The number of the group.
    ///
    /// # Errors
    /// There is none of that name, or nobody can say.
    pub fn group(&self) -> Result<Option<u32>, BindError> {
        let Some(name) = &self.group else { return Ok(None) };
        let group = name.clone();
        match Group::from_name(name) {
            Ok(Some(found)) => Ok(Some(found.gid.as_raw())),
            Ok(None) => Err(BindError::NoGroup { group }),
            Err(errno) => Err(BindError::GroupUnknown { group, source: errno.into() }),
        }
    }

    /// Locks the file beside the socket that stands for owning it, and writes our pid there.
    fn lock(&self) -> Result<File, BindError> {
        let failed = |source| BindError::Io { path: self.display(), source };
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(PathBuf::from(path))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(BindError::Owned { path: self.display(), owner: owner(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(file)
    }
}

/// Refuses sockets that systemd has made and nobody has [claimed](Binding::claim).
///
/// # Errors
/// There is one.
pub fn refuse_unclaimed(inherited: &[StdListener]) -> Result<(), BindError> {
    match inherited.first() {
        Some(listener) => {
            Err(BindError::NotInConfiguration { path: path_of(listener).display().to_string() })
        }
        None => Ok(()),
    }
}

/// Where a socket is; empty if it has no path.
fn path_of(listener: &StdListener) -> PathBuf {
    let address = listener.local_addr().ok();
    address.and_then(|address| address.as_pathname().map(Path::to_owned)).unwrap_or_default()
}

fn is_socket(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    metadata.file_type().is_socket()
}

/// Who holds the lock, in words. In the moment between locking and writing, the file is empty.
fn owner(file: &mut File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => format!("pid {}", text.trim()),
        _ => "which is just starting".to_owned(),
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // The lock file stays: taking it away would let two daemons lock two files of the same name.
        if let Some(path) = &self.made {
            let _ = fs::remove_file(path);
        }
    }
}

/// A folder beside the socket's place that only we can enter; gone when dropped.
struct Nursery {
    folder: PathBuf,
}

impl Nursery {
    /// The folder for a socket that shall be at `path`.
    fn folder_of(path: &Path) -> PathBuf {
        path.with_file_name(format!(".tb{}", std::process::id()))
    }

    /// Where that socket comes into being.
    fn socket_of(path: &Path) -> PathBuf {
        Self::folder_of(path).join("s")
    }

    fn new(path: &Path) -> io::Result<Self> {
        let folder = Self::folder_of(path);
        // One that a killed process with our pid left behind. The lock says that it is nobody else's.
        let _ = fs::remove_dir_all(&folder);
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self { folder })
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever its mode is to be, nobody else can get at the socket before it has it.
    #[test]
    fn p17_a_socket_comes_into_being_where_nobody_else_gets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let nursery = Nursery::new(&path).unwrap();
        let mode = fs::metadata(&nursery.folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        // The same folder in which the socket is made, and gone afterwards.
        assert_eq!(nursery.socket(), Nursery::socket_of(&path));
        drop(nursery);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_path_is_as_long_as_the_error_says() {
        let folder = tempfile::tempdir().unwrap();
        let binding = |bytes: usize, name: &str| {
            let root = folder.path().as_os_str().len();
            let deep = folder.path().join("d".repeat(bytes - root - name.len() - 2));
            fs::create_dir_all(&deep).unwrap();
            let path = deep.join(name);
            assert_eq!(path.as_os_str().len(), bytes);
            Binding { path, mode: 0o600, group: None }
        };
        for name in ["s", "control.sock", "a-name-that-is-longer-than-the-nursery.sock"] {
            let most = match binding(LONGEST_PATH + 1, name).bind() {
                Err(BindError::PathTooLong { most, .. }) => most,
                other => panic!("{name}: {other:?}"),
            };
            binding(most, name).bind().unwrap();
            let refused = binding(most + 1, name).bind();
            assert!(matches!(refused, Err(BindError::PathTooLong { .. })), "{name}: {refused:?}");
        }
    }
}
