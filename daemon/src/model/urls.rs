//! URLs that many customers share in memory: there are far fewer servers than customers.

use std::collections::HashSet;
use std::sync::Arc;

/// The URLs of customers that are made together.
#[derive(Debug, Default)]
pub struct Urls(HashSet<Arc<str>>);

impl Urls {
    /// Returns this text, shared with the same text before.
    pub fn share(&mut self, url: &str) -> Arc<str> {
        if let Some(known) = self.0.get(url) {
            return Arc::clone(known);
        }
        let url: Arc<str> = url.into();
        self.0.insert(Arc::clone(&url));
        url
    }
}
