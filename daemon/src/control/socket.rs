//! Makes sockets: never open to more users than the mode allows, never with two owners.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use nix::unistd::Group;
use tokio::net::{UnixListener, UnixStream};
use tracing::warn;

use super::bind_error::BindError;
use super::lock::Lock;
use crate::text::with_causes;

/// The longest path that the operating system lets a socket have, in bytes.
const LONGEST_PATH: usize = 107;

/// The path of a socket and the users that may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Its path.
    pub path: PathBuf,
    /// Its mode, as for `chmod`.
    pub mode: u32,
    /// The group of the socket, if it is not the daemon's own.
    pub group: Option<String>,
}

/// A socket of this process. Dropping it removes its file, unless systemd made it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    binding: Binding,
    lock: Lock,
    /// The identity of its file.
    file: FileId,
    owner: u32,
    made_by: Maker,
    /// The last warning about its file, so that it is not repeated.
    warned: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    Us,
    Systemd,
}

/// The identity of a file, which another file of the same name does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl Binding {
    /// Makes the socket. It replaces one that a dead daemon left behind.
    ///
    /// The socket is made in a folder that only this user can enter. It gets its mode and group there, and then moves to
    /// its path. So at no moment can a user connect that may not.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(&self) -> Result<Socket, BindError> {
        // The socket is made under a path that may be longer than its final one.
        let own = self.path.as_os_str().len();
        let longest = own.max(PrivateFolder::socket_of(&self.path).as_os_str().len());
        if longest > LONGEST_PATH {
            return Err(BindError::PathTooLong {
                path: self.display(),
                most: LONGEST_PATH - (longest - own),
            });
        }
        let lock = Lock::take(&self.path)?;
        let (listener, found) = self.make()?;
        Ok(Socket::new(listener, self.clone(), lock, &found, Maker::Us))
    }

    /// Makes the socket; the caller holds the lock.
    fn make(&self) -> Result<(UnixListener, Metadata), BindError> {
        let failed = |source| BindError::Io { path: self.display(), source };
        let group = self.group()?;
        match fs::symlink_metadata(&self.path) {
            Ok(there) if !is_socket(&there) => {
                return Err(BindError::NotASocket { path: self.display() });
            }
            _ => {}
        }
        let private_folder = PrivateFolder::new(&self.path).map_err(failed)?;
        // The mode of the folder protects the socket until it has its own mode.
        let listener = UnixListener::bind(private_folder.socket()).map_err(failed)?;
        chown(private_folder.socket(), None, group).map_err(|source| self.explain_chown(source))?;
        fs::set_permissions(private_folder.socket(), Permissions::from_mode(self.mode)).map_err(failed)?;
        let made = fs::symlink_metadata(private_folder.socket()).map_err(failed)?;
        fs::rename(private_folder.socket(), &self.path).map_err(failed)?;
        Ok((listener, made))
    }

    /// Takes this socket from those that systemd passed; if it is not among them, [makes](Self::bind) it.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn claim(&self, inherited: &mut Vec<StdListener>) -> Result<Socket, BindError> {
        match inherited.iter().position(|listener| path_of(listener) == self.path) {
            Some(index) => self.adopt(inherited.swap_remove(index)),
            None => self.bind(),
        }
    }

    fn adopt(&self, listener: StdListener) -> Result<Socket, BindError> {
        let failed = |source| BindError::Io { path: self.display(), source };
        let lock = Lock::take(&self.path)?;
        let file = fs::symlink_metadata(&self.path).map_err(failed)?;
        let found = file.permissions().mode() & 0o777;
        if found & !self.mode != 0 {
            return Err(BindError::TooOpen { path: self.display(), found, allowed: self.mode });
        }
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        Ok(Socket::new(listener, self.clone(), lock, &file, Maker::Systemd))
    }

    /// Explains a failed `chown`: the daemon is not a member of the group, or its user namespace does not know the group.
    fn explain_chown(&self, source: io::Error) -> BindError {
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

    /// Looks up the number of the group.
    ///
    /// # Errors
    /// There is no such group, or the lookup fails.
    pub fn group(&self) -> Result<Option<u32>, BindError> {
        let Some(name) = &self.group else { return Ok(None) };
        let group = name.clone();
        match Group::from_name(name) {
            Ok(Some(found)) => Ok(Some(found.gid.as_raw())),
            Ok(None) => Err(BindError::NoGroup { group }),
            Err(errno) => Err(BindError::GroupUnknown { group, source: errno.into() }),
        }
    }
}

impl Socket {
    fn new(listener: UnixListener, binding: Binding, lock: Lock, file: &Metadata, made_by: Maker) -> Self {
        let (file, owner) = (FileId::of(file), file.uid());
        Self { listener, binding, lock, file, owner, made_by, warned: None }
    }

    /// Waits for the next client. Dropping the future loses no client.
    ///
    /// # Errors
    /// The process lacks descriptors or memory.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Returns the user id of its owner.
    pub(super) fn owner(&self) -> u32 {
        self.owner
    }

    /// Makes the socket's file and the lock file again if they were removed; to be called now and then. Without it no client
    /// reaches the daemon until a restart, and a second daemon could start.
    pub(crate) fn restore(&mut self) {
        let trouble = self.try_restore().err();
        if let Some(trouble) = trouble.as_ref().filter(|_| self.warned != trouble) {
            warn!("{trouble}");
        }
        self.warned = trouble;
    }

