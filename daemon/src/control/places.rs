//! The places at one socket: which client gets one, and which client loses its place to another. It needs no clock: the
//! order of the clients' requests decides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tbtoken_proto::{MAX_CONNECTIONS, MAX_CONNECTIONS_PER_USER};
use tokio_util::sync::CancellationToken;

/// The user id of root.
const ROOT: u32 = 0;

/// The places at one socket.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Mutex<Table>>);

/// A client's place; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    ticket: u64,
    lost: CancellationToken,
}

/// Why there is no place: all clients are being answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The user has all its places, and all are being answered.
    User,
    /// All clients that this user could displace are being answered.
    Socket,
}

#[derive(Debug)]
struct Table {
    /// The user id of the socket's owner.
    owner: u32,
    clients: HashMap<u64, Client>,
    /// Counts events, so that a smaller number is an earlier event.
    next: u64,
}

#[derive(Debug)]
struct Client {
    uid: u32,
    /// Whether it has sent a whole request.
    has_sent_request: bool,
    /// When it sent its last request, or connected.
    since: u64,
    /// Whether no request of it is being answered.
    is_idle: bool,
    lost: CancellationToken,
}

impl Places {
    /// Creates the places at a socket of this user.
    pub(super) fn new(owner: u32) -> Self {
        Self(Arc::new(Mutex::new(Table { owner, clients: HashMap::new(), next: 0 })))
    }

