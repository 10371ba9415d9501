//! The errors of SQL Server: number, class, state and text as in `sys.messages`.

use crate::mssql::wire::tokens::Said;

fn said(number: u32, class: u8, state: u8, text: String) -> Said {
    Said { number, state, class, text }
}

/// Returns the class and the text of an error that a switch injects.
#[must_use]
pub(in crate::mssql) fn text_of(number: u32) -> Said {
    let (class, state, text) = match number {
        1204 => (
            19,
            4,
            "The instance of the SQL Server Database Engine cannot obtain a LOCK resource at this time.",
        ),
        1205 => (
            13,
            51,
            "Transaction (Process ID 53) was deadlocked on lock resources with another process and has been chosen as the deadlock victim. Rerun the transaction.",
        ),
        1222 => (16, 51, "Lock request time out period exceeded."),
        4060 => (11, 1, "Cannot open database requested by the login. The login failed."),
        18456 => (14, 1, "Login failed for user."),
        40613 => (
            17,
            1,
            "Database 'app' on server 'FAKESQL01' is not currently available. Please retry the connection later.",
        ),
        233 => (
            20,
            0,
            "A connection was successfully established with the server, but then an error occurred during the login process.",
        ),
        20 | 64 | 121 | 997 | 10053 | 10054 | 10060 => (20, 0, "A transport-level error has occurred."),
        596 => (21, 1, "Cannot continue the execution because the session is in the kill state."),
        9002 => (17, 4, "The transaction log for database 'app' is full due to 'LOG_BACKUP'."),
        _ => (16, 1, "An error that a test asked for."),
    };
    said(number, class, state, text.to_owned())
}

pub(super) fn syntax(near: &str) -> Said {
    said(102, 15, 1, format!("Incorrect syntax near '{near}'."))
}

/// Makes the error for SQL that the fake does not know. It is also printed, because a store may hide the text.
pub(in crate::mssql) fn unknown(what: &str) -> Said {
    let text = format!("the fake SQL Server does not know {what}");
    eprintln!("{text}");
    said(49_999, 16, 1, text)
}

pub(super) fn no_such_column(name: &str) -> Said {
    said(207, 16, 1, format!("Invalid column name '{name}'."))
}

pub(super) fn no_such_table(name: &str) -> Said {
    said(208, 16, 1, format!("Invalid object name '{name}'."))
}

pub(super) fn no_such_variable(name: &str) -> Said {
    said(137, 15, 2, format!("Must declare the scalar variable \"{name}\"."))
}

pub(super) fn denied(action: &str, object: &str, database: &str) -> Said {
    let (schema, object) = object.split_once('.').unwrap_or(("dbo", object));
    let text = format!(
        "The {action} permission was denied on the object '{object}', database '{database}', schema '{schema}'."
    );
    said(229, 14, 5, text)
}

pub(super) fn column_denied(action: &str, column: &str, object: &str, database: &str) -> Said {
    let (schema, object) = object.split_once('.').unwrap_or(("dbo", object));
    let text = format!(
        "The {action} permission was denied on the column '{column}' of the object '{object}', database '{database}', schema '{schema}'."
    );
    said(230, 14, 1, text)
}

pub(super) fn create_denied(database: &str) -> Said {
    said(262, 14, 1, format!("CREATE TABLE permission denied in database '{database}'."))
}

pub(super) fn exists_already(name: &str) -> Said {
    said(2714, 16, 6, format!("There is already an object named '{name}' in the database."))
}

pub(super) fn read_only(database: &str) -> Said {
    let text = format!("Failed to update database \"{database}\" because the database is read-only.");
    said(3906, 16, 1, text)
}

/// Makes the error of SQL Server since 2019, which repeats the beginning of the value: a token could get into a log.
pub(super) fn truncated(table: &str, column: &str, value: &str, database: &str) -> Said {
    let value: String = value.chars().take(100).collect();
    let text = format!(
        "String or binary data would be truncated in table '{database}.{table}', column '{column}'. Truncated value: '{value}'."
    );
    said(2628, 16, 1, text)
}