    fn try_restore(&mut self) -> Result<(), String> {
        let path = self.binding.display();
        if !self.lock.is_in_place() {
            self.lock = Lock::take(&self.binding.path).map_err(|error| with_causes(&error))?;
        }
        match (fs::symlink_metadata(&self.binding.path), self.made_by) {
            (Ok(there), _) if FileId::of(&there) == self.file => Ok(()),
            (Ok(_), _) => Err(format!(
                "{path} is no longer the socket of this tbtokend, and no client reaches it there: find out what has replaced it, and restart tbtokend"
            )),
            (Err(error), Maker::Us) if error.kind() == io::ErrorKind::NotFound => {
                let (listener, made) = self.binding.make().map_err(|error| with_causes(&error))?;
                (self.listener, self.file) = (listener, FileId::of(&made));
                warn!("{path} was removed; tbtokend has made it again");
                Ok(())
            }
            (Err(error), Maker::Systemd) if error.kind() == io::ErrorKind::NotFound => Err(format!(
                "{path} was removed, and no client reaches tbtokend there: run sudo systemctl restart tbtokend.socket tbtokend"
            )),
            (Err(error), _) => Err(format!("{path} cannot be read: {error}")),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = |there: &Metadata| FileId::of(there) == self.file;
        if self.made_by == Maker::Us
            && fs::symlink_metadata(&self.binding.path).is_ok_and(|there| ours(&there))
        {
            let _ = fs::remove_file(&self.binding.path);
        }
    }
}

/// Refuses sockets that systemd passed and no binding has [claimed](Binding::claim).
///
/// # Errors
/// There is such a socket.
pub fn refuse_unclaimed_sockets(inherited: &[StdListener]) -> Result<(), BindError> {
    match inherited.first() {
        Some(listener) => {
            Err(BindError::NotInConfiguration { path: path_of(listener).display().to_string() })
        }
        None => Ok(()),
    }
}

/// Returns the path of a socket; empty if it has none.
fn path_of(listener: &StdListener) -> PathBuf {
    let address = listener.local_addr().ok();
    address.and_then(|address| address.as_pathname().map(Path::to_owned)).unwrap_or_default()
}

fn is_socket(metadata: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    metadata.file_type().is_socket()
}

/// A folder beside the socket that only this user can enter; dropping it removes it.
struct PrivateFolder {
    folder: PathBuf,
}

impl PrivateFolder {
    /// Returns the folder for a socket at `path`.
    fn folder_of(path: &Path) -> PathBuf {
        path.with_file_name(format!(".tb{}", std::process::id()))
    }

    /// Returns the temporary path of the socket at `path`.
    fn socket_of(path: &Path) -> PathBuf {
        Self::folder_of(path).join("s")
    }

    fn new(path: &Path) -> io::Result<Self> {
        let folder = Self::folder_of(path);
        // A killed process with the same pid may have left the folder. The lock proves that no other process uses it.
        let _ = fs::remove_dir_all(&folder);
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self { folder })
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No other user can reach the socket before it has its mode.
    #[test]
    fn p17_a_socket_is_made_where_no_other_user_can_enter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let private_folder = PrivateFolder::new(&path).unwrap();
        let mode = fs::metadata(&private_folder.folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        // It is the folder in which the socket is made, and it is removed afterwards.
        assert_eq!(private_folder.socket(), PrivateFolder::socket_of(&path));
        drop(private_folder);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    fn binding(folder: &Path) -> Binding {
        Binding { path: folder.join("s"), mode: 0o600, group: None }
    }

    #[tokio::test]
    async fn p16_a_socket_whose_files_were_removed_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut socket = binding(folder.path()).bind().unwrap();
        let path = &binding(folder.path()).path;
        for file in ["s", "s.lock"] {
            fs::remove_file(folder.path().join(file)).unwrap();
            socket.restore();
            let _client = std::os::unix::net::UnixStream::connect(path).unwrap();
            socket.accept().await.unwrap();
            assert_eq!(fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(matches!(binding(folder.path()).bind(), Err(BindError::Owned { .. })), "{file}");
        }
        // A missing folder prevents it until the folder exists again.
        fs::remove_dir_all(folder.path()).unwrap();
        socket.restore();
        assert!(
            socket.warned.as_ref().is_some_and(|warned| warned.contains("failed to make")),
            "{:?}",
            socket.warned
        );
        fs::create_dir(folder.path()).unwrap();
        socket.restore();
        assert_eq!(socket.warned, None);
        std::os::unix::net::UnixStream::connect(path).unwrap();
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn p16_another_socket_at_the_same_path_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = &binding(folder.path()).path;
        let mut socket = binding(folder.path()).bind().unwrap();
        fs::remove_file(path).unwrap();
        let _other = StdListener::bind(path).unwrap();
        socket.restore();
        assert!(
            socket.warned.as_ref().is_some_and(|warned| warned.contains("restart tbtokend")),
            "{:?}",
            socket.warned
        );
        drop(socket);
        assert!(path.exists());
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
        for name in ["s", "control.sock", "a-name-that-is-longer-than-the-folder.sock"] {
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
