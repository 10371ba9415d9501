//! The statements for a DBA: the side tables and the permissions of the login. Pure.

use super::quoted::{beside, quote};
use super::statements::create_tables;

/// An operation, which needs certain permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// Reading the customers' table.
    Reading,
    /// Writing tokens.
    Saving,
    /// Reading or writing records.
    Recording,
    /// Reading or writing the ledger.
    KeepingTheLedger,
    /// Reading or writing what receivers of messages were told.
    KeepingNotices,
}

/// Returns the statements that grant the permissions for the operation to the user of that name.
pub(super) fn grant(operation: Operation, table: &str, user: &str) -> String {
    match operation {
        Operation::Reading => grant_on("SELECT", &quote(table), user),
        Operation::Saving => grant_columns(&["tbtoken", "tbtokenexpiry"], table, user),
        Operation::Recording => {
            format!("{} {}", grant_changes(table, "tbtokend_state", user), grant_key(table, user))
        }
        Operation::KeepingTheLedger => grant_changes(table, "tbtokend_account", user),
        Operation::KeepingNotices => grant_changes(table, "tbtokend_notice", user),
    }
}

fn grant_on(permissions: &str, object: &str, user: &str) -> String {
    format!("GRANT {permissions} ON {object} TO {};", quote_user(user))
}

/// Returns the statement that lets `user` read and change a side table.
fn grant_changes(table: &str, side_table: &str, user: &str) -> String {
    grant_on("SELECT, INSERT, UPDATE, DELETE", &beside(table, side_table), user)
}

/// The key has its own grant, because a reader of the records must not read the key.
fn grant_key(table: &str, user: &str) -> String {
    grant_on("SELECT, INSERT", &beside(table, "tbtokend_key"), user)
}

/// Returns the statement that denies a user or a role the key.
pub(super) fn deny_key(table: &str, reader: &str) -> String {
    format!("DENY SELECT ON {} TO {};", beside(table, "tbtokend_key"), quote_user(reader))
}

/// Returns the statement that lets `user` write these columns.
pub(super) fn grant_columns(columns: &[&str], table: &str, user: &str) -> String {
    grant_on("UPDATE", &format!("{} ({})", quote(table), columns.join(", ")), user)
}

/// Returns the statement that lets `user` write `updatedttm` if the table has it. A grant on a missing column is an error.
pub(super) fn grant_updatedttm(table: &str, user: &str) -> String {
    let literal = |text: &str| format!("N'{}'", text.replace('\'', "''"));
    let grant = grant_columns(&["updatedttm"], table, user);
    format!("IF COL_LENGTH({}, N'updatedttm') IS NOT NULL EXEC({});", literal(&quote(table)), literal(&grant))
}

/// Quotes a user as an identifier. A dot in the name is not a separator.
pub(super) fn quote_user(user: &str) -> String {
    format!("[{}]", user.replace(']', "]]"))
}

/// Returns all statements, to run once in the database of the customers' table.
pub(in crate::store) fn schema(table: &str, user: Option<&str>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        "-- What tbtokend {version} needs in the database of {table}. Run it there; a second run does no harm.\n\
         -- Its own four tables; tbtokend_account also holds whether an operator has stopped the loop (loop_stopped).\n\
         -- The table of the customers is never altered.\n{}",
        create_tables(table)
    );
    match user {
        None => text.push_str(
            "-- For the permissions of its login as well: tbtokend schema --dialect mssql --grants USER\n",
        ),
        Some(user) => {
            let quoted = quote_user(user);
            text.push_str(&format!(
                "\n-- The permissions of its user. If the user does not exist yet, create it first:\n\
                 --   CREATE LOGIN {quoted} WITH PASSWORD = '...';\n\
                 --   CREATE USER {quoted} FOR LOGIN {quoted};\n"
            ));
            let lines = [
                grant(Operation::Reading, table, user),
                grant(Operation::Saving, table, user),
                grant_updatedttm(table, user),
                grant_changes(table, "tbtokend_state", user),
                grant(Operation::KeepingTheLedger, table, user),
                grant(Operation::KeepingNotices, table, user),
            ];
            text.push_str(&lines.join("\n"));
            text.push_str(&format!(
                "\n\n-- tbtokend_key holds the key of the fingerprints in tbtokend_state. A reader of both tables can guess short\n\
                 -- passwords by trying them. So the key is for this user alone, whatever you grant on the other tables.\n\
                 {}\n\
                 -- For `tbtokend doctor` to name every other reader of it:\n\
                 --   GRANT VIEW DEFINITION TO {quoted};\n",
                grant_key(table, user)
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_every_statement_ends() {
        let text = schema("dbo.customer settings", Some("o'neill.x]"));
        assert!(text.contains("GRANT SELECT ON [dbo].[customer settings] TO [o'neill.x]]];"), "{text}");
        assert!(
            text.contains(
                "EXEC(N'GRANT UPDATE ON [dbo].[customer settings] (updatedttm) TO [o''neill.x]]];');"
            )
        );
        for own in ["tbtokend_state", "tbtokend_account", "tbtokend_notice"] {
            assert!(
                text.contains(&format!("IF OBJECT_ID(N'[dbo].[{own}]') IS NULL\nCREATE TABLE [dbo].[{own}]"))
            );
            let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON [dbo].[{own}] TO [o'neill.x]]];");
            assert!(text.contains(&grant), "{text}");
        }
        let ends = text.lines().filter(|line| line.starts_with("GRANT") || line.starts_with("EXEC"));
        assert!(ends.into_iter().all(|line| line.ends_with(';')), "{text}");
        assert!(!schema("customer_settings", None).contains("GRANT "));
    }
}
