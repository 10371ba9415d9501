//! The trouble on a connection, and its consequences for the connection, the row and the next attempt. Pure.

use tiberius::error::{Error, IoErrorKind};

use super::super::StoreError;
use super::grants::{Operation, grant, grant_updatedttm};
use super::problem::describe_login_error;
use super::settings::Settings;
use super::types::UnreadableValue;

/// The trouble of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// An error from the server.
    Server(ServerError),
    /// The connection broke, or the answer is invalid. It is unknown whether the statement was carried out.
    Lost(String),
    /// The server did not answer in time. It is unknown whether the statement was carried out.
    TimedOut,
    /// The connection works, but the table cannot be used.
    Table(Box<StoreError>),
}

/// An error of the server, without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServerError {
    pub(super) number: u32,
    pub(super) state: u8,
    pub(super) class: u8,
}

/// The meaning of a server's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The trouble passes. The same statement may work later, on this connection or on a new one.
    Transient,
    /// The server rejects the login. Frequent attempts may lock it.
    LoginRejected,
    /// The database cannot be opened.
    NoDatabase,
    /// The table does not exist.
    NoTable,
    /// A column no longer exists.
    NoColumn,
    /// A permission is missing.
    NoPermission,
    /// The database cannot be written.
    ReadOnly,
    /// The database rejects this row: a constraint, a trigger, or a value that does not fit.
    RowRejected,
    /// Any other error.
    Other,
}

