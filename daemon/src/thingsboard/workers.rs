//! Threads of their own for requests. The HTTP library reads interim answers (1xx) without end in one turn, and holds its
//! thread meanwhile. So there are more threads than processors, for the system to share out among them; and the clock by which a
//! request is given up, the engine and the sockets are on none of these.

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// How many servers may hold a thread each before others wait for them.
const THREADS: usize = 16;

/// Runs requests. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Workers {
    handle: Handle,
    _runtime: Arc<Owned>,
}

#[derive(Debug)]
struct Owned(Option<Runtime>);

impl Workers {
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("tbtokend-http")
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), _runtime: Arc::new(Owned(Some(runtime))) })
    }

    /// Runs a request, which ends when the handle is dropped.
    pub(super) fn run<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> AbortOnDropHandle<T> {
        AbortOnDropHandle::new(self.handle.spawn(request))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // The last client may be dropped where nothing may block.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
