//! The fake SQL Server, in its own process.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::inserts;
use super::server::{Address, scratch_rows};
use crate::bench::peer::{self, Peer};
use crate::harness::Row;
use crate::mssql::SqlServer;

/// An order to the process.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Sets up the server, and writes its authority into this folder.
    Open(String),
    /// Runs this as the owner of the database.
    Execute(String),
    /// Reports the number of statements.
    Count,
}

/// The server, as the benchmark holds it.
#[derive(Debug)]
pub(in crate::bench) struct Fake {
    process: Peer,
    address: Address,
}

impl Fake {
    pub(super) fn fill(folder: &Path, rows: &[Row]) -> Self {
        let mut process = Peer::start("serve-mssql");
        let address = process.ask(&Order::Open(folder.display().to_string()));
        let scratch = scratch_rows();
        for statement in inserts("customer_settings", rows).chain(inserts("scratch", &scratch)) {
            let () = process.ask(&Order::Execute(statement));
        }
        Self { process, address }
    }

    pub(super) fn place(&self) -> &Address {
        &self.address
    }

    /// Returns the number of statements and the CPU time.
    pub(super) fn count(&mut self) -> (u64, Duration) {
        (self.process.ask(&Order::Count), self.process.cpu())
    }
}

/// Runs as the process, until its standard input ends.
pub(in crate::bench) fn serve() {
    let server = SqlServer::start();
    peer::serve(|order| match order {
        Order::Open(folder) => {
            server.create_customers();
            server.create(
                "dbo.scratch",
                &[
                    ("customer_id", "uniqueidentifier"),
                    ("tb_username", "nvarchar(255)"),
                    ("tb_password", "nvarchar(255)"),
                    ("tb_url", "nvarchar(500)"),
                    ("tbtoken", "varchar(max)"),
                    ("tbtokenexpiry", "datetime"),
                ],
            );
            let settings = server.settings();
            json!(Address {
                server: server.place(),
                database: settings.database,
                user: settings.user,
                password: settings.password,
                ca_file: Some(server.write_authority(Path::new(&folder)).display().to_string()),
                trust: false,
            })
        }
        Order::Execute(statement) => {
            server.execute(&statement);
            json!(null)
        }
        Order::Count => json!(server.stats().statements.values().sum::<u64>()),
    });
}
