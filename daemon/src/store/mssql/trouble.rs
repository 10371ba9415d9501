//! What went wrong on a connection, and what that means for the connection, the row and the next attempt. Pure.

use tiberius::error::{Error, IoErrorKind};

use super::super::StoreError;
use super::grants::{Need, grant};
use super::problem::Problem;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The server's own error.
    Server(ServerError),
    /// The connection broke, or speaks nonsense. Whether the statement was carried out is unknown.
    Lost(String),
    /// The server did not answer in time. Whether the statement was carried out is unknown.
    TimedOut,
    /// It is not the connection: the table cannot be used.
    Table(Box<StoreError>),
}

/// An error of the server, as far as it may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServerError {
    pub(super) number: u32,
    pub(super) state: u8,
    pub(super) class: u8,
}

/// What a server's error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It passes: the same again may work, on this connection or on a new one.
    Transient,
    /// The login is refused; asking often makes it worse.
    LoginRefused,
    /// The database cannot be opened.
    NoDatabase,
    /// Table, column or permission: it is as it is until somebody changes it.
    NoTable,
    /// A column that was there is not there any more.
    NoColumn,
    /// A permission is missing.
    NoPermission,
    /// The database cannot be written.
    ReadOnly,
    /// The database does not take this row: a constraint, a trigger, a value that does not fit.
    RowRefused,
    /// Something else.
    Other,
}

impl ServerError {
    /// What it means. The transient numbers are those of Microsoft's lists for clients that try again
    /// (SqlClient's `SqlConfigurableRetryFactory`, Azure SQL's "transient connection errors"), with those of deadlocks,
    /// lock time-outs, cut connections and servers that start or stop.
    pub(super) fn meaning(self) -> Meaning {
        match self.number {
            20 | 64 | 121 | 233 | 596 | 617 | 669 | 921 | 922 | 924 | 952 | 976 | 978 | 979 | 983 | 997
            | 1204 | 1205 | 1221 | 1222 | 1807 | 3635 | 3960 | 3966 | 4221 | 6005 | 8645 | 8651 | 9515
            | 10053 | 10054 | 10060 | 10922 | 10928 | 10929 | 10936 | 14355 | 17142 | 17187 | 17188
            | 17189 | 17197 | 18401 | 40143 | 40197 | 40501 | 40540 | 40613 | 41301 | 41302 | 41305
            | 41325 | 41839 | 42108 | 42109 | 47132 | 47137 | 47139 | 49802 | 49918 | 49919 | 49920
            | 49977 | 49983 => Meaning::Transient,
            18452 | 18456 | 18461 | 18470 | 18486 | 18487 | 18488 => Meaning::LoginRefused,
            911 | 916 | 4060 | 4064 => Meaning::NoDatabase,
            208 => Meaning::NoTable,
            207 => Meaning::NoColumn,
            229 | 230 | 262 | 297 | 300 => Meaning::NoPermission,
            3906 | 3908 => Meaning::ReadOnly,
            // A constraint, a key, NULL, a conversion, a value too long or too big; a trigger that ended it; what a
            // trigger says itself.
            547
            | 515
            | 2601
            | 2627
            | 220
            | 241
            | 242
            | 245
            | 248
            | 295
            | 296
            | 8114
            | 8115
            | 8152
            | 2628
            | 3609
            | 3616
            | 50000.. => Meaning::RowRefused,
            // From 20 on the server ends the connection; 17 to 19 are want of a resource.
            _ if self.class >= 17 => Meaning::Transient,
            _ => Meaning::Other,
        }
    }

    /// Whether a single row of a statement may be the cause, so that the others are worth a try without it.
    pub(super) fn may_be_about_a_row(self) -> bool {
        match self.meaning() {
            Meaning::RowRefused | Meaning::Other => true,
            Meaning::Transient
            | Meaning::LoginRefused
            | Meaning::NoDatabase
            | Meaning::NoTable
            | Meaning::NoColumn
            | Meaning::NoPermission
            | Meaning::ReadOnly => false,
        }
    }

    /// What it is, where that is known: our words, not the server's.
    pub(super) fn words(self) -> &'static str {
        match self.number {
            596 => ": the session was killed",
            1204 => ": it has no locks left",
            1205 => ": it was chosen as the victim of a deadlock",
            1222 => ": somebody holds a lock on the table for too long",
            1105 => ": a filegroup is full",
            9002 => ": the transaction log is full",
            701 | 8645 | 8651 => ": it has not enough memory",
            10928 | 10929 | 10936 => ": a limit of the database's tier is reached",
            40501 | 49918 | 49919 | 49920 => ": it is busy",
            40613 | 40197 | 40143 | 40540 => ": the database is not available at the moment",
            42108 | 42109 => ": the pool is paused or starting",
            976 | 978 | 979 | 983 => ": this replica of the availability group cannot be used",
            17142 | 6005 => ": it is stopping or paused",
            17187 => ": it is starting",
            _ => "",
        }
    }
}

