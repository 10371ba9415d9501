//! What went wrong on a connection, and what that means for the connection, the row and the next attempt. Pure.

use tiberius::error::{Error, IoErrorKind};

use super::super::StoreError;
use super::grants::{Need, grant, grant_updatedttm};
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
            271 => ": tbtoken, tbtokenexpiry or updatedttm is a computed column",
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
    /// Reading or writing records.
    Recording,
    /// Reading or writing the ledger.
    KeepingTheLedger,
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
                StoreError::MissingTable { place: self.place(), table: self.table_of(doing).to_owned() }
            }
            Meaning::NoPermission => self.no_permission(doing).into(),
            Meaning::ReadOnly => Problem::ReadOnly { server, database, number }.into(),
            Meaning::NoColumn if doing == Doing::KeepingTheLedger => {
                Problem::OtherColumns { table: "tbtokend_account" }.into()
            }
            Meaning::Transient | Meaning::NoColumn | Meaning::RowRefused | Meaning::Other => {
                let words = error.words().to_owned();
                Problem::Server { server, number, state, class, words }.into()
            }
        }
    }

    fn table_of(&self, doing: Doing) -> &str {
        match doing {
            Doing::Reading | Doing::Saving => &self.table,
            Doing::Recording => "tbtokend_state",
            Doing::KeepingTheLedger => "tbtokend_account",
        }
    }

    fn no_permission(&self, doing: Doing) -> Problem {
        let (permission, need) = match doing {
            Doing::Reading => ("SELECT", Need::Read),
            Doing::Saving => ("UPDATE", Need::Write),
            Doing::Recording => ("SELECT, INSERT or UPDATE", Need::Record),
            Doing::KeepingTheLedger => ("SELECT, INSERT, UPDATE or DELETE", Need::Ledger),
        };
        let object = self.table_of(doing).to_owned();
        let mut grant = grant(need, &self.table, &self.user);
        if need == Need::Write {
            // It may be the one that is missing, and the server's error does not say.
            grant = format!("{grant} {}", grant_updatedttm(&self.table, &self.user));
        }
        Problem::NoPermission { user: self.user.clone(), permission, object, grant }
    }
}

impl From<Problem> for StoreError {
    fn from(problem: Problem) -> Self {
        Self::Server(problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(number: u32, class: u8) -> ServerError {
        ServerError { number, state: 1, class }
    }

    fn names() -> Names {
        let text = |text: &str| text.to_owned();
        Names {
            server: text("sql01"),
            database: text("app"),
            user: text("svc"),
            table: text("dbo.customers"),
        }
    }

    /// Promise 10: the numbers of the contract, one by one.
    #[test]
    fn p10_every_transient_number_is_tried_again() {
        for number in [
            20, 64, 121, 233, 997, 1204, 1205, 1222, 4221, 10053, 10054, 10060, 10928, 10929, 40143, 40197,
            40501, 40540, 40613, 42108, 42109, 49918, 49919, 49920, 47132, 47137, 47139, 49802, 49977, 49983,
        ] {
            let trouble = Trouble::Server(error(number, 16));
            assert!(trouble.is_worth_another_try(), "{number}");
            assert!(!error(number, 16).may_be_about_a_row(), "{number}");
        }
        // For a while, but not at once: the database may be starting, or there is no such user in it. It is no refusal of
        // the login either, after which a minute would pass.
        let no_database = Trouble::Server(error(4060, 11));
        assert_eq!(error(4060, 11).meaning(), Meaning::NoDatabase);
        assert!(!no_database.is_worth_another_try() && !no_database.spares_the_connection());
        assert!(Trouble::TimedOut.is_worth_another_try() && !Trouble::TimedOut.spares_the_connection());
        let lost = Trouble::from(Error::Io { kind: IoErrorKind::UnexpectedEof, message: "x".to_owned() });
        assert!(lost.is_worth_another_try() && !lost.spares_the_connection());
        // The server ends the connection, or lacks something.
        assert_eq!(error(7, 20).meaning(), Meaning::Transient);
        assert_eq!(error(9002, 17).meaning(), Meaning::Transient);
    }

    #[test]
    fn only_what_the_server_lived_with_leaves_a_connection_in_use() {
        for (number, class, spared) in [
            (547, 16, true),
            (2628, 16, true),
            (50001, 16, true),
            (1205, 13, true),
            (1222, 16, true),
            (1222, 20, false),
            (40613, 17, false),
            (208, 16, false),
            (229, 14, false),
            (1934, 16, true),
            (1934, 21, false),
        ] {
            assert_eq!(
                Trouble::Server(error(number, class)).spares_the_connection(),
                spared,
                "{number} {class}"
            );
        }
    }

    /// Promise 11: each is named, with the statement that mends it, and none is tried again at once.
    #[test]
    fn p11_what_does_not_pass_is_named_with_its_remedy() {
        for (number, doing, said, remedy) in [
            (18456, Doing::Reading, "refuses the login svc", "password"),
            (18470, Doing::Reading, "disabled", "password"),
            (4060, Doing::Reading, "cannot open the database app", "CREATE USER [svc]"),
            (208, Doing::Reading, "no table dbo.customers", "dbo.customers"),
            (
                229,
                Doing::Reading,
                "no SELECT permission on dbo.customers",
                "GRANT SELECT ON [dbo].[customers] TO [svc];",
            ),
            (
                230,
                Doing::Saving,
                "no UPDATE permission",
                "GRANT UPDATE ON [dbo].[customers] (tbtoken, tbtokenexpiry)",
            ),
            (229, Doing::Recording, "tbtokend_state", "ON [dbo].[tbtokend_state] TO [svc];"),
            (3906, Doing::Saving, "read-only", "listener"),
        ] {
            let trouble = Trouble::Server(error(number, 14));
            assert!(!trouble.is_worth_another_try(), "{number}");
            let explained = names().explain(trouble, doing);
            assert!(explained.to_string().contains(said), "{explained}");
            assert!(explained.remedy().contains(remedy), "{}", explained.remedy());
        }
    }

    /// Promise 5: whatever the library says may quote a value; we do not repeat it.
    #[test]
    fn p05_no_text_of_the_server_or_the_library_is_told() {
        let canary = "eyJ-the-token";
        for error in [
            Error::Conversion(canary.into()),
            Error::Protocol(canary.into()),
            Error::Encoding(canary.into()),
            Error::BulkInput(canary.into()),
            Error::Io { kind: IoErrorKind::Other, message: canary.to_owned() },
        ] {
            let explained = names().explain(error.into(), Doing::Saving);
            assert!(!explained.to_string().contains(canary) && !explained.remedy().contains(canary));
            assert!(!format!("{explained:?}").contains(canary));
        }
    }
}
