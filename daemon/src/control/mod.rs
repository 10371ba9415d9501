//! The Unix sockets: a request line comes in, the engine or the snapshot answers, an answer line goes out.

mod bind_error;
mod line;
mod lock;
mod outgoing;
mod places;
mod running;
mod server;
mod session;
mod socket;

pub use bind_error::BindError;
pub(crate) use outgoing::Outgoing;
pub use running::{receivers, running_daemon};
pub use server::serve;
pub(crate) use session::Session;
pub use session::{Access, Orders, Reload};
pub use socket::{Binding, Socket, refuse_unclaimed_sockets};
