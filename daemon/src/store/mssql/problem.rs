//! What can be wrong with a SQL Server, in words for whoever is called at night: what it is, and what to do. Pure.

/// Why a SQL Server cannot be used. The texts hold names and numbers only, never what a server said: error 2628, for one,
/// quotes the value that did not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No TCP connection.
    #[error("SQL Server {server} cannot be reached: {why}")]
    Unreachable {
        /// The server as it is configured.
        server: String,
        /// What the operating system said.
        why: String,
    },
    /// SQL Server Browser does not say where an instance is.
    #[error("the instance {instance} on {host} is not found: {}", why.words())]
    NoInstance {
        /// The host.
        host: String,
        /// The instance.
        instance: String,
        /// Why.
        why: NotLocated,
    },
    /// The connection broke, or the answer took too long.
    #[error("the connection to {server} was lost: {why}")]
    Lost {
        /// The server as it is configured.
        server: String,
        /// Why.
        why: String,
    },
    /// What answers there is something else.
    #[error("what answers at {server} does not speak TDS, the protocol of SQL Server")]
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
    #[error("no encrypted connection to {server} comes about: {why}")]
    NotEncrypted {
        /// The server as it is configured.
        server: String,
        /// Why.
        why: String,
    },
    /// The login was refused.
    #[error("SQL Server {server} refuses the login {user} (error {number}): {}", login_words(*number))]
    LoginFailed {
        /// The server as it is configured.
        server: String,
        /// The login.
        user: String,
        /// The error's number.
        number: u32,
    },
    /// The password cannot be had.
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
        /// The statement that gives it.
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
    /// The ledger can be kept nowhere.
    #[error("no password can be charged: {why}; {error}")]
    NoLedger {
        /// Why not in the database.
        why: String,
        /// The file in its stead, if it has a place.
        folder: Option<String>,
        /// Why not there.
        error: String,
    },
    /// The file that kept the ledger before cannot be used.
    #[error(
        "no password can be charged: {file} kept the ledger before the database had a table for it, and {error}"
    )]
    LedgerFileUnusable {
        /// The file.
        file: String,
        /// Why.
        error: String,
    },
    /// The table of the ledger lacks a column.
    #[error("no password can be charged: the table {table} has other columns")]
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
        /// A colon and what the number means, if that is known.
        words: String,
    },
}

impl Problem {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreachable { .. } => "It is tried again by itself. Check store.server, the server, that TCP/IP is enabled for it, and the firewall.".to_owned(),
            Self::NoInstance { host, instance, why } => why.remedy(host, instance),
            Self::Lost { .. } => "It is tried again by itself; if this stays, check the server's load and the network.".to_owned(),
            Self::NotTds { .. } => "It is tried again by itself. Check host and port of store.server: a SQL Server listens on TCP port 1433 unless it is told otherwise.".to_owned(),
            Self::NotTrusted { .. } => "Put the authority that issued it into store.ca_file, and write store.server as the certificate names it. store.trust_server_certificate = true goes without, and without protection.".to_owned(),
            Self::NotEncrypted { .. } => "Give the server a certificate and allow encryption; store.encrypt = \"strict\" needs SQL Server 2022 or newer.".to_owned(),
            Self::LoginFailed { .. } => "Check store.user and the password (store.password_file, the credential mssql-password, or MSSQL_PASSWORD). It is tried once a minute, and at once when the password in the file is another one.".to_owned(),
            Self::NoPassword { .. } => "Put the password into the file of store.password_file, for the daemon's user alone to read.".to_owned(),
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
            Self::Server { .. } => "It is tried again by itself; if this stays, ask the DBA what this number means here.".to_owned(),
        }
    }
}

/// Why an instance is not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotLocated {
    /// No answer: the service does not run, a firewall is in between, or there is no such instance, to which it never
    /// answers.
    Silent,
    /// The host says that nobody listens there.
    NobodyListens,
    /// Only answers that are none, or about other instances.
    Nonsense,
    /// The instance has no TCP port.
    NoTcp,
}

impl NotLocated {
    fn words(self) -> &'static str {
        match self {
            Self::Silent => "the SQL Server Browser there (UDP port 1434) does not answer about it",
            Self::NobodyListens => "no SQL Server Browser runs there (UDP port 1434)",
            Self::Nonsense => "what answers on UDP port 1434 there says nothing of it",
            Self::NoTcp => "the SQL Server Browser there says that it has no TCP port",
        }
    }

    fn remedy(self, host: &str, instance: &str) -> String {
        let or = format!("or write the instance's port instead of its name: store.server = \"{host},PORT\".");
        match self {
            Self::Silent => format!(
                "It is tried again by itself. Check that there is an instance {instance}, that the service SQL Server Browser runs and that UDP port 1434 is open, {or}"
            ),
            Self::NobodyListens => {
                format!("It is tried again by itself. Start the service SQL Server Browser, {or}")
            }
            Self::Nonsense => format!("It is tried again by itself. Check the name of the instance, {or}"),
            Self::NoTcp => format!(
                "Enable TCP/IP for {instance} in SQL Server Configuration Manager and restart the instance; it is tried again by itself."
            ),
        }
    }
}

/// What a refused login means. The numbers are those of sys.messages.
fn login_words(number: u32) -> &'static str {
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
