//! TDS in bytes: packets, the messages in them, and the tokens of an answer, as [MS-TDS] describes them. It reads and writes
//! streams, and does not interpret the messages.

pub(super) mod bytes;
pub(super) mod login;
pub(super) mod packet;
pub(super) mod prelogin;
pub(super) mod rpc;
pub(super) mod tokens;
pub(super) mod types;
