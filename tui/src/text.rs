//! The text functions that the dashboard shares with `tbctl`.

pub(crate) use tbtoken_proto::fit::{clip, clip_start, width, wrap};
pub(crate) use tbtoken_proto::words::{sentence, time, time_exact, with_local_times};
