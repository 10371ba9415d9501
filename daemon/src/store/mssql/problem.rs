//! The problems of a SQL Server in words for the operator: what happened, and what to do. Pure.

/// The reason why a SQL Server cannot be used. The texts hold only names and numbers, never a text of the server: error 2628,
/// for example, quotes the value that did not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// There is no TCP connection.
    #[error("SQL Server {server} cannot be reached: {why}")]
    Unreachable {
        /// The server as it is configured.
        server: String,
        /// The cause.
        why: String,
    },
    /// The SQL Server Browser does not name the port of an instance.
    #[error("the instance {instance} on {host} is not found: {}", why.words())]
    NoInstance {
        /// The host.
        host: String,
        /// The instance.
        instance: String,
        /// Why.
        why: InstanceLookupError,
    },
    /// The connection broke, or the answer took too long.
    #[error("the connection to {server} was lost: {why}")]
    Lost {
        /// The server as it is configured.
        server: String,
        /// Why.
        why: String,
    },
    /// The server is not a SQL Server.
    #[error("the server at {server} does not speak TDS, the protocol of SQL Server")]
    NotTds {
        /// The server as it is configured.
        server: String,
    },
    /// The certificate cannot be verified.
    #[error("SQL Server {server} is not trusted: {why}")]
    NotTrusted {
        /// The server as it is configured.
        server: String,
        /// Why.
        why: String,
    },
    /// TLS failed for another reason.
    #[error("no encrypted connection to {server} is possible: {why}")]
    NotEncrypted {
        /// The server as it is configured.
        server: String,
        /// Why.
        why: String,
    },
    /// The server rejected the login.
    #[error("SQL Server {server} rejects the login {user} (error {number}): {}", describe_login_error(*number))]
    LoginFailed {
        /// The server as it is configured.
        server: String,
        /// The login.
        user: String,
        /// The error's number.
        number: u32,
    },
    /// The password cannot be read.
    #[error("the password for {server} cannot be read: {why}")]
    NoPassword {
        /// The server as it is configured.
        server: String,
        /// Why.
        why: String,
    },
    /// The database cannot be opened.
    #[error("the login {user} cannot open the database {database} (error {number})")]
    NoDatabase {
        /// The database.
        database: String,
        /// The login.
        user: String,
        /// The error's number.
        number: u32,
    },
    /// A permission is missing.
    #[error("the login {user} has no {permission} permission on {object}")]
    NoPermission {
        /// The login.
        user: String,
        /// `SELECT` or `UPDATE`.
        permission: &'static str,
        /// The table.
        object: String,
        /// The statement that grants it.
        grant: String,
    },
    /// A column has a type that cannot be used.
    #[error("the column {column} of {table} has the type {found}; it must be {wanted}")]
    WrongType {
        /// The table.
        table: String,
        /// The column.
        column: &'static str,
        /// Its type.
        found: String,
        /// The types that it may have.
        wanted: &'static str,
    },
    /// The database can only be read.
    #[error("the database {database} on {server} is read-only (error {number})")]
    ReadOnly {
        /// The server as it is configured.
        server: String,
        /// The database.
        database: String,
        /// The error's number.
        number: u32,
    },
    /// The ledger cannot be stored anywhere.
    #[error("no password can be sent, because its charge cannot be recorded: {why}; {error}")]
    NoLedger {
        /// Why the database cannot hold it.
        why: String,
        /// The file that replaces it, if there is a folder for it.
        folder: Option<String>,
        /// Why the file cannot hold it.
        error: String,
    },
    /// The file that held the ledger earlier cannot be used.
    #[error(
        "no password can be sent: {file} held the ledger before the database had a table for it, and {error}"
    )]
    LedgerFileUnusable {
        /// The file.
        file: String,
        /// Why.
        error: String,
    },
    /// The table of the ledger lacks a column.
    #[error(
        "no password can be sent, because its charge cannot be recorded: the table {table} has other columns"
    )]
    OtherColumns {
        /// The table.
        table: &'static str,
    },
    /// Any other error of the server.
    #[error("SQL Server {server} answered with error {number} (state {state}, class {class}){words}")]
    Server {
        /// The server as it is configured.
        server: String,
        /// The error's number.
        number: u32,
        /// Its state.
        state: u8,
        /// Its severity.
        class: u8,
        /// A colon and the meaning of the number, if it is known.
        words: String,
    },
}

