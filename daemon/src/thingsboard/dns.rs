//! Resolves the names of servers. A slow name holds no thread, and concurrent requests for one name share one lookup.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::Shared;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// The time limit of one lookup, and how long others share it, from its beginning: about one pass. A caller may give up
/// sooner.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// The most lookups that may hold a thread each. Only names that DNS does not know need one, because the system may know them.
const MAX_THREADS: usize = 8;

/// The most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;

/// The files whose change makes a new resolver necessary.
const WATCHED_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

type LookupResult = Result<Arc<[IpAddr]>, LookupError>;
type Lookup = Shared<Pin<Box<dyn Future<Output = LookupResult> + Send>>>;

/// The reason why a name has no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum LookupError {
    /// The name does not exist.
    #[error("its name is not known")]
    UnknownName,
    /// There was no answer in time.
    #[error("its name is not resolved in time")]
    TimedOut,
    /// No name server answers.
    #[error("its name cannot be resolved: no name server answers")]
    NoAnswer,
}

/// A resolver of names, with a short memory.
pub(super) struct DnsResolver {
    resolver: Mutex<Option<(TokioResolver, [Option<SystemTime>; 2])>>,
    /// The lookups that run or ended recently, with their beginnings.
    lookups: Mutex<HashMap<String, (Instant, Lookup)>>,
    threads: Arc<Semaphore>,
}

impl Default for DnsResolver {
    fn default() -> Self {
        let threads = Arc::new(Semaphore::new(MAX_THREADS));
        Self { resolver: Mutex::default(), lookups: Mutex::default(), threads }
    }
}

impl DnsResolver {
    /// Starts the lookup of a host, or joins one that runs.
    fn lookup(&self, host: &str) -> Lookup {
        let now = Instant::now();
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        lookups.retain(|_, (began, _)| began.elapsed() < LOOKUP_TIMEOUT);
        let new = || {
            // The lookup runs in its own task, so that it ends even if all callers are gone.
            let task =
                tokio::spawn(find_addresses(self.resolver(), Arc::clone(&self.threads), host.to_owned()));
            (now, task.map(|found| found.unwrap_or(Err(LookupError::TimedOut))).boxed().shared())
        };
        lookups.entry(host.to_owned()).or_insert_with(new).1.clone()
    }

    /// Returns the resolver for the current content of the system's files.
    fn resolver(&self) -> Option<TokioResolver> {
        let mut kept = self.resolver.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = changes_of_files();
        if kept.as_ref().is_none_or(|(_, known)| *known != changed) {
            *kept = system_resolver().map(|resolver| (resolver, changed));
        }
        kept.as_ref().map(|(resolver, _)| resolver.clone())
    }
}

impl Resolve for DnsResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = self.lookup(name.as_str());
        Box::pin(async move {
            // The library inserts the port.
            let found: Vec<_> = lookup.await?.iter().map(|address| SocketAddr::new(*address, 0)).collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Returns when each of the files was last changed.
fn changes_of_files() -> [Option<SystemTime>; 2] {
    WATCHED_FILES.map(|file| std::fs::metadata(file).and_then(|file| file.modified()).ok())
}

fn system_resolver() -> Option<TokioResolver> {
    let mut builder = TokioResolver::builder_tokio().ok()?;
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().ok()
}

async fn find_addresses(
    resolver: Option<TokioResolver>,
    threads: Arc<Semaphore>,
    host: String,
) -> LookupResult {
    let lookup = async {
        if let Some(resolver) = resolver {
            match resolver.lookup_ip(host.as_str()).await {
                Ok(found) => return Ok(found.iter().take(MAX_ADDRESSES).collect()),
                Err(error) if error.is_nx_domain() || error.is_no_records_found() => {}
                Err(_) => return Err(LookupError::NoAnswer),
            }
        }
        // The system may know names that DNS does not, but its lookup needs a thread.
        let _permit = threads.acquire().await;
        let found = lookup_host((host.as_str(), 0)).await.map_err(|_| LookupError::UnknownName)?;
        Ok(found.take(MAX_ADDRESSES).map(|address| address.ip()).collect())
    };
    timeout(LOOKUP_TIMEOUT, lookup).await.unwrap_or(Err(LookupError::TimedOut))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use tokio::net::UdpSocket;

    use super::*;

    /// Starts a name server that resolves every name to 192.0.2.1, but never answers for those that begin with "slow". Also
    /// returns the number of questions for each name.
    async fn name_server() -> (Arc<DnsResolver>, Arc<Mutex<HashMap<String, usize>>>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut connection = ConnectionConfig::udp();
        connection.port = socket.local_addr().unwrap().port();
        let server = NameServerConfig::new("127.0.0.1".parse().unwrap(), true, vec![connection]);
        let config = ResolverConfig::from_name_servers(vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4Only;
        let resolver = builder.build().unwrap();
        let counts = Arc::new(Mutex::new(HashMap::new()));
        let count = Arc::clone(&counts);
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                let question = &buffer[..length];
                let first = usize::from(question[12]);
                let label = String::from_utf8_lossy(&question[13..13 + first]).to_lowercase();
                *count.lock().unwrap().entry(label.clone()).or_insert(0) += 1;
                if label.starts_with("slow") {
                    continue;
                }
                let end = question[12..].iter().position(|byte| *byte == 0).unwrap() + 12 + 5;
                let mut answer = question[..end].to_vec();
                answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
                socket.send_to(&answer, client).await.unwrap();
            }
        });
        let names = DnsResolver {
            resolver: Mutex::new(Some((resolver, changes_of_files()))),
            ..DnsResolver::default()
        };
        (Arc::new(names), counts)
    }

    #[tokio::test]
    async fn p27_names_that_are_not_resolved_hold_up_no_other() {
        let (names, _) = name_server().await;
        for number in 0..1_500 {
            let names = Arc::clone(&names);
            tokio::spawn(async move { names.lookup(&format!("slow{number}.example")).await });
        }
        tokio::task::yield_now().await;
        // A busy machine needs some time for so many, but not until the first of them are given up.
        let found = timeout(LOOKUP_TIMEOUT * 4 / 5, names.lookup("good.example")).await.expect("in time");
        assert_eq!(&*found.unwrap(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    }

    #[tokio::test]
    async fn concurrent_requests_for_a_name_share_one_lookup() {
        let (names, counts) = name_server().await;
        let all: Vec<_> = (0..50).map(|_| names.lookup("tb.example")).collect();
        for found in futures_util::future::join_all(all).await {
            assert!(found.is_ok());
        }
        assert!(names.lookup("tb.example").await.is_ok());
        assert_eq!(counts.lock().unwrap().get("tb"), Some(&1));
    }

    #[tokio::test]
    async fn the_names_of_this_machine_need_no_name_server() {
        let names = DnsResolver::default();
        let found: Vec<_> = names.resolve("localhost".parse().unwrap()).await.unwrap().collect();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
    }
}
