//! What kinds of events the log knows: the name, the `MESSAGE_ID` and the priority of each.
//!
//! `packaging/systemd/tbtokend.catalog` explains each of them to `journalctl -x`; a test holds both together. An id, once
//! released, never changes its meaning: people search and alert by it.

/// The priorities of syslog, as far as they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Priority {
    /// The service as a whole is in danger.
    Crit = 2,
    /// Somebody has to do something.
    Err = 3,
    /// It may pass by itself.
    Warning = 4,
    /// Normal, but of note.
    Notice = 5,
    /// Normal.
    Info = 6,
    /// For whoever searches for a cause.
    Debug = 7,
}

impl Priority {
    /// The number that stands for it.
    pub const fn digit(self) -> &'static str {
        match self {
            Self::Crit => "2",
            Self::Err => "3",
            Self::Warning => "4",
            Self::Notice => "5",
            Self::Info => "6",
            Self::Debug => "7",
        }
    }
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The daemon has started.
    Running,
    /// The database's certificate is not checked.
    CertificateUnchecked,
    /// The clock of this machine shows a time that is over.
    ClockWrong,
    /// The clock of this machine was set back.
    ClockSetBack,
    /// The daemon has ended as it was asked to.
    Ended,
    /// The daemon cannot start.
    CannotStart,
    /// The interval came round.
    Scheduled,
    /// The interval came round during a pass.
    Skipped,
    /// A token was renewed.
    Renewed,
    /// A customer that failed works again.
    Recovered,
    /// A renewal failed and is tried again.
    Failed,
    /// A renewal failed for good.
    Parked,
    /// A parked customer is tried again, because its row has changed.
    Unparked,
    /// A token ended without a new one.
    Expired,
    /// Something is wrong with a row or with what the daemon may do.
    RowWarning,
    /// The database cannot be used.
    StoreLost,
    /// The database can be used again.
    StoreBack,
    /// An operator started or stopped the loop.
    LoopSteered,
    /// The configuration was read again.
    Reloaded,
    /// A changed configuration was refused.
    ReloadRefused,
    /// Something that was begun does not come to an end.
    Stuck,
    /// The log was written faster than it could be taken.
    LinesDropped,
    /// Something that should not be possible.
    Bug,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Running,
        Self::CertificateUnchecked,
        Self::ClockWrong,
        Self::ClockSetBack,
        Self::Ended,
        Self::CannotStart,
        Self::Scheduled,
        Self::Skipped,
        Self::Renewed,
        Self::Recovered,
        Self::Failed,
        Self::Parked,
        Self::Unparked,
        Self::Expired,
        Self::RowWarning,
        Self::StoreLost,
        Self::StoreBack,
        Self::LoopSteered,
        Self::Reloaded,
        Self::ReloadRefused,
        Self::Stuck,
        Self::LinesDropped,
        Self::Bug,
    ];

    /// The name, in the field `event` of our own log calls.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::CertificateUnchecked => "certificate_unchecked",
            Self::ClockWrong => "clock_wrong",
            Self::ClockSetBack => "clock_set_back",
            Self::Ended => "ended",
            Self::CannotStart => "cannot_start",
            Self::Scheduled => "scheduled",
            Self::Skipped => "skipped",
            Self::Renewed => "renewed",
            Self::Recovered => "recovered",
            Self::Failed => "failed",
            Self::Parked => "parked",
            Self::Unparked => "unparked",
            Self::Expired => "expired",
            Self::RowWarning => "row_warning",
            Self::StoreLost => "store_lost",
            Self::StoreBack => "store_back",
            Self::LoopSteered => "loop_steered",
            Self::Reloaded => "reloaded",
            Self::ReloadRefused => "reload_refused",
            Self::Stuck => "stuck",
            Self::LinesDropped => "lines_dropped",
            Self::Bug => "bug",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The `MESSAGE_ID`.
    pub const fn message_id(self) -> &'static str {
        match self {
            Self::Running => "45b9eb3a40cc434dad407d35a0fec8df",
            Self::CertificateUnchecked => "696e32160fbe426d92236c9332fba68b",
            Self::ClockWrong => "bcda7e7f27b84c2b9e28268f24e0bc67",
            Self::ClockSetBack => "fad84e37dce0481798f427ae33a359ea",
            Self::Ended => "4165cb5913c648299dc4948d0e65b615",
            Self::CannotStart => "299187ee3c224bd9af2395f88b9e0308",
            Self::Scheduled => "dadeec17d32543ec8ef02f08da494b73",
            Self::Skipped => "c1ce5975f83c49c396db716a1513ee86",
            Self::Renewed => "7eecac42a5a14dceac7606f00816f66a",
            Self::Recovered => "b7d23a215af74980b1cdc621bfaf40f7",
            Self::Failed => "fb29c5d3155a4509b13753223aa6c466",
            Self::Parked => "5938ed69774e479aa00feb27a9e569fb",
            Self::Unparked => "f61440ff3fb643dcb6f614e02b5ddc13",
            Self::Expired => "d1134fa545ad4edcb95ec00827106dfa",
            Self::RowWarning => "e72bdb03c9a94ec4a9786535f593e268",
            Self::StoreLost => "dcd76dad06664084affd4525151713d9",
            Self::StoreBack => "1a68688433774c90b105cb0d027c300c",
            Self::LoopSteered => "593bca9b28034585919b2265a2ccac58",
            Self::Reloaded => "3fe0f9d83b994ab7b48eec4cbe0b49cf",
            Self::ReloadRefused => "c795a896733c4e4b8bd4fc1d9abf7ec0",
            Self::Stuck => "f75afadfec8c4ecf88d0798ca406f2d0",
            Self::LinesDropped => "0b51edb0b1124b11a41ecedec34387c6",
            Self::Bug => "211ec88ce13448eeb148bb4374782d3b",
        }
    }

    /// How much it matters.
    pub const fn priority(self) -> Priority {
        match self {
            Self::CannotStart | Self::ClockWrong | Self::StoreLost | Self::Stuck | Self::Bug => {
                Priority::Crit
            }
            Self::Parked | Self::Expired | Self::ReloadRefused => Priority::Err,
            Self::Skipped
            | Self::Failed
            | Self::ClockSetBack
            | Self::RowWarning
            | Self::CertificateUnchecked
            | Self::LinesDropped => Priority::Warning,
            Self::Running
            | Self::Ended
            | Self::Recovered
            | Self::Unparked
            | Self::StoreBack
            | Self::LoopSteered
            | Self::Reloaded => Priority::Notice,
            Self::Scheduled | Self::Renewed => Priority::Info,
        }
    }
}
