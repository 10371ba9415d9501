//! Separate threads for requests.
//!
//! The HTTP library reads an endless series of interim answers (1xx) without a pause, and blocks its thread meanwhile. So there
//! are more threads than processors, and the system divides the time among them. Time limits, the engine and the sockets run on
//! other threads.

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// The number of threads. As many servers can block one each before others wait.
const THREADS: usize = 16;

/// A runtime for requests. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Workers {
    handle: Handle,
    _runtime: Arc<OwnedRuntime>,
}

#[derive(Debug)]
struct OwnedRuntime(Option<Runtime>);

impl Workers {
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("tbtokend-http")
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), _runtime: Arc::new(OwnedRuntime(Some(runtime))) })
    }

    /// Runs a request. It ends when the handle is dropped.
    pub(super) fn run<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> AbortOnDropHandle<T> {
        AbortOnDropHandle::new(self.handle.spawn(request))
    }
}

impl Drop for OwnedRuntime {
    fn drop(&mut self) {
        // The last client may be dropped in a place that must not block.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
