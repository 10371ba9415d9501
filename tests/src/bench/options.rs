//! The command line of the benchmark.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::database::StoreChoice;

/// Measures tbtokend, the real binary, against fake ThingsBoard servers: how long, how much CPU, how much memory.
/// Each scenario sets up its own table in a temporary folder; nothing stays behind.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
pub struct Arguments {
    /// What is measured.
    #[command(subcommand)]
    pub(super) scenario: Scenario,
}

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(super) enum Scenario {
    /// Everyone is due when the daemon starts: how long until all are fresh, and what it costs
    Pass(Pass),
    /// Nobody is due: what a look at the table costs, and how fast `status` is meanwhile
    Rest(Rest),
    /// Some servers never answer: how much later that makes the customers of the others
    Sick(Sick),
    /// Everyone becomes due in the same moment: whether anyone lapses, and what each server sees
    Herd(Herd),
    /// A pass over more and more customers: what each of them costs
    Growth(Growth),
    /// The fake ThingsBoards, told what to do on standard input
    #[command(hide = true)]
    ServeThingsboards,
    /// The fake SQL Server, likewise
    #[command(hide = true)]
    ServeMssql,
}

/// What all scenarios have.
#[derive(Debug, Clone, Args)]
pub(super) struct Common {
    /// Where the customers are: sqlite, fake-mssql (a fake SQL Server), or a connection string such as
    /// "server=localhost,1433;database=bench;user=sa;password=…;ca_file=ca.pem" (or trust=true for anyone's certificate),
    /// in whose database a schema is made and taken away again. TBTOKEN_BENCH_STORE is used if this is not given
    #[arg(long, value_name = "STORE")]
    pub(super) store: Option<StoreChoice>,
    /// How long each login takes, in milliseconds
    #[arg(long, default_value_t = 100)]
    pub(super) latency_ms: u64,
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
    pub(super) hosts: usize,
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
    pub(super) hosts: usize,
    /// How many looks at the table are measured
    #[arg(long, default_value_t = 4)]
    pub(super) wakes: u32,
    /// The time between two of them, in seconds; shorter than in real life, so that it does not take minutes
    #[arg(long, default_value_t = 3)]
    pub(super) interval: u32,
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
    pub(super) hosts: usize,
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
    pub(super) hosts: usize,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Growth {
    #[command(flatten)]
    pub(super) common: Common,
    /// Customers, one pass for each number
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000")]
    pub(super) sizes: Vec<usize>,
    /// ThingsBoard servers that they are spread over
    #[arg(long, default_value_t = 100)]
    pub(super) hosts: usize,
}