impl Problem {
    /// Says what to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreachable { .. } => "It is tried again by itself. Check store.server, the server, that TCP/IP is enabled for it, and the firewall.".to_owned(),
            Self::NoInstance { host, instance, why } => why.remedy(host, instance),
            Self::Lost { .. } => "It is tried again by itself; if this stays, check the server's load and the network.".to_owned(),
            Self::NotTds { .. } => "It is tried again by itself. Check host and port of store.server: a SQL Server listens on TCP port 1433 by default.".to_owned(),
            Self::NotTrusted { .. } => "Put the authority that issued the certificate into store.ca_file, and write store.server as the certificate names it. store.trust_server_certificate = true accepts any certificate, without protection.".to_owned(),
            Self::NotEncrypted { .. } => "Give the server a certificate and allow encryption; store.encrypt = \"strict\" needs SQL Server 2022 or newer.".to_owned(),
            Self::LoginFailed { .. } => "Check store.user and the password (store.password_file, the credential mssql-password, or MSSQL_PASSWORD). The login is tried once a minute, and at once after the password in the file changes.".to_owned(),
            Self::NoPassword { .. } => "Put the password into the file of store.password_file, and let only the daemon's user read it.".to_owned(),
            Self::NoDatabase { database, user, .. } => format!(
                "Check store.database. It may be offline or recovering, or the login has no user in it: USE [{database}]; CREATE USER [{user}] FOR LOGIN [{user}];"
            ),
            Self::NoPermission { grant, .. } => format!("Have the DBA grant it: {grant}"),
            Self::WrongType { .. } => "Change the column, or point store.table to the right table.".to_owned(),
            Self::ReadOnly { .. } => "Connect to the primary: store.server must be the listener of the availability group, not a secondary.".to_owned(),
            Self::NoLedger { folder, .. } => {
                let file = folder.as_deref().unwrap_or("the folder that STATE_DIRECTORY names");
                format!(
                    "Have the statements of tbtokend schema --dialect mssql run in the database, or make {file} writable for the daemon's user. Until then no password is sent; refresh tokens go on."
                )
            }
            Self::LedgerFileUnusable { file, .. } => format!(
                "Make {file} a SQLite database again that the daemon's user can write. To forget the passwords that it counts, remove it. Until then no password is sent; refresh tokens go on."
            ),
            Self::OtherColumns { table } => format!(
                "Give {table} the columns that tbtokend schema --dialect mssql prints. Until then no password is sent; refresh tokens go on."
            ),
            Self::Server { .. } => "It is tried again by itself; if this stays, ask the DBA for the meaning of this number.".to_owned(),
        }
    }
}

/// The reason why an instance is not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceLookupError {
    /// There was no answer: the service does not run, a firewall is in between, or the instance does not exist. The service never
    /// answers about unknown instances.
    NoAnswer,
    /// The host reports that the port is closed.
    NoBrowser,
    /// Every answer was invalid or about another instance.
    ForeignAnswer,
    /// The instance has no TCP port.
    NoTcp,
}

impl InstanceLookupError {
    fn words(self) -> &'static str {
        match self {
            Self::NoAnswer => "the SQL Server Browser on that host (UDP port 1434) does not answer about it",
            Self::NoBrowser => "no SQL Server Browser runs on that host (UDP port 1434)",
            Self::ForeignAnswer => "the answer from UDP port 1434 of that host is not about this instance",
            Self::NoTcp => "the SQL Server Browser reports that the instance has no TCP port",
        }
    }

    fn remedy(self, host: &str, instance: &str) -> String {
        let or = format!("or write the instance's port instead of its name: store.server = \"{host},PORT\".");
        match self {
            Self::NoAnswer => format!(
                "It is tried again by itself. Check that there is an instance {instance}, that the service SQL Server Browser runs and that UDP port 1434 is open, {or}"
            ),
            Self::NoBrowser => {
                format!("It is tried again by itself. Start the service SQL Server Browser, {or}")
            }
            Self::ForeignAnswer => {
                format!("It is tried again by itself. Check the name of the instance, {or}")
            }
            Self::NoTcp => format!(
                "Enable TCP/IP for {instance} in SQL Server Configuration Manager and restart the instance; it is tried again by itself."
            ),
        }
    }
}

/// Explains a rejected login by the error's number in sys.messages.
fn describe_login_error(number: u32) -> &'static str {
    match number {
        18470 => "the login is disabled",
        18486 => "the login is locked out",
        18487 => "the password has expired",
        18488 => "the password must be changed",
        18452 => "it is not a login that this server trusts",
        18461 => "the server is in single-user mode",
        _ => "the user or the password is wrong, or the login is disabled",
    }
}
