//! The reasons why a store cannot be used, in words for the operator: what happened, and what to do. Pure.

/// Declares the errors: fields, class, a sentence that names the cause, and what to do about it.
macro_rules! store_errors {
    ($(
        $(#[$doc:meta])*
        $kind:ident { $($field:ident: $type:ty),* } $class:literal: $text:literal, $remedy:literal;
    )*) => {
        /// The reason why a store cannot be used. The texts hold only names and numbers, never a text of the server: its
        /// error 2628, for example, quotes the value that did not fit.
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[allow(missing_docs, reason = "the sentence of each error explains its fields")]
        pub enum StoreError {
            $($(#[$doc])* #[error($text)] $kind { $($field: $type),* },)*
        }

        impl StoreError {
            /// The class of the error.
            pub fn class(&self) -> &'static str {
                match self { $(Self::$kind { .. } => $class,)* }
            }

            /// Says what to do about it.
            #[allow(unused_variables, clippy::useless_format, reason = "not every remedy names a field")]
            pub fn remedy(&self) -> String {
                match self { $(Self::$kind { $($field),* } => format!($remedy),)* }
            }
        }
    };
}

store_errors! {
    /// The file is not a SQLite database.
    NotADatabase { place: String } "schema":
        "{place} is not a SQLite database",
        "Set store.path to the SQLite file that holds the customers.";
    /// The file was there and is gone.
    Gone { place: String } "other":
        "{place} is gone",
        "Put the file back; tbtokend uses it at the next poll. To begin with an empty {place}, restart tbtokend.";
    /// The file or server cannot be opened.
    CannotOpen { place: String, why: String } "permission":
        "{place} cannot be opened: {why}",
        "Check that {place} and its folder exist and belong to the daemon's user. Under systemd the daemon may write in /var/lib/tbtokend only, unless a drop-in with ReadWritePaths= names another folder.";
    /// The daemon runs as root, and another user can put files beside this one, which SQLite would trust.
    NotAsRoot { place: String, folder: String } "permission":
        "{place} is not opened as root: users other than root can change {folder}",
        "Run the daemon as its own user (systemctl start tbtokend does that) and give {place} to that user, or make {folder} writable for root only.";
    /// The table does not exist.
    MissingTable { place: String, table: String } "schema":
        "{place} has no table {table}",
        "Create {table}, or set the right database in the configuration.";
    /// A column does not exist.
    MissingColumn { table: String, column: String } "schema":
        "the table {table} has no column {column}",
        "Add the column {column} to {table}, or set store.table to the right table.";
    /// The database can be read but not written.
    ReadOnly { place: String } "permission":
        "{place} is read-only",
        "Make {place}, its folder and its file system writable for the daemon's user.";
    /// The disk is full.
    DiskFull { place: String } "other":
        "the disk that holds {place} is full",
        "Free some space on that disk.";
    /// Another program keeps the database locked.
    Locked { place: String } "transient":
        "{place} is locked by another program",
        "End the program that holds a long write transaction on it.";
    /// Any other failure.
    Failed { place: String, why: String } "other":
        "{place} failed: {why}",
        "It is tried again by itself; if this stays, check the database.";
    /// There is no TCP connection.
    Unreachable { server: String, why: String } "transient":
        "SQL Server {server} cannot be reached: {why}",
        "It is tried again by itself. Check store.server, the server, that TCP/IP is enabled for it, and the firewall.";
    /// The SQL Server Browser does not name the port of an instance.
    NoInstance { host: String, instance: String, why: &'static str, remedy: String } "transient":
        "the instance {instance} on {host} is not found: {why}",
        "{remedy}";
    /// The connection broke, or the answer took too long.
    Lost { server: String, why: String } "transient":
        "the connection to {server} was lost: {why}",
        "It is tried again by itself; if this stays, check the server's load and the network.";
    /// The server is not a SQL Server.
    NotTds { server: String } "other":
        "the server at {server} does not speak TDS, the protocol of SQL Server",
        "It is tried again by itself. Check host and port of store.server: a SQL Server listens on TCP port 1433 by default.";
    /// The certificate cannot be verified.
    NotTrusted { server: String, why: String } "other":
        "SQL Server {server} is not trusted: {why}",
        "Put the authority that issued the certificate into store.ca_file, and write store.server as the certificate names it. store.trust_server_certificate = true accepts any certificate, without protection.";
    /// TLS failed for another reason.
    NotEncrypted { server: String, why: String } "other":
        "no encrypted connection to {server} is possible: {why}",
        "Give the server a certificate and allow encryption; store.encrypt = \"strict\" needs SQL Server 2022 or newer.";
    /// The server rejected the login.
    LoginFailed { server: String, user: String, number: u32, why: &'static str } "login":
        "SQL Server {server} rejects the login {user} (error {number}): {why}",
        "Check store.user and the password (store.password_file, the credential mssql-password, or MSSQL_PASSWORD). The login is tried once a minute, and at once after the password in the file changes.";
    /// The password cannot be read.
    NoPassword { server: String, why: String } "login":
        "the password for {server} cannot be read: {why}",
        "Put the password into the file of store.password_file, and let only the daemon's user read it.";
    /// The database cannot be opened.
    NoDatabase { database: String, user: String, number: u32 } "login":
        "the login {user} cannot open the database {database} (error {number})",
        "Check store.database. It may be offline or recovering, or the login has no user in it: USE [{database}]; CREATE USER [{user}] FOR LOGIN [{user}];";
    /// A permission is missing.
    NoPermission { user: String, permission: &'static str, object: String, grant: String } "permission":
        "the login {user} has no {permission} permission on {object}",
        "Have the DBA grant it: {grant}";
    /// A column has a type that cannot be used.
    WrongType { table: String, column: &'static str, found: String, wanted: &'static str } "schema":
        "the column {column} of {table} has the type {found}; it must be {wanted}",
        "Change the column, or point store.table to the right table.";
    /// The database can only be read.
    DatabaseReadOnly { server: String, database: String, number: u32 } "permission":
        "the database {database} on {server} is read-only (error {number})",
        "Connect to the primary: store.server must be the listener of the availability group, not a secondary.";
    /// The ledger cannot be stored anywhere.
    NoLedger { why: String, file: String, error: String } "permission":
        "no password can be sent, because its charge cannot be recorded: {why}; {error}",
        "Have the statements of tbtokend schema --dialect mssql run in the database, or make {file} writable for the daemon's user. Until then no password is sent; refresh tokens go on.";
    /// The file that held the ledger earlier cannot be used.
    LedgerFileUnusable { file: String, error: String } "permission":
        "no password can be sent: {file} held the ledger before the database had a table for it, and {error}",
        "Make {file} a SQLite database again that the daemon's user can write. To forget the passwords that it counts, remove it. Until then no password is sent; refresh tokens go on.";
    /// The table of the ledger lacks a column.
    OtherColumns { table: &'static str } "schema":
        "no password can be sent, because its charge cannot be recorded: the table {table} has other columns",
        "Give {table} the columns that tbtokend schema --dialect mssql prints. Until then no password is sent; refresh tokens go on.";
    /// Any other error of the server.
    Server { server: String, number: u32, state: u8, class: u8, words: String } "other":
        "SQL Server {server} answered with error {number} (state {state}, class {class}){words}",
        "It is tried again by itself; if this stays, ask the DBA for the meaning of this number.";
}

impl StoreError {
    /// The classes of errors, for metrics.
    pub const CLASSES: [&str; 5] = ["login", "transient", "schema", "permission", "other"];

    /// What is wrong and what to do about it, in whole sentences.
    pub fn with_remedy(&self) -> String {
        format!("{self}. {}", self.remedy())
    }
}
