//! The command line of the benchmark.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::database::StoreChoice;

/// Measures tbtokend, the real binary, against fake ThingsBoard servers: time, CPU time and memory.
/// Each scenario makes its own table in a temporary folder, which is removed at the end.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
pub struct Arguments {
    /// The scenario.
    #[command(subcommand)]
    pub(super) scenario: Scenario,
}

/// A scenario.
#[derive(Debug, Subcommand)]
pub(super) enum Scenario {
    /// All customers are due when the daemon starts: how long until all tokens are fresh, and what that costs
    Pass(Pass),
    /// No customer is due: what a poll costs, and how fast `status` is
    Rest(Rest),
    /// Some servers never answer: how much later the customers of the others get their tokens
    Sick(Sick),
    /// All customers become due at the same moment: whether a token lapses, and the load on each server
    Herd(Herd),
    /// A pass over more and more customers: what each of them costs
    Growth(Growth),
    /// The fake ThingsBoards, which take orders on standard input
    #[command(hide = true)]
    ServeThingsboards,
    /// The fake SQL Server, which takes orders on standard input
    #[command(hide = true)]
    ServeMssql,
}

/// The options of all scenarios.
#[derive(Debug, Clone, Args)]
pub(super) struct Common {
    /// The store of the customers: sqlite, fake-mssql (a fake SQL Server), or a connection string such as
    /// "server=localhost,1433;database=bench;user=sa;password=…;ca_file=ca.pem" (or trust=true for any certificate).
    /// In that database a schema is made and removed at the end. The default is the value of TBTOKEN_BENCH_STORE
    #[arg(long, value_name = "STORE")]
    pub(super) store: Option<StoreChoice>,
    /// How long each login takes, in milliseconds
    #[arg(long, default_value_t = 100)]
    pub(super) latency_ms: u64,
    /// Put the servers behind TLS, as they are in the field
    #[arg(long)]
    pub(super) tls: bool,
    /// Leave out what takes seconds to measure: how fast `status` is afterwards
    #[arg(long)]
    pub(super) brief: bool,
    /// Print JSON instead of tables
    #[arg(long)]
    pub(super) json: bool,
}

impl Common {
    pub(super) fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }
}

#[derive(Debug, Clone, Args)]
pub(super) struct Pass {
    #[command(flatten)]
    pub(super) common: Common,
    /// Customers, all of them due
    #[arg(long, default_value_t = 5_000)]
    pub(super) customers: usize,
    /// ThingsBoard servers that they are spread over
    #[arg(long, default_value_t = 10)]
    pub(super) servers: usize,
    /// Run once more with so many receivers of messages that never answer, and with a customer to be told of
    #[arg(long, default_value_t = 0)]
    pub(super) hanging_receivers: usize,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Rest {
    #[command(flatten)]
    pub(super) common: Common,
    /// Customers
    #[arg(long, default_value_t = 100_000)]
    pub(super) customers: usize,
    /// How many of them have a wrong password and are parked
    #[arg(long, default_value_t = 1_000)]
    pub(super) parked: usize,
    /// ThingsBoard servers that they are spread over
    #[arg(long, default_value_t = 100)]
    pub(super) servers: usize,
    /// How many polls are measured
    #[arg(long, default_value_t = 4)]
    pub(super) wakes: u32,
    /// Which tokens are checked meanwhile: `thingsboard.verify_tokens`
    #[arg(long, default_value = "sample")]
    pub(super) verify_tokens: String,
    /// The time between two polls in seconds, shorter than in production, so that it does not take minutes
    #[arg(long, default_value_t = 3)]
    pub(super) interval: u32,
    /// Switch on the HTTP listener, and measure a scrape and the page
    #[arg(long)]
    pub(super) http: bool,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Sick {
    #[command(flatten)]
    pub(super) common: Common,
    /// Customers, all of them due
    #[arg(long, default_value_t = 10_000)]
    pub(super) customers: usize,
    /// ThingsBoard servers that they are spread over
    #[arg(long, default_value_t = 100)]
    pub(super) servers: usize,
    /// How many of the servers take requests and never answer
    #[arg(long, default_value_t = 10)]
    pub(super) silent: usize,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Herd {
    #[command(flatten)]
    pub(super) common: Common,
    /// Customers, whose tokens all end in the same second
    #[arg(long, default_value_t = 20_000)]
    pub(super) customers: usize,
    /// ThingsBoard servers that they are spread over
    #[arg(long, default_value_t = 20)]
    pub(super) servers: usize,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Growth {
    #[command(flatten)]
    pub(super) common: Common,
    /// Customers, one pass for each number
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000,300000")]
    pub(super) sizes: Vec<usize>,
    /// ThingsBoard servers that they are spread over
    #[arg(long, default_value_t = 100)]
    pub(super) servers: usize,
}
