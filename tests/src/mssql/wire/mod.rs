//! TDS in bytes: packets, the messages in them, and the tokens of an answer. As [MS-TDS] describes them; no sockets
//! beyond reading and writing, and no meaning.

pub(super) mod bytes;
pub(super) mod login;
pub(super) mod packet;
pub(super) mod prelogin;
pub(super) mod rpc;
pub(super) mod tokens;
pub(super) mod types;
