//! A folder with all files of a daemon, and the commands that tests run on it.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::process::Process;
use super::{Config, Daemon, Row, Table, binaries, wait};
use crate::canary;
use crate::mssql::SqlServer;

/// A folder with a configuration and a SQLite table. The drop removes it, after it has searched all output of the processes
/// for canaries.
#[derive(Debug)]
pub struct Installation {
    folder: TempDir,
    config: Config,
    table: Table,
    outputs: AtomicUsize,
}

/// The output and the exit code of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit code; `None` if a signal ended the command.
    pub code: Option<i32>,
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
}

impl Default for Installation {
    fn default() -> Self {
        Self::new()
    }
}

impl Installation {
    /// Makes an installation with an empty table, an interval of one second, and the log level trace.
    ///
    /// # Panics
    /// If the folder cannot be made.
    #[must_use]
    pub fn new() -> Self {
        // The path of a Unix socket has less than 108 bytes, so the name is short.
        let folder = tempfile::Builder::new().prefix("tbt-").tempdir().expect("a temporary folder");
        let mut config = Config::in_folder(folder.path());
        config.set("schedule.interval", "1s");
        let table = Table::at(&folder.path().join("customers.db"));
        table.create();
        Self { folder, config, table, outputs: AtomicUsize::new(0) }
    }

    /// Adds one customer.
    #[must_use]
    pub fn with_row(self, row: Row) -> Self {
        self.table.insert([&row]);
        self
    }

    /// Adds customers.
    #[must_use]
    pub fn with_rows<'r>(self, rows: impl IntoIterator<Item = &'r Row>) -> Self {
        self.table.insert(rows);
        self
    }

    /// Sets a key of the configuration, such as `schedule.refresh_window` to `"5m"`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<toml::Value>) -> Self {
        self.config.set(key, value);
        self
    }

    /// Uses this fake SQL Server as the store, with its password in a file and its authority trusted. The SQLite table stays,
    /// unused.
    ///
    /// # Panics
    /// If the password's file cannot be written.
    #[must_use]
    pub fn on_mssql(mut self, server: &SqlServer) -> Self {
        let settings = server.settings();
        let authority = server.write_authority(self.folder());
        let password = self.folder().join("mssql-password");
        std::fs::write(&password, settings.password).expect("a file in one's own folder");
        std::fs::set_permissions(&password, Permissions::from_mode(0o600)).expect("one's own file");
        self.config.unset("store.path");
        for (key, value) in [
            ("store.kind", "mssql"),
            ("store.server", &server.place()),
            ("store.database", &settings.database),
            ("store.user", &settings.user),
            ("store.password_file", password.to_str().expect("a folder in UTF-8")),
            ("store.ca_file", authority.to_str().expect("a folder in UTF-8")),
        ] {
            self.config.set(key, value);
        }
        self
    }

    /// Returns the configuration. Changes take effect at the next start.
    pub fn config(&mut self) -> &mut Config {
        &mut self.config
    }

    /// Returns the table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the path of the control socket.
    ///
    /// # Panics
    /// If the configuration names none.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.config.text("control.socket").expect("the configuration names the socket").into()
    }

    /// Returns the path of the monitor socket.
    ///
    /// # Panics
    /// If the configuration names none.
    #[must_use]
    pub fn monitor_socket(&self) -> PathBuf {
        self.config.text("control.monitor_socket").expect("the configuration names the socket").into()
    }

    /// Starts a daemon and waits until it answers at its socket.
    ///
    /// # Panics
    /// With its log, if it ends instead.
    #[must_use]
    pub fn start(&self) -> Daemon {
        self.launch().wait_until_ready()
    }

    /// Starts a daemon and does not wait for it.
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    pub fn launch(&self) -> Daemon {
        self.launch_with(|_| {})
    }

    /// Starts a daemon with a changed command, for example with a variable of systemd, and does not wait for it.
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    pub fn launch_with(&self, change: impl FnOnce(&mut Command)) -> Daemon {
        self.launch_by(&[], change)
    }

    /// Starts a daemon through another program that executes it, such as `nsenter` with its arguments.
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    pub fn launch_by(&self, way: &[&str], change: impl FnOnce(&mut Command)) -> Daemon {
        let log = self.next_file("tbtokend", "log");
        let mut command = self.command("tbtokend");
        if let Some((program, arguments)) = way.split_first() {
            let daemon = command.get_program().to_owned();
            command = self.clean(Command::new(program));
            command.args(arguments).arg(daemon);
        }
        command.arg("--config").arg(self.write_config()).stdout(create(&log)).stderr(create(&log));
        change(&mut command);
        let process = Process::spawn(&mut command).expect("tbtokend can be started");
        Daemon::new(process, self.socket(), log)
    }

    /// Runs `tbctl` to its end.
    #[must_use]
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        let socket = self.socket();
        let mut all = vec!["--socket", socket.to_str().expect("a socket in UTF-8")];
        all.extend(arguments);
        self.run("tbctl", &all)
    }

    /// Runs `tbtokend` with these arguments to its end: for `--check-config`, `--version`, and for starts that must fail.
    #[must_use]
    pub fn tbtokend(&self, arguments: &[&str]) -> Output {
        self.run("tbtokend", arguments)
    }

    /// Writes the configuration and returns its path.
    #[must_use]
    pub fn write_config(&self) -> PathBuf {
        let path = self.folder().join("config.toml");
        self.config.write(&path);
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("one's own file");
        path
    }

    /// Runs one of the binaries to its end.
    ///
    /// # Panics
    /// If it does not end within half a minute, or if it prints a secret.
    #[must_use]
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let (stdout, stderr) = (self.next_file(program, "out"), self.next_file(program, "err"));
        let mut process = Process::spawn(
            self.command(program).args(arguments).stdout(create(&stdout)).stderr(create(&stderr)),
        )
        .unwrap_or_else(|error| panic!("failed to start {program}: {error}"));
        let status = process
            .wait(wait::TIMEOUT)
            .unwrap_or_else(|| panic!("{program} {} does not end", arguments.join(" ")));
        let read = |path: &Path| {
            let bytes = std::fs::read(path).expect("the file was just made");
            canary::assert_clean(&format!("the output of {program} {}", arguments.join(" ")), &bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Output { code: status.code(), stdout: read(&stdout), stderr: read(&stderr) }
    }

    /// One of the binaries in the environment that the service has: nothing of the developer's steers it.
    fn command(&self, program: &str) -> Command {
        self.clean(Command::new(binaries::path(program)))
    }

    fn clean(&self, mut command: Command) -> Command {
        let unit = include_str!("../../../packaging/systemd/tbtokend.service");
        let of_unit = unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
        command.env_clear().envs(of_unit).stdin(Stdio::null()).current_dir(self.folder());
        for kept in ["PATH", "HOME", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command
    }

    fn next_file(&self, program: &str, kind: &str) -> PathBuf {
        let number = self.outputs.fetch_add(1, Ordering::Relaxed);
        self.folder().join(format!("{program}-{number}.{kind}"))
    }
}

/// Makes a file for output. A process that opens it again also appends to it.
fn create(path: &Path) -> File {
    let file = File::options().create(true).append(true).open(path);
    file.unwrap_or_else(|error| panic!("failed to make {}: {error}", path.display()))
}