    /// Gives a client of this user a free place, or that of the client that has been idle for longest.
    pub(super) fn admit(&self, uid: u32) -> Result<Place, Full> {
        let (ticket, lost) = self.table().admit(uid)?;
        Ok(Place { places: self.clone(), ticket, lost })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until another client has taken this place.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Marks the begin of a request: from now on no client can take the place. Returns false if the place is lost already.
    pub(super) fn begin_request(&self) -> bool {
        let mut table = self.places.table();
        let now = table.tick();
        let Some(client) = table.clients.get_mut(&self.ticket) else { return false };
        (client.has_sent_request, client.since, client.is_idle) = (true, now, false);
        true
    }

    /// Marks the request as answered, so that the client is idle.
    pub(super) fn end_request(&self) {
        if let Some(client) = self.places.table().clients.get_mut(&self.ticket) {
            client.is_idle = true;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.table().clients.remove(&self.ticket);
    }
}

impl Table {
    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether the user is root or the owner of the socket: the last place is kept for these.
    fn is_privileged(&self, uid: u32) -> bool {
        uid == ROOT || uid == self.owner
    }

    fn admit(&mut self, uid: u32) -> Result<(u64, CancellationToken), Full> {
        let privileged = self.is_privileged(uid);
        let most = if privileged { MAX_CONNECTIONS } else { MAX_CONNECTIONS - 1 };
        let of_user = self.clients.values().filter(|client| client.uid == uid).count();
        if of_user >= MAX_CONNECTIONS_PER_USER {
            self.displace(|_, client| client.uid == uid).ok_or(Full::User)?;
        } else if self.clients.len() >= most {
            // Other users cannot displace root and the owner.
            self.displace(|table, client| privileged || !table.is_privileged(client.uid))
                .ok_or(Full::Socket)?;
        }
        let ticket = self.tick();
        let lost = CancellationToken::new();
        let client =
            Client { uid, has_sent_request: false, since: ticket, is_idle: true, lost: lost.clone() };
        self.clients.insert(ticket, client);
        Ok((ticket, lost))
    }

    /// Displaces the idle client whose last request is the oldest. Clients without a request go first, so that a flood of
    /// silent clients displaces itself and not a dashboard.
    fn displace(&mut self, may: impl Fn(&Self, &Client) -> bool) -> Option<()> {
        let candidates = self.clients.iter().filter(|(_, client)| client.is_idle && may(self, client));
        let (&ticket, _) = candidates.min_by_key(|(_, client)| (client.has_sent_request, client.since))?;
        self.clients.remove(&ticket)?.lost.cancel();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: u32 = 990;

    fn places() -> Places {
        Places::new(OWNER)
    }

    fn is_lost(place: &Place) -> bool {
        place.lost.is_cancelled()
    }

    /// Admits so many clients of users from 1000 on, each with as many as it may have.
    fn crowd(places: &Places, clients: usize) -> Vec<Place> {
        let uid = |n: usize| 1000 + u32::try_from(n / MAX_CONNECTIONS_PER_USER).unwrap();
        (0..clients).map(|n| places.admit(uid(n)).unwrap()).collect()
    }

    #[test]
    fn p15_the_longest_idle_client_of_a_user_makes_room_for_its_next() {
        let places = places();
        let clients: Vec<_> = (0..MAX_CONNECTIONS_PER_USER).map(|_| places.admit(1000).unwrap()).collect();
        let other = places.admit(1001).unwrap();
        let _new = places.admit(1000).unwrap();
        assert!(is_lost(&clients[0]) && !clients[1..].iter().any(is_lost) && !is_lost(&other));
        assert!(!clients[0].begin_request(), "a request on a lost place is not carried out");

        // A client that was answered later has been idle for less time, and one that is being answered is not idle.
        assert!(clients[1].begin_request() && clients[2].begin_request());
        clients[1].end_request();
        let _new = places.admit(1000).unwrap();
        let lost = [false, false, true];
        assert_eq!([1, 2, 3].map(|n| is_lost(&clients[n])), lost);
    }

    /// Its answer is on the wire before its place is marked idle: a client that has seen it may send the next request sooner.
    #[test]
    fn p15_the_order_of_requests_decides_and_not_that_of_the_ends_of_answers() {
        let places = places();
        let clients: Vec<_> = (0..MAX_CONNECTIONS_PER_USER).map(|_| places.admit(1000).unwrap()).collect();
        assert!(clients.iter().all(Place::begin_request));
        clients.iter().rev().for_each(Place::end_request);
        let _new = places.admit(1000).unwrap();
        assert!(is_lost(&clients[0]) && !clients[1..].iter().any(is_lost));
    }

    #[test]
    fn p15_a_client_with_a_request_keeps_its_place_before_one_without() {
        let places = places();
        let dashboard = places.admit(1000).unwrap();
        assert!(dashboard.begin_request());
        dashboard.end_request();
        let flood: Vec<_> = (0..1000).map(|_| places.admit(1000).unwrap()).collect();
        assert!(!is_lost(&dashboard));
        assert_eq!(flood.iter().filter(|place| !is_lost(place)).count(), MAX_CONNECTIONS_PER_USER - 1);
    }

    #[test]
    fn p15_a_user_whose_clients_are_all_being_answered_gets_no_more() {
        for uid in [1000, OWNER, ROOT] {
            let places = places();
            let mut clients: Vec<_> =
                (0..MAX_CONNECTIONS_PER_USER).map(|_| places.admit(uid).unwrap()).collect();
            assert!(clients.iter().all(Place::begin_request));
            assert_eq!(places.admit(uid).unwrap_err(), Full::User);
            assert!(places.admit(1001).is_ok());
            drop(clients.pop());
            assert!(places.admit(uid).is_ok());
        }
    }

    #[test]
    fn p15_a_full_socket_gives_the_place_of_the_longest_idle_of_all() {
        let places = places();
        let clients = crowd(&places, MAX_CONNECTIONS - 1);
        let new = places.admit(2000).unwrap();
        assert!(is_lost(&clients[0]) && !clients[1..].iter().any(is_lost));
        assert!(new.begin_request() && clients[1..].iter().all(Place::begin_request));
        assert_eq!(places.admit(2001).unwrap_err(), Full::Socket);
    }

    #[test]
    fn p15_one_place_is_kept_for_root_and_the_owner() {
        for uid in [ROOT, OWNER] {
            let places = places();
            let clients = crowd(&places, MAX_CONNECTIONS - 1);
            assert!(clients.iter().all(Place::begin_request));
            assert_eq!(places.admit(2000).unwrap_err(), Full::Socket);
            let kept = places.admit(uid).unwrap();
            // Other users cannot displace it, although it is idle.
            assert_eq!(places.admit(2000).unwrap_err(), Full::Socket);
            assert!(kept.begin_request() && !clients.iter().any(is_lost));
            assert_eq!(places.admit(uid).unwrap_err(), Full::Socket);
            clients[5].end_request();
            let _second = places.admit(uid).unwrap();
            assert!(is_lost(&clients[5]) && !is_lost(&kept));
        }
    }
}