/// Makes the error of SQL Server before 2019.
pub(super) fn truncated_in_silence() -> Said {
    said(8152, 16, 30, "String or binary data would be truncated.".to_owned())
}

pub(super) fn not_null(column: &str, table: &str, database: &str, action: &str) -> Said {
    let text = format!(
        "Cannot insert the value NULL into column '{column}', table '{database}.{table}'; column does not allow nulls. {action} fails."
    );
    said(515, 16, 2, text)
}

pub(super) fn duplicate_key(table: &str, key: &str) -> Said {
    let text = format!(
        "Violation of PRIMARY KEY constraint 'PK_{table}'. Cannot insert duplicate key in object 'dbo.{table}'. The duplicate key value is ({key})."
    );
    said(2627, 14, 1, text)
}

pub(super) fn check_failed(table: &str, database: &str) -> Said {
    let text = format!(
        "The UPDATE statement conflicted with the CHECK constraint \"CK_{table}\". The conflict occurred in database \"{database}\", table \"dbo.{table}\"."
    );
    said(547, 16, 0, text)
}

pub(super) fn output_with_trigger(table: &str) -> Said {
    let text = format!(
        "The target table '{table}' of the DML statement cannot have any enabled triggers if the statement contains an OUTPUT clause without INTO clause."
    );
    said(334, 16, 1, text)
}

pub(super) fn collation_conflict(left: &str, right: &str) -> Said {
    let text = format!(
        "Cannot resolve the collation conflict between \"{left}\" and \"{right}\" in the equal to operation."
    );
    said(468, 16, 9, text)
}

/// Makes the error of a trigger that refuses a change.
pub(super) fn trigger_refused() -> Said {
    said(3609, 16, 1, "The transaction ended in the trigger. The batch has been aborted.".to_owned())
}

pub(super) fn no_guid() -> Said {
    let text = "Conversion failed when converting from a character string to uniqueidentifier.";
    said(8169, 16, 2, text.to_owned())
}

pub(super) fn no_date() -> Said {
    said(241, 16, 1, "Conversion failed when converting date and/or time from character string.".to_owned())
}

pub(super) fn date_out_of_range(of: &str) -> Said {
    let text = format!("The conversion to a {of} data type resulted in an out-of-range value.");
    said(242, 16, 3, text)
}

pub(super) fn no_number(value: &str, of: &str) -> Said {
    let text = format!("Conversion failed when converting the nvarchar value '{value}' to data type {of}.");
    said(245, 16, 1, text)
}

pub(super) fn no_json() -> Said {
    said(13_609, 16, 4, "JSON text is not properly formatted.".to_owned())
}

pub(super) fn overflow(of: &str) -> Said {
    said(8115, 16, 2, format!("Arithmetic overflow error converting expression to data type {of}."))
}

pub(super) fn no_conversion(from: &str, to: &str) -> Said {
    let text = format!("Explicit conversion from data type {from} to {to} is not allowed.");
    said(529, 16, 2, text)
}

/// Makes the error for more than 2,100 parameters, after which the server also ends the connection.
pub(in crate::mssql) fn too_many_parameters() -> Said {
    let text = "The incoming request has too many parameters. The server supports a maximum of 2100 parameters. Reduce the number of parameters and resend the request.";
    said(8003, 16, 1, text.to_owned())
}

pub(super) fn too_many_values() -> Said {
    let text = "The number of row value expressions in the INSERT statement exceeds the maximum allowed number of 1000 row values.";
    said(10738, 15, 1, text.to_owned())
}

/// Makes the error of a refused login. The server tells the client no more; its own log has the reason.
pub(in crate::mssql) fn login_failed(user: &str) -> Said {
    said(18456, 14, 1, format!("Login failed for user '{user}'."))
}

pub(in crate::mssql) fn no_database(database: &str) -> Said {
    let text = format!("Cannot open database \"{database}\" requested by the login. The login failed.");
    said(4060, 11, 1, text)
}