impl ServerError {
    /// Returns the meaning. The transient numbers are those of Microsoft's lists for clients that try again
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
            18452 | 18456 | 18461 | 18470 | 18486 | 18487 | 18488 => Meaning::LoginRejected,
            911 | 916 | 4060 | 4064 => Meaning::NoDatabase,
            208 => Meaning::NoTable,
            207 => Meaning::NoColumn,
            229 | 230 | 262 | 297 | 300 => Meaning::NoPermission,
            3906 | 3908 => Meaning::ReadOnly,
            // A constraint, a key, NULL, a conversion, a value too long or too big; a trigger that ended the
            // statement.
            547 | 515 | 2601 | 2627 | 220 | 241 | 242 | 245 | 248 | 295 | 296 | 8114 | 8115 | 8152 | 2628
            | 3609 | 3616 => Meaning::RowRejected,
            // A trigger's own error.
            50_000.. => Meaning::RowRejected,
            // From 20 on the server ends the connection; 17 to 19 mean that a resource is missing.
            _ if self.class >= 17 => Meaning::Transient,
            _ => Meaning::Other,
        }
    }

    /// Whether one row of a statement may be the cause. Then the other rows can be tried without it.
    pub(super) fn may_be_about_a_row(self) -> bool {
        matches!(self.meaning(), Meaning::RowRejected | Meaning::Other)
    }

    /// Explains the error if its number is known, in the daemon's words, not the server's.
    pub(super) fn words(self) -> &'static str {
        match self.number {
            271 => ": tbtoken, tbtokenexpiry or updatedttm is a computed column",
            596 => ": the session was killed",
            1204 => ": it has no locks left",
            1205 => ": it was chosen as the victim of a deadlock",
            1222 => ": another session holds a lock on the table for too long",
            1105 => ": a filegroup is full",
            9002 => ": the transaction log is full",
            701 | 8645 | 8651 => ": it does not have enough memory",
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
    /// Whether the same work may succeed at once, on this connection or on a new one.
    pub(super) fn may_be_retried(&self) -> bool {
        match self {
            Self::Lost(_) | Self::TimedOut => true,
            // A new connection reads the layout, and names the column that is gone.
            Self::Server(error) => matches!(error.meaning(), Meaning::Transient | Meaning::NoColumn),
            Self::Table(_) => false,
        }
    }

    /// Whether the connection can still be used. That is so only after an error that the server reported and that did not end
    /// the connection.
    pub(super) fn leaves_connection_usable(&self) -> bool {
        match self {
            Self::Server(error) => {
                // A deadlock or a lock time-out is over when it is reported. The other transient errors concern the
                // connection or the whole server.
                let is_about_this_statement = matches!(error.number, 1204 | 1205 | 1221 | 1222 | 3960);
                // After any other error the known state of the tables is outdated. A new connection reads it again.
                let stays = is_about_this_statement || error.may_be_about_a_row();
                stays && error.class < 20
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
            // The texts of the other errors may quote a value.
            _ => UnreadableValue.into(),
        }
    }
}

impl From<UnreadableValue> for Trouble {
    fn from(UnreadableValue: UnreadableValue) -> Self {
        Self::Lost("the server's answer cannot be understood".to_owned())
    }
}

/// Explains an I/O error.
pub(super) fn io_words(kind: IoErrorKind) -> String {
    match kind {
        IoErrorKind::UnexpectedEof | IoErrorKind::ConnectionReset | IoErrorKind::ConnectionAborted => {
            "the other side closed it".to_owned()
        }
        IoErrorKind::TimedOut => "no answer in time".to_owned(),
        kind => kind.to_string(),
    }
}

impl Settings {
    /// Returns the place, as in `app on sql01`.
    fn place(&self) -> String {
        format!("{} on {}", self.database, self.server)
    }

    /// Converts the trouble to the store's error.
    pub(super) fn explain(&self, trouble: Trouble, operation: Operation) -> StoreError {
        let server = self.server.clone();
        match trouble {
            Trouble::Table(error) => *error,
            Trouble::Lost(why) => StoreError::Lost { server, why },
            Trouble::TimedOut => StoreError::Lost { server, why: "no answer in time".to_owned() },
            Trouble::Server(error) => self.explain_error(error, operation),
        }
    }

    fn explain_error(&self, error: ServerError, operation: Operation) -> StoreError {
        let (server, user, database) = (self.server.clone(), self.user.clone(), self.database.clone());
        let ServerError { number, state, class } = error;
        match error.meaning() {
            Meaning::LoginRejected => {
                StoreError::LoginFailed { server, user, number, why: describe_login_error(number) }
            }
            Meaning::NoDatabase => StoreError::NoDatabase { database, user, number },
            Meaning::NoTable => {
                StoreError::MissingTable { place: self.place(), table: self.table_of(operation).to_owned() }
            }
            Meaning::NoPermission => self.no_permission(operation),
            Meaning::ReadOnly => StoreError::DatabaseReadOnly { server, database, number },
            Meaning::NoColumn if operation == Operation::KeepingTheLedger => {
                StoreError::OtherColumns { table: "tbtokend_account" }
            }
            Meaning::Transient | Meaning::NoColumn | Meaning::RowRejected | Meaning::Other => {
                let words = error.words().to_owned();
                StoreError::Server { server, number, state, class, words }
            }
        }
    }

    fn table_of(&self, operation: Operation) -> &str {
        match operation {
            Operation::Reading | Operation::Saving => &self.table,
            Operation::Recording => "tbtokend_state",
            Operation::KeepingTheLedger => "tbtokend_account",
            Operation::KeepingNotices => "tbtokend_notice",
        }
    }

    fn no_permission(&self, operation: Operation) -> StoreError {
        let permission = match operation {
            Operation::Reading => "SELECT",
            Operation::Saving => "UPDATE",
            Operation::Recording => "SELECT, INSERT or UPDATE",
            Operation::KeepingTheLedger | Operation::KeepingNotices => "SELECT, INSERT, UPDATE or DELETE",
        };
        let object = self.table_of(operation).to_owned();
        let mut grant = grant(operation, &self.table, &self.user);
        if operation == Operation::Saving {
            // This permission may be the missing one, and the server's error does not say so.
            grant = format!("{grant} {}", grant_updatedttm(&self.table, &self.user));
        }
        StoreError::NoPermission { user: self.user.clone(), permission, object, grant }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Address, Encryption, ExpiryClock, Password, Trust};
    use super::*;
    use crate::model::Secret;

    fn error(number: u32, class: u8) -> ServerError {
        ServerError { number, state: 1, class }
    }

    fn settings() -> Settings {
        Settings {
            server: "sql01".to_owned(),
            address: Address::parse("sql01").unwrap(),
            database: "app".to_owned(),
            user: "svc".to_owned(),
            password: Password::fixed(Secret::new("p")),
            encryption: Encryption::Required,
            trust: Trust::AnyCertificate,
            multi_subnet_failover: false,
            table: "dbo.customers".to_owned(),
            expiry_clock: ExpiryClock::Utc,
            fallback_url: None,
            state_folder: None,
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
            assert!(trouble.may_be_retried(), "{number}");
            assert!(!error(number, 16).may_be_about_a_row(), "{number}");
        }
        // This passes, but not at once: the database may be starting, or it lacks the user. It is not a rejected login
        // either, after which a minute would pass.
        let no_database = Trouble::Server(error(4060, 11));
        assert_eq!(error(4060, 11).meaning(), Meaning::NoDatabase);
        assert!(!no_database.may_be_retried() && !no_database.leaves_connection_usable());
        assert!(Trouble::TimedOut.may_be_retried() && !Trouble::TimedOut.leaves_connection_usable());
        let lost = Trouble::from(Error::Io { kind: IoErrorKind::UnexpectedEof, message: "x".to_owned() });
        assert!(lost.may_be_retried() && !lost.leaves_connection_usable());
        // The server ends the connection, or lacks a resource.
        assert_eq!(error(7, 20).meaning(), Meaning::Transient);
        assert_eq!(error(9002, 17).meaning(), Meaning::Transient);
    }

    #[test]
    fn only_errors_that_do_not_end_the_connection_leave_it_in_use() {
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
                Trouble::Server(error(number, class)).leaves_connection_usable(),
                spared,
                "{number} {class}"
            );
        }
    }

    /// Promise 11: each problem is named with the statement that corrects it, and none is tried again at once.
    #[test]
    fn p11_permanent_trouble_is_named_with_its_remedy() {
        for (number, operation, said, remedy) in [
            (18456, Operation::Reading, "rejects the login svc", "password"),
            (18470, Operation::Reading, "disabled", "password"),
            (4060, Operation::Reading, "cannot open the database app", "CREATE USER [svc]"),
            (208, Operation::Reading, "no table dbo.customers", "dbo.customers"),
            (
                229,
                Operation::Reading,
                "no SELECT permission on dbo.customers",
                "GRANT SELECT ON [dbo].[customers] TO [svc];",
            ),
            (
                230,
                Operation::Saving,
                "no UPDATE permission",
                "GRANT UPDATE ON [dbo].[customers] (tbtoken, tbtokenexpiry)",
            ),
            (229, Operation::Recording, "tbtokend_state", "ON [dbo].[tbtokend_state] TO [svc];"),
            (3906, Operation::Saving, "read-only", "listener"),
        ] {
            let trouble = Trouble::Server(error(number, 14));
            assert!(!trouble.may_be_retried(), "{number}");
            let explained = settings().explain(trouble, operation);
            assert!(explained.to_string().contains(said), "{explained}");
            assert!(explained.remedy().contains(remedy), "{}", explained.remedy());
        }
    }

    /// Promise 5: the library's texts may quote a value, so no message repeats them.
    #[test]
    fn p05_no_text_of_the_server_or_the_library_is_shown() {
        let canary = "eyJ-the-token";
        for error in [
            Error::Conversion(canary.into()),
            Error::Protocol(canary.into()),
            Error::Encoding(canary.into()),
            Error::BulkInput(canary.into()),
            Error::Io { kind: IoErrorKind::Other, message: canary.to_owned() },
        ] {
            let explained = settings().explain(error.into(), Operation::Saving);
            assert!(!explained.to_string().contains(canary) && !explained.remedy().contains(canary));
            assert!(!format!("{explained:?}").contains(canary));
        }
    }
}
