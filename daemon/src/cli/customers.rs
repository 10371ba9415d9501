//! `tbtokend customers`: the rows of a SQLite file, for operators without `sqlite3`. No password is ever an argument, and none
//! is printed.

mod csv;
mod password;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use crate::config::{ConfigError, Source, StoreConfig};
use crate::doctor::as_the_service_sees;
use crate::model::Secret;
use crate::store::schema::Dialect;
use crate::store::sqlite::become_owner;
use crate::store::sqlite::customers::{Columns, CustomerTable, CustomersError, Listed};
use crate::text::{escape_hidden, printable, show_local_times, timestamp, width};

/// What to do with the rows.
#[derive(Debug, Clone, Subcommand)]
pub enum Customers {
    /// Lists all rows, without passwords and tokens
    List {
        /// As JSON, with times in UTC
        #[arg(long)]
        json: bool,
    },
    /// Adds a customer; its password is asked for on a terminal, or read as one line from standard input
    Add {
        /// Its customer_id
        id: String,
        /// The user in ThingsBoard
        #[arg(long)]
        user: String,
        /// The ThingsBoard server: `https://tb.example.com`
        #[arg(long)]
        url: String,
    },
    /// Changes a customer and leaves its token as it is
    #[command(group = ArgGroup::new("what").required(true).multiple(true).args(["user", "url", "password"]))]
    Set {
        /// Its customer_id
        id: String,
        /// Another user in ThingsBoard
        #[arg(long)]
        user: Option<String>,
        /// Another ThingsBoard server
        #[arg(long)]
        url: Option<String>,
        /// Another password, which is asked for on a terminal, or read as one line from standard input
        #[arg(long)]
        password: bool,
    },
    /// Removes a customer, with its token
    Remove {
        /// Its customer_id
        id: String,
    },
    /// Adds all customers of a CSV file (RFC 4180), or none if a line is wrong
    Import {
        /// The file; its first line is customer_id,tb_username,tb_password,tb_url
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CustomersProblem {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A DBA's own tools do this better, and with the DBA's own rights.
    #[error(
        "the customers are in SQL Server: change them there, with INSERT, UPDATE and DELETE on {table} (customer_id, tb_username, tb_password, tb_url)"
    )]
    SqlServer { table: String },
    #[error(transparent)]
    Rows(#[from] CustomersError),
    #[error("no password could be read")]
    Password(#[source] io::Error),
    #[error("{file} cannot be read")]
    File { file: String, source: io::Error },
    #[error("{file}, line {line}: {why}; nothing is imported")]
    Import { file: String, line: usize, why: String },
}

/// Carries out a command and returns the message to print.
pub(super) fn carry_out(what: &Customers, source: &Source) -> Result<String, CustomersProblem> {
    // First, because a SQL Server's password may be out of the reach of this user.
    if let (Dialect::Mssql, table) = source.table()? {
        return Err(CustomersProblem::SqlServer { table });
    }
    let config = source.load()?;
    let StoreConfig::Sqlite { path, table } = &config.store else {
        return Err(CustomersProblem::SqlServer { table: source.table()?.1 });
    };
    let open = || open(path, table, config.fallback_url.clone());
    match what {
        Customers::List { json } => {
            let rows = open()?.list()?;
            Ok(if *json { as_json(&rows) } else { as_text(&rows) })
        }
        Customers::Add { id, user, url } => add(&open()?, id, user, url),
        Customers::Set { id, user, url, password } => {
            let table = open()?;
            let asks = *password && table.knows(id)?;
            let password =
                asks.then(|| password::read(id)).transpose().map_err(CustomersProblem::Password)?;
            let columns = Columns { username: user.clone(), password, url: url.clone() };
            table.change(|| table.set(id, &columns))?;
            Ok(format!("{} is changed; its token stays until it is renewed\n", printable(id)))
        }
        Customers::Remove { id } => {
            let table = open()?;
            table.change(|| table.remove(id))?;
            Ok(format!("{} is removed, with its token\n", printable(id)))
        }
        Customers::Import { file } => {
            // Before root is given up: the file may be root's.
            let text = fs::read_to_string(file).map(Zeroizing::new);
            let name = printable(&file.display().to_string());
            let text = text.map_err(|source| CustomersProblem::File { file: name.clone(), source })?;
            import(&text, &name, open)
        }
    }
}

/// Opens the table. As root, the process first becomes the user that owns the file, for good.
fn open(path: &Path, table: &str, fallback_url: Option<String>) -> Result<CustomerTable, CustomersError> {
    let path = as_the_service_sees(path);
    if let Ok(false) = path.try_exists() {
        return Err(CustomersError::NoFile(path.display().to_string()));
    }
    CustomerTable::open(&become_owner(&path)?, table, fallback_url)
}

fn add(table: &CustomerTable, id: &str, user: &str, url: &str) -> Result<String, CustomersProblem> {
    // Before an operator types a password in vain.
    if table.knows(id)? {
        return Err(CustomersError::Exists(id.to_owned()).into());
    }
    let password = Some(password::read(id).map_err(CustomersProblem::Password)?);
    let columns = Columns { username: Some(user.to_owned()), password, url: Some(url.to_owned()) };
    table.change(|| table.add(id, &columns))?;
    Ok(format!("{} is added; it gets its token at the next poll, or now: tbctl refresh\n", printable(id)))
}

fn import(
    text: &str,
    file: &str,
    open: impl FnOnce() -> Result<CustomerTable, CustomersError>,
) -> Result<String, CustomersProblem> {
    let wrong = |line, why| CustomersProblem::Import { file: file.to_owned(), line, why };
    let rows = csv::rows(text).map_err(|(line, why)| wrong(line, why.to_owned()))?;
    let table = open()?;
    let count = rows.len();
    table.change(|| {
        rows.into_iter().try_for_each(|(line, [id, username, password, url])| {
            let password = Some(Secret::new(password));
            let added = table.add(&id, &Columns { username: Some(username), password, url: Some(url) });
            added.map_err(|error| wrong(line, error.to_string()))
        })
    })?;
    let customers = if count == 1 { "1 customer is" } else { &format!("{count} customers are") };
    Ok(format!("{customers} added; delete {file}, which holds passwords\n"))
}

fn as_json(rows: &[Listed]) -> String {
    let rows = rows.iter().map(|row| {
        json!({
            "customer_id": row.id, "tb_username": row.username, "tb_url": row.url,
            "has_password": row.has_password, "tbtokenexpiry": row.expiry.map(timestamp),
        })
    });
    escape_hidden(&json!({ "customers": rows.collect::<Vec<_>>() }).to_string()) + "\n"
}

fn as_text(rows: &[Listed]) -> String {
    show_local_times();
    let shown = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), printable);
    let heading = ["CUSTOMER", "USER", "THINGSBOARD", "PASSWORD", "TOKEN ENDS"].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        let password = if row.has_password { "set" } else { "missing" }.to_owned();
        let expiry = row.expiry.map_or_else(|| "-".to_owned(), timestamp);
        [printable(&row.id), shown(&row.username), shown(&row.url), password, expiry]
    });
    let lines: Vec<[String; 5]> = std::iter::once(heading).chain(cells).collect();
    let widest = |column: usize| lines.iter().map(|line| width(&line[column])).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(widest);
    let padded = |(cell, room): (&String, usize)| format!("{cell}{}", " ".repeat(room - width(cell)));
    let line = |line: &[String; 5]| line.iter().zip(widths).map(padded).collect::<Vec<_>>().join("  ");
    lines.iter().map(|cells| line(cells).trim_end().to_owned() + "\n").collect()
}