impl Trouble {
    /// Whether the same may work at once on a new connection, or on the same one.
    pub(super) fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Lost(_) | Self::TimedOut => true,
            // A new connection looks at the table, and names the column that is gone.
            Self::Server(error) => matches!(error.meaning(), Meaning::Transient | Meaning::NoColumn),
            Self::Table(_) => false,
        }
    }

    /// Whether the connection can still be used. Only an error that the server itself reported, and lived with, leaves
    /// it in order.
    pub(super) fn spares_the_connection(&self) -> bool {
        match self {
            Self::Server(error) => {
                // A deadlock or a lock time-out is over when it is reported; the other transient ones are about the
                // connection or the server as a whole.
                let is_about_this_statement = matches!(error.number, 1204 | 1205 | 1221 | 1222 | 3960);
                match error.meaning() {
                    Meaning::Transient => is_about_this_statement && error.class < 20,
                    Meaning::RowRefused | Meaning::Other => error.class < 20,
                    // What was known of the tables is not true any more; it is learned anew with a new connection.
                    Meaning::LoginRefused
                    | Meaning::NoDatabase
                    | Meaning::NoTable
                    | Meaning::NoColumn
                    | Meaning::NoPermission
                    | Meaning::ReadOnly => false,
                }
            }
            Self::Table(_) => true,
            Self::Lost(_) | Self::TimedOut => false,
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::Server(error) => {
                Self::Server(ServerError { number: error.code(), state: error.state(), class: error.class() })
            }
            Error::Io { kind: IoErrorKind::TimedOut, .. } => Self::TimedOut,
            Error::Io { kind, .. } => Self::Lost(io_words(kind)),
            // The texts of these may quote a value.
            Error::Protocol(_)
            | Error::Encoding(_)
            | Error::Conversion(_)
            | Error::Utf8
            | Error::Utf16
            | Error::ParseInt(_)
            | Error::Tls(_)
            | Error::Routing { .. }
            | Error::BulkInput(_) => Self::Lost("the server's answer cannot be understood".to_owned()),
        }
    }
}

/// What an error of input or output is called.
pub(super) fn io_words(kind: IoErrorKind) -> String {
    match kind {
        IoErrorKind::UnexpectedEof | IoErrorKind::ConnectionReset | IoErrorKind::ConnectionAborted => {
            "the other side closed it".to_owned()
        }
        IoErrorKind::TimedOut => "no answer in time".to_owned(),
        kind => kind.to_string(),
    }
}

/// What is being done, for the permission that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// Reading the customers' table.
    Reading,
    /// Writing tokens.
    Saving,
    /// Reading or writing our own tables.
    Recording,
}

/// The names that an error's text needs.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// The server as it is configured.
    pub(super) server: String,
    pub(super) database: String,
    pub(super) user: String,
    /// The table as it is configured.
    pub(super) table: String,
}

impl Names {
    /// `app on sql01`.
    pub(super) fn place(&self) -> String {
        format!("{} on {}", self.database, self.server)
    }

    /// The trouble in the words of the store.
    pub(super) fn explain(&self, trouble: Trouble, doing: Doing) -> StoreError {
        let server = self.server.clone();
        match trouble {
            Trouble::Table(error) => *error,
            Trouble::Lost(why) => Problem::Lost { server, why }.into(),
            Trouble::TimedOut => Problem::Lost { server, why: "no answer in time".to_owned() }.into(),
            Trouble::Server(error) => self.explain_error(error, doing),
        }
    }

    fn explain_error(&self, error: ServerError, doing: Doing) -> StoreError {
        let (server, user, database) = (self.server.clone(), self.user.clone(), self.database.clone());
        let ServerError { number, state, class } = error;
        match error.meaning() {
            Meaning::LoginRefused => Problem::LoginFailed { server, user, number }.into(),
            Meaning::NoDatabase => Problem::NoDatabase { database, user, number }.into(),
            Meaning::NoTable => {
                let table = if doing == Doing::Recording { "tbtokend_state" } else { &self.table };
                StoreError::MissingTable { place: self.place(), table: table.to_owned() }
            }
            Meaning::NoPermission => self.no_permission(doing).into(),
            Meaning::ReadOnly => Problem::ReadOnly { server, database, number }.into(),
            Meaning::Transient | Meaning::NoColumn | Meaning::RowRefused | Meaning::Other => {
                let words = error.words().to_owned();
                Problem::Server { server, number, state, class, words }.into()
            }
        }
    }

    fn no_permission(&self, doing: Doing) -> Problem {
        let (permission, need) = match doing {
            Doing::Reading => ("SELECT", Need::Read),
            Doing::Saving => ("UPDATE", Need::Write),
            Doing::Recording => ("SELECT, INSERT or UPDATE", Need::Record),
        };
        let object = if need == Need::Record { "tbtokend_state" } else { &self.table }.to_owned();
        let grant = grant(need, &self.table, &self.user);
        Problem::NoPermission { user: self.user.clone(), permission, object, grant }
    }
}

impl From<Problem> for StoreError {
    fn from(problem: Problem) -> Self {
        Self::Server(problem)
    }
}
