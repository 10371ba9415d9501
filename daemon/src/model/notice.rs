//! The kinds of notices, each with its name, `MESSAGE_ID` and priority. The history and the protocol show the kinds that
//! concern an operator; the journal has all of them.
//!
//! `packaging/systemd/tbtokend.catalog` explains each kind for `journalctl -x`; a test compares both. A released id never
//! changes its meaning, because operators search and alert by it.

use strum::{EnumIter, EnumString, IntoEnumIterator, IntoStaticStr};

/// The priorities of syslog that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Priority {
    /// The service as a whole is in danger.
    Crit = 2,
    /// A person must act.
    Err = 3,
    /// It may end without a person.
    Warning = 4,
    /// Normal, but notable.
    Notice = 5,
    /// Normal.
    Info = 6,
    /// For the search for a cause.
    Debug = 7,
}

/// Declares the kinds of notices, each with its priority and its `MESSAGE_ID`.
macro_rules! notice_kinds {
    ($($(#[$doc:meta])* $kind:ident, $priority:ident, $message_id:literal;)*) => {
        /// The kinds of notices.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, EnumString, IntoStaticStr)]
        #[strum(serialize_all = "snake_case")]
        pub enum NoticeKind {
            $($(#[$doc])* $kind,)*
        }

        impl NoticeKind {
            /// Returns the `MESSAGE_ID`.
            pub const fn message_id(self) -> &'static str {
                match self { $(Self::$kind => $message_id,)* }
            }

            /// Returns the priority.
            pub const fn priority(self) -> Priority {
                match self { $(Self::$kind => Priority::$priority,)* }
            }
        }
    };
}

notice_kinds! {
    /// The daemon has started.
    Running, Notice, "45b9eb3a40cc434dad407d35a0fec8df";
    /// The database's certificate is not checked.
    CertificateUnchecked, Warning, "696e32160fbe426d92236c9332fba68b";
    /// The clock of this machine shows a time in the past.
    ClockWrong, Crit, "bcda7e7f27b84c2b9e28268f24e0bc67";
    /// The clock of this machine stepped backward.
    ClockSetBack, Warning, "fad84e37dce0481798f427ae33a359ea";
    /// The daemon has ended normally.
    Ended, Notice, "4165cb5913c648299dc4948d0e65b615";
    /// The daemon cannot start.
    CannotStart, Crit, "299187ee3c224bd9af2395f88b9e0308";
    /// A scheduled pass begins.
    Scheduled, Info, "dadeec17d32543ec8ef02f08da494b73";
    /// A scheduled pass is skipped, because the last one is still running.
    Skipped, Warning, "c1ce5975f83c49c396db716a1513ee86";
    /// A token was renewed.
    Renewed, Info, "7eecac42a5a14dceac7606f00816f66a";
    /// A customer that failed works again.
    Recovered, Notice, "b7d23a215af74980b1cdc621bfaf40f7";
    /// A renewal failed; another attempt follows.
    Failed, Warning, "fb29c5d3155a4509b13753223aa6c466";
    /// A renewal failed for good.
    Parked, Err, "5938ed69774e479aa00feb27a9e569fb";
    /// A parked customer is tried again, because its row has changed.
    Unparked, Notice, "f61440ff3fb643dcb6f614e02b5ddc13";
    /// A token ended without a new one.
    Expired, Err, "d1134fa545ad4edcb95ec00827106dfa";
    /// ThingsBoard no longer accepts a token before its end.
    TokenDead, Warning, "7257f265fc1b479bb4d74c33a5516c83";
    /// ThingsBoard does not accept the token that just replaced a dead one.
    TokenDisputed, Warning, "dd24da4718e6439d83be92c8fcf69040";
    /// A customer has lost its row, or what a login needs.
    Ineligible, Warning, "a0eb05f84ec94729a9f867cf7594ba9c";
    /// Something is wrong with a row or with what the daemon may do.
    Warning, Warning, "e72bdb03c9a94ec4a9786535f593e268";
    /// A pass began.
    PassStarted, Debug, "3c78b2b5a7a040e4ab25085b6f45346c";
    /// A pass ended.
    PassFinished, Debug, "e627619f83c34cf192ef38ca387ddfe5";
    /// The database cannot be used.
    StoreLost, Crit, "dcd76dad06664084affd4525151713d9";
    /// The database can be used again.
    StoreBack, Notice, "1a68688433774c90b105cb0d027c300c";
    /// An operator started the loop.
    Started, Notice, "593bca9b28034585919b2265a2ccac58";
    /// An operator stopped the loop.
    Stopped, Notice, "d0b1396d798e4c2496f60039c160e8d6";
    /// The configuration was read again.
    Reloaded, Notice, "3fe0f9d83b994ab7b48eec4cbe0b49cf";
    /// A changed configuration was refused.
    ReloadRefused, Err, "c795a896733c4e4b8bd4fc1d9abf7ec0";
    /// The database or a pass makes no progress.
    Stuck, Crit, "f75afadfec8c4ecf88d0798ca406f2d0";
    /// Log lines were dropped, because the reader of the log is too slow.
    LinesDropped, Warning, "0b51edb0b1124b11a41ecedec34387c6";
    /// A bug in the daemon.
    Bug, Crit, "211ec88ce13448eeb148bb4374782d3b";
}

impl NoticeKind {
    /// Returns all kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::iter()
    }

    /// Returns the name in the protocol, the manual and the field `event` of log calls.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether it is a change that a customer's record stores.
    pub const fn is_remembered(self) -> bool {
        matches!(
            self,
            Self::Failed
                | Self::Parked
                | Self::Unparked
                | Self::Recovered
                | Self::Expired
                | Self::TokenDead
                | Self::TokenDisputed
                | Self::Ineligible
        )
    }

    /// Returns the kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}
