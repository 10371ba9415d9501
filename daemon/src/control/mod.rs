//! The Unix sockets: a line comes in, an order or a look at the snapshot follows, a line goes out.

mod line;
mod outgoing;
mod server;
mod session;
mod socket;

pub use server::{Access, serve};
pub use socket::{BindError, Binding, Bound, refuse_unclaimed};
