//! Names of servers to addresses: without threads that a slow name could hold, and once for all who ask at a time.

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

/// How long one look-up may take, and from its beginning holds for others: about one pass. Who has asked may give up
/// sooner.
const LOOKUP: Duration = Duration::from_secs(10);

/// How many look-ups may hold a thread each: only names that DNS does not know, but the system perhaps does.
const THREADS: usize = 8;

/// A name may have many addresses, but not all of them are tried.
const MOST_ADDRESSES: usize = 8;

/// What a change of which makes the resolver another one.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

type Found = Result<Arc<[IpAddr]>, NotFound>;
type Lookup = Shared<Pin<Box<dyn Future<Output = Found> + Send>>>;

/// Why a name has no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotFound {
    /// There is no such name.
    #[error("its name is not known")]
    Unknown,
    /// No answer in time.
    #[error("its name is not resolved in time")]
    Late,
    /// The name servers cannot be asked.
    #[error("its name cannot be resolved: no name server answers")]
    NoAnswer,
}

/// Finds the addresses of names.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    resolver: Mutex<Option<(Resolver, [Option<SystemTime>; 2])>>,
    is_fixed: bool,
    /// What is being looked up or was just found.
    lookups: Mutex<HashMap<String, (Instant, Lookup)>>,
    threads: Arc<Semaphore>,
}

#[derive(Clone)]
struct Resolver(TokioResolver);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl Default for Inner {
    fn default() -> Self {
        let threads = Arc::new(Semaphore::new(THREADS));
        Self { resolver: Mutex::default(), is_fixed: false, lookups: Mutex::default(), threads }
    }
}

impl Names {
    /// The addresses of a host by its name.
    fn lookup(&self, host: &str) -> Lookup {
        let now = Instant::now();
        let mut lookups = self.0.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        lookups.retain(|_, (began, _)| began.elapsed() < LOOKUP);
        let new = || {
            // A task of its own: it ends though all that asked may be gone.
            let task = tokio::spawn(find(self.0.resolver(), Arc::clone(&self.0.threads), host.to_owned()));
            (now, task.map(|found| found.unwrap_or(Err(NotFound::Late))).boxed().shared())
        };
        lookups.entry(host.to_owned()).or_insert_with(new).1.clone()
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = self.lookup(name.as_str());
        Box::pin(async move {
            // The library puts the port in.
            let found: Vec<_> = lookup.await?.iter().map(|address| SocketAddr::new(*address, 0)).collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

impl Inner {
    /// The resolver as the system's files say it now.
    fn resolver(&self) -> Option<Resolver> {
        let mut kept = self.resolver.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_fixed {
            let changed = FILES.map(|file| std::fs::metadata(file).and_then(|file| file.modified()).ok());
            if kept.as_ref().is_none_or(|(_, known)| *known != changed) {
                *kept = system_resolver().map(|resolver| (resolver, changed));
            }
        }
        kept.as_ref().map(|(resolver, _)| resolver.clone())
    }
}

fn system_resolver() -> Option<Resolver> {
    let mut builder = TokioResolver::builder_tokio().ok()?;
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().ok().map(Resolver)
}

async fn find(resolver: Option<Resolver>, threads: Arc<Semaphore>, host: String) -> Found {
    let looking = async {
        if let Some(Resolver(resolver)) = resolver {
            match resolver.lookup_ip(host.as_str()).await {
                Ok(found) => return Ok(found.iter().take(MOST_ADDRESSES).collect()),
                Err(error) if error.is_nx_domain() || error.is_no_records_found() => {}
                Err(_) => return Err(NotFound::NoAnswer),
            }
        }
        // The system knows other ways than DNS, but they need a thread.
        let _place = threads.acquire().await;
        let found = lookup_host((host.as_str(), 0)).await.map_err(|_| NotFound::Unknown)?;
        Ok(found.take(MOST_ADDRESSES).map(|address| address.ip()).collect())
    };
    timeout(LOOKUP, looking).await.unwrap_or(Err(NotFound::Late))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use tokio::net::UdpSocket;

    use super::*;

    /// A name server that knows every name as 192.0.2.1, but never answers about those that begin with "slow". Brings how
    /// often it was asked about each.
    async fn name_server() -> (Names, Arc<Mutex<HashMap<String, usize>>>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut connection = ConnectionConfig::udp();
        connection.port = socket.local_addr().unwrap().port();
        let server = NameServerConfig::new("127.0.0.1".parse().unwrap(), true, vec![connection]);
        let config = ResolverConfig::from_name_servers(vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4Only;
        let resolver = Resolver(builder.build().unwrap());
        let asked = Arc::new(Mutex::new(HashMap::new()));
        let count = Arc::clone(&asked);
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
        let inner =
            Inner { resolver: Mutex::new(Some((resolver, [None; 2]))), is_fixed: true, ..Inner::default() };
        (Names(Arc::new(inner)), asked)
    }

    #[tokio::test]
    async fn p27_names_that_are_not_resolved_hold_up_no_other() {
        let (names, _) = name_server().await;
        for number in 0..1_500 {
            let names = names.clone();
            tokio::spawn(async move { names.lookup(&format!("slow{number}.example")).await });
        }
        tokio::task::yield_now().await;
        let found = timeout(Duration::from_secs(2), names.lookup("good.example")).await.expect("in time");
        assert_eq!(&*found.unwrap(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_for_all_who_ask() {
        let (names, asked) = name_server().await;
        let all: Vec<_> = (0..50).map(|_| names.lookup("tb.example")).collect();
        for found in futures_util::future::join_all(all).await {
            assert!(found.is_ok());
        }
        assert!(names.lookup("tb.example").await.is_ok());
        assert_eq!(asked.lock().unwrap().get("tb"), Some(&1));
    }

    #[tokio::test]
    async fn the_names_of_this_machine_need_no_server() {
        let names = Names::default();
        let found: Vec<_> = names.resolve("localhost".parse().unwrap()).await.unwrap().collect();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
    }
}
